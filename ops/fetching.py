"""A backup unpacked: the data folder of a MySQL, and the logs that lead from it to a moment.

Everything is checked while it comes, and nothing of it is used before all of it was: what is
unpacked lies in a new volume, which whoever gave the order removes if this fails. The private key
is read from stdin, with the keys of S3, and is in no argument, file or environment.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ops import manifest, seals, shipping, tarball, vault
from ops.base import Told
from ops.binlog import Damaged, Log, scan
from ops.chain import Continuity, Segment, numbered, stop_before, unbroken
from ops.errors import OpsError
from ops.gtids import GtidSet
from ops.manifest import Manifest, Stored
from ops.settings import Settings
from ops.vault import Vault

__all__ = ["Moment", "arguments", "fetch"]

DATA, LOGS = Path("/restore/data"), Path("/restore/logs")
CREDENTIALS = Path("/tmp/credentials")  # noqa: S108 - in memory, in a container of its own
"""Where boto3 is told to look for keys of S3; empty where the role of the machine is enough."""

LAST = "last"
"""Instead of a moment: all that was stored."""

Moment = int | None
"""In microseconds since 1970; None is the end of what was stored."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--id", required=True, help="the backup")
    parser.add_argument("--to", default="", help="microseconds since 1970, or `last`; else its own")


def fetch(settings: Settings, options: argparse.Namespace, told: Told) -> None:
    """Unpack a backup below /restore; print what it leads to, as one JSON document."""
    given = json.loads(sys.stdin.read())
    key = given["key"]
    CREDENTIALS.write_text(given["credentials"], "utf-8")
    place = vault.reach(settings)
    made = manifest.find(place, options.id)
    for folder in (DATA, LOGS):
        if any(folder.iterdir()):
            raise OpsError(f"{folder} is not empty", "start again: invoke restore")
    if made.kind == manifest.DUMP:
        if options.to:
            raise OpsError(
                f"{made.id} is a dump, from which no logs lead on", "leave --at out, or take a base"
            )
        dump((place, made, key), LOGS / f"{manifest.DUMP}.sql", told)
        print(json.dumps({"tail": [], "gtids": made.gtids}))
        return
    tail = LOGS / "tail"
    tail.mkdir()
    for name, folder in (("base", DATA), ("tail", tail)):
        unpack((place, made, key), name, folder, told)
    proven = Continuity()
    files = sorted((each.name for each in tail.iterdir()), key=numbered)
    for name in files:
        feed(proven, tail / name)
    reached: dict[str, object] = {"tail": files, "gtids": made.gtids}
    if options.to:
        moment = None if options.to == LAST else int(options.to)
        reached |= follow(place, made, key, moment, told)
    for path in [*LOGS.rglob("*"), *DATA.rglob("*")]:  # MySQL's own number is ours
        path.chmod(0o750 if path.is_dir() else 0o640)
    print(json.dumps(reached))


def unpack(origin: "tuple[Vault, Manifest, str]", name: str, folder: Path, told: Told) -> None:
    """Unpack an object of a backup; raises at its end if it was not all right.

    age tells of every change only when it gets there, so what was unpacked is to be thrown away.
    """
    place, made, key = origin
    stored = made.stored(f"{name}.tar.zst.age")
    unpacker = tarball.Unpacker(folder)
    target = Counted(unpacker, lambda done: told(f"fetching {name}", done, stored.plain_size))
    with place.reading(f"{made.folder}/{stored.name}") as source:
        check(stored, seals.unseal(source, target, key))
    unpacker.close()


def dump(origin: "tuple[Vault, Manifest, str]", file: Path, told: Told) -> None:
    """Write the SQL of a dump into a file; raises at its end if it was not all right."""
    place, made, key = origin
    stored = made.stored(manifest.SQL)
    with (
        place.reading(f"{made.folder}/{stored.name}") as source,
        file.open("xb") as target,
    ):
        counted = Counted(target, lambda done: told("fetching dump", done, stored.plain_size))
        check(stored, seals.unseal(source, counted, key))


class Counted:
    """A stream that tells how many bytes have gone into it."""

    def __init__(self, stream: seals.Writer, told: Callable[[int], None]) -> None:
        self.stream, self.told, self.done = stream, told, 0

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self.done += len(data)
        self.told(self.done)
        self.stream.write(data)
        return len(data)


def check(stored: Stored, found: seals.Sealing) -> None:
    """Raise unless an object is the one that the manifest speaks of."""
    if (found.sealed.sha256, found.plain.sha256) != (stored.sha256, stored.plain_sha256):
        raise OpsError(
            f"{stored.name} is not what the manifest says: it was changed or exchanged",
            "take another backup: invoke list-backups; what is wrong: invoke verify",
        )


def feed(proven: Continuity, file: Path) -> Log:
    """Let a log prove that it goes on where the one before it ended."""
    try:
        with file.open("rb") as stream:
            log = scan(stream)
        proven.feed(log, file.name)
    except (Damaged, ValueError, IsADirectoryError) as damage:
        raise OpsError(
            f"the log {file.name} does not fit: {damage}",
            "take another backup, or an earlier moment: invoke list-backups",
        ) from None
    return log


def follow(place: Vault, made: Manifest, key: str, moment: Moment, told: Told) -> dict[str, object]:
    """Fetch the logs from a backup to a moment; return what they lead to.

    The last log is cut where the first transaction after the moment begins.
    """
    folder = LOGS / "after"
    folder.mkdir()
    pieces = shipping.stored(place, made.server)
    way = unbroken(pieces, made.server, made.first_log)
    # What a restored MySQL had from the start is in none of its logs: it is in the base only.
    base = GtidSet.parse(made.gtids)
    proven = Continuity(base)
    count, last, stopped, executed = 0, 0, False, base
    files = list(dict.fromkeys(each.file for each in way.segments))
    total = sum(each.end - each.start for each in way.segments)
    done, name = 0, ""
    for name in files:
        path = folder / name
        with path.open("wb") as target:
            for piece in (each for each in way.segments if each.file == name):
                target.write(piece_of(place, piece, key))
                done += piece.end - piece.start
                told("fetching logs", done, total)
        log = feed(proven, path)
        os.truncate(path, log.end)  # of a transaction whose other pieces were never stored
        cut, late = len(log.transactions), GtidSet()
        found = None if moment is None else stop_before(log.transactions, moment)
        if found is not None:
            cut, stopped = found, True
            os.truncate(path, log.transactions[found].begin)
            late = GtidSet.from_gtids(each.gtid for each in log.transactions[found:])
            if late - base != late:
                raise OpsError(
                    f"the moment is before {made.as_of}, which {made.id} stands for",
                    "take an earlier backup: invoke list-backups",
                )
        executed = base | (proven.executed - late)
        count += sum(each.gtid not in base for each in log.transactions[:cut])
        if cut:
            last = log.transactions[cut - 1].committed
        if stopped:
            break
    if not stopped and way.gap:
        raise OpsError(
            f"logs are missing after {way.gap[0]}, byte {way.gap[1]}: the way ends at "
            f"{spoken(last)}",
            "take an earlier moment, or a later backup: invoke list-backups",
        )
    return {
        "after": files[: files.index(name) + 1] if files else [],
        "gtids": str(executed),
        "transactions": count,
        "last": spoken(last),
        "stopped": stopped,
    }


def piece_of(place: Vault, piece: Segment, key: str) -> bytes:
    """Return the bytes of a stored piece of a log."""
    data = place.read(piece.key)
    plain = b""
    if hashlib.sha256(data).hexdigest()[:16] == piece.digest:
        plain = seals.unsealed(data, key)
    if len(plain) != piece.end - piece.start:
        raise OpsError(
            f"{piece.key} is not what its name says: it was changed or exchanged",
            "take an earlier moment: invoke list-backups; what is wrong: invoke verify",
        )
    return plain


def spoken(microseconds: int) -> str:
    """Return a moment as a person reads it."""
    if not microseconds:
        return "no change at all"
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")
