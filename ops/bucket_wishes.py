"""What a person wants of a bucket, made of flags and settings; refuses what makes no sense."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ops import values
from ops.errors import refusal
from ops.settings import Settings

__all__ = ["Given", "Wish", "understood"]

T = TypeVar("T")

KINDS = ("artifacts", "backups")
MODES = ("governance", "compliance")
# What the backup service writes has a date of its own, by its generation, which wins over this one:
# this is for all else that is written to the bucket, the evidence of drills among it.
DEFAULT_DAYS = "30"
MAX_DAYS = 36500
KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True)
class Given:
    """What a person gave; an empty string where they said nothing."""

    name: str = ""
    kind: str = "artifacts"
    region: str = ""
    kms_key: str = ""
    lock: str = ""
    retention_days: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a bucket is for, and what may be chosen about it."""

    name: str
    kind: str
    ours: bool = True
    """Whether the settings name it: in another one, folders may hold what is not ours to end."""

    prefix: str = ""
    """What the keys begin with of the artifacts, or the backups."""

    kms_key: str = ""
    lock: str = ""
    """The mode of Object Lock; none for artifacts, which people delete."""

    days: int = 0
    """How long Object Lock keeps a version that was written without a date of its own."""

    @property
    def key_region(self) -> str:
        """Where the KMS key is."""
        found = KEY_ARN.fullmatch(self.kms_key)
        return found[1] if found else ""


def understood(given: Given, settings: Settings) -> Wish:
    """Return what is wanted; without a name, the bucket that the settings have for the kind."""
    kind = _taken("--kind", given.kind, values.choice(*KINDS))
    artifacts = kind == "artifacts"
    place = settings.artifacts_destination if artifacts else settings.backups_destination
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    name = given.name or bucket
    if not name:
        setting = f"{kind.upper()}_DESTINATION"
        remedy = f"give --name, or set {setting}=s3://… in .env"
        raise refusal(f"no bucket for {kind} is named", remedy)
    _taken("--name", name, values.bucket_name)
    if given.kms_key and not KEY_ARN.fullmatch(given.kms_key):
        raise refusal(
            f"--kms-key {given.kms_key!r} is not the ARN of a key",
            "take it from: aws kms describe-key --query KeyMetadata.Arn --key-id …",
        )
    below = f"{prefix}/" if prefix and name == bucket else ""
    if not artifacts:
        mode = _taken("--lock", given.lock or "governance", values.choice(*MODES))
        days = given.retention_days or DEFAULT_DAYS
        return Wish(
            name=name,
            kind=kind,
            ours=name == bucket,
            prefix=below,
            kms_key=given.kms_key,
            lock=mode.upper(),
            days=_taken("--retention-days", days, values.count(1, MAX_DAYS)),
        )
    if given.lock or given.retention_days:
        raise refusal(
            "--lock and --retention-days are for backups: people delete artifacts",
            "leave them out, or give --kind backups",
        )
    return Wish(name=name, kind=kind, prefix=below, kms_key=given.kms_key)


def _taken(flag: str, text: str, parse: Callable[[str], T]) -> T:
    """Return the value of a flag, or refuse it."""
    try:
        return parse(text)
    except ValueError as problem:
        raise refusal(f"{flag} {text!r} {problem}", f"correct {flag}") from None
