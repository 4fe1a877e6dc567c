"""How long a bucket keeps what was written: versions, Object Lock, lifecycle; and its tags."""

from typing import Any, NamedTuple

from ops import bucket_rules as rules
from ops import generations
from ops.bucket_aspects import Aspect
from ops.bucket_wishes import Wish
from ops.buckets import Bucket, Lacking
from ops.scopes import TAG

__all__ = ["lock", "old_versions", "rules_of_yours", "tags", "versioning"]

OLD_DAYS = 90
"""How long a version is kept that was overwritten or deleted."""

LEFT_DAYS = 1
"""How long a backup is left that has come to its end: what is locked is not deleted before."""

ANY = "ResponseMetadata"
"""The part that every answer has."""


def versioning(bucket: Bucket) -> Aspect:
    """Return whether what was overwritten or deleted can be had back."""

    def read() -> str | None:
        answer = bucket.ask(bucket.s3.get_bucket_versioning, ANY, "")
        status = answer.get("Status") if answer else None
        if bucket.server and not status:  # so says a server too that knows no versions
            bucket.ask(bucket.s3.list_object_versions, ANY, "")
        return status

    return Aspect(
        name="versioning",
        read=read,
        wanted=lambda _: "Enabled",
        show=lambda now: (now or "off").lower(),
        apply=lambda wanted: bucket.s3.put_bucket_versioning(
            **bucket.named, VersioningConfiguration={"Status": wanted}
        ),
    )


def lock(bucket: Bucket, wish: Wish) -> Aspect:
    """Return how long nobody may delete a version that was written."""
    return Aspect(
        name="object lock",
        read=lambda: _lock(bucket),
        wanted=lambda now: rules.locked(now, wish.lock, wish.days),
        show=_retention,
        grave=_for_good,
        apply=lambda wanted: bucket.s3.put_object_lock_configuration(
            **bucket.named, ObjectLockConfiguration=wanted
        ),
    )


def _lock(bucket: Bucket) -> dict[str, Any] | None:
    part, none = "ObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"
    answer = bucket.ask(bucket.s3.get_object_lock_configuration, part, none)
    return answer[part] if answer else None


def _retention(now: dict[str, Any] | None) -> str:
    mode = (now or {}).get("Rule", {}).get("DefaultRetention", {}).get("Mode", "")
    return f"{mode.lower()} for {rules.retention_days(now)} days" if mode else "none"


def _for_good(wanted: dict[str, Any]) -> str:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
    if wanted["Rule"]["DefaultRetention"]["Mode"] != "COMPLIANCE":
        return ""
    days = rules.retention_days(wanted)
    return f"what is written from then on cannot be deleted for {days} days, by nobody at all"


class Lifecycle(NamedTuple):
    """The rules of a bucket, and how long old versions have to be kept at least."""

    config: dict[str, Any] | None
    days: int
    left: int = 0
    """The same for backups that have come to their end."""


def old_versions(bucket: Bucket, wish: Wish) -> Aspect:
    """Return when unfinished uploads and old versions go: those of backups after their lock.

    Live backups end here too, each generation by its folder, and nothing else that is live.
    """
    ends = _ends(wish)

    def wanted(now: Lifecycle | None) -> Lifecycle:
        found, days, left = now or Lifecycle(None, _days(wish.days), LEFT_DAYS)
        return Lifecycle(rules.lifecycle(found, days, ends, left), days, left)

    def show(now: Lifecycle | None) -> str:
        config, days, left = now or Lifecycle(None, 0)
        return rules.said(config, days, ends, left)

    def apply(wanted: Lifecycle) -> None:
        config = dict(wanted.config or {})
        # What else belongs to it goes back to its default if it is not given again.
        bucket.s3.put_bucket_lifecycle_configuration(
            **bucket.named, LifecycleConfiguration={"Rules": config.pop("Rules")}, **config
        )

    return Aspect(
        name="old versions",
        read=lambda: Lifecycle(_lifecycle(bucket), *_least(bucket, wish)),
        wanted=wanted,
        show=show,
        apply=apply,
    )


def _days(locked: int) -> int:
    return locked + 1 if locked else OLD_DAYS


def _ends(wish: Wish) -> list[rules.End]:
    """Return when backups end; drills/ has no end, for it is the evidence."""
    if wish.kind != "backups" or not wish.ours:
        return []
    return [rules.End(wish.prefix, folder, days) for folder, days in generations.DAYS.items()]


def _least(bucket: Bucket, wish: Wish) -> tuple[int, int]:
    """Return how long old versions have to be kept: longer than any lock that is there.

    Of backups that have come to their end each has a lock of its own. Where a server has none, old
    versions are all there is against a hand that deletes, and they are kept like the others.
    """
    if not wish.lock:
        return OLD_DAYS, OLD_DAYS
    try:
        lock = rules.locked(_lock(bucket), wish.lock, wish.days)
    except Lacking:
        return _days(wish.days), _days(wish.days)
    return _days(rules.retention_days(lock)), LEFT_DAYS


def _lifecycle(bucket: Bucket) -> dict[str, Any] | None:
    call, none = bucket.s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"
    answer = bucket.ask(call, "Rules", none)
    return {key: answer[key] for key in answer if key != "ResponseMetadata"} if answer else None


def rules_of_yours(bucket: Bucket, wish: Wish) -> Aspect:
    """Return the rules that delete what is live; whose they are has to take them out.

    A backup may be deleted once it has come to its end, and the evidence of drills after the last.
    """
    ends = _ends(wish)
    drills = rules.End(wish.prefix, "drills", max(generations.DAYS.values()))

    def read() -> list[dict[str, Any]] | None:
        found = _lifecycle(bucket)
        if ends:
            return rules.early(found, [*ends, drills]) or None
        return rules.deleting(found, wish.prefix, None) or None

    return Aspect(
        name=f"live {wish.kind}",
        read=read,
        wanted=lambda _: None,
        show=lambda now: f"deleted by {rules.named(now)}" if now else "kept",
    )


def tags(bucket: Bucket, wish: Wish) -> Aspect:
    """Return the tag that says what the bucket is for; all other tags stay."""

    def read() -> dict[str, str]:
        answer = bucket.ask(bucket.s3.get_bucket_tagging, "TagSet", "NoSuchTagSet")
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]} if answer else {}

    def apply(wanted: dict[str, str]) -> None:
        bucket.s3.put_bucket_tagging(
            **bucket.named,
            Tagging={"TagSet": [{"Key": key, "Value": wanted[key]} for key in wanted]},
        )

    return Aspect(
        name="tags",
        read=read,
        wanted=lambda now: {TAG: wish.kind} | (now or {}),
        show=lambda now: f"{TAG}={now[TAG]}" if now and TAG in now else "none of ours",
        apply=apply,
    )
