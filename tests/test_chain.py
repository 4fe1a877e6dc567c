"""Stored pieces of binary logs: their names, the way through them, and the proof from content."""

import io
import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.binlog import Damaged, Log, Transaction, scan
from ops.chain import Chain, Continuity, Segment, following, stop_before, unbroken
from ops.gtids import GtidSet
from tests import binlogs
from tests.binlogs import OTHER, SERVER

ROTATE = 4
FIRST = "binlog.000007"
NAMED = Segment(SERVER, "binlog.000012", 0, 4055, 1795619356727607, "0123456789abcdef")
KEY = (
    f"logs/{SERVER}/binlog.000012/"
    "000000000000-000000004055-20261125T150916.727607Z-0123456789abcdef.zst.age"
)


def piece(start: int, end: int, file: str = FIRST, server: str = SERVER, mark: int = 0) -> Segment:
    return Segment(server, file, start, end, 0, f"{mark:016x}")


# --- Names ---


def test_a_piece_is_named_by_what_it_holds() -> None:
    assert NAMED.key == KEY
    assert Segment.parse(KEY) == NAMED


def test_names_of_the_pieces_of_a_file_sort_as_the_pieces_do() -> None:
    pieces = [piece(0, 5), piece(5, 10**6), piece(10**6, 10**11), piece(10**11, 10**11 + 1)]

    assert sorted(pieces) == pieces
    assert sorted(each.key for each in pieces) == [each.key for each in pieces]


@given(
    st.builds(
        Segment,
        st.sampled_from([SERVER, OTHER]),
        st.integers(1, 2**31 - 1).map("binlog.{:06d}".format),
        st.integers(0, 10**13),
        st.integers(10**13 + 1, 10**14),
        st.one_of(st.just(0), st.integers(1, 2**55 - 1)),
        st.text("0123456789abcdef", min_size=16, max_size=16),
    )
)
def test_every_piece_comes_back_from_its_name(made: Segment) -> None:
    assert Segment.parse(made.key) == made


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("logs/", ""),
        ("logs/", "/logs/"),
        ("logs/", "logs//"),
        ("logs/", "Logs/"),
        ("logs/", "logs/../logs/"),
        ("logs/", "prefix/logs/"),
        (SERVER, SERVER.upper()),
        (SERVER, SERVER[:-1]),
        (SERVER, SERVER.replace("-", "")),
        (SERVER, ".."),
        ("binlog.000012", "binlog.12"),
        ("binlog.000012", "binlog.0000012"),
        ("binlog.000012", "binlog.000000"),
        ("binlog.000012", "Binlog.000012"),
        ("binlog.000012", "binlog.000012.gz"),
        ("binlog.000012", "binlog.index"),
        ("binlog.000012", "binlog.00001٢"),
        ("binlog.000012", "mysql-bin.000012"),
        ("binlog.000012", "../binlog.000012"),
        ("000000000000-", "0-"),
        ("000000000000-", "0000000000000-"),
        ("000000000000-", "-00000000000-"),
        ("000000000000-", "000000004055-"),
        ("000000000000-", "000000004056-"),
        ("000000004055-", "4055-"),
        ("000000004055-", "0000000004055-"),
        ("000000004055-", "0000000040_5-"),
        ("000000004055-", "00000000٤٠٥٥-"),
        ("20261125T150916.727607Z", ""),
        ("20261125T150916.727607Z", "00"),
        ("20261125T150916.727607Z", "20261125T150916Z"),
        ("20261125T150916.727607Z", "20261125T150916.7276Z"),
        ("20261125T150916.727607Z", "20261125T150916.727607z"),
        ("20261125T150916.727607Z", "20261125T150916.727607+0000"),
        ("20261125T150916.727607Z", "20261325T150916.727607Z"),
        ("20261125T150916.727607Z", "20261131T150916.727607Z"),
        ("20261125T150916.727607Z", "20261125T250916.727607Z"),
        ("20261125T150916.727607Z", "19700101T000000.000000Z"),
        ("20261125T150916.727607Z", "19691231T235959.999999Z"),
        ("20261125T150916.727607Z", "00000101T000000.000000Z"),
        ("0123456789abcdef", "0123456789ABCDEF"),
        ("0123456789abcdef", "0123456789abcde"),
        ("0123456789abcdef", "0123456789abcdef0"),
        ("0123456789abcdef", "0123456789abcdeg"),
        (".zst.age", ""),
        (".zst.age", ".zst"),
        (".zst.age", ".age"),
        (".zst.age", ".zst.age\n"),
        (".zst.age", ".zst.age/"),
        (".zst.age", ".zst.age.tmp"),
        (".zst.age", "Xzst.age"),
    ],
)
def test_a_name_of_any_other_form_is_no_piece(old: str, new: str) -> None:
    assert old in KEY
    assert Segment.parse(KEY.replace(old, new, 1)) is None


@given(st.text(max_size=80), st.integers(0, len(KEY)), st.integers(0, 12))
def test_a_name_that_is_read_is_the_name_that_is_given(text: str, at: int, cut: int) -> None:
    for key in (text, KEY[:at] + text + KEY[at + cut :]):
        found = Segment.parse(key)
        assert found is None or found.key == key


@pytest.mark.parametrize(
    ("file", "next_one"),
    [
        ("binlog.000001", "binlog.000002"),
        ("binlog.000099", "binlog.000100"),
        ("binlog.999999", "binlog.1000000"),
        ("binlog.1000000", "binlog.1000001"),
    ],
)
def test_files_are_numbered_as_mysql_numbers_them(file: str, next_one: str) -> None:
    assert following(file) == next_one


# --- The way ---


def way(*pieces: Segment, first: str = FIRST) -> Chain:
    return unbroken(pieces, SERVER, first)


def test_no_pieces_are_a_way_of_no_length() -> None:
    assert way() == Chain((), None)


def test_pieces_are_put_in_order_across_files() -> None:
    second, third = following(FIRST), following(following(FIRST))
    pieces = [
        piece(0, 9),
        piece(9, 20),
        piece(0, 5, second),
        piece(0, 7, third),
        piece(7, 8, third),
    ]

    for shuffled in itertools.permutations(pieces):
        assert way(*shuffled) == Chain(tuple(pieces), None)


def test_the_way_goes_on_after_the_file_with_the_highest_six_digits() -> None:
    pieces = (piece(0, 9, "binlog.999999"), piece(0, 4, "binlog.1000000"))

    assert way(*pieces, first="binlog.999999") == Chain(pieces, None)
    assert way(*pieces, first="binlog.1000000") == Chain(pieces[1:], None)


def test_other_servers_and_earlier_files_are_left_out() -> None:
    pieces = [piece(0, 9, "binlog.000006"), piece(0, 9, server=OTHER), piece(9, 12, server=OTHER)]

    assert way(*pieces) == Chain((), None)
    assert way(*pieces, piece(0, 9)) == Chain((piece(0, 9),), None)


def test_a_piece_that_is_there_twice_is_taken_once() -> None:
    copies = [piece(0, 9, mark=1), piece(0, 9, mark=2), piece(9, 12), piece(9, 12)]

    found = way(*copies).segments
    assert [(each.start, each.end) for each in found] == [(0, 9), (9, 12)]
    assert way(*reversed(copies)).segments == found


def test_of_several_pieces_from_one_place_the_longest_is_taken() -> None:
    assert way(piece(0, 5), piece(0, 9), piece(5, 9)) == Chain((piece(0, 9),), None)


def test_a_longer_piece_that_leads_nowhere_is_not_taken() -> None:
    pieces = piece(0, 5), piece(0, 8), piece(5, 20)

    assert way(*pieces) == Chain((piece(0, 5), piece(5, 20)), None)


def test_a_piece_from_amid_another_is_not_usable() -> None:
    assert way(piece(0, 9), piece(5, 20)) == Chain((piece(0, 9),), (FIRST, 9))
    assert way(piece(0, 9), piece(5, 9)) == Chain((piece(0, 9),), None)


@pytest.mark.parametrize(
    ("pieces", "length", "gap"),
    [
        ([piece(0, 9), piece(10, 20)], 1, (FIRST, 9)),
        ([piece(4, 20)], 0, (FIRST, 0)),
        ([piece(0, 9), piece(5, 9, following(FIRST))], 1, ("binlog.000008", 0)),
        ([piece(0, 9), piece(0, 9, "binlog.000009")], 1, ("binlog.000008", 0)),
        ([piece(0, 9), piece(12, 15), piece(0, 9, following(FIRST))], 1, (FIRST, 9)),
        ([piece(0, 9, "binlog.000008")], 0, (FIRST, 0)),
    ],
)
def test_pieces_that_are_missing_before_later_ones_are_a_gap(
    pieces: list[Segment], length: int, gap: tuple[str, int]
) -> None:
    found = way(*pieces)

    assert found.segments == tuple(pieces[:length])
    assert found.gap == gap


RANGES = st.tuples(st.integers(0, 8), st.integers(1, 5), st.sampled_from([7, 8, 9]))


@given(st.lists(RANGES, max_size=14), st.randoms(use_true_random=False))
def test_whatever_pieces_there_are_the_way_is_whole_and_none_leads_further(
    ranges: list[tuple[int, int, int]], chance: random.Random
) -> None:
    pieces = [piece(start, start + size, f"binlog.{n:06d}") for start, size, n in ranges]
    found = way(*pieces)

    ends: dict[str, int] = {}
    for each in found.segments:
        assert each in pieces
        assert ends.get(each.file, 0) == each.start
        ends[each.file] = each.end
    assert list(ends) == [f"binlog.{n:06d}" for n in range(7, 7 + len(ends))]
    for file, end in ends.items():
        assert end == furthest([each for each in pieces if each.file == file])
    later = [
        each for each in pieces if (each.file, each.end) > max([*ends.items()], default=(FIRST, 0))
    ]
    assert (found.gap is None) == (not later)
    shuffled = [*pieces, *pieces[:3]]
    chance.shuffle(shuffled)
    assert way(*shuffled) == found


def furthest(pieces: list[Segment]) -> int:
    """Return how far pieces lead from 0, by trying all of them again and again."""
    reached = {0}
    for _ in pieces:
        reached |= {each.end for each in pieces if each.start in reached}
    return max(reached)


# --- The proof ---


def logs(*counts: int, end: int | None = ROTATE) -> list[bytes]:
    """Return files with so many transactions each, numbered through."""
    sums = [0, *itertools.accumulate(counts)]
    return [
        binlogs.log(range(before + 1, after + 1), before, end=end)
        for before, after in itertools.pairwise(sums)
    ]


def proven(*files: bytes, names: list[str] | None = None, base: GtidSet | None = None) -> GtidSet:
    continuity = Continuity(base)
    for index, data in enumerate(files):
        name = names[index] if names else f"binlog.{7 + index:06d}"
        continuity.feed(scan(io.BytesIO(data)), name)
    return continuity.executed


def test_nothing_is_executed_before_anything_came() -> None:
    assert Continuity().executed == GtidSet()


def test_files_that_follow_one_another_are_proven() -> None:
    assert proven(*logs(3, 0, 2)) == GtidSet.parse(f"{SERVER}:1-5")


def test_what_was_before_the_first_file_is_taken_from_it() -> None:
    assert proven(*logs(3, 2, 4)[1:]) == GtidSet.parse(f"{SERVER}:1-9")


def test_the_first_file_may_begin_before_the_base_ends_and_not_after() -> None:
    files = logs(3, 2, 4)[1:]
    for base in (f"{SERVER}:1-3", f"{SERVER}:1-4", f"{SERVER}:1-4,{OTHER}:1"):
        assert len(proven(*files, base=GtidSet.parse(base))) == 9
    for base, missing in (("", 1), (f"{SERVER}:1-2", 3), (f"{OTHER}:1-9", 1)):
        with pytest.raises(Damaged, match=f"{SERVER}:{missing} is missing before {FIRST}"):
            proven(*files, base=GtidSet.parse(base))


def test_a_file_may_just_end_where_the_server_did() -> None:
    assert proven(*logs(3, 2, end=None)) == GtidSet.parse(f"{SERVER}:1-5")


def test_transactions_of_several_servers_go_side_by_side() -> None:
    first = binlogs.head()
    for number, server in ((1, SERVER), (1, OTHER), (2, OTHER)):
        first += binlogs.transaction(number, len(first), server=server)
    second = binlogs.head(binlogs.gtids([(OTHER, [(1, 2)]), (SERVER, [(1, 1)])]))

    assert proven(first, second) == GtidSet.parse(f"{SERVER}:1,{OTHER}:1-2")


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ([0, 2], f"{SERVER}:4 is missing before binlog.000008"),
        ([1, 0], f"binlog.000008 begins before {SERVER}:1"),
        ([0, 0], f"binlog.000008 begins before {SERVER}:1"),
        ([0, 1, 1], f"binlog.000009 begins before {SERVER}:4"),
        ([2, 1], f"binlog.000008 begins before {SERVER}:4"),
    ],
)
def test_content_of_another_file_is_found(order: list[int], text: str) -> None:
    files = logs(3, 2, 4)

    with pytest.raises(Damaged, match=text):
        proven(*(files[index] for index in order))


def test_a_file_whose_end_is_missing_is_found_at_the_next_one() -> None:
    first, second = logs(3, 2)
    cut = scan(io.BytesIO(first)).transactions[2].begin

    with pytest.raises(Damaged, match=f"{SERVER}:3 is missing before binlog.000008"):
        proven(first[:cut], second)
    with pytest.raises(Damaged, match=f"{SERVER}:3 is missing before binlog.000008"):
        proven(first[: cut + 100], second)


def test_a_transaction_that_comes_again_is_found() -> None:
    twice = binlogs.log([1, 2, 2])

    with pytest.raises(Damaged, match=f"binlog.000007 repeats {SERVER}:2"):
        proven(twice)
    with pytest.raises(Damaged, match=f"binlog.000008 repeats {SERVER}:1"):
        proven(logs(2)[0], binlogs.log([1], 2))


def test_a_file_of_another_number_is_found_though_its_content_fits() -> None:
    with pytest.raises(Damaged, match=r"binlog.000009 comes after binlog.000007"):
        proven(*logs(2, 1), names=["binlog.000007", "binlog.000009"])
    with pytest.raises(Damaged, match=r"binlog.000007 comes after binlog.000007"):
        proven(*logs(2, 1), names=["binlog.000007", "binlog.000007"])


def test_a_file_without_a_head_is_found() -> None:
    with pytest.raises(Damaged, match=r"binlog.000007 has no head"):
        proven(b"")
    with pytest.raises(Damaged, match=r"binlog.000008 has no head"):
        proven(logs(2)[0], binlogs.head()[:-1])


def test_a_file_may_come_in_parts() -> None:
    data, after = logs(5, 1)
    continuity, at = Continuity(), 0
    while at < len(data):
        part = scan(io.BytesIO(data), at, most=200)
        continuity.feed(part, FIRST)
        at = part.end
    continuity.feed(scan(io.BytesIO(after)), following(FIRST))

    assert continuity.executed == GtidSet.parse(f"{SERVER}:1-6")


def test_parts_that_do_not_meet_are_found() -> None:
    (data,) = logs(3)
    first, second, third = scan(io.BytesIO(data)).transactions
    for begin in (first.begin, third.begin, third.end):
        continuity = Continuity()
        continuity.feed(scan(io.BytesIO(data[: first.end])), FIRST)
        with pytest.raises(Damaged, match=f"goes on at {begin} and not at {second.begin}"):
            continuity.feed(scan(io.BytesIO(data), begin), FIRST)
    with pytest.raises(Damaged, match=r"binlog.000008 has no head"):
        continuity.feed(scan(io.BytesIO(data), second.begin), following(FIRST))


COUNTS = st.lists(st.integers(0, 6), min_size=2, max_size=4)
CHANGES = st.sampled_from(["keep", "drop", "double", "exchange", "rename"])


@given(COUNTS, CHANGES, st.randoms(use_true_random=False))
def test_pieces_shuffled_doubled_dropped_or_moved_are_put_right_or_found(
    counts: list[int], change: str, chance: random.Random
) -> None:
    """What is taken is always a beginning of what was, transaction by transaction."""
    files = {f"binlog.{7 + index:06d}": data for index, data in enumerate(logs(*counts))}
    stored = cut(files, chance)
    keys = list(stored)
    one, two = chance.choice(keys), chance.choice(keys)
    if change == "drop":
        del stored[one]
    elif change == "double":
        stored[replace(one, digest="f" * 16)] = stored[one]
    elif change == "exchange":
        stored[one], stored[two] = stored[two], stored[one]
    elif change == "rename":
        stored[replace(one, file=two.file, digest="e" * 16)] = stored.pop(one)
    shuffled = list(stored)
    chance.shuffle(shuffled)

    chain = unbroken(shuffled, SERVER, FIRST)
    restored: dict[str, bytes] = {}
    for each in chain.segments:
        restored[each.file] = restored.get(each.file, b"") + stored[each]
    try:
        executed = proven(*restored.values(), base=GtidSet())
    except Damaged:
        assert change not in {"keep", "double"}
        return

    assert change not in {"keep", "double"} or restored == files
    taken = transactions(restored)
    assert taken == transactions(files)[: len(taken)]
    assert executed == GtidSet.from_gtids(f"{SERVER}:{n + 1}" for n in range(len(taken)))


def cut(files: dict[str, bytes], chance: random.Random) -> dict[Segment, bytes]:
    """Return the content of files in pieces that end anywhere."""
    stored = {}
    for file, data in files.items():
        middle = chance.sample(range(1, len(data)), chance.randint(0, 5))
        for start, end in itertools.pairwise([0, *sorted(middle), len(data)]):
            stored[piece(start, end, file)] = data[start:end]
    return stored


def transactions(files: dict[str, bytes]) -> list[bytes]:
    """Return the bytes of all transactions that are whole."""
    return [
        data[each.begin : each.end]
        for data in files.values()
        for each in scan(io.BytesIO(data)).transactions
    ]


# --- A moment ---


@pytest.mark.parametrize(
    ("moments", "moment", "index"),
    [
        ([], 5, None),
        ([1, 2, 3], 0, 0),
        ([1, 2, 3], 1, 1),
        ([1, 2, 3], 2, 2),
        ([1, 2, 3], 3, None),
        ([1, 9, 3, 4], 5, 1),
        ([9, 1, 2], 5, 0),
        ([5, 5, 6], 5, 2),
    ],
)
def test_a_moment_ends_before_the_first_transaction_after_it_in_the_order_of_the_log(
    moments: list[int], moment: int, index: int | None
) -> None:
    data = binlogs.log(range(1, len(moments) + 1), moments=moments)
    found: list[Transaction] = scan(io.BytesIO(data)).transactions

    assert stop_before(found, moment) == index


def test_a_log_of_no_transactions_has_none_after_a_moment() -> None:
    assert stop_before(Log(None, [], 0, closed=False).transactions, 0) is None
