"""Logs on their way: whatever is cut off, what is stored leads on without a gap. No real MySQL."""

import io
import os
import random
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import seals, shipping
from ops.binlog import ROTATE, scan
from ops.chain import Continuity, Segment, following, unbroken
from ops.errors import OpsError
from ops.shipping import Shipper
from ops.vault import Entry, Vault
from tests.aws import Aws, Fault
from tests.binlogs import COMMITTED, SERVER, event, log, transaction
from tests.binlogs import OTHER as FOREIGN
from tests.stored import BUCKET, PRIVATE, PUBLIC, FakeDonor, a_donor, names, put

NOW = datetime.now(UTC)


@pytest.fixture
def donor(tmp_path: Path) -> FakeDonor:
    return a_donor(tmp_path)


def shipper(place: Vault, donor: FakeDonor) -> Shipper:
    double: Any = donor
    return Shipper(place, double, donor.uuid, donor.data, [PUBLIC])


def pieces(place: Vault) -> list[Segment]:
    return [each for name in names(place, "logs/") if (each := Segment.parse(name))]


def restored(place: Vault, first: str = "binlog.000001") -> dict[str, bytes]:
    """Return the files that what is stored leads to, as a restore puts them together."""
    way = unbroken(pieces(place), SERVER, first)
    assert way.gap is None
    files: dict[str, bytes] = {}
    for piece in way.segments:
        plain = seals.unsealed(place.read(piece.key), PRIVATE)
        files[piece.file] = files.get(piece.file, b"") + plain
    proven = Continuity()
    for name, data in files.items():
        proven.feed(scan(io.BytesIO(data)), name)
    return files


def test_what_is_committed_is_stored_and_only_once(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 6))
    ours = shipper(place, donor)
    assert ours.ship(NOW)
    assert ours.ship(NOW)

    assert restored(place) == {"binlog.000001": (donor.data / "binlog.000001").read_bytes()}
    [piece] = pieces(place)
    assert piece.committed > 0


def test_what_is_written_and_not_committed_waits(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 4))
    donor.write("binlog.000001", log(range(1, 6)))
    ours = shipper(place, donor)
    ours.ship(NOW)
    three = restored(place)["binlog.000001"]
    assert len(scan(io.BytesIO(three)).transactions) == 3

    donor.committed = 5
    ours.ship(NOW)
    assert restored(place)["binlog.000001"] == (donor.data / "binlog.000001").read_bytes()


def test_a_transaction_that_is_half_written_waits(place: Vault, donor: FakeDonor) -> None:
    whole = log(range(1, 4))
    donor.committed = 3
    ours = shipper(place, donor)
    for size in range(len(whole) - 300, len(whole), 7):
        donor.write("binlog.000001", whole[:size])
        ours.ship(NOW)
        found = restored(place)["binlog.000001"]
        assert whole.startswith(found)
    donor.write("binlog.000001", whole)
    ours.ship(NOW)

    assert restored(place)["binlog.000001"] == whole


def test_the_next_file_follows_when_one_ended(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 4), end=ROTATE)
    donor.commit("binlog.000002", range(4, 8), 3)
    ours = shipper(place, donor)
    ours.ship(NOW)

    assert list(restored(place)) == ["binlog.000001", "binlog.000002"]
    assert ours.place.file == "binlog.000002"


def test_a_file_that_a_crash_ended_is_followed_by_the_next(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 4))
    ours = shipper(place, donor)
    ours.ship(NOW)
    donor.commit("binlog.000002", range(4, 6), 3)
    ours.ship(NOW)

    assert list(restored(place)) == ["binlog.000001", "binlog.000002"]


@pytest.mark.parametrize("count", range(1, 8))
def test_a_new_service_goes_on_wherever_the_old_one_was_killed(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(shipping, "PIECE", 300)  # a transaction is cut into several pieces
    donor.commit("binlog.000001", range(1, 30), end=ROTATE)
    donor.commit("binlog.000002", range(30, 33), 29)
    original, stored = place.put, 0

    def dies(name: str, data: bytes, until: datetime) -> None:
        nonlocal stored
        if stored == count:
            raise KeyboardInterrupt
        stored += 1
        original(name, data, until)

    dying = shipper(place, donor)
    object.__setattr__(place, "put", dies)
    with pytest.raises(KeyboardInterrupt):
        dying.ship(NOW)
    object.__setattr__(place, "put", original)
    shipper(place, donor).ship(NOW)

    files = restored(place)
    for name in ("binlog.000001", "binlog.000002"):
        assert files[name] == (donor.data / name).read_bytes()


def test_s3_that_is_away_loses_nothing(aws: Aws, place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 4))
    ours = shipper(place, donor)
    with aws.failing(Fault(lambda *_: True, "AccessDenied", 403)), pytest.raises(OpsError):
        ours.ship(NOW)
    donor.commit("binlog.000001", range(1, 9))
    ours.ship(NOW)

    assert restored(place)["binlog.000001"] == (donor.data / "binlog.000001").read_bytes()


def test_a_piece_is_named_by_what_is_stored(place: Vault, donor: FakeDonor) -> None:
    import hashlib

    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)
    [piece] = pieces(place)

    assert hashlib.sha256(place.read(piece.key)).hexdigest().startswith(piece.digest)


def test_a_server_that_was_restored_begins_logs_of_its_own(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)
    donor.uuid = FOREIGN
    donor.write("binlog.000001", log([]))
    donor.committed = 0
    other = shipper(place, donor)
    other.ship(NOW)

    assert {each.server for each in pieces(place)} == {SERVER, FOREIGN}


def test_logs_that_went_before_they_were_stored_are_a_gap_that_is_said(
    place: Vault, donor: FakeDonor
) -> None:
    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)
    (donor.data / "binlog.000001").unlink()
    donor.commit("binlog.000005", range(9, 12), 8)
    late = shipper(place, donor)

    assert late.gap
    assert late.place.file == "binlog.000005"
    late.ship(NOW)
    assert unbroken(pieces(place), SERVER, "binlog.000001").gap is not None


def test_damage_in_a_log_is_said_and_nothing_of_it_stored(place: Vault, donor: FakeDonor) -> None:
    whole = bytearray(log(range(1, 4)))
    whole[-40] ^= 1
    donor.write("binlog.000001", bytes(whole))
    donor.committed = 3
    with pytest.raises(OpsError, match=r"binlog\.000001 is damaged"):
        shipper(place, donor).ship(NOW)


def test_foreign_names_in_the_bucket_do_not_matter(place: Vault, donor: FakeDonor) -> None:
    for name in ("x", "binlog.000009/1-2-0-ff.zst.age", "../binlog.000001"):
        put(place, f"logs/{SERVER}/{name}", b"x")
    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)

    assert len(pieces(place)) == 1


def test_only_what_is_stored_and_old_is_forgotten(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000001", range(1, 3), end=ROTATE)
    donor.commit("binlog.000002", range(3, 5), 2, end=ROTATE)
    donor.commit("binlog.000003", range(5, 7), 4)
    ours = shipper(place, donor)
    old = (NOW - timedelta(days=2)).timestamp()
    for name in donor.logs():
        os.utime(donor.data / name, (old, old))
    ours.forget(NOW - timedelta(days=1))
    assert donor.forgotten == []  # nothing is stored yet

    ours.ship(NOW)
    ours.forget(NOW - timedelta(days=3))
    assert donor.forgotten == []  # nothing is that old
    ours.forget(NOW - timedelta(days=1))
    assert donor.forgotten == ["binlog.000003"]  # the one being written stays


# --- Where a service goes on ---


def big(count: int, size: int) -> bytes:
    """Return a file whose transactions are longer than a piece."""
    data = log([])
    for number in range(1, count + 1):
        data += transaction(number, len(data), committed=COMMITTED + number, rows=size)
    return data


@pytest.mark.parametrize("count", [1, 3, 4, 6, 9])
def test_it_goes_on_in_the_middle_of_a_transaction_that_is_cut_into_pieces(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(shipping, "PIECE", 500)
    donor.write("binlog.000001", big(3, 1500))
    donor.committed = 3
    shipper(place, donor).ship(NOW)
    for piece in pieces(place)[count:]:
        place.s3.delete_object(Bucket=BUCKET, Key=place.key(piece.key))
    stored = pieces(place)
    donor.write("binlog.000001", big(4, 1500))
    donor.committed = 4
    shipper(place, donor).ship(NOW)

    assert restored(place)["binlog.000001"] == (donor.data / "binlog.000001").read_bytes()
    assert pieces(place)[: len(stored)] == stored  # nothing is stored twice


@pytest.mark.parametrize("lost", range(4))
def test_a_piece_that_is_lost_is_stored_again_with_what_followed_it(
    place: Vault, donor: FakeDonor, lost: int
) -> None:
    ours = shipper(place, donor)
    for last in range(2, 6):
        donor.commit("binlog.000001", range(1, last))
        ours.ship(NOW)
    place.s3.delete_object(Bucket=BUCKET, Key=place.key(pieces(place)[lost].key))
    donor.commit("binlog.000001", range(1, 8))
    shipper(place, donor).ship(NOW)

    assert restored(place)["binlog.000001"] == (donor.data / "binlog.000001").read_bytes()


def test_a_file_that_was_open_when_its_head_was_stored_goes_on_when_it_is_closed(
    place: Vault, donor: FakeDonor
) -> None:
    donor.commit("binlog.000001", range(1, 4), in_use=True)
    shipper(place, donor).ship(NOW)
    donor.commit("binlog.000001", range(1, 6), end=ROTATE)
    donor.commit("binlog.000002", range(6, 7), 5)
    shipper(place, donor).ship(NOW)

    files = restored(place)
    assert list(files) == ["binlog.000001", "binlog.000002"]
    assert len(scan(io.BytesIO(files["binlog.000001"])).transactions) == 5


def test_what_comes_between_the_look_for_a_next_file_and_the_reading_is_not_left_out(
    place: Vault, donor: FakeDonor
) -> None:
    """MySQL commits and turns to the next file while this one is read: it is read once more."""
    donor.commit("binlog.000001", range(1, 4))
    ours = shipper(place, donor)
    ours.ship(NOW)
    executed = donor.executed

    def rotates() -> str:
        donor.commit("binlog.000001", range(1, 8), end=ROTATE)
        donor.commit("binlog.000002", range(8, 9), 7)
        return executed()

    donor.executed = rotates  # type: ignore[method-assign]
    ours.ship(NOW)
    donor.executed = executed  # type: ignore[method-assign]
    ours.ship(NOW)

    files = restored(place)
    assert files["binlog.000001"] == (donor.data / "binlog.000001").read_bytes()
    assert files["binlog.000002"] == (donor.data / "binlog.000002").read_bytes()


def test_a_log_that_a_crash_cut_is_followed_by_the_next_and_its_torn_end_left(
    place: Vault, donor: FakeDonor
) -> None:
    whole = log(range(1, 4))
    donor.write("binlog.000001", whole + transaction(4, len(whole))[:-10])
    donor.commit("binlog.000002", range(4, 6), 3)
    donor.committed = 5
    shipper(place, donor).ship(NOW)

    assert restored(place) == {
        "binlog.000001": whole,
        "binlog.000002": (donor.data / "binlog.000002").read_bytes(),
    }


def test_nothing_is_stored_beyond_the_first_transaction_that_is_not_committed(
    place: Vault, donor: FakeDonor
) -> None:
    donor.write("binlog.000001", log(range(1, 6)))
    donor.executed = lambda: f"{SERVER}:1-2:4-5"  # type: ignore[method-assign]
    shipper(place, donor).ship(NOW)

    [piece] = pieces(place)
    assert len(scan(io.BytesIO(restored(place)["binlog.000001"])).transactions) == 2
    assert piece.committed == COMMITTED + 2


def test_what_mysql_has_no_more_is_not_listed_to_find_where_to_go_on(
    aws: Aws, place: Vault, donor: FakeDonor
) -> None:
    donor.commit("binlog.000001", range(1, 4), end=ROTATE)
    donor.commit("binlog.000002", range(4, 6), 3)
    shipper(place, donor).ship(NOW)
    (donor.data / "binlog.000001").unlink()
    aws.calls.clear()
    again = shipper(place, donor)

    assert (again.place.file, again.gap) == ("binlog.000002", False)
    [call] = aws.calls
    assert call.fields["start-after"].endswith(f"logs/{SERVER}/binlog.000002")


# --- Logs that went ---


@pytest.mark.parametrize("left", ["binlog.000002", "binlog.000003"])
def test_a_last_log_that_went_is_a_gap_whatever_is_there_of_the_next(
    place: Vault, donor: FakeDonor, left: str
) -> None:
    """Whether all of it was stored, nobody can say any more."""
    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)
    (donor.data / "binlog.000001").unlink()
    donor.commit(left, range(5, 7), 4)
    late = shipper(place, donor)

    assert late.gap
    assert late.place.file == left


def test_a_log_that_is_shorter_than_what_is_stored_of_it_is_a_gap(
    place: Vault, donor: FakeDonor
) -> None:
    donor.commit("binlog.000001", range(1, 9))
    shipper(place, donor).ship(NOW)
    donor.write("binlog.000001", log(range(1, 4)))
    donor.commit("binlog.000002", range(4, 6), 3)
    late = shipper(place, donor)

    assert late.gap
    assert late.place.file == "binlog.000002"


def test_a_log_that_goes_while_the_service_runs_is_a_gap_and_the_first_is_next(
    place: Vault, donor: FakeDonor
) -> None:
    ours = shipper(place, donor)
    (donor.data / "binlog.000001").unlink()
    donor.commit("binlog.000004", range(9, 12), 8)
    ours.ship(NOW)

    assert ours.gap
    assert [each.file for each in pieces(place)] == ["binlog.000004"]


def test_a_log_that_only_mysql_sees_is_an_error_and_no_loop(place: Vault, donor: FakeDonor) -> None:
    ours = shipper(place, donor)
    (donor.data / "binlog.000001").unlink()
    donor.logs = lambda: ["binlog.000001"]  # type: ignore[method-assign]
    with pytest.raises(OpsError, match="MySQL says that it is"):
        ours.ship(NOW)


def test_damage_before_the_place_where_it_goes_on_is_said_as_well(
    place: Vault, donor: FakeDonor
) -> None:
    donor.commit("binlog.000001", range(1, 4))
    shipper(place, donor).ship(NOW)
    whole = bytearray((donor.data / "binlog.000001").read_bytes())
    whole[300] ^= 1
    donor.write("binlog.000001", bytes(whole))
    with pytest.raises(OpsError, match=r"binlog\.000001 is damaged"):
        shipper(place, donor)


def test_logs_beyond_a_million_are_in_their_order(place: Vault, donor: FakeDonor) -> None:
    (donor.data / "binlog.000001").unlink()
    donor.commit("binlog.999999", range(1, 3), end=ROTATE)
    donor.commit("binlog.1000000", range(3, 5), 2)
    donor.logs = lambda: ["binlog.999999", "binlog.1000000"]  # type: ignore[method-assign]
    shipper(place, donor).ship(NOW)
    again = shipper(place, donor)

    assert (again.place.file, again.gap) == ("binlog.1000000", False)
    assert list(restored(place, "binlog.999999")) == ["binlog.999999", "binlog.1000000"]


def test_a_young_log_is_kept_also_before_an_old_one(place: Vault, donor: FakeDonor) -> None:
    """Where the clock jumped: what is deleted is deleted up to a log, with all before it."""
    for number in range(1, 4):
        donor.commit(f"binlog.00000{number}", range(number, number + 1), number - 1, end=ROTATE)
    donor.commit("binlog.000004", range(4, 5), 3)
    ours = shipper(place, donor)
    ours.ship(NOW)
    old = (NOW - timedelta(days=2)).timestamp()
    for name in ("binlog.000001", "binlog.000003"):
        os.utime(donor.data / name, (old, old))
    ours.forget(NOW - timedelta(days=1))

    assert donor.forgotten == ["binlog.000002"]


def test_a_log_that_mysql_deleted_itself_is_no_error(place: Vault, donor: FakeDonor) -> None:
    donor.commit("binlog.000002", range(1, 2))
    ours = shipper(place, donor)
    ours.ship(NOW)
    donor.logs = lambda: ["binlog.000000", "binlog.000002"]  # type: ignore[method-assign]
    ours.forget(NOW)

    assert donor.forgotten == []


# --- All of it together ---


class Memory:
    """A place in memory, which fails by chance before or after it has stored."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.held, self.fails = chance, dict[str, bytes](), True

    def put(self, name: str, data: bytes, until: datetime) -> None:
        assert until > NOW
        luck = self.chance.random() if self.fails else 1
        if luck > 0.2:
            assert name not in self.held
            self.held[name] = data
        if luck < 0.4:
            raise OpsError("S3 is away", "wait")

    def list(self, below: str, after: str = "") -> list[Entry]:
        names = sorted(name for name in self.held if name.startswith(below) and name > after)
        return [Entry(name, len(self.held[name])) for name in names]

    def read(self, name: str) -> bytes:
        return self.held[name]


class Life:
    """A MySQL that commits, is cut while it writes, crashes and turns to the next log."""

    def __init__(self, donor: FakeDonor, chance: random.Random) -> None:
        self.donor, self.chance = donor, chance
        self.name, self.data, self.number = "binlog.000001", log([]), 0
        self.whole: dict[str, bytes] = {}

    def commit(self) -> None:
        for _ in range(self.chance.randint(1, 4)):
            self.number += 1
            moment, rows = COMMITTED + self.number, self.chance.choice([5, 50, 900])
            self.data += transaction(self.number, len(self.data), committed=moment, rows=rows)
        torn = transaction(self.number + 1, len(self.data))[: self.chance.randint(0, 150)]
        self.donor.write(self.name, self.data + torn)
        self.donor.committed = self.number - self.chance.randint(0, 1)

    def turn(self) -> None:
        if self.chance.random() < 0.7:  # otherwise the log just ends, as after a crash
            self.data += event(ROTATE, struct.pack("<Q", 4) + b"binlog.000002", len(self.data))
        self.rest()
        self.name, self.data = following(self.name), log([], self.number)
        self.donor.write(self.name, self.data)

    def rest(self) -> None:
        self.donor.committed = self.number
        self.donor.write(self.name, self.data)
        self.whole[self.name] = self.data


@pytest.mark.parametrize("seed", range(20))
def test_whatever_fails_and_whenever_what_is_stored_leads_to_all_that_was_committed(
    donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(shipping, "PIECE", chance.choice([250, 700, 10_000]))
    memory, life = Memory(chance), Life(donor, chance)
    place: Any = memory
    ours = shipper(place, donor)
    for _ in range(50):
        step = chance.choices(["commit", "turn", "killed", "ship"], [10, 3, 2, 5])[0]
        if step == "ship":
            with suppress(OpsError):
                ours.ship(NOW)
        elif step == "killed":
            ours = shipper(place, donor)
            files = restored(place) if memory.held else {}
            assert all((donor.data / each).read_bytes().startswith(files[each]) for each in files)
        else:
            getattr(life, step)()
    life.rest()
    memory.fails = False
    ours.ship(NOW)

    assert restored(place) == life.whole
    assert not ours.gap
