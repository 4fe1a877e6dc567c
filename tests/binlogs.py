"""Binary log files made up byte for byte, and the first bytes of a real one of MySQL 9.7.4."""

import base64
import struct
import zlib
from collections.abc import Iterable
from uuid import UUID

from ops.binlog import CHECKSUM, FORMAT, GTID, HEADER, IN_USE, MAGIC, PREVIOUS, ROTATE, STOP

SERVER = "2ade7451-e8e2-11f1-b447-0242ac120002"
OTHER = "11111111-2222-3333-4444-555555555555"
QUERY, XID, ROWS = 2, 16, 30
BEGAN = 1_795_619_356
COMMITTED = BEGAN * 10**6

REAL = base64.b64decode(
    "/mJpbhv6BmsPAQAAAHsAAAB/AAAAAQAEADkuNy40LTIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAG/oGaxMADQAIAAAAAAQABAAAAGMABBoIAAAAAAAAAgAAAAoKCioqABI0AAooAAABVzjUehv6BmsjAQAAAEcA"
    "AADGAAAAgAABAAAAAAAAACredFHo4hHxtEcCQqwSAAIBAAAAAAAAAAEAAAAAAAAABwAAAAAAAAAsqpCwHPoGayEBAAAA"
    "TQAAABMBAAAAAAEq3nRR6OIR8bRHAkKsEgACBwAAAAAAAAACAAAAAAAAAAABAAAAAAAAADfZ6DUbYQbrUGIBACnLp/oc"
    "+gZrAgEAAACeAAAAsQEAAAAACgAAAAAAAAAAAAAxAAAAAAAAASAAoEUAAAAABgNzdGQECAAIAP8ADAFtbGZsb3cAEQUA"
    "AAAAAAAAEv8AEwAAY3JlYXRlIHRhYmxlIG1sZmxvdy50KGlkIGludCBwcmltYXJ5IGtleSBhdXRvX2luY3JlbWVudCwg"
    "diB2YXJjaGFyKDEwMCkpTeOZJxz6BmshAQAAAE8AAAAAAgAAAAAAKt50UejiEfG0RwJCrBIAAggAAAAAAAAAAgEAAAAA"
    "AAAAAgAAAAAAAACM5Og1G2EG/CEBUGIBAHv1rS4c+gZrAgEAAABHAAAARwIAAAgACgAAAAAAAAAAAAAdAAAAAAAAASAA"
    "oEUAAAAABgNzdGQECAAIAP8AEv8AAEJFR0lOLAOacxz6BmsTAQAAADkAAACAAgAAAABWAAAAAAABAAZtbGZsb3cAAXQA"
    "AgMPApABAgEBAAID/P8AD9swVRz6BmseAQAAADMAAACzAgAAAABWAAAAAAARAAIAAv8AAQAAAAEAYQACAAAAAQBi7ZWF"
    "fhz6BmsQAQAAAB8AAADSAgAAAAAGAAAAAAAAAArdVwA="
)
"""As the server had it open: a table made, a row put in, and nothing cut."""

REAL_BORDERS = [4, 127, 198, 275, 433, 512, 583, 640, 691, 722]
"""Where its events begin, by mysqlbinlog, and the end."""


def event(kind: int, content: bytes, at: int, *, flags: int = 0, timestamp: int = BEGAN) -> bytes:
    """Return an event that begins at a place."""
    size = HEADER.size + len(content) + CHECKSUM.size
    end = (at + size) & 0xFFFFFFFF
    plain = HEADER.pack(timestamp, kind, 1, size, end, flags & ~IN_USE) + content
    checksum = CHECKSUM.pack(zlib.crc32(plain))
    return HEADER.pack(timestamp, kind, 1, size, end, flags) + content + checksum


def described(*, version: int = 4, header: int = 19, checksum: int = 1) -> bytes:
    """Return the content of a description of the format."""
    return struct.pack("<H50sIB", version, b"9.7.4", BEGAN, header) + bytes(41) + bytes([checksum])


def gtids(previous: Iterable[tuple[str, Iterable[tuple[int, int]]]]) -> bytes:
    """Return the content of an event of previous GTIDs; ranges with both ends included."""
    sources = list(previous)
    content = struct.pack("<Q", len(sources))
    for uuid, ranges in sources:
        spans = list(ranges)
        content += UUID(uuid).bytes + struct.pack("<Q", len(spans))
        content += b"".join(struct.pack("<qq", low, high + 1) for low, high in spans)
    return content


def head(previous: bytes = gtids([]), *, in_use: bool = False) -> bytes:
    """Return what a file begins with."""
    begin = MAGIC + event(FORMAT, described(), len(MAGIC), flags=IN_USE if in_use else 0)
    return begin + event(PREVIOUS, previous, len(begin), flags=0x80)


def packed(number: int) -> bytes:
    """Return an integer of as many bytes as it needs."""
    if number < 251:
        return bytes([number])
    for first, size in ((0xFC, 2), (0xFD, 3)):
        if number < 1 << 8 * size:
            return bytes([first]) + number.to_bytes(size, "little")
    return b"\xfe" + number.to_bytes(8, "little")


def gtid(
    number: int,
    length: int,
    *,
    server: str = SERVER,
    committed: int = COMMITTED,
    clock: int = 2,
    replicated: bool = False,
) -> bytes:
    """Return the content of a GTID whose transaction has so many bytes."""
    start = struct.pack("<B16sqBqq", 1, UUID(server).bytes, number, clock, number - 1, number)
    moment = (committed | (replicated << 55)).to_bytes(7, "little")
    original = (committed - 5).to_bytes(7, "little") if replicated else b""
    versions = struct.pack("<I", 90704)
    return start + moment + original + packed(length) + versions


def transaction(
    number: int,
    at: int,
    *,
    server: str = SERVER,
    committed: int = COMMITTED,
    replicated: bool = False,
    rows: int = 20,
) -> bytes:
    """Return a transaction that begins at a place and changes so many bytes."""
    sizes = [HEADER.size + CHECKSUM.size + inner for inner in (10, rows, 8)]
    fields = {"server": server, "committed": committed, "replicated": replicated}
    length = sum(sizes)
    # The length is that of the event in which it stands too, and takes more bytes as it grows.
    while length != (grown := sum(sizes) + len(_gtid_event(number, length, at, fields))):
        length = grown
    data = _gtid_event(number, length, at, fields)
    for kind, size in zip((QUERY, ROWS, XID), sizes, strict=True):
        content = bytes(number % 251 for _ in range(size - HEADER.size - CHECKSUM.size))
        data += event(kind, content, at + len(data))
    return data


def _gtid_event(number: int, length: int, at: int, fields: dict[str, object]) -> bytes:
    return event(GTID, gtid(number, length, **fields), at)  # type: ignore[arg-type]


def log(
    numbers: Iterable[int],
    previous: int = 0,
    *,
    end: int | None = None,
    moments: Iterable[int] = (),
    in_use: bool = False,
) -> bytes:
    """Return a file with transactions of these numbers, after as many as there were before.

    `end` is the type of the last event, if there is one: a file that is still open has none.
    """
    data = head(gtids([(SERVER, [(1, previous)])] if previous else []), in_use=in_use)
    when = dict(enumerate(moments))
    for index, number in enumerate(numbers):
        moment = when.get(index, COMMITTED + number)
        data += transaction(number, len(data), committed=moment, rows=number % 40)
    if end == ROTATE:
        data += event(ROTATE, struct.pack("<Q", 4) + b"binlog.000002", len(data))
    if end == STOP:
        data += event(STOP, b"", len(data))
    return data
