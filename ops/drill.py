"""A restore that nobody needs, to prove that one would succeed, into a stack with no way out.

What comes back is alive: it would call webhooks and run jobs. So MySQL and MLflow have one loopback
device in common and no other network.
"""

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import (
    age_keys,
    artifacts,
    console,
    evidence,
    generations,
    manifest,
    reading,
    restore,
    vault,
)
from ops.age_keys import Key
from ops.errors import OpsError
from ops.homes import Home, home
from ops.restore import Asked
from ops.scratch import DRILL, Scratch
from ops.settings import Settings

__all__ = ["drill"]

KEPT = timedelta(days=generations.GENERATIONS["monthly"])


def drill(asked: Asked, hosts: str, *, as_json: bool) -> None:
    """Restore into a scratch stack, compare, read, leave signed evidence; exit 1 if it fails."""
    settings = Settings.load()
    key = age_keys.find(settings, asked.key)
    place = vault.reach(settings)
    way = restore.choose(place, asked)
    restore.check(way.backup, key)
    with home(settings, hosts) as target, target.drilling():
        settings = settings.with_secrets()
        made = Scratch(target.host, settings, way, DRILL)
        made.sweep(target.volume())
        made.check_room()
        begin = datetime.now(UTC)
        told: dict[str, Any] = {
            "backup": way.backup.id,
            "to": way.to or way.backup.as_of,
            "begun": begin.isoformat(),
            "where": target.host.name,
        }
        failure: OpsError | None = None
        try:
            told |= proven(made, target, key)
        except OpsError as error:
            failure = error
            told["error"] = error.cause
    told["finished"] = datetime.now(UTC).isoformat()
    told["result"] = "failed" if failure else "ok"
    name = evidence.name(begin.strftime(manifest.TIME), told["result"])
    try:
        place.put(name, evidence.signed(told, key), begin + KEPT)
        console.say(f"evidence: {place}/{name}")
    except OpsError as error:
        failure = failure or error
        console.say(f"note: no evidence of it: {error.cause}")
    if as_json:
        console.result_json(told)
    if failure:
        raise OpsError(f"the drill failed: {failure.cause}", failure.remedy)
    if not as_json:
        console.result(f"{way.backup.id} restores: {told['seconds']['all']} s to a serving MLflow")


def proven(made: Scratch, target: Home, key: Key) -> dict[str, Any]:
    """Restore, read, and return what was seen and how long it took; nothing of it is left."""
    begin = time.monotonic()
    seconds: dict[str, float] = {}
    image, credentials = target.images(), target.credentials()
    server = target.server_image()
    with made.volumes(keep=False):
        fetched = restore.bring(made, key, image, credentials)
        seconds["restored"] = round(time.monotonic() - begin, 1)
        with made.server():
            read = reading.have(made, server, ("check", "read"), "reading from MLflow on it")
            seconds["all"] = round(time.monotonic() - begin, 1)
            looked = artifacts.look(made, made.settings)
    if looked and looked.missing:
        raise OpsError(
            f"artifacts that the database names are missing: {', '.join(looked.missing[:3])}",
            "bring them back from their versions: aws s3api list-object-versions",
        )
    tables = made.way.backup.tables
    return {
        "seconds": seconds,
        "tables": len(tables),
        "rows": sum(table.rows for table in tables.values()),
        "transactions": fetched.transactions,
        "last": fetched.last,
        "mlflow": read.counts,
        "artifacts": asdict(looked) if looked else None,
    }
