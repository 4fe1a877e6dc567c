"""Backups ordered, listed, verified."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ops import console, generations, manifest, vault
from ops.chain import Segment, unbroken
from ops.errors import OpsError, from_output, refusal
from ops.homes import home
from ops.manifest import Manifest
from ops.restore import ordered
from ops.scratch import answer, told
from ops.settings import Settings
from ops.vault import Vault

__all__ = ["backup", "show", "verify"]

BLOCK = 1024**2


def backup(hosts: str, kind: str) -> None:
    """Have the backup service take a backup now; print its id."""
    if kind not in (manifest.BASE, manifest.DUMP):
        raise refusal(
            f"there is no backup of the kind {kind!r}", f"take {manifest.BASE} or {manifest.DUMP}"
        )
    settings = Settings.load()
    vault.reach(settings)
    with home(settings, hosts) as target:
        if not target.runs("backup"):
            raise refusal(
                "the backup service does not run",
                f"start it: invoke {'deploy --host' if hosts else 'up'}",
            )
        with console.steps() as step:
            done = target.host.follow(ordered(target, kind), told(step))
    if done.code != 0:
        raise from_output(done.code, done.err)
    console.result(answer(done.err))


def manifests(place: Vault) -> list[Manifest]:
    """Return what is known of every backup, the oldest first."""
    names = [f"{generation}/{each}/{manifest.NAME}" for generation, each in manifest.known(place)]
    found = [Manifest.read(place.read(name), name) for name in names]
    return sorted(found, key=lambda each: each.id)


def pieces(place: Vault) -> list[Segment]:
    """Return the stored pieces of logs."""
    names = (entry.name for entry in place.list("logs/"))
    return [each for each in map(Segment.parse, names) if each is not None]


def drilled(place: Vault) -> dict[str, str]:
    """Return when a restore of each backup was proven, by the backup's id."""
    found: dict[str, str] = {}
    for entry in place.list("drills/"):
        evidence = json.loads(place.read(entry.name))
        if evidence.get("result") == "ok":
            found[evidence["backup"]] = max(evidence["finished"], found.get(evidence["backup"], ""))
    return found


def window(made: Manifest, every: list[Segment]) -> str:
    """Return up to when the logs lead from a backup, without a break; a dump has none."""
    if not made.first_log:
        return made.as_of[:19]
    way = unbroken(every, made.server, made.first_log)
    last = max((each.committed for each in way.segments), default=0)
    reached = datetime.fromtimestamp(last / 1e6, UTC)
    return reached.isoformat(timespec="seconds") if reached > made.time else made.as_of[:19]


def show(*, as_json: bool) -> None:
    """Print every backup, the newest last."""
    place = vault.reach(Settings.load())
    found, every, proven = manifests(place), pieces(place), drilled(place)
    now = datetime.now(UTC)
    rows = [
        {
            "id": each.id,
            "kind": each.kind,
            "generation": each.generation,
            "as_of": each.as_of,
            "age_seconds": round((now - each.time).total_seconds()),
            "size": each.size,
            "rows": sum(table.rows for table in each.tables.values()),
            "restores_to": window(each, every),
            "proven": proven.get(each.id),
            "recipients": each.recipients,
        }
        for each in found
    ]
    if as_json:
        console.result_json(rows)
        return
    if not rows:
        console.say(f"there is no backup in {place} yet")
    for row in rows:
        console.result(line(row))


def line(row: dict[str, Any]) -> str:
    """Return a backup as a person reads it."""
    proven = f"proven {row['proven'][:16]}" if row["proven"] else "never proven"
    return (
        f"{row['id']}  {row['kind']:<4}  {row['generation']:<7}  "
        f"{console.duration(row['age_seconds']):>12} old  {console.size(row['size']):>9}  "
        f"to {row['restores_to']}  {proven}"
    )


def verify(identity: str) -> None:
    """Compare everything that is stored with its checksums; exit code 1 if something is wrong."""
    place = vault.reach(Settings.load())
    found = [manifest.find(place, identity)] if identity else manifests(place)
    wrong = []
    with console.steps() as step:
        for each in found:
            wrong += list(damaged(place, each, step))
        wrong += list(damaged_logs(place, found, step))
    if wrong:
        raise OpsError(
            "\n  ".join([f"{len(wrong)} of what is stored cannot be trusted", *wrong]),
            "take a new backup now: invoke backup; a version from before may still be in the "
            "bucket: aws s3api list-object-versions",
        )
    console.say("all of it is what it was when it was stored")
    for each in found:
        console.result(each.id)


def damaged(place: Vault, made: Manifest, step: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield what is wrong with the objects of a backup."""
    for stored in made.objects:
        name = f"{made.folder}/{stored.name}"
        total, done = hashlib.sha256(), 0
        try:
            with place.reading(name) as stream:
                while data := stream.read(BLOCK):
                    total.update(data)
                    done += len(data)
                    step(f"reading {made.id} {stored.name}", done, stored.size)
        except OpsError as error:
            yield error.cause
            continue
        if total.hexdigest() != stored.sha256:
            yield f"{name}: {done} bytes that are not those of the manifest"


def led_on(made: Manifest) -> bool:
    """Say whether logs lead on from a backup still: they end before most backups do."""
    return bool(made.first_log) and generations.kept_until("logs", made.time) > datetime.now(UTC)


def damaged_logs(place: Vault, found: list[Manifest], step: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield what is wrong with the logs that these backups lead on to."""
    every = pieces(place)
    checked: set[str] = set()
    for made in found:
        if not led_on(made):
            continue
        way = unbroken(every, made.server, made.first_log)
        if way.gap:
            yield f"logs/{made.server}: pieces are missing after {way.gap[0]}, byte {way.gap[1]}"
        for number, piece in enumerate(way.segments, 1):
            if piece.key in checked:
                continue
            checked.add(piece.key)
            step("reading logs", number, len(way.segments))
            data = place.read(piece.key)
            if hashlib.sha256(data).hexdigest()[:16] != piece.digest:
                yield f"{piece.key}: bytes that are not those its name speaks of"
