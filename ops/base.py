"""A base: a physical copy of MySQL, with the logs that lead from it to a state that was counted."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ops import generations, manifest, seals, tarball
from ops.chain import following
from ops.donor import Checkpoint, Donor, Server, census
from ops.errors import OpsError, refusal
from ops.manifest import Manifest, Stored, Table
from ops.vault import Vault

__all__ = ["About", "Content", "Known", "Origin", "Told", "conclude", "size", "stored", "take"]

ROOM = 1.1
"""Of the size of the data: what has to be free for a copy of it, which MySQL writes as large."""

SPOOL_OF_MYSQL = "/var/lib/mysql-files"
"""Where MySQL has the volume that is our spool."""

Told = Callable[[str, int, int], None]
"""Is told what is under way, and how many bytes of how many are done."""


class Origin(NamedTuple):
    """Of what a backup is made, where it goes, and who will be able to open it.

    `data` is MySQL's data folder, and `spool` the volume that MySQL and we have in common.
    """

    vault: Vault
    donor: Donor
    data: Path
    spool: Path
    stack: str
    recipients: list[str]
    secrets: dict[str, str]
    artifacts: dict[str, object]


class Known(NamedTuple):
    """What is told of a database beside its rows, asked when they are counted.

    Hours later, a migration may have changed it.
    """

    server: Server
    schema: str
    accounts: list[str]
    triggers: list[str]

    @classmethod
    def now(cls, donor: Donor) -> "Known":
        """Ask MySQL."""
        return cls(donor.server(), donor.schema(), donor.accounts(), donor.triggers())


class Content(NamedTuple):
    """What goes into an object: its name, its bytes, and about how many these are."""

    name: str
    chunks: Iterator[bytes]
    size: int


def take(origin: Origin, told: Told) -> Manifest:
    """Make a base and return its manifest; on failure nothing of it is left here."""
    vault, donor, data, spool = origin[:4]
    begin = datetime.now(UTC)
    total = check_room(donor, data, spool)
    identity = manifest.new_id(begin)
    generation = generations.generation(
        begin, [(each, manifest.begun(name)) for each, name in manifest.known(vault, manifest.BASE)]
    )
    until = generations.kept_until(generation, begin)
    folder = f"{generation}/{identity}"
    begin_copy = partial(told, "copying", 0, total)
    with (
        copied(donor, spool, identity, begin_copy) as (first, copy),
        donor.checkpoint() as (point, cursor),
        ThreadPoolExecutor(1) as pool,
    ):
        known = Known.now(donor)
        # Counting takes MySQL about as long as storing takes us, so both go on at a time.
        counted = pool.submit(census, cursor)
        content = Content(f"{folder}/base.tar.zst.age", tarball.pack(copy), total)
        base = stored(origin, content, until, told)
        told("counting", 0, total)
        tables = counted.result()
    tail_sizes = logs_up_to(data, first, point)
    tail_of = Content(
        f"{folder}/tail.tar.zst.age", tarball.pack(data, tail_sizes), sum(tail_sizes.values())
    )
    tail = stored(origin, tail_of, until, told)
    about = About(identity, manifest.BASE, generation, first, begin)
    return conclude(origin, about, (point, known), [base, tail], tables)


class About(NamedTuple):
    """Which backup it is, and when it began; a dump has no first log."""

    id: str
    kind: str
    generation: str
    first_log: str
    begin: datetime


def conclude(
    origin: Origin,
    about: About,
    state: "tuple[Checkpoint, Known]",
    objects: list[Stored],
    tables: dict[str, Table],
) -> Manifest:
    """Write the manifest of a backup whose objects are stored, by which it exists."""
    point, known = state
    made = Manifest(
        id=about.id,
        kind=about.kind,
        generation=about.generation,
        stack=origin.stack,
        begun=about.begin.isoformat(),
        finished=datetime.now(UTC).isoformat(),
        server=known.server.uuid,
        version=known.server.version,
        schema=known.schema,
        first_log=about.first_log,
        gtids=point.gtids,
        as_of=point.as_of,
        objects=objects,
        tables=tables,
        accounts=known.accounts,
        triggers=known.triggers,
        secrets=origin.secrets,
        recipients=origin.recipients,
        artifacts=origin.artifacts,
    )
    until = generations.kept_until(about.generation, about.begin)
    origin.vault.put(f"{made.folder}/{manifest.NAME}", made.text(), until)
    return made


def check_room(donor: Donor, data: Path, spool: Path) -> int:
    """Refuse what a copy would not hold, or the disk; return the bytes of the data."""
    if other := donor.uncloned():
        raise refusal(
            f"a copy would come out without the rows of {', '.join(other[:5])}: not InnoDB",
            "ALTER TABLE … ENGINE=InnoDB",
        )
    wanted = size(data)
    free = shutil.disk_usage(spool).free
    if free < wanted * ROOM:
        raise refusal(
            f"a copy takes {wanted * ROOM / 1024**3:.1f} GiB for a while, "
            f"and {free / 1024**3:.1f} GiB are free",
            "make room on the disk that Docker's volumes are on",
        )
    return wanted


def size(data: Path) -> int:
    """Return the bytes of the data that a copy of MySQL has."""
    found = 0
    for path in data.rglob("*"):
        if not path.name.startswith(("binlog.", "#ib", "ibtmp")) and "#innodb" not in str(path):
            with suppress(FileNotFoundError):
                found += path.stat().st_size
    return found


@contextmanager
def copied(
    donor: Donor, spool: Path, name: str, begin: Callable[[], None]
) -> Iterator[tuple[str, Path]]:
    """Yield the first log that may hold more than the copy does, and the copy; it is gone after."""
    begin()
    copy = spool / name
    try:
        first = donor.rotate()
        donor.clone(Path(SPOOL_OF_MYSQL) / name)
        yield first, copy
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def logs_up_to(data: Path, first: str, point: Checkpoint) -> dict[str, int]:
    """Return the logs from the first one to a state, with the bytes that lead to it."""
    sizes, name = {}, first
    while name != point.file:
        if not (data / name).exists():
            raise OpsError(f"the binary log {name} is gone", "try again: invoke backup")
        sizes[name] = (data / name).stat().st_size
        name = following(name)
    return {**sizes, name: point.position}


def stored(origin: Origin, content: Content, until: datetime, told: Told) -> Stored:
    """Seal a stream into an object."""
    name, chunks, total = content
    label = name.rpartition("/")[2].partition(".")[0]
    done = 0

    def passing() -> Iterator[bytes]:
        nonlocal done
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            told(f"storing {label}", done, total)

    with origin.vault.writing(name, total, until) as upload:
        made = seals.seal(seals.Chunks(passing()), upload, origin.recipients)
    return Stored(
        name=name.rpartition("/")[2],
        size=made.sealed.size,
        sha256=made.sealed.sha256,
        plain_size=made.plain.size,
        plain_sha256=made.plain.sha256,
    )
