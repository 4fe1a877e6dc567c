"""Reading binary log files: what is whole counts, what is torn waits, what is damaged is found."""

import io
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.binlog import BLOCK, Damaged, Event, Log, Torn, Transaction, events, scan
from ops.gtids import GtidSet
from tests import binlogs
from tests.binlogs import COMMITTED, OTHER, REAL, REAL_BORDERS, SERVER

STOP, ROTATE, FORMAT, TABLE_MAP, GTID = 3, 4, 15, 19, 33
ANONYMOUS, PREVIOUS, PAYLOAD, TAGGED = 34, 35, 40, 42

HEAD = binlogs.head()
SMALL = binlogs.log([1, 2, 3])
CLOSED = binlogs.log([1, 2], end=ROTATE)


class Pipe(io.BytesIO):
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes, most: int = 7) -> None:
        super().__init__(data)
        self._most = most

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 < size <= 16 * BLOCK
        return super().read(min(size, self._most))


def read(data: bytes, at: int = 0) -> Log:
    return scan(io.BytesIO(data), at)


def damage(data: bytes, at: int = 0) -> Damaged:
    with pytest.raises(Damaged) as caught:
        read(data, at)
    return caught.value


# --- A real file ---


def test_a_file_of_mysql_is_read_as_mysqlbinlog_reads_it() -> None:
    assert read(REAL) == Log(
        previous=GtidSet.parse(f"{SERVER}:1-6"),
        transactions=[
            Transaction(f"{SERVER}:7", 198, 433, 1795619356727607),
            Transaction(f"{SERVER}:8", 433, 722, 1795619356730508),
        ],
        end=722,
        closed=False,
    )


def test_the_events_of_a_file_of_mysql_are_found() -> None:
    found = list(events(io.BytesIO(REAL)))

    assert [each.begin for each in found] == REAL_BORDERS[:-1]
    assert [each.end for each in found] == REAL_BORDERS[1:]
    assert [each.kind for each in found] == [FORMAT, PREVIOUS, GTID, 2, GTID, 2, TABLE_MAP, 30, 16]
    assert found[0] == Event(FORMAT, 4, 127, 1795619355)
    assert {each.timestamp for each in found} == {1795619355, 1795619356}


def test_a_file_in_use_differs_from_a_closed_one_in_one_bit_and_both_are_right() -> None:
    closed = bytearray(REAL)
    assert closed[21] == 1
    closed[21] = 0

    assert read(bytes(closed)) == read(REAL)
    closed[21] = 2
    assert damage(bytes(closed)).at == 4


def test_a_file_cut_anywhere_gives_what_is_whole_and_goes_on_from_there() -> None:
    whole = read(REAL)
    for cut in range(len(REAL)):
        found = read(REAL[:cut])
        expected = [each for each in whole.transactions if each.end <= cut]
        assert found.transactions == expected
        assert found.end == max([0 if cut < 198 else 198, *(each.end for each in expected)])
        assert found.previous == (None if cut < 198 else whole.previous)

        rest = read(REAL, found.end)
        assert found.transactions + rest.transactions == whole.transactions
        assert (rest.end, rest.begin) == (whole.end, found.end)


def test_events_of_a_file_cut_anywhere_end_silently_at_a_border_only() -> None:
    for cut in range(4, len(REAL)):
        walk = events(io.BytesIO(REAL[:cut]))
        whole = [end for end in REAL_BORDERS[1:] if end <= cut]
        assert [next(walk).end for _ in whole] == whole
        if cut in REAL_BORDERS:
            assert next(walk, None) is None
            continue
        with pytest.raises(Torn) as caught:
            next(walk)
        assert caught.value.at == max([4, *whole])
        assert str(caught.value) == f"incomplete at {caught.value.at}"


def test_any_bit_that_flipped_is_found_where_it_is() -> None:
    for at in range(len(REAL)):
        begin = max([0, *(border for border in REAL_BORDERS if border <= at)])
        for bit in range(8):
            changed = bytearray(REAL)
            changed[at] ^= 1 << bit
            if (at, bit) != (21, 0):  # the flag of a file in use
                assert damage(bytes(changed)).at == begin


# --- What a file holds ---


def test_an_empty_file_and_a_head_alone_hold_no_transaction() -> None:
    assert read(b"") == Log(None, [], 0, closed=False)
    assert read(HEAD) == Log(GtidSet(), [], len(HEAD), closed=False)


def test_the_gtids_of_earlier_files_are_read() -> None:
    previous = binlogs.gtids([(OTHER, [(1, 4), (6, 6)]), (SERVER, [(1, 10**12)])])

    assert str(read(binlogs.head(previous)).previous) == f"{OTHER}:1-4:6,{SERVER}:1-{10**12}"


@pytest.mark.parametrize("end", [ROTATE, STOP])
def test_a_file_is_closed_when_its_last_event_says_so(end: int) -> None:
    data = binlogs.log([1, 2], end=end)
    found = read(data)

    assert found.closed
    assert found.end == len(data)
    assert found.transactions == read(binlogs.log([1, 2])).transactions
    assert read(data, found.transactions[-1].end).closed
    assert not read(data[:-1]).closed


def test_a_transaction_knows_when_it_was_committed_here_and_not_where_it_came_from() -> None:
    data = HEAD + binlogs.transaction(9, len(HEAD), server=OTHER, committed=77, replicated=True)

    assert read(data).transactions == [Transaction(f"{OTHER}:9", len(HEAD), len(data), 77)]


@pytest.mark.parametrize(
    "rows", [0, 20, 60, 110, 160, 300, 65_300, 65_500, 70_000, 2**24, 2**24 + 1]
)
def test_transactions_of_every_length_end_where_their_gtid_says(rows: int) -> None:
    data = HEAD + binlogs.transaction(1, len(HEAD), rows=rows)
    found = read(data + binlogs.transaction(2, len(data)))

    assert [each.begin for each in found.transactions] == [len(HEAD), len(data)]


def test_a_compressed_transaction_is_one_like_others() -> None:
    payload = binlogs.event(PAYLOAD, b"packed", 0)
    size = len(payload) + len(binlogs.event(GTID, binlogs.gtid(1, 100), 0))
    begin = binlogs.event(GTID, binlogs.gtid(1, size), len(HEAD))
    data = HEAD + begin + binlogs.event(PAYLOAD, b"packed", len(HEAD + begin))

    assert read(data).transactions == [Transaction(f"{SERVER}:1", len(HEAD), len(data), COMMITTED)]


def test_a_file_beyond_4_gib_is_read_although_its_positions_wrap() -> None:
    at = 2**32 - 100
    data = binlogs.transaction(5, at) + binlogs.transaction(6, at + len(binlogs.transaction(5, at)))
    found = scan(Pipe(data), at)

    assert [each.gtid for each in found.transactions] == [f"{SERVER}:5", f"{SERVER}:6"]
    assert found.transactions[0].begin == at
    assert found.end == at + len(data)
    assert next(events(Pipe(data), at)).begin == at


# --- How it is read ---


@pytest.mark.parametrize("most", [1, 2, 7, 1000])
def test_a_stream_may_give_a_few_bytes_at_a_time_and_not_seek(most: int) -> None:
    assert scan(Pipe(CLOSED, most)) == read(CLOSED)
    assert list(events(Pipe(CLOSED[4:], most))) == list(events(io.BytesIO(CLOSED)))


def test_a_file_is_read_from_a_place_wherever_the_stream_stands() -> None:
    stream = io.BytesIO(SMALL)
    first, second, third = read(SMALL).transactions
    stream.seek(3)

    assert scan(stream, first.end).transactions == [second, third]
    assert scan(stream, second.begin).transactions == [second, third]
    assert next(events(stream, second.begin)).begin == second.begin
    assert scan(stream, third.end) == Log(None, [], third.end, closed=False, begin=third.end)


@pytest.mark.parametrize("most", [1, 100, 200, 400, 10_000])
def test_a_file_can_be_read_in_parts_that_end_at_borders(most: int) -> None:
    data, at = binlogs.log(range(1, 30), end=STOP), 0
    parts: list[Log] = []
    while not (parts and parts[-1].closed):
        parts.append(scan(io.BytesIO(data), at, most))
        assert parts[-1].closed or parts[-1].end - at >= most
        assert all(each.begin - at < most for each in parts[-1].transactions)
        at = parts[-1].end

    together = [each for part in parts for each in part.transactions]
    assert together == read(data).transactions
    assert at == len(data)


def test_a_part_that_is_long_enough_at_a_border_ends_there() -> None:
    first = read(SMALL).transactions[0]

    assert scan(io.BytesIO(SMALL), 0, first.end).transactions == [first]
    assert len(scan(io.BytesIO(SMALL), 0, first.end + 1).transactions) == 2


@given(st.lists(st.integers(0, 4000), max_size=8))
def test_a_file_read_while_it_grows_gives_what_it_gives_at_once(sizes: list[int]) -> None:
    data = binlogs.log(range(1, 20), end=ROTATE)
    at, found, closed = 0, [], False
    for size in [*sorted(sizes), len(data)]:
        log = read(data[: max(size, at)], at)
        at, closed = log.end, closed or log.closed
        found += log.transactions

    assert found == read(data).transactions
    assert at == len(data)
    assert closed


@pytest.mark.parametrize("size", [BLOCK - 400, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 5 * BLOCK])
def test_an_event_longer_than_a_block_is_read_and_checked(size: int) -> None:
    data = HEAD + binlogs.transaction(1, len(HEAD), rows=size)
    data += binlogs.transaction(2, len(data))
    changed = bytearray(data)
    changed[-400] ^= 1

    assert len(read(data).transactions) == 2
    assert read(data[: size // 2]).transactions == []
    assert read(data[:-1]).transactions == read(data).transactions[:1]
    assert "checksum" in damage(bytes(changed)).cause


def test_a_long_event_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "binlog.000001"
    file.write_bytes(HEAD + binlogs.transaction(1, len(HEAD), rows=48 * BLOCK))
    with file.open("rb") as stream:
        tracemalloc.start()
        found = scan(stream)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert len(found.transactions) == 1
    assert peak < 8 * BLOCK


# --- What is no such file ---


def after_head(*given: tuple[int, bytes]) -> bytes:
    data = HEAD
    for kind, content in given:
        data += binlogs.event(kind, content, len(data))
    return data


def described(**fields: int) -> bytes:
    return HEAD[:4] + binlogs.event(FORMAT, binlogs.described(**fields), 4)


def headed(content: bytes) -> bytes:
    begin = described()
    return begin + binlogs.event(PREVIOUS, content, len(begin))


ONE = struct.pack("<Q", 1) + bytes(16)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"PK\x03\x04", "no binary log"),
        (b"\xfeb?", "no binary log"),
        (bytes(100), "no binary log"),
        (b"\xfdbin" + bytes(508), "encrypted"),
        (HEAD + bytes(40), "an event of 0 bytes"),
        (HEAD + bytes(19), "an event of 0 bytes"),
        (described(checksum=0), "binlog_checksum was NONE"),
        (described(checksum=255), "binlog_checksum was NONE"),
        (described(version=3), "version 3"),
        (described(header=27), "headers of 27 bytes"),
        (HEAD[:4] + binlogs.event(FORMAT, b"\4\0", 4), "too short"),
        (HEAD[:4] + binlogs.event(PREVIOUS, binlogs.gtids([]), 4), "in the head"),
        (described() + binlogs.event(STOP, b"", len(described())), "in the head"),
        (headed(b""), "no sense"),
        (headed(struct.pack("<Q", 5)), "no sense"),
        (headed(ONE), "no sense"),
        (headed(ONE + struct.pack("<Q", 2**60)), "no sense"),
        (headed(ONE + struct.pack("<Qqq", 1, 0, 5)), "no sense"),
        (headed(ONE + struct.pack("<Qqq", 1, 5, 5)), "no sense"),
        (headed(ONE + struct.pack("<Qqq", 1, -9, 5)), "no sense"),
        (headed(binlogs.gtids([]) + b"\0"), "no sense"),
        (headed(struct.pack("<Q", 1 << 56 | 1) + bytes(40)), "tags"),
        (after_head((FORMAT, binlogs.described())), "second head"),
        (after_head((PREVIOUS, binlogs.gtids([]))), "second head"),
        (after_head((ANONYMOUS, binlogs.gtid(1, 90))), "gtid_mode was off"),
        (after_head((TAGGED, b"2" * 60)), "tag"),
        (after_head((2, b"BEGIN")), "type 2 outside a transaction"),
        (after_head((GTID, b"")), "too short"),
        (after_head((GTID, binlogs.gtid(1, 90)[:-5])), "too short"),
        (after_head((GTID, binlogs.gtid(1, 90)[:45])), "too short"),
        (after_head((GTID, binlogs.gtid(1, 90)[:49] + b"\xfb\0\0")), "too short"),
        (after_head((GTID, binlogs.gtid(1, 90)[:49] + b"\xfe\0\0")), "too short"),
        (after_head((GTID, binlogs.gtid(0, 90))), "makes no sense: number 0"),
        (after_head((GTID, binlogs.gtid(-1, 90))), "makes no sense: number -1"),
        (after_head((GTID, binlogs.gtid(2**63 - 1, 90))), "makes no sense"),
        (after_head((GTID, binlogs.gtid(1, 90, clock=1))), "makes no sense"),
        (after_head((GTID, binlogs.gtid(1, 5))), "makes no sense: number 1, 5 bytes"),
        (after_head((GTID, binlogs.gtid(1, 60))), "was to end at"),
        (after_head((GTID, binlogs.gtid(1, 90)), (2, bytes(40))), "was to end at"),
        (after_head((GTID, binlogs.gtid(1, 200)), (STOP, b"")), f"inside {SERVER}:1"),
        (after_head((GTID, binlogs.gtid(1, 200)), (GTID, b"")), f"inside {SERVER}:1"),
        (after_head((STOP, b""), (STOP, b"")), "after the last one"),
        (CLOSED + binlogs.transaction(3, len(CLOSED)), "after the last one"),
        (SMALL + SMALL, "that says it ends at"),
        (
            SMALL[: read(SMALL).transactions[0].end] + SMALL[read(SMALL).transactions[1].end :],
            "ends",
        ),
    ],
)
def test_what_no_server_of_ours_writes_is_damage(data: bytes, cause: str) -> None:
    found = damage(data)

    assert cause in found.cause
    assert str(found) == f"{found.cause} (at {found.at})"
    assert 0 <= found.at < len(data)


def test_damage_behind_good_transactions_says_how_far_they_are_good() -> None:
    changed = bytearray(SMALL)
    third = read(SMALL).transactions[2]
    changed[third.begin + 30] ^= 1
    at = damage(bytes(changed)).at

    assert at == third.begin
    assert read(SMALL[:at]).transactions == read(SMALL).transactions[:2]


@pytest.mark.parametrize("kind", [FORMAT, GTID, PREVIOUS])
def test_an_event_whose_content_is_read_is_never_taken_for_a_long_one(kind: int) -> None:
    size = 2**31
    begin = struct.pack("<IBIIIH", 1, kind, 1, size, len(HEAD) + size, 0)

    assert f"type {kind} of {size} bytes" in damage(HEAD + begin).cause


@pytest.mark.parametrize("size", [0, 1, 18, 19, 22])
def test_an_event_shorter_than_its_header_and_checksum_is_damage(size: int) -> None:
    begin = struct.pack("<IBIIIH", 1, 2, 1, size, len(HEAD) + size, 0)

    assert damage(HEAD + begin + bytes(10)).cause.startswith(f"an event of {size} bytes")


def test_a_place_that_is_no_border_is_damage() -> None:
    wanted = {0, *(each.begin for each in read(SMALL).transactions), len(SMALL)}
    for at in range(5, len(SMALL) - 19):
        if at not in wanted:
            with pytest.raises(Damaged):
                read(SMALL, at)


@given(st.binary(max_size=200), st.sampled_from([b"", HEAD[:4], HEAD, SMALL]))
def test_no_bytes_do_anything_but_be_read_or_be_damage(tail: bytes, begin: bytes) -> None:
    for use in (read, lambda data: list(events(io.BytesIO(data)))):
        outcome(use, begin + tail)


@given(
    st.sampled_from([FORMAT, GTID, PREVIOUS, ANONYMOUS, TAGGED, 2, ROTATE]), st.binary(max_size=99)
)
def test_no_event_with_a_right_checksum_does_anything_else(kind: int, content: bytes) -> None:
    outcome(read, HEAD + binlogs.event(kind, content, len(HEAD)))
    outcome(read, HEAD[:4] + binlogs.event(kind, content, 4))
    outcome(read, headed(content))


def outcome(use: Callable[[bytes], object], data: bytes) -> None:
    with suppress(Damaged, Torn):
        use(data)
