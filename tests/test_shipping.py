"""Logs on their way: whatever is cut off, what is stored leads on without a gap. No real MySQL."""

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import seals, shipping
from ops.binlog import ROTATE, scan
from ops.chain import Continuity, Segment, unbroken
from ops.errors import OpsError
from ops.shipping import Shipper
from ops.vault import Vault
from tests.aws import Aws, Fault
from tests.binlogs import OTHER as FOREIGN
from tests.binlogs import SERVER, log
from tests.stored import PRIVATE, PUBLIC, FakeDonor, a_donor, a_vault, names, put

NOW = datetime.now(UTC)


@pytest.fixture
def place(aws: Aws) -> Vault:
    return a_vault(aws)


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
