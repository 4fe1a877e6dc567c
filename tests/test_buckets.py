"""A bucket as we reach it: found, refused, made and waited for; moto's server answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops import buckets
from ops.aws import in_our_words
from ops.buckets import Bucket, Lacking, find, make, reach
from ops.errors import FAILED, REFUSED, OpsError
from ops.settings import Settings
from ops.values import Secret
from tests.aws import REGION, Aws, Call, Fault

ACCOUNT = "123456789012"


@pytest.fixture
def bucket(aws: Aws) -> Bucket:
    """A bucket of our account that is not there yet."""
    made = replace(reach("team", "", Settings()), patience=1)
    aws.calls.clear()
    return made


@pytest.fixture
def there(bucket: Bucket, aws: Aws) -> Bucket:
    """A bucket that is there."""
    make(bucket, lock=False)
    aws.calls.clear()
    return bucket


@pytest.fixture
def on_server(aws: Aws) -> Bucket:
    """A bucket on an S3-compatible server."""
    return replace(reach("team", "", server_settings(aws)), patience=1)


def server_settings(aws: Aws) -> Settings:
    return Settings(
        artifacts_destination="s3://team",
        s3_endpoint_url=aws.url,
        s3_access_key_id="testing",
        s3_secret_access_key=Secret("testing-testing"),
    )


def of(*operations: str) -> Callable[[int, Call], bool]:
    return lambda _, call: call.operation in operations


def once(operation: str, times: int = 1) -> Callable[[int, Call], bool]:
    """Hit the first calls of an operation only."""
    left = [operation] * times

    def hits(_: int, call: Call) -> bool:
        hit = call.operation in left
        if hit:
            left.pop()
        return hit

    return hits


def refused(bucket: Bucket) -> OpsError:
    with pytest.raises(OpsError) as caught:
        find(bucket)
    assert REFUSED == caught.value.code
    return caught.value


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return buckets.code(caught.value)


# --- Which bucket ---


def test_a_bucket_of_an_account_says_in_every_call_whose_it_has_to_be(bucket: Bucket) -> None:
    assert {"Bucket": "team", "ExpectedBucketOwner": ACCOUNT} == bucket.named
    assert ("s3://team", "AWS") == (str(bucket), bucket.whom)
    assert REGION == bucket.region


def test_the_region_is_the_one_given_then_that_of_the_settings(aws: Aws) -> None:
    del aws
    settings = Settings(s3_region="eu-west-1")

    assert "eu-west-1" == reach("team", "", settings).region
    assert "us-west-1" == reach("team", "us-west-1", settings).region


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-west-2", "arn:aws:s3:::team"),
        ("cn-north-1", "arn:aws-cn:s3:::team"),
        ("us-gov-west-1", "arn:aws-us-gov:s3:::team"),
    ],
)
def test_its_name_in_policies_is_that_of_its_partition(aws: Aws, region: str, arn: str) -> None:
    del aws

    assert arn == reach("team", region, Settings()).arn


def test_a_bucket_on_a_server_has_no_account(aws: Aws, on_server: Bucket) -> None:
    assert {"Bucket": "team"} == on_server.named
    assert ("us-east-1", f"the server at {aws.url}") == (on_server.region, on_server.whom)
    assert not aws.calls


def test_the_region_of_a_server_is_a_setting(aws: Aws) -> None:
    with pytest.raises(OpsError, match="--region 'eu-west-1' is for AWS") as caught:
        reach("team", "eu-west-1", server_settings(aws))

    assert REFUSED == caught.value.code
    assert "S3_REGION" in caught.value.remedy


# --- Found or not ---


def test_a_bucket_is_found_in_its_region_or_not_at_all(aws: Aws, bucket: Bucket) -> None:
    assert None is find(bucket)
    make(bucket, lock=False)

    assert REGION == find(bucket)
    assert {ACCOUNT} == {
        call.fields["ExpectedBucketOwner"] for call in aws.calls if call.operation != "CreateBucket"
    }


def test_a_bucket_of_another_account_is_refused(aws: Aws, bucket: Bucket) -> None:
    aws.foreign_bucket("team")
    error = refused(bucket)

    assert f"s3://team is taken: it is not of account {ACCOUNT}" in error.cause
    assert "take another --name" in error.remedy


def test_a_bucket_of_ours_that_is_closed_to_us_says_which_right_is_missing(
    aws: Aws, there: Bucket
) -> None:
    with aws.failing(Fault(of("HeadBucket"), "AccessDenied", 403)):
        assert "s3:ListBucket" in refused(there).remedy


def test_a_bucket_does_not_move_to_another_region(bucket: Bucket) -> None:
    make(bucket, lock=False)
    error = refused(reach("team", "us-west-1", Settings()))

    assert f"s3://team is in {REGION}, not in us-west-1, and a bucket does not move" == error.cause
    assert f"give --region {REGION}, or another --name for a new one" == error.remedy


@pytest.mark.parametrize(("word", "status"), [("PermanentRedirect", 301), ("Bad", 400)])
def test_a_bucket_that_boto3_cannot_follow_elsewhere_is_refused_likewise(
    aws: Aws, bucket: Bucket, word: str, status: int
) -> None:
    """It asks once more in the region it is told, which an endpoint of one's own does not have."""
    there = (("x-amz-bucket-region", "us-west-1"),)
    with aws.failing(Fault(of("HeadBucket"), word, status, headers=there)):
        assert f"s3://team is in us-west-1, not in {REGION}" in refused(bucket).cause

        assert 2 == len(aws.calls)


def test_any_other_answer_is_passed_on(aws: Aws, bucket: Bucket) -> None:
    with aws.failing(Fault(of("HeadBucket"), "Bad", 400)):
        assert "400" == code_of(lambda: find(bucket))


def test_a_server_that_does_not_take_the_keys_is_named(aws: Aws, on_server: Bucket) -> None:
    with aws.failing(Fault(of("HeadBucket"), "AccessDenied", 403)):
        error = refused(on_server)

    assert f"the server at {aws.url} does not let these keys to s3://team" == error.cause
    assert "S3_SECRET_ACCESS_KEY" in error.remedy


def test_the_regions_of_a_server_are_its_own_affair(aws: Aws, on_server: Bucket) -> None:
    """moto says eu-west-2 of it, and the settings say nothing, which is us-east-1."""
    aws.client("s3").create_bucket(
        Bucket="team", CreateBucketConfiguration={"LocationConstraint": REGION}
    )

    assert "us-east-1" == find(on_server)


# --- Made ---


@pytest.mark.parametrize("region", ["eu-west-2", "us-east-1", "cn-north-1", "us-gov-west-1"])
def test_a_bucket_is_made_in_its_region(aws: Aws, region: str) -> None:
    """moto refuses a location in us-east-1, and none elsewhere, as S3 does."""
    made = reach("team", region, Settings())
    make(made, lock=False)

    assert region == find(made)
    assert ["GetCallerIdentity", "CreateBucket", "HeadBucket", "HeadBucket"] == aws.operations


def test_it_has_owner_and_lock_from_the_first_moment(aws: Aws, bucket: Bucket) -> None:
    make(bucket, lock=True)
    s3 = aws.client("s3")
    owned = s3.get_bucket_ownership_controls(Bucket="team")["OwnershipControls"]

    assert [{"ObjectOwnership": "BucketOwnerEnforced"}] == owned["Rules"]
    assert "Enabled" == s3.get_bucket_versioning(Bucket="team")["Status"]
    locked = s3.get_object_lock_configuration(Bucket="team")["ObjectLockConfiguration"]
    assert "Enabled" == locked["ObjectLockEnabled"]


def test_a_new_bucket_is_waited_for(aws: Aws, bucket: Bucket) -> None:
    """boto3 asks at once, then every second."""
    with aws.failing(Fault(once("HeadBucket"), "NoSuchBucket", 404)):
        make(bucket, lock=False)

        assert ["CreateBucket", "HeadBucket", "HeadBucket"] == aws.operations


def test_a_bucket_of_ours_that_has_come_up_meanwhile_is_fine(aws: Aws, there: Bucket) -> None:
    make(there, lock=False)

    assert ["CreateBucket", "HeadBucket"] == aws.operations


def test_a_name_that_was_taken_meanwhile_is_refused(aws: Aws, bucket: Bucket) -> None:
    aws.foreign_bucket("team")
    with pytest.raises(OpsError, match="s3://team is taken") as caught:
        make(bucket, lock=False)

    assert REFUSED == caught.value.code


def test_a_quota_that_is_reached_is_passed_on(aws: Aws, bucket: Bucket) -> None:
    fault = Fault(of("CreateBucket"), "TooManyBuckets")
    with aws.failing(fault), pytest.raises(OpsError) as caught, in_our_words(FAILED):
        make(bucket, lock=False)

    assert "AWS says no to CreateBucket" in caught.value.cause
    assert "Service Quotas" in caught.value.remedy


def test_a_server_that_makes_no_locks_makes_a_bucket_without(aws: Aws, on_server: Bucket) -> None:
    with aws.failing(Fault(once("CreateBucket"), "NotImplemented", 501)):
        make(on_server, lock=True)

        assert ["CreateBucket", "CreateBucket", "HeadBucket"] == aws.operations


# --- Asked, and changed while S3 is busy ---


def test_what_there_is_none_of_is_none(there: Bucket) -> None:
    call = there.s3.get_bucket_policy

    assert None is there.ask(call, "Policy", "NoSuchBucketPolicy")
    assert "NoSuchBucketPolicy" == code_of(lambda: there.ask(call, "Policy", ""))


def lists_objects(_: Call) -> tuple[str, bytes]:
    """Answer as `rclone serve s3` 1.75 does what it does not know of a bucket."""
    name = "<Name>team</Name><IsTruncated>false</IsTruncated><MaxKeys>1000</MaxKeys>"
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return (
        "application/xml",
        f'<ListBucketResult xmlns="{space}">{name}</ListBucketResult>'.encode(),
    )


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("GetPublicAccessBlock", "PublicAccessBlockConfiguration"),
        ("GetBucketEncryption", "ServerSideEncryptionConfiguration"),
        ("GetBucketTagging", "TagSet"),
        ("GetBucketLifecycleConfiguration", "Rules"),
    ],
)
def test_a_server_that_answers_something_else_does_not_know_it(
    aws: Aws, on_server: Bucket, operation: str, part: str
) -> None:
    from botocore import xform_name

    aws.answers[operation] = lists_objects
    call = getattr(on_server.s3, xform_name(operation))
    with pytest.raises(Lacking, match=f"the server at {aws.url} has no such thing"):
        on_server.ask(call, part, "")


@pytest.mark.parametrize(
    ("word", "status"),
    [("NotImplemented", 400), ("MethodNotAllowed", 400), ("Sorry", 501), ("Sorry", 405)],
)
def test_a_server_that_says_no_does_not_know_it(
    aws: Aws, on_server: Bucket, word: str, status: int
) -> None:
    call = on_server.s3.get_bucket_tagging
    with aws.failing(Fault(of("GetBucketTagging"), word, status)):
        with pytest.raises(Lacking):
            on_server.ask(call, "TagSet", "")
        with pytest.raises(Lacking):
            on_server.patiently(lambda: call(Bucket="team"))


def test_aws_itself_lacks_nothing(aws: Aws, there: Bucket) -> None:
    call = there.s3.get_bucket_tagging
    with aws.failing(Fault(of("GetBucketTagging"), "NotImplemented", 501)):
        assert "NotImplemented" == code_of(lambda: there.ask(call, "TagSet", ""))
        assert "NotImplemented" == code_of(lambda: there.patiently(lambda: call(Bucket="team")))


def version(bucket: Bucket) -> Any:
    return bucket.s3.put_bucket_versioning(
        **bucket.named, VersioningConfiguration={"Status": "Enabled"}
    )


@pytest.mark.parametrize("word", ["OperationAborted", "NoSuchBucket"])
def test_what_passes_is_waited_for(aws: Aws, there: Bucket, word: str) -> None:
    with aws.failing(Fault(once("PutBucketVersioning", 2), word, 409)):
        there.patiently(lambda: version(there))

        assert ["PutBucketVersioning"] * 3 == aws.operations


def test_patience_has_an_end(aws: Aws, there: Bucket) -> None:
    hasty = replace(there, patience=0.2)
    with aws.failing(Fault(of("PutBucketVersioning"), "OperationAborted", 409)):
        assert "OperationAborted" == code_of(lambda: hasty.patiently(lambda: version(hasty)))

        assert 2 == len(aws.calls)


def test_what_does_not_pass_is_passed_on_at_once(aws: Aws, there: Bucket) -> None:
    with aws.failing(Fault(of("PutBucketVersioning"), "Boom")):
        assert "Boom" == code_of(lambda: there.patiently(lambda: version(there)))

        assert 1 == len(aws.calls)
