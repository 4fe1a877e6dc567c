"""A backup unpacked: whole and to the moment asked for, or not at all. MySQL is a double."""

import argparse
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest

from ops import fetching, keeper, manifest, seals
from ops.binlog import ROTATE, scan
from ops.chain import Segment
from ops.errors import OpsError
from ops.manifest import Manifest, Stored
from ops.settings import Settings
from ops.vault import Vault
from tests.aws import Aws
from tests.binlogs import COMMITTED, SERVER, log
from tests.stored import (
    BUCKET,
    KEY,
    OTHER,
    PLACE,
    PRIVATE,
    PUBLIC,
    FakeDonor,
    a_base,
    a_donor,
    names,
    put,
    told,
)
from tests.test_shipping import NOW, shipper


@pytest.fixture
def donor(tmp_path: Path) -> FakeDonor:
    made = a_donor(tmp_path)
    made.commit("binlog.000001", range(1, 6))
    return made


@pytest.fixture
def mysql(place: Vault, donor: FakeDonor) -> tuple[Vault, FakeDonor]:
    return place, donor


Fetch = Callable[..., dict[str, Any]]


@pytest.fixture
def fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Fetch:
    """Unpack into a folder of the test's; return what is said."""
    where = tmp_path / "restore"
    monkeypatch.setattr(fetching, "DATA", where / "data")
    monkeypatch.setattr(fetching, "LOGS", where / "logs")
    monkeypatch.setattr(fetching, "CREDENTIALS", tmp_path / "credentials")

    def run(identity: str, to: str = "", key: str = PRIVATE) -> dict[str, Any]:
        shutil.rmtree(where, ignore_errors=True)
        for name in ("data", "logs"):
            (where / name).mkdir(parents=True)
        given = io.StringIO(json.dumps({"key": key, "credentials": "[default]\n"}))
        monkeypatch.setattr("sys.stdin", given)
        capsys.readouterr()
        fetching.fetch(PLACE, argparse.Namespace(id=identity, to=to), told)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return run


def after(donor: FakeDonor, place: Vault, moments: list[int] | None = None) -> Manifest:
    """Make a base, then three more transactions and a new file with two."""
    made = a_base(place, donor)
    times = moments or [COMMITTED + 100, COMMITTED + 200, COMMITTED + 300]
    donor.commit("binlog.000002", range(6, 9), 5, moments=times, end=ROTATE)
    donor.commit("binlog.000003", range(9, 11), 8, moments=[COMMITTED + 400, COMMITTED + 500])
    shipper(place, donor).ship(NOW)
    return made


def unpacked(tmp_path: Path, *parts: str) -> bytes:
    return tmp_path.joinpath("restore", *parts).read_bytes()


def transactions(tmp_path: Path, name: str) -> int:
    return len(scan(io.BytesIO(unpacked(tmp_path, "logs", "after", name))).transactions)


def test_a_backup_alone_is_its_data_and_its_tail(
    tmp_path: Path, place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = a_base(place, donor)
    found = fetch(made.id)

    assert found == {"tail": ["binlog.000002"], "gtids": made.gtids}
    assert unpacked(tmp_path, "data", "mlflow", "runs.ibd") == b"rows " * 1000
    assert unpacked(tmp_path, "data", "ibdata1") == bytes(10_000)


def test_all_that_was_stored_follows_it(
    tmp_path: Path, place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = after(donor, place)
    found = fetch(made.id, "last")

    assert found["after"] == ["binlog.000002", "binlog.000003"]
    assert (found["transactions"], found["gtids"]) == (5, f"{SERVER}:1-10")
    for name in found["after"]:
        assert unpacked(tmp_path, "logs", "after", name) == (donor.data / name).read_bytes()


@pytest.mark.parametrize(
    ("offset", "count"), [(99, 0), (100, 1), (199, 1), (299, 2), (300, 3), (450, 4), (9999, 5)]
)
def test_a_moment_is_met_to_the_microsecond(
    tmp_path: Path, mysql: tuple[Vault, FakeDonor], fetch: Fetch, offset: int, count: int
) -> None:
    made = after(mysql[1], mysql[0])
    found = fetch(made.id, str(COMMITTED + offset))

    assert found["transactions"] == count
    assert found["gtids"] == f"{SERVER}:1-{5 + count}"
    assert sum(transactions(tmp_path, name) for name in found["after"]) == count


def test_where_the_clock_went_back_the_first_later_one_ends_it(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = after(donor, place, [COMMITTED + 600, COMMITTED + 50, COMMITTED + 60])

    assert fetch(made.id, str(COMMITTED + 590))["transactions"] == 0


def test_a_moment_before_the_backup_s_own_state_is_an_error(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    donor.commit("binlog.000002", range(1, 4), end=ROTATE)
    (donor.data / "binlog.000001").unlink()
    donor.rotate = lambda: "binlog.000002"  # type: ignore[method-assign]
    donor.committed = 3
    made = a_base(place, donor)
    shipper(place, donor).ship(NOW)
    with pytest.raises(OpsError, match="the moment is before"):
        fetch(made.id, str(COMMITTED + 1))


def test_nothing_after_it_is_as_good(place: Vault, donor: FakeDonor, fetch: Fetch) -> None:
    made = a_base(place, donor)
    found = fetch(made.id, "last")

    assert (found["after"], found["transactions"], found["gtids"]) == ([], 0, made.gtids)


def test_an_empty_database_is_a_database(
    tmp_path: Path, place: Vault, fetch: Fetch, aws: Aws
) -> None:
    del aws
    (tmp_path / "empty").mkdir()
    made = a_base(place, a_donor(tmp_path / "empty"))

    assert fetch(made.id, "last")["gtids"] == ""


def test_another_key_opens_nothing(place: Vault, donor: FakeDonor, fetch: Fetch) -> None:
    made = a_base(place, donor)
    with pytest.raises(OpsError, match="the key does not open this backup"):
        fetch(made.id, key=OTHER)


def objects(place: Vault) -> list[str]:
    return [name for name in names(place) if name.endswith(".age")]


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (number, how)
        for number in range(1, 5)  # the first is a log from before the backup
        for how in ("flipped", "cut", "emptied", "gone", "sealed anew")
        if (number, how) != (2, "gone")  # a last piece that is gone was never there
    ],
)
def test_whatever_happens_to_one_object_is_found(
    place: Vault, donor: FakeDonor, fetch: Fetch, number: int, how: str
) -> None:
    made = after(donor, place)
    name = objects(place)[number]
    data = place.read(name)
    middle = len(data) // 2
    if how == "gone":
        place.s3.delete_object(Bucket=BUCKET, Key=place.key(name))
    else:
        anew = io.BytesIO()
        seals.seal(io.BytesIO(seals.unsealed(data, PRIVATE)[::-1]), anew, [PUBLIC])
        put(
            place,
            name,
            {
                "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
                "cut": data[:-1],
                "emptied": b"",
                "sealed anew": anew.getvalue(),
            }[how],
        )
    with pytest.raises(OpsError) as caught:
        fetch(made.id, "last")

    assert caught.value.remedy


def test_objects_that_were_exchanged_are_found(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    first, second = a_base(place, donor), a_base(place, donor)
    one, two = (f"{each.folder}/base.tar.zst.age" for each in (first, second))
    data = place.read(one)
    put(place, one, place.read(two))
    put(place, two, data)
    for each in (first, second):
        with pytest.raises(OpsError, match="it was changed or exchanged"):
            fetch(each.id)


def test_pieces_of_logs_that_were_exchanged_are_found(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = after(donor, place)
    one, two = (
        name for name in objects(place) if "/binlog.00000" in name and "000001/" not in name
    )
    data = place.read(one)
    put(place, one, place.read(two))
    put(place, two, data)
    with pytest.raises(OpsError, match="not what its name says"):
        fetch(made.id, "last")


def test_pieces_under_each_other_s_names_are_found_too(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    """Sealed again for us, with a name that fits the bytes: only their content tells."""
    made = after(donor, place)
    [piece] = [
        each for name in objects(place) if (each := Segment.parse(name)) and "3" in each.file[-1]
    ]
    data = place.read(piece.key)
    for name in [name for name in objects(place) if "/binlog.000002/" in name]:
        place.s3.delete_object(Bucket=BUCKET, Key=place.key(name))
    put(place, replace(piece, file="binlog.000002").key, data)
    with pytest.raises(OpsError, match="does not fit"):
        fetch(made.id, "last")


def test_a_gap_in_the_logs_is_said(place: Vault, donor: FakeDonor, fetch: Fetch) -> None:
    made = after(donor, place)
    [lost] = [name for name in objects(place) if "/binlog.000002/" in name]
    place.s3.delete_object(Bucket=BUCKET, Key=place.key(lost))
    with pytest.raises(OpsError, match=r"logs are missing after binlog\.000002, byte 0"):
        fetch(made.id, "last")


def test_a_log_that_ends_within_a_transaction_is_cut_there(
    tmp_path: Path, place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = after(donor, place)
    data = (donor.data / "binlog.000003").read_bytes()
    [old] = [
        each for name in objects(place) if (each := Segment.parse(name)) and each.file[-1] == "3"
    ]
    place.s3.delete_object(Bucket=BUCKET, Key=place.key(old.key))
    sealed = io.BytesIO()
    seals.seal(io.BytesIO(data[:-50]), sealed, [PUBLIC])
    import hashlib

    digest = hashlib.sha256(sealed.getvalue()).hexdigest()[:16]
    put(place, replace(old, end=len(data) - 50, digest=digest).key, sealed.getvalue())
    found = fetch(made.id, "last")

    assert found["transactions"] == 4
    assert transactions(tmp_path, "binlog.000003") == 1


def test_a_manifest_of_another_place_is_refused(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = a_base(place, donor)
    fake = replace(made, id="20261125T150342Z-1f3a9c")
    put(place, f"{fake.folder}/{manifest.NAME}", made.text())
    with pytest.raises(OpsError, match="is no manifest"):
        fetch(fake.id)


def test_what_is_not_empty_is_not_unpacked_into(
    tmp_path: Path,
    place: Vault,
    donor: FakeDonor,
    fetch: Fetch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = a_base(place, donor)
    fetch(made.id)
    given = io.StringIO(json.dumps({"key": PRIVATE, "credentials": ""}))
    monkeypatch.setattr("sys.stdin", given)
    with pytest.raises(OpsError, match="is not empty"):
        fetching.fetch(PLACE, argparse.Namespace(id=made.id, to=""), told)
    assert (tmp_path / "restore" / "data" / "ibdata1").exists()


def test_the_key_is_in_no_file(
    tmp_path: Path, place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    fetch(after(donor, place).id, "last")
    secret = str(KEY).encode()

    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()


def test_a_moment_before_a_gap_is_reached(place: Vault, donor: FakeDonor, fetch: Fetch) -> None:
    made = after(donor, place)
    donor.commit("binlog.000003", range(9, 11), 8, moments=[COMMITTED + 400], end=ROTATE)
    donor.commit("binlog.000004", range(11, 12), 10, end=ROTATE)
    donor.commit("binlog.000005", range(12, 13), 11)
    shipper(place, donor).ship(NOW)
    for name in objects(place):
        if "/binlog.000004/" in name:
            place.s3.delete_object(Bucket=BUCKET, Key=place.key(name))

    assert fetch(made.id, str(COMMITTED + 250))["gtids"] == f"{SERVER}:1-7"
    with pytest.raises(OpsError, match=r"logs are missing after binlog\.000004, byte 0"):
        fetch(made.id, str(COMMITTED + 10**9))


def test_changes_that_the_backup_has_are_not_counted_as_repeated(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    """They were made while it was copied: they are in its tail and in the logs."""
    original = donor.clone

    def clone(folder: Path) -> None:
        original(folder)
        donor.commit("binlog.000002", range(6, 8), 5)

    donor.clone = clone  # type: ignore[method-assign]
    made = a_base(place, donor)
    donor.commit("binlog.000002", range(6, 11), 5)
    shipper(place, donor).ship(NOW)
    found = fetch(made.id, "last")

    assert made.gtids == f"{SERVER}:1-7"
    assert (found["transactions"], found["gtids"]) == (3, f"{SERVER}:1-10")


def test_logs_that_do_not_reach_the_backup_s_state_yet_take_nothing_from_it(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    """S3 was slow: what is missing of them is in its tail."""
    original = donor.clone

    def clone(folder: Path) -> None:
        original(folder)
        donor.commit("binlog.000002", range(6, 7), 5)
        shipper(place, donor).ship(NOW)
        donor.commit("binlog.000002", range(6, 9), 5)

    donor.clone = clone  # type: ignore[method-assign]
    found = fetch(a_base(place, donor).id, "last")

    assert (found["transactions"], found["gtids"]) == (0, f"{SERVER}:1-8")


def test_logs_for_another_key_are_said_to_be_that(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = a_base(place, donor)
    donor.commit("binlog.000002", range(6, 9), 5)
    ours = shipper(place, donor)
    ours.recipients = [str(pyrage.x25519.Identity.from_str(OTHER.strip()).to_public())]
    ours.ship(NOW)

    with pytest.raises(OpsError, match="the key does not open this backup"):
        fetch(made.id, "last")
    assert fetch(made.id)["gtids"] == made.gtids


def test_the_objects_of_one_backup_exchanged_are_found(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = a_base(place, donor)
    one, two = (f"{made.folder}/{name}.tar.zst.age" for name in ("base", "tail"))
    data = place.read(one)
    put(place, one, place.read(two))
    put(place, two, data)
    with pytest.raises(OpsError, match="it was changed or exchanged"):
        fetch(made.id)


def forged(place: Vault, made: Manifest, files: dict[str, bytes]) -> None:
    """Put other logs and a manifest that fits them in the place of a backup's."""
    chunks = []
    for name, data in files.items():
        head = tarfile.TarInfo(name)
        head.size = len(data)
        chunks += [head.tobuf(), data, bytes(-len(data) % 512)]
    target = io.BytesIO()
    sums = seals.seal(io.BytesIO(b"".join([*chunks, bytes(1024)])), target, [PUBLIC])
    put(place, f"{made.folder}/tail.tar.zst.age", target.getvalue())
    tail = Stored(
        "tail.tar.zst.age",
        sums.sealed.size,
        sums.sealed.sha256,
        sums.plain.size,
        sums.plain.sha256,
    )
    fake = replace(made, objects=[made.objects[0], tail])
    put(place, f"{made.folder}/{manifest.NAME}", fake.text())


@pytest.mark.parametrize(
    "files",
    [
        {"binlog.000002": b"no log"},
        {"binlog.000002/x": log([])},
        {"binlog.000002": log([], 5), "binlog.x": log([], 5)},
        {"binlog.000002": log([], 5), "binlog.000004": log([], 5)},
        {"binlog.000002": log([6], 5), "binlog.000003": log([], 5)},
        {"binlog.000002": log([], 5), "../binlog.000003": log([], 5)},
    ],
    ids=["no log", "a folder", "no number", "a gap", "a step back", "elsewhere"],
)
def test_logs_that_make_no_sense_are_an_error_whoever_made_them(
    place: Vault, donor: FakeDonor, fetch: Fetch, files: dict[str, bytes]
) -> None:
    made = a_base(place, donor)
    forged(place, made, files)
    with pytest.raises(OpsError) as caught:
        fetch(made.id)

    assert "list-backups" in caught.value.remedy


def test_logs_beyond_a_million_are_fed_in_their_order(
    place: Vault, donor: FakeDonor, fetch: Fetch
) -> None:
    made = a_base(place, donor)
    files = {"binlog.999999": log([6], 5), "binlog.1000000": log([7], 6)}
    forged(place, made, files)

    assert fetch(made.id)["tail"] == [*files]


def main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["keeper", "fetch", *words])
    monkeypatch.setattr(Settings, "load", classmethod(lambda *_: PLACE))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    given = io.StringIO(json.dumps({"key": PRIVATE, "credentials": ""}))
    monkeypatch.setattr("sys.stdin", given)
    return keeper.main()


def test_as_a_command_it_ends_with_a_code_and_says_nothing_on_stdout(
    mysql: tuple[Vault, FakeDonor],
    fetch: Fetch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = after(mysql[1], mysql[0])
    fetch(made.id)
    assert main(monkeypatch, "--id=20261125T150342Z-ffffff") == 2
    assert main(monkeypatch, f"--id={made.id}") == 1  # the folders are full
    for name in ("data", "logs"):
        shutil.rmtree(tmp_path / "restore" / name)
        (tmp_path / "restore" / name).mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.truncate", full)
    assert main(monkeypatch, f"--id={made.id}", "--to=last") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: OSError: [Errno 28] No space left on device\n  try: see whether" in err
