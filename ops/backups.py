"""Backups ordered, listed, verified."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops import age_keys, console, evidence, generations, manifest, vault
from ops.age_keys import Key
from ops.chain import Segment, unbroken
from ops.errors import OpsError, refusal
from ops.homes import home
from ops.manifest import Manifest
from ops.restore import order
from ops.settings import Settings
from ops.vault import Vault

__all__ = ["backup", "show", "verify"]

BLOCK = 1024**2

FACTS = (
    *("id", "kind", "generation", "as_of", "age_seconds", "size", "rows", "restores_to"),
    *("proven", "proven_with_this_key", "recipients", "damaged"),
)
NOTHING: Mapping[str, Any] = dict.fromkeys(FACTS)
"""What is known of a backup whose manifest makes no sense."""


@dataclass(frozen=True, slots=True)
class Proof:
    """When a restore of a backup was proven.

    `ours` is whether the evidence is signed with the key that is at hand; None is without one.
    """

    finished: str
    ours: bool | None


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
        console.result(order(target, kind))


def pieces(place: Vault) -> list[Segment]:
    """Return the stored pieces of logs."""
    names = (entry.name for entry in place.list("logs/"))
    return [each for each in map(Segment.parse, names) if each is not None]


def key_at_hand(settings: Settings) -> Key | None:
    """Return the key that evidence is checked with, where none has to be asked for."""
    files = age_keys.default_files(settings)
    if not files or any(age_keys.locked(file) for file in files):
        return None
    try:
        return age_keys.find(settings, "")
    except OpsError:
        return None


def drilled(place: Vault, key: Key | None) -> dict[str, Proof]:
    """Return when a restore of each backup was proven last, by the backup's id."""
    found: dict[str, Proof] = {}
    names = [manifest.DRILL.fullmatch(entry.name) for entry in place.list("drills/")]
    for name in (each[0] for each in names if each is not None and each["result"] == "ok"):
        data = place.read(name)
        try:
            told = json.loads(data)
            identity, finished = str(told["backup"]), str(told["finished"])
        except (ValueError, TypeError, LookupError, RecursionError):
            console.say(f"note: {name} makes no sense")
            continue
        proof = Proof(finished, evidence.genuine(data, key) if key else None)
        before = found.get(identity, proof)
        found[identity] = max(before, proof, key=lambda each: (bool(each.ours), each.finished))
    return found


def window(made: Manifest, every: list[Segment]) -> str:
    """Return up to when the logs lead from a backup, without a break."""
    way = unbroken(every, made.server, made.first_log) if made.first_log else None
    last = max((each.committed for each in way.segments), default=0) if way else 0
    reached = max(datetime.fromtimestamp(last / 1e6, UTC), made.time.astimezone(UTC))
    return reached.isoformat(timespec="seconds")


def show(*, as_json: bool) -> None:
    """Print every backup, the newest last."""
    settings = Settings.load()
    place = vault.reach(settings)
    (found, damaged), every = manifest.every(place), pieces(place)
    proven = drilled(place, key_at_hand(settings))
    now = datetime.now(UTC)
    rows = [described(each, every, proven.get(each.id), now) for each in found]
    rows += [{**NOTHING, "id": each, "damaged": error.cause} for each, error in damaged.items()]
    rows.sort(key=lambda row: str(row["id"]))
    if as_json:
        console.result_json(rows)
        return
    if not rows:
        console.say(f"there is no backup in {place} yet")
    for row in rows:
        console.result(f"{row['id']}  damaged: {row['damaged']}" if row["damaged"] else line(row))


def described(
    made: Manifest, every: list[Segment], proof: Proof | None, now: datetime
) -> dict[str, Any]:
    """Return what scripts are told of a backup."""
    return {
        "id": made.id,
        "kind": made.kind,
        "generation": made.generation,
        "as_of": made.as_of,
        "age_seconds": round((now - made.time).total_seconds()),
        "size": made.size,
        "rows": sum(table.rows for table in made.tables.values()),
        "restores_to": window(made, every),
        "proven": proof.finished if proof else None,
        "proven_with_this_key": proof.ours if proof else None,
        "recipients": made.recipients,
        "damaged": None,
    }


def line(row: dict[str, Any]) -> str:
    """Return a backup as a person reads it."""
    proven = f"proven {row['proven'][:16]}" if row["proven"] else "never proven"
    if row["proven_with_this_key"] is False:
        proven += ", says somebody without your key"
    return (
        f"{row['id']}  {row['kind']:<4}  {row['generation']:<7}  "
        f"{console.duration(row['age_seconds']):>12} old  {console.size(row['size']):>9}  "
        f"to {row['restores_to']}  {proven}"
    )


def verify(identity: str) -> None:
    """Compare everything that is stored with its checksums; exit code 1 if something is wrong."""
    place = vault.reach(Settings.load())
    found, errors = ([manifest.find(place, identity)], {}) if identity else manifest.every(place)
    wrong = [error.cause for error in errors.values()]
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
    if not found:
        raise OpsError(f"there is no backup in {place} to verify", "take one: invoke backup")
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
    """Yield what is wrong with the logs that these backups lead on to; the oldest are gone."""
    every = pieces(place)
    ways = [
        (made.server, unbroken(every, made.server, made.first_log))
        for made in found
        if led_on(made)
    ]
    for server, file, at in dict.fromkeys((each, *way.gap) for each, way in ways if way.gap):
        yield f"logs/{server}: pieces are missing after {file}, byte {at}"
    wanted = dict.fromkeys(piece for _, way in ways for piece in way.segments)
    for number, piece in enumerate(wanted, 1):
        step("reading logs", number, len(wanted))
        try:
            data = place.read(piece.key)
        except OpsError as error:
            yield error.cause
            continue
        if hashlib.sha256(data).hexdigest()[:16] != piece.digest:
            yield f"{piece.key}: bytes that are not those its name speaks of"
