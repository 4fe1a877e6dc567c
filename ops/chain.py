"""Stored pieces of binary logs: how they are named, and the unbroken way through them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops.binlog import Damaged, Log, Transaction
from ops.gtids import GtidSet

__all__ = ["Chain", "Continuity", "Segment", "following", "stop_before", "unbroken"]

KEY = re.compile(
    r"logs/(?P<server>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"/(?P<file>binlog\.[0-9]{6,10})"
    r"/(?P<start>[0-9]{12,20})-(?P<end>[0-9]{12,20})"
    r"-(?P<committed>0|[0-9]{8}T[0-9]{6}\.[0-9]{6}Z)"
    r"-(?P<digest>[0-9a-f]{16})\.zst\.age"
)
BASE = "binlog."
MOMENT = "%Y%m%dT%H%M%S.%fZ"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, order=True, slots=True)
class Segment:
    """A stored piece of a binary log file, from byte `start` up to and without byte `end`.

    `committed` is when the last transaction that ends in it was, in microseconds since 1970; 0 is
    none. `digest` is of the stored object: the first 16 digits of its SHA-256.
    """

    server: str
    file: str
    start: int
    end: int
    committed: int
    digest: str

    @property
    def key(self) -> str:
        """Return the name of the stored object."""
        moment = EPOCH + self.committed * MICROSECOND
        committed = moment.strftime(MOMENT) if self.committed else "0"
        return (
            f"logs/{self.server}/{self.file}"
            f"/{self.start:012d}-{self.end:012d}-{committed}-{self.digest}.zst.age"
        )

    @classmethod
    def parse(cls, key: str) -> "Segment | None":
        """Return the piece that a name stands for; None for a name that `key` never gives."""
        found = KEY.fullmatch(key)
        if found is None:
            return None
        try:
            committed = _microseconds(found["committed"])
        except ValueError:
            return None
        start, end = int(found["start"]), int(found["end"])
        piece = cls(found["server"], found["file"], start, end, committed, found["digest"])
        number = _number(piece.file)
        sensible = number > 0 and start < end and committed >= 0
        # Numbers and moments can be written in several ways, of which one is ours.
        written = _named(number) == piece.file and piece.key == key
        return piece if sensible and written else None


@dataclass(frozen=True, slots=True)
class Chain:
    """Pieces that follow one another without a break.

    `gap` is the file and position where pieces are missing although there are later ones.
    """

    segments: tuple[Segment, ...]
    gap: tuple[str, int] | None


def following(file: str) -> str:
    """Return the name of the file after this one."""
    return _named(_number(file) + 1)


def numbered(file: str) -> tuple[int, str]:
    """Return what puts logs in their order: binlog.1000000 comes after binlog.999999."""
    return len(file), file


def _number(file: str) -> int:
    return int(file.removeprefix(BASE))


def _named(number: int) -> str:
    return f"{BASE}{number:06d}"


def _microseconds(moment: str) -> int:
    if moment == "0":
        return 0
    return (datetime.strptime(moment, MOMENT).replace(tzinfo=UTC) - EPOCH) // MICROSECOND


def unbroken(segments: Iterable[Segment], server: str, first: str) -> Chain:
    """Return the way through a server's pieces from the start of its file `first`.

    Pieces may be there twice, overlap, and come in any order. Of several ways it is the one that
    leads furthest, then that of the fewest and longest pieces. Whether a file was at its end where
    the next one begins, only their content says: see `Continuity`.
    """
    files: dict[str, list[Segment]] = {}
    for piece in segments:
        if piece.server == server and _number(piece.file) >= _number(first):
            files.setdefault(piece.file, []).append(piece)
    way: list[Segment] = []
    file = first
    while files:
        pieces = files.pop(file, [])
        taken = _through(pieces)
        way += taken
        reached = taken[-1].end if taken else 0
        if not taken or any(piece.end > reached for piece in pieces):
            return Chain(tuple(way), (file, reached))
        file = following(file)
    return Chain(tuple(way), None)


def _through(pieces: list[Segment]) -> list[Segment]:
    """Return the pieces of a file that lead from its start as far as possible."""
    best: dict[int, tuple[int, int, Segment]] = {}
    for piece in sorted(pieces, key=lambda each: (-each.start, each)):
        furthest, fewer, _ = best.get(piece.end, (piece.end, 0, piece))
        mine = (furthest, fewer - 1, piece)
        best[piece.start] = max(best.get(piece.start, mine), mine)
    way: list[Segment] = []
    at = 0
    while at in best:
        way.append(best[at][2])
        at = way[-1].end
    return way


class Continuity:
    """Proves from the content of files, as it comes, that no transaction is missing or repeated.

    With `base`, what the files are to be applied to, nothing is missing between the two either.
    Without it, what was before the first file is taken as that file says.
    """

    def __init__(self, base: GtidSet | None = None) -> None:
        self._base = base
        self._executed = GtidSet()
        self._file = ""
        self._end = 0

    @property
    def executed(self) -> GtidSet:
        """Return the GTIDs of everything up to here."""
        return self._executed

    def feed(self, log: Log, file: str) -> None:
        """Take the next file, or the next part of the same file; raise Damaged if it is another."""
        if file == self._file and log.begin:
            if log.begin != self._end:
                raise Damaged(log.begin, f"{file} goes on at {log.begin} and not at {self._end}")
        else:
            self._open(log, file)
        for each in log.transactions:
            if each.gtid in self._executed:
                raise Damaged(each.begin, f"{file} repeats {each.gtid}")
            self._executed = self._executed.with_one(each.gtid)
        self._end = log.end

    def _open(self, log: Log, file: str) -> None:
        if self._file and file != following(self._file):
            raise Damaged(0, f"{file} comes after {self._file}")
        if log.previous is None:
            raise Damaged(log.begin, f"{file} has no head")
        before = self._executed if self._file else self._base
        if before is not None and (missing := log.previous - before):
            raise Damaged(0, f"{_first(missing)} is missing before {file}")
        if self._file and (unknown := self._executed - log.previous):
            raise Damaged(0, f"{file} begins before {_first(unknown)}")
        self._file, self._executed = file, log.previous


def _first(gtids: GtidSet) -> str:
    """Return the first GTID of a set."""
    return next(iter(gtids))


def stop_before(transactions: Sequence[Transaction], moment: int) -> int | None:
    """Return the index of the first transaction after a moment, in microseconds since 1970.

    First in the order of the log, where the clock may have jumped back. None if there is none.
    """
    late = (index for index, each in enumerate(transactions) if each.committed > moment)
    return next(late, None)
