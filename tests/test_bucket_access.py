"""Who gets at a bucket: each aspect read from and written to moto's server."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops import bucket_access as access
from ops.bucket_aspects import Aspect
from ops.bucket_wishes import Wish
from ops.buckets import Bucket, Lacking, make, reach
from ops.errors import FAILED, OpsError
from ops.settings import Settings
from tests.aws import Aws, Call, Fault
from tests.test_bucket_rules import KEY, OPEN
from tests.test_buckets import lists_objects, of, server_settings

PLAIN = Wish(name="team", kind="artifacts")
KEYED = replace(PLAIN, kms_key=KEY)


@pytest.fixture
def bucket(aws: Aws) -> Bucket:
    """A bucket of our account, as it is right after it was made."""
    made = reach("team", "", Settings())
    make(made, lock=False)
    aws.calls.clear()
    return made


def brought_about(aspect: Aspect) -> tuple[str, str]:
    """Bring an aspect about; return how it was and how it is. Then it is as it is wanted."""
    now = aspect.read()
    wanted = aspect.wanted(now)
    assert now != wanted
    assert aspect.apply is not None
    aspect.apply(wanted)
    there = aspect.read()
    assert there == aspect.wanted(there)
    return aspect.show(now), aspect.show(there)


def test_the_bucket_itself_is_made_where_it_is_wanted(aws: Aws) -> None:
    aspect = access.existence(reach("team", "", Settings()), replace(PLAIN, lock="GOVERNANCE"))

    assert ("none", "in eu-west-2") == brought_about(aspect)
    assert "Enabled" == aws.client("s3").get_bucket_versioning(Bucket="team")["Status"]


def test_all_four_blocks_of_public_access_are_set(aws: Aws, bucket: Bucket) -> None:
    before, after = brought_about(access.public_access(bucket))

    assert (
        "without BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy, RestrictPublicBuckets"
        == (before)
    )
    assert "blocked" == after
    set_ = aws.client("s3").get_public_access_block(Bucket="team")["PublicAccessBlockConfiguration"]
    assert [True] * 4 == list(set_.values())


def test_a_block_that_is_missing_is_named(aws: Aws, bucket: Bucket) -> None:
    aws.client("s3").put_public_access_block(
        Bucket="team",
        PublicAccessBlockConfiguration={"BlockPublicAcls": True, "RestrictPublicBuckets": True},
    )

    assert ("without IgnorePublicAcls, BlockPublicPolicy", "blocked") == brought_about(
        access.public_access(bucket)
    )


@pytest.mark.parametrize("found", ["", "ObjectWriter", "BucketOwnerPreferred"])
def test_objects_are_the_bucket_owner_s(aws: Aws, bucket: Bucket, found: str) -> None:
    s3 = aws.client("s3")
    s3.delete_bucket_ownership_controls(Bucket="team")
    if found:
        rules = {"Rules": [{"ObjectOwnership": found}]}
        s3.put_bucket_ownership_controls(Bucket="team", OwnershipControls=rules)

    assert (found or "by ACL", "BucketOwnerEnforced") == brought_about(access.ownership(bucket))


def test_objects_are_encrypted_with_a_key_if_one_is_given(bucket: Bucket) -> None:
    with_key = f"aws:kms with {KEY} and a bucket key"

    assert ("none", "AES256") == brought_about(access.encryption(bucket, PLAIN))
    assert ("AES256", with_key) == brought_about(access.encryption(bucket, KEYED))
    there = access.encryption(bucket, PLAIN).read()
    assert there == access.encryption(bucket, PLAIN).wanted(there)


def test_tls_is_required_beside_what_else_the_policy_says(aws: Aws, bucket: Bucket) -> None:
    s3 = aws.client("s3")
    theirs = OPEN | {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}
    document = {"Version": "2012-10-17", "Statement": [theirs]}
    s3.put_bucket_policy(Bucket="team", Policy=json.dumps(document))

    assert ("not required", "required") == brought_about(access.transport(bucket))
    made = json.loads(s3.get_bucket_policy(Bucket="team")["Policy"])
    assert [theirs] == made["Statement"][:1]
    assert ["arn:aws:s3:::team", "arn:aws:s3:::team/*"] == made["Statement"][1]["Resource"]


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_the_policy_names_the_bucket_by_its_partition(
    aws: Aws, region: str, partition: str
) -> None:
    made = reach("team", region, Settings())
    make(made, lock=False)
    brought_about(access.transport(made))
    policy = aws.client("s3", region).get_bucket_policy(Bucket="team")["Policy"]

    assert f"arn:{partition}:s3:::team/*" == json.loads(policy)["Statement"][0]["Resource"][1]


def denied(_: int, call: Call) -> bool:
    return call.operation == "PutBucketPolicy"


def put_denied(aws: Aws, aspect: Aspect, now: Any) -> Callable[[], None]:
    def put() -> None:
        assert aspect.apply is not None
        with aws.failing(Fault(denied, "AccessDenied", 403)):
            aspect.apply(aspect.wanted(now))

    return put


def test_a_policy_that_s3_does_not_take_as_it_lets_everybody_in_is_explained(
    aws: Aws, bucket: Bucket
) -> None:
    """S3 refuses it while public access is blocked; moto takes every policy."""
    put = put_denied(aws, access.transport(bucket), {"Version": "1", "Statement": [OPEN]})
    with pytest.raises(OpsError, match="lets everybody in: Everybody") as caught:
        put()

    assert FAILED == caught.value.code
    assert "take it out: aws s3api get-bucket-policy --bucket team" == caught.value.remedy


def test_a_policy_that_may_not_be_put_is_passed_on(aws: Aws, bucket: Bucket) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        put_denied(aws, access.transport(bucket), None)()


def test_a_server_that_lists_objects_for_its_policy_has_none(aws: Aws) -> None:
    aws.answers["GetBucketPolicy"] = lists_objects
    aspect = access.transport(reach("team", "", server_settings(aws)))
    with pytest.raises(Lacking, match="has no such thing"):
        aspect.read()


def test_tls_is_not_required_of_a_server_that_is_reached_without(aws: Aws) -> None:
    plain = reach("team", "", server_settings(aws))
    secure = replace(plain, server="https://s3.example.com")

    assert "would lock everybody out" in access.transport(plain).lacking
    assert "" == access.transport(secure).lacking


def test_what_a_server_does_not_know_is_lacking(aws: Aws) -> None:
    bucket = reach("team", "", server_settings(aws))
    for aspect, operation in [
        (access.public_access(bucket), "GetPublicAccessBlock"),
        (access.ownership(bucket), "GetBucketOwnershipControls"),
        (access.encryption(bucket, PLAIN), "GetBucketEncryption"),
    ]:
        with aws.failing(Fault(of(operation), "NotImplemented", 501)), pytest.raises(Lacking):
            aspect.read()
