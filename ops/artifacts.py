"""What a state of the database needs in S3: the artifacts it names, and whether they are there.

MLflow writes an artifact once and deletes it without naming a version, so in a bucket with versions
every one that was deleted can be had back.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops import buckets
from ops.aws import in_our_words
from ops.errors import FAILED
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


def look(made: Scratch, settings: Settings) -> Looked | None:
    """Look for the artifacts that a restored database names; None where they are not in S3."""
    if not settings.artifacts_destination:
        return None
    tables = {row[0] for row in made.sql("SHOW TABLES FROM mlflow")}
    named: list[str] = []
    for table, question in QUESTIONS.items():
        if table in tables:
            named += [row[0] for row in made.sql(question)]
    missing, deleted, places = [], [], 0
    for uri in dict.fromkeys(named):
        place = located(uri, settings)
        if place is None:
            continue
        places += 1
        if not there(place, settings):
            missing.append(place)
            if there(place, settings, versions=True):
                deleted.append(place)
    return Looked(places, missing, deleted)


def located(uri: str, settings: Settings) -> str | None:
    """Return the place in S3 of an address that MLflow gave; None for what is elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return uri
    if parts.scheme == PROXIED:
        return f"{settings.artifacts_destination}/{parts.path.lstrip('/')}"
    return None


def there(place: str, settings: Settings, *, versions: bool = False) -> bool:
    """Say whether anything lies at a place, or once lay there."""
    parts = urlsplit(place)
    bucket = buckets.reach(parts.netloc, "", settings)
    below: dict[str, Any] = {"Prefix": f"{parts.path.strip('/')}/", "MaxKeys": 1}
    with in_our_words(FAILED, bucket.whom):
        if versions:
            return bool(bucket.s3.list_object_versions(**bucket.named, **below).get("Versions"))
        return bool(bucket.s3.list_objects_v2(**bucket.named, **below).get("Contents"))


def report(found: Looked | None) -> list[str]:
    """Return what a person has to know of it, a line each."""
    if found is None:
        return ["note: artifacts are in a volume of the host; backups do not hold them"]
    lines = [f"artifacts of {found.places} models looked for in S3"]
    for place in found.missing[:SHOWN]:
        back = place in found.deleted
        way = "deleted; aws s3api list-object-versions shows what to bring back" if back else "gone"
        lines.append(f"missing: {place} ({way})")
    if len(found.missing) > SHOWN:
        lines.append(f"and {len(found.missing) - SHOWN} more")
    return lines
