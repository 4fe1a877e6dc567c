"""What a state of the database needs in S3: the artifacts it names, and whether they are there.

MLflow writes an artifact once and deletes it without naming a version, so in a bucket with versions
every one that was deleted can be had back.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from ops import buckets
from ops.aws import in_our_words
from ops.buckets import Bucket
from ops.errors import FAILED, OpsError
from ops.scratch import Scratch
from ops.settings import Settings

__all__ = ["Looked", "look", "report"]

SHOWN = 10

# Status 2 is READY.
# https://mlflow.org/docs/latest/api_reference/rest-api.html#loggedmodelstatus
QUESTIONS = {
    "logged_models": """
SELECT artifact_location FROM mlflow.logged_models
WHERE status = 2 AND lifecycle_stage = 'active'
ORDER BY creation_timestamp_ms DESC LIMIT 200""",
    "model_versions": """
SELECT COALESCE(storage_location, source) FROM mlflow.model_versions
WHERE current_stage <> 'Deleted_Internal'
ORDER BY creation_time DESC LIMIT 200""",
}
"""Where the newest of each kind have their artifacts; each costs a question to S3."""

PROXIED = "mlflow-artifacts"


@dataclass(frozen=True, slots=True)
class Looked:
    """How many places were looked at, and which of them hold nothing now."""

    places: int
    missing: list[str]
    deleted: list[str]
    """Those of the missing ones that an older version can be had of."""

    unseen: dict[str, str]
    """Buckets that could not be looked into, with the reason."""


def look(made: Scratch, settings: Settings) -> Looked | None:
    """Look for the artifacts that a restored database names; None where they are not in S3."""
    if not settings.artifacts_destination:
        return None
    tables = {row[0] for row in made.sql("SHOW TABLES FROM mlflow")}
    named: list[str] = []
    for table, question in QUESTIONS.items():
        if table in tables:
            named += [row[0] for row in made.sql(question)]
    found = Looked(0, [], [], {})
    places = [place for uri in dict.fromkeys(named) if (place := located(uri, settings))]
    for name, group in groupby(sorted(places), lambda each: each[0]):
        try:
            found = _within(name, [key for _, key in group], settings, found)
        except OpsError as error:  # a model may be anywhere; a restore does not depend on it
            found.unseen[name] = error.cause
    return found


def located(uri: str, settings: Settings) -> tuple[str, str] | None:
    """Return bucket and key of an address that MLflow gave; None for what is elsewhere."""
    try:
        parts = urlsplit(uri)
        if parts.scheme == PROXIED:
            parts = urlsplit(f"{settings.artifacts_destination}/{parts.path.lstrip('/')}")
    except ValueError:
        return None
    if parts.scheme != "s3" or not parts.netloc:
        return None
    return parts.netloc, parts.path.strip("/")


def _within(name: str, keys: list[str], settings: Settings, found: Looked) -> Looked:
    """Return what was found with what is in one bucket."""
    bucket = buckets.reach(name, "", settings)
    missing = [key for key in keys if not there(bucket, key)]
    deleted = []
    try:
        deleted = [key for key in missing if there(bucket, key, versions=True)]
    except OpsError as error:
        found.unseen[name] = error.cause
    return Looked(
        found.places + len(keys),
        found.missing + [f"{bucket}/{key}" for key in missing],
        found.deleted + [f"{bucket}/{key}" for key in deleted],
        found.unseen,
    )


def there(bucket: Bucket, key: str, *, versions: bool = False) -> bool:
    """Say whether anything lies below a key, or once lay there."""
    below = {**bucket.named, "Prefix": f"{key}/" if key else ""}
    s3: Any = bucket.s3
    with in_our_words(FAILED, bucket.whom):
        if versions:  # and not only the first, which is the mark of the deletion
            return bool(s3.list_object_versions(**below).get("Versions"))
        return bool(s3.list_objects_v2(**below, MaxKeys=1).get("Contents"))


def report(found: Looked | None) -> list[str]:
    """Return what a person has to know of it, a line each."""
    if found is None:
        return ["note: artifacts are in a volume of the host; backups do not hold them"]
    lines = [f"artifacts of {found.places} models looked for in S3"]
    for place in found.missing[:SHOWN]:
        back = place in found.deleted
        way = "deleted; aws s3api list-object-versions shows what to bring back"
        lines.append(f"missing: {place} ({way if back else 'no version of it is known'})")
    if len(found.missing) > SHOWN:
        lines.append(f"and {len(found.missing) - SHOWN} more")
    lines += [f"note: not looked for in s3://{name}: {why}" for name, why in found.unseen.items()]
    return lines
