"""Sets of GTIDs: as MySQL writes them, and with the algebra of sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.gtids import LAST, GtidSet
from tests.binlogs import OTHER, SERVER

SOURCES = [SERVER, OTHER, f"{SERVER}:nightly", f"{OTHER}:a_1"]
GTIDS = st.builds("{}:{}".format, st.sampled_from(SOURCES), st.integers(1, 12))
SETS = st.frozensets(GTIDS, max_size=40)


def made(gtids: frozenset[str]) -> GtidSet:
    return GtidSet.from_gtids(gtids)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("", ""),
        (" \n", ""),
        (f"{SERVER}:1", f"{SERVER}:1"),
        (f"{SERVER}:1-8", f"{SERVER}:1-8"),
        (f"{SERVER}:1-8:10", f"{SERVER}:1-8:10"),
        (f"{SERVER}:10:1-8", f"{SERVER}:1-8:10"),
        (f"{SERVER}:4-8:1-5:9", f"{SERVER}:1-9"),
        (f"{SERVER}:1-9:2-3", f"{SERVER}:1-9"),
        (f"{SERVER}:3-3", f"{SERVER}:3"),
        (f"{SERVER.upper()}:7", f"{SERVER}:7"),
        (f" {SERVER}:1 - 8 : 10 ,\n{OTHER}:5\n", f"{OTHER}:5,{SERVER}:1-8:10"),
        (f"{SERVER}:1,{SERVER}:2", f"{SERVER}:1-2"),
        (f"{SERVER}:Nightly:1-3", f"{SERVER}:nightly:1-3"),
        (f"{SERVER}:1-3:b:4:a:5-6:8", f"{SERVER}:1-3:a:5-6:8:b:4"),
        (f"{SERVER}:a:5,{SERVER}:1-3,{SERVER}:a:6", f"{SERVER}:1-3:a:5-6"),
        (f"{SERVER}:1-{LAST}", f"{SERVER}:1-{LAST}"),
    ],
)
def test_a_set_is_read_as_mysql_writes_it_and_written_in_one_way(
    written: str, canonical: str
) -> None:
    assert str(GtidSet.parse(written)) == canonical
    assert str(GtidSet.parse(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "x",
        ",",
        SERVER,
        f"{SERVER}:",
        f"{SERVER}:1,",
        f"{SERVER}:0",
        f"{SERVER}:5-3",
        f"{SERVER}:1-",
        f"{SERVER}:-1",
        f"{SERVER}:1--2",
        f"{SERVER}:1:",
        f"{SERVER}:nightly",
        f"{SERVER}:1:nightly",
        f"{SERVER}:a:b:1",
        f"{SERVER}:{'t' * 33}:1",
        f"{SERVER}:1 2",
        f"{SERVER}:١",  # a digit, and not one of ours
        f"{SERVER}:{LAST + 1}",
        f"{SERVER}:{10**30}",
        f"{SERVER[:-1]}:1",
        f"{SERVER}0:1",
        f"{SERVER.replace('-', '')}:1",
        f"{SERVER.replace('2', 'g')}:1",
        f"{SERVER} {OTHER}:1",
        "ANONYMOUS",
    ],
)
def test_anything_else_is_no_set(text: str) -> None:
    with pytest.raises(ValueError, match="GTIDs"):
        GtidSet.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        SERVER,
        f"{SERVER}:",
        f"{SERVER}:0",
        f"{SERVER}:1-2",
        f"{SERVER}:²",
        f"{SERVER}:١",
        f"{SERVER}: 1",
        f"{SERVER}:+1",
        f"{SERVER}::1",
        f"{SERVER}:a:b:1",
        f"{SERVER}:{LAST + 1}",
        "x:1",
    ],
)
def test_anything_else_is_no_single_gtid(text: str) -> None:
    empty = GtidSet()
    for use in (empty.with_one, empty.__contains__, lambda gtid: GtidSet.from_gtids([gtid])):
        with pytest.raises(ValueError, match="no GTID"):
            use(text)


def test_a_gtid_in_capitals_is_the_same_one() -> None:
    assert f"{SERVER.upper()}:3" in GtidSet.parse(f"{SERVER}:1-3")
    assert GtidSet().with_one(f"{SERVER.upper()}:A:3") == GtidSet.parse(f"{SERVER}:a:3")


def test_a_tag_makes_it_another_gtid() -> None:
    assert f"{SERVER}:3" not in GtidSet.parse(f"{SERVER}:a:1-3")
    assert f"{SERVER}:a:3" not in GtidSet.parse(f"{SERVER}:1-3")


@given(st.text(max_size=60))
def test_no_text_does_anything_but_be_a_set_or_a_value_error(text: str) -> None:
    for each in (text, f"{SERVER}:{text}"):
        try:
            found = GtidSet.parse(each)
        except ValueError:
            continue
        assert GtidSet.parse(str(found)) == found


@given(SETS)
def test_a_set_holds_what_was_put_in(gtids: frozenset[str]) -> None:
    found = made(gtids)

    assert set(found) == gtids
    assert len(list(found)) == len(found) == len(gtids)
    assert bool(found) == bool(gtids)
    assert GtidSet.parse(str(found)) == found
    assert GtidSet.parse(",\n".join(gtids)) == found


@given(SETS, GTIDS)
def test_a_gtid_is_in_a_set_or_not(gtids: frozenset[str], gtid: str) -> None:
    found = made(gtids)

    assert (gtid in found) == (gtid in gtids)
    assert found.with_one(gtid) == made(gtids | {gtid})


@given(SETS, SETS)
def test_sets_are_joined_taken_away_and_compared_as_sets_are(
    one: frozenset[str], two: frozenset[str]
) -> None:
    first, second = made(one), made(two)

    assert first | second == made(one | two)
    assert first - second == made(one - two)
    assert (first <= second) == (one <= two)
    assert (first == second) == (one == two)
    assert hash(first | second) == hash(second | first)


@given(
    st.permutations(sorted(f"{source}:{number}" for source in SOURCES for number in range(1, 6)))
)
def test_the_order_in_which_gtids_come_does_not_matter(gtids: list[str]) -> None:
    grown = GtidSet()
    for gtid in gtids:
        grown = grown.with_one(gtid)

    assert grown == GtidSet.from_gtids(gtids)
    assert grown == GtidSet.from_gtids(reversed(gtids))
    assert len(grown.sources) == len(SOURCES)


def test_a_large_set_is_neither_counted_nor_compared_one_by_one() -> None:
    large = GtidSet.parse(f"{SERVER}:1-{10**15}")

    assert len(large) == 10**15
    assert len(large - GtidSet.parse(f"{SERVER}:5:7-9:{10**14}")) == 10**15 - 5
    assert next(iter(large)) == f"{SERVER}:1"
    assert f"{SERVER}:{10**15}" in large


def test_thousands_of_gtids_in_sequence_stay_one_range() -> None:
    grown = GtidSet.parse(f"{OTHER}:1-9:11,{SERVER}:1-7")
    for number in range(8, 20_000):
        grown = grown.with_one(f"{SERVER}:{number}")

    assert str(grown) == f"{OTHER}:1-9:11,{SERVER}:1-19999"
