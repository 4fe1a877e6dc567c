"""Who gets at a bucket and how: the bucket itself, public access, ACLs, encryption, TLS."""

import json
from typing import TYPE_CHECKING, Any

from ops import bucket_rules as rules
from ops import buckets
from ops.bucket_aspects import Aspect
from ops.bucket_wishes import Wish
from ops.buckets import Bucket
from ops.errors import OpsError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import PublicAccessBlockConfigurationTypeDef

__all__ = ["encryption", "existence", "ownership", "public_access", "transport"]

BLOCKED: "PublicAccessBlockConfigurationTypeDef" = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


def existence(bucket: Bucket, wish: Wish) -> Aspect:
    """Return the bucket itself; its region never changes."""
    return Aspect(
        name="bucket",
        read=lambda: buckets.find(bucket),
        wanted=lambda _: bucket.region,
        show=lambda region: f"in {region}" if region else "none",
        apply=lambda _: buckets.make(bucket, lock=bool(wish.lock)),
    )


def public_access(bucket: Bucket) -> Aspect:
    """Return the four blocks of what could make it public."""
    part, none = "PublicAccessBlockConfiguration", "NoSuchPublicAccessBlockConfiguration"

    def read() -> dict[str, bool]:
        answer = bucket.ask(bucket.s3.get_public_access_block, part, none)
        return {name: bool(answer and answer[part].get(name)) for name in BLOCKED}

    def show(now: dict[str, bool] | None) -> str:
        off = [name for name in BLOCKED if not (now or {}).get(name)]
        return f"without {', '.join(off)}" if off else "blocked"

    return Aspect(
        name="public access",
        read=read,
        wanted=lambda _: BLOCKED,
        show=show,
        apply=lambda wanted: bucket.s3.put_public_access_block(
            **bucket.named, PublicAccessBlockConfiguration=wanted
        ),
    )


def ownership(bucket: Bucket) -> Aspect:
    """Return whose the objects are: those of the bucket's owner, and no ACL counts."""
    part, none = "OwnershipControls", "OwnershipControlsNotFoundError"

    def read() -> str | None:
        answer = bucket.ask(bucket.s3.get_bucket_ownership_controls, part, none)
        return answer[part]["Rules"][0]["ObjectOwnership"] if answer else None

    return Aspect(
        name="ownership",
        read=read,
        wanted=lambda _: buckets.OWNED,
        show=lambda now: now or "by ACL",
        apply=lambda wanted: bucket.s3.put_bucket_ownership_controls(
            **bucket.named, OwnershipControls={"Rules": [{"ObjectOwnership": wanted}]}
        ),
    )


def encryption(bucket: Bucket, wish: Wish) -> Aspect:
    """Return how an object is encrypted whose writer does not say."""
    part = "ServerSideEncryptionConfiguration"
    none = "ServerSideEncryptionConfigurationNotFoundError"

    def read() -> list[dict[str, Any]] | None:
        answer = bucket.ask(bucket.s3.get_bucket_encryption, part, none)
        return answer[part]["Rules"] if answer else None

    return Aspect(
        name="encryption",
        read=read,
        wanted=lambda now: rules.encrypted(now, wish.kms_key),
        show=_cipher,
        apply=lambda wanted: bucket.s3.put_bucket_encryption(
            **bucket.named, ServerSideEncryptionConfiguration={"Rules": wanted}
        ),
    )


def _cipher(found: list[dict[str, Any]] | None) -> str:
    rule = found[0] if found else {}
    default = rule.get("ApplyServerSideEncryptionByDefault", {})
    key = f" with {default['KMSMasterKeyID']}" if "KMSMasterKeyID" in default else ""
    bucket_key = " and a bucket key" if rule.get("BucketKeyEnabled") else ""
    return f"{default.get('SSEAlgorithm', 'none')}{key}{bucket_key}"


def transport(bucket: Bucket) -> Aspect:
    """Return whether everybody has to come by TLS, which the bucket's policy says."""

    def read() -> dict[str, Any] | None:
        answer = bucket.ask(bucket.s3.get_bucket_policy, "Policy", "NoSuchBucketPolicy")
        try:
            return answer and json.loads(answer["Policy"])
        except json.JSONDecodeError:
            raise bucket.lacking from None

    def apply(wanted: dict[str, Any]) -> None:
        try:
            bucket.s3.put_bucket_policy(**bucket.named, Policy=json.dumps(wanted))
        except bucket.s3.exceptions.ClientError as error:
            names = rules.opens(wanted)
            if not names or buckets.code(error) != "AccessDenied":
                raise
            raise OpsError(
                f"AWS takes no policy for {bucket} while a statement of it lets everybody in: "
                f"{', '.join(names)}",
                f"take it out: aws s3api get-bucket-policy --bucket {bucket.name}",
            ) from error

    return Aspect(
        name="TLS",
        read=read,
        wanted=lambda now: rules.tls_only(now, bucket.arn),
        show=lambda now: "required" if now == rules.tls_only(now, bucket.arn) else "not required",
        apply=apply,
        lacking=(
            f"{bucket.whom} is reached without TLS: to require it would lock everybody out"
            if bucket.server.startswith("http://")
            else ""
        ),
    )
