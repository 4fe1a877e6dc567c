"""Binary log files read without a server: which bytes are whole, which transactions are in them.

Format version 4, as MySQL writes it since 5.0, with the checksums and GTIDs of version 8 and later:
https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html

A file that the server still writes has a flag set in its first event, which is cleared when the
file is closed: the lowest bit of the byte at offset 21. The event's checksum is that with the flag
cleared. So two readings of a file may differ in this one byte, and both are right: who compares
readings must leave it out.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, NamedTuple
from uuid import UUID

from ops.gtids import LAST, GtidSet

__all__ = ["Damaged", "Event", "Log", "Torn", "Transaction", "events", "scan"]

MAGIC = b"\xfebin"
ENCRYPTED = b"\xfdbin"
BLOCK = 1024**2

HEADER = struct.Struct("<IBIIIH")
"""When, which type, by which server, how long, where the next one begins, flags."""

HEADER_SIZE = HEADER.size
CHECKSUM = struct.Struct("<I")
SMALLEST = HEADER.size + CHECKSUM.size
FLAGS_AT = 17
IN_USE = 1

STOP, ROTATE, FORMAT, GTID, ANONYMOUS, PREVIOUS, TAGGED = 3, 4, 15, 33, 34, 35, 42
READ = frozenset([FORMAT, GTID, PREVIOUS])
"""Types of events whose content is looked at; none of them is ever long."""

LONGEST_READ = 16 * BLOCK
BORDERS = frozenset([STOP, ROTATE, FORMAT, GTID, ANONYMOUS, PREVIOUS, TAGGED])
"""Types of events that are never inside a transaction."""

OUTSIDE = {
    ANONYMOUS: "a transaction without a GTID: gtid_mode was off",
    TAGGED: "a GTID with a tag: such transactions are not supported",
    FORMAT: "a second head",
    PREVIOUS: "a second head",
}

FORMAT_HEAD = struct.Struct("<H50sIB")
CRC32 = 1

GTID_HEAD = struct.Struct("<B16sqBqq")
LOGICAL_CLOCK = 2
MOMENT_SIZE = 7
REPLICATED = 1 << 55
"""Set in the time of a commit when the time on the server it came from follows."""

UNPACKED, PACKED = 250, {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""Up to what a packed integer is one byte; else how many bytes follow the first one."""

SOURCE = struct.Struct("<16sQ")
INTERVAL = struct.Struct("<qq")


class Torn(Exception):  # noqa: N818 - it is no error: files that are being written look like this
    """The event or transaction at offset `at` is not complete yet."""

    def __init__(self, at: int) -> None:
        self.at = at
        super().__init__(f"incomplete at {at}")


class Damaged(Exception):  # noqa: N818 - a state, as is Torn
    """The bytes at offset `at` are not what a server writes; `cause` says why."""

    def __init__(self, at: int, cause: str) -> None:
        self.at = at
        self.cause = cause
        super().__init__(f"{cause} (at {at})")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that is whole: its type's number, its first byte and the one after its last.

    `timestamp` is in seconds, and when its statement began.
    """

    kind: int
    begin: int
    end: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that is whole; `committed` is in microseconds since 1970."""

    gtid: str
    begin: int
    end: int
    committed: int


@dataclass(frozen=True, slots=True)
class Log:
    """What a file holds from `begin` to `end`, all of it whole.

    `previous` are the GTIDs of all files before this one, known when it was read from its start;
    `closed` says that the server ended the file here. After a crash it never does: such a file
    just ends.
    """

    previous: GtidSet | None
    transactions: list[Transaction]
    end: int
    closed: bool
    begin: int = 0


class _Read(NamedTuple):
    """An event as it was read; its content without header and checksum, if its type is in READ."""

    kind: int
    begin: int
    end: int
    timestamp: int
    content: bytes


def events(stream: IO[bytes], at: int = len(MAGIC)) -> Iterator[Event]:
    """Read events from the one that begins at `at`, with their checksums.

    A stream that cannot seek must stand there already. Raises Torn or Damaged at the first event
    that is not whole.
    """
    if stream.seekable():
        stream.seek(at)
    for each in _walk(stream, at):
        yield Event(each.kind, each.begin, each.end, each.timestamp)


def scan(stream: IO[bytes], at: int = 0, most: int | None = None) -> Log:
    """Read what is whole from `at`: the start of a file, or where an earlier scan ended.

    A stream that cannot seek must stand there already. With `most`, it ends at the first border
    between transactions that is so many bytes further, or more. Raises Damaged; what is incomplete
    is left out, be it the head of a file, of which nothing counts before all of it is there.
    """
    if stream.seekable():
        stream.seek(at)
    previous: GtidSet | None = None
    transactions: list[Transaction] = []
    end, closed = at, False
    try:
        if at == 0:
            _check_magic(stream)
        walk = _walk(stream, at or len(MAGIC))
        if at == 0:
            previous, end = _head(walk)
        while (most is None or end - at < most) and (event := next(walk, None)):
            if closed:
                raise Damaged(event.begin, "an event after the last one of the file")
            if event.kind == GTID:
                transactions.append(_transaction(event, walk))
                end = transactions[-1].end
            elif event.kind in {ROTATE, STOP}:
                closed, end = True, event.end
            else:
                cause = f"an event of type {event.kind} outside a transaction"
                raise Damaged(event.begin, OUTSIDE.get(event.kind, cause))
    except Torn:
        pass
    return Log(previous, transactions, end, closed, at)


def _check_magic(stream: IO[bytes]) -> None:
    magic = _read(stream, len(MAGIC))
    if magic == ENCRYPTED:
        raise Damaged(0, "an encrypted binary log: binlog_encryption was on")
    if not MAGIC.startswith(magic):
        raise Damaged(0, "no binary log")


def _head(walk: Iterator[_Read]) -> tuple[GtidSet, int]:
    """Read what every file begins with: how it is written, and what is in the files before it."""
    _in_head(walk, FORMAT)
    event = _in_head(walk, PREVIOUS)
    return _gtids(event.content, event.begin), event.end


def _in_head(walk: Iterator[_Read], kind: int) -> _Read:
    event = next(walk, None)
    if event is None:
        raise Torn(0)
    if event.kind != kind:
        raise Damaged(event.begin, f"an event of type {event.kind} in the head of a file")
    return event


def _transaction(event: _Read, walk: Iterator[_Read]) -> Transaction:
    """Read a transaction to its end, which the event of its GTID announces."""
    gtid, committed, length = _gtid(event.content, event.begin)
    reached, end = event.end, event.begin + length
    while reached < end:
        inner = next(walk, None)
        if inner is None:
            raise Torn(event.begin)
        if inner.kind in BORDERS:
            raise Damaged(inner.begin, f"an event of type {inner.kind} inside {gtid}")
        reached = inner.end
    if reached > end:
        raise Damaged(event.begin, f"{gtid} ends at {reached} and was to end at {end}")
    return Transaction(gtid, event.begin, end, committed)


def _walk(stream: IO[bytes], at: int) -> Iterator[_Read]:
    """Read events with their checksums; a few blocks are in memory, however long an event is."""
    held, used = memoryview(b""), 0
    while True:
        if len(held) - used < HEADER_SIZE:
            held, used = _more(stream, held[used:], BLOCK), 0
            if not held:
                return
            if len(held) < HEADER_SIZE:
                raise Torn(at)
        timestamp, kind, size = _header(held, used, at)
        if len(held) - used < size:
            held, used = _more(stream, held[used:], size if kind in READ else BLOCK), 0
        last = used + size - CHECKSUM.size
        if len(held) - used < size:
            checksum, written = _skim(stream, held[used:], size, at)
        else:
            plain = held[used:last]
            checksum = zlib.crc32(_unflagged(plain) if kind == FORMAT else plain)
            (written,) = CHECKSUM.unpack_from(held, last)
        if checksum != written:
            raise Damaged(at, f"the checksum of an event of type {kind} is wrong")
        content = bytes(held[used + HEADER_SIZE : last]) if kind in READ else b""
        if kind == FORMAT:
            _check_format(content, at)
        yield _Read(kind, at, at + size, timestamp, content)
        used, at = used + size, at + size


def _header(held: memoryview, used: int, at: int) -> tuple[int, int, int]:
    """Return the time, type and size of an event, if they make sense at this place."""
    timestamp, kind, _, size, following, _ = HEADER.unpack_from(held, used)
    # The field has 32 bits, and a long transaction may take a file beyond 4 GiB.
    if size < SMALLEST or following != (at + size) & 0xFFFFFFFF:
        raise Damaged(at, f"an event of {size} bytes that says it ends at {following}")
    if kind in READ and size > LONGEST_READ:
        raise Damaged(at, f"an event of type {kind} of {size} bytes")
    return timestamp, kind, size


def _skim(stream: IO[bytes], begun: memoryview, size: int, at: int) -> tuple[int, int]:
    """Read the rest of a long event; return the checksum of its bytes and the one written."""
    checksum, tail = zlib.crc32(begun[: -CHECKSUM.size]), bytes(begun[-CHECKSUM.size :])
    left = size - len(begun)
    while left:
        block = _read(stream, min(left, BLOCK))
        if not block:
            raise Torn(at)
        left -= len(block)
        joined = tail + block
        checksum = zlib.crc32(memoryview(joined)[: -CHECKSUM.size], checksum)
        tail = joined[-CHECKSUM.size :]
    (written,) = CHECKSUM.unpack(tail)
    return checksum, written


def _more(stream: IO[bytes], rest: memoryview, least: int) -> memoryview:
    """Return the rest of what was read and at least so much in all, unless the stream ends."""
    return memoryview(b"".join([rest, _read(stream, max(BLOCK, least - len(rest)))]))


def _read(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes, fewer only at the end: a pipe gives what it has."""
    blocks = []
    while size and (block := stream.read(size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def _unflagged(event: memoryview) -> bytes:
    """Return a file's first event as its checksum was computed: see the top of this module."""
    plain = bytearray(event)
    plain[FLAGS_AT] &= ~IN_USE
    return bytes(plain)


def _check_format(content: bytes, at: int) -> None:
    """Refuse a file that is not written as this module reads it."""
    if len(content) <= FORMAT_HEAD.size:
        raise Damaged(at, "a description of the format that is too short")
    version, _, _, header = FORMAT_HEAD.unpack_from(content)
    if (version, header) != (4, HEADER_SIZE):
        raise Damaged(at, f"a format of version {version} with headers of {header} bytes")
    if content[-1] != CRC32:
        raise Damaged(at, "events without a checksum: binlog_checksum was NONE")


def _gtid(content: bytes, at: int) -> tuple[str, int, int]:
    """Return a GTID, when it was committed here, and how long its transaction is."""
    try:
        _, source, number, clock, _, _ = GTID_HEAD.unpack_from(content)
        after = GTID_HEAD.size + MOMENT_SIZE
        moment = int.from_bytes(content[GTID_HEAD.size : after], "little")
        length = _packed(content, after + MOMENT_SIZE if moment & REPLICATED else after)
    except (struct.error, IndexError):
        raise Damaged(at, "a GTID that is too short: written by an old server") from None
    if not 1 <= number <= LAST or clock != LOGICAL_CLOCK or length < SMALLEST:
        raise Damaged(at, f"a GTID that makes no sense: number {number}, {length} bytes")
    return f"{_uuid(source)}:{number}", moment & ~REPLICATED, length


def _packed(content: bytes, at: int) -> int:
    """Return a packed integer; raise IndexError if there is none."""
    first = content[at]
    if first <= UNPACKED:
        return first
    beyond = at + 1 + PACKED.get(first, len(content))
    if beyond > len(content):
        raise IndexError
    return int.from_bytes(content[at + 1 : beyond], "little")


def _gtids(content: bytes, at: int) -> GtidSet:
    """Return the GTIDs of the files before this one."""
    try:
        (count,) = struct.unpack_from("<Q", content)
        if count >> 56:
            raise Damaged(at, "GTIDs with tags: such transactions are not supported")
        texts, reached = [], 8
        for _ in range(count):
            source, intervals = SOURCE.unpack_from(content, reached)
            reached += SOURCE.size
            spans = []
            for _ in range(intervals):
                low, beyond = INTERVAL.unpack_from(content, reached)
                spans.append(f"{low}-{beyond - 1}")
                reached += INTERVAL.size
            texts.append(":".join([_uuid(source), *spans]))
        if reached == len(content):
            return GtidSet.parse(",".join(texts))
    except (struct.error, ValueError):
        pass
    raise Damaged(at, "a set of GTIDs that makes no sense")


@lru_cache
def _uuid(source: bytes) -> str:
    return str(UUID(bytes=source))
