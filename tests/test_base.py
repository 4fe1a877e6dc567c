"""A base of a MySQL that is a double: what is stored, and what is left when it fails."""

import io
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ops import base, manifest, seals, vault
from ops.binlog import ROTATE
from ops.errors import OpsError
from ops.manifest import Manifest, Table
from ops.vault import Vault
from tests.aws import Aws, Fault
from tests.binlogs import SERVER
from tests.stored import PRIVATE, FakeDonor, a_base, a_donor, names, put


@pytest.fixture
def donor(tmp_path: Path) -> FakeDonor:
    made = a_donor(tmp_path)
    made.commit("binlog.000001", range(1, 6))
    return made


def members(place: Vault, made: Manifest, name: str) -> dict[str, int]:
    plain = seals.unsealed(place.read(f"{made.folder}/{name}.tar.zst.age"), PRIVATE)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {each.name: each.size for each in tar if each.isreg()}


def test_a_base_is_the_copy_the_logs_to_a_counted_state_and_a_manifest(
    place: Vault, donor: FakeDonor
) -> None:
    made = a_base(place, donor)

    assert names(place) == [
        f"monthly/{made.id}/{name}"
        for name in ("base.tar.zst.age", "manifest.json", "tail.tar.zst.age")
    ]
    assert members(place, made, "base") == {"ibdata1": 10_000, "mlflow/runs.ibd": 5000}
    size = (donor.data / "binlog.000002").stat().st_size
    assert members(place, made, "tail") == {"binlog.000002": size}
    assert manifest.find(place, made.id) == made
    assert (made.server, made.first_log, made.gtids) == (SERVER, "binlog.000002", f"{SERVER}:1-5")
    assert made.tables == {"mlflow.runs": Table(7, 42)}
    assert made.triggers == ["mlflow.prevent_secrets_aad_mutation"]


def test_sums_and_sizes_are_those_of_what_is_stored(place: Vault, donor: FakeDonor) -> None:
    made = a_base(place, donor)

    for each in made.objects:
        data = place.read(f"{made.folder}/{each.name}")
        opened = io.BytesIO()
        found = seals.unseal(io.BytesIO(data), opened, PRIVATE)
        assert (each.size, each.sha256) == (len(data), found.sealed.sha256)
        assert (each.plain_size, each.plain_sha256) == (
            len(opened.getvalue()),
            found.plain.sha256,
        )


def test_nothing_is_left_in_the_spool(place: Vault, donor: FakeDonor) -> None:
    a_base(place, donor)

    assert list(donor.spool.iterdir()) == []


@pytest.mark.parametrize("step", ["server", "rotate", "clone", "checkpoint", "executed"])
def test_a_base_that_fails_leaves_no_manifest_and_no_copy(
    place: Vault, donor: FakeDonor, step: str
) -> None:
    donor.fails[step] = OpsError("MySQL says: gone away", "look")
    with pytest.raises(OpsError, match="gone away"):
        a_base(place, donor)

    assert not [name for name in names(place) if name.endswith(manifest.NAME)]
    assert list(donor.spool.iterdir()) == []


def test_a_full_disk_leaves_no_copy(place: Vault, donor: FakeDonor) -> None:
    donor.fails["clone"] = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        a_base(place, donor)

    assert list(donor.spool.iterdir()) == []
    assert names(place) == []


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "PutObject"])
def test_s3_that_refuses_leaves_no_manifest(
    aws: Aws, place: Vault, donor: FakeDonor, operation: str
) -> None:
    with (
        aws.failing(Fault(lambda _, call: call.operation == operation, "AccessDenied", 403)),
        pytest.raises(OpsError),
    ):
        a_base(place, donor)

    assert list(manifest.known(place)) == []
    assert list(donor.spool.iterdir()) == []


def test_a_copy_that_the_disk_would_not_hold_is_refused_before_anything(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(OpsError, match="are free") as caught:
        a_base(place, donor)

    assert caught.value.code == 2
    assert donor.logs() == ["binlog.000001"]
    assert names(place) == []


def test_a_table_that_would_come_out_empty_is_refused(place: Vault, donor: FakeDonor) -> None:
    donor.others = ["mlflow.old"]
    with pytest.raises(OpsError, match=r"mlflow\.old: not InnoDB") as caught:
        a_base(place, donor)

    assert caught.value.code == 2


def test_the_second_of_a_day_is_a_daily_one(place: Vault, donor: FakeDonor) -> None:
    first, second = a_base(place, donor), a_base(place, donor)

    assert [first.generation, second.generation] == ["monthly", "daily"]


def test_a_log_that_is_gone_is_an_error(place: Vault, donor: FakeDonor) -> None:
    original = donor.clone

    def late(folder: Path) -> None:
        original(folder)
        (donor.data / "binlog.000002").unlink()
        donor.write("binlog.000003", b"")

    donor.clone = late  # type: ignore[method-assign]
    with pytest.raises(OpsError, match=r"binlog\.000002 is gone"):
        a_base(place, donor)

    assert list(manifest.known(place)) == []


def test_progress_is_told_step_by_step(place: Vault, donor: FakeDonor) -> None:
    heard: list[Any] = []
    a_base(place, donor, lambda *each: heard.append(each))

    assert list(dict.fromkeys(label for label, _, _ in heard)) == [
        "copying",
        "storing base",
        "counting",
        "storing tail",
    ]


def uploads(place: Vault) -> list[Any]:
    found: list[Any] = place.s3.list_multipart_uploads(Bucket=place.bucket.name).get("Uploads", [])
    return found


@pytest.mark.parametrize("label", ["copying", "storing base", "storing tail", "counting"])
def test_an_order_to_stop_leaves_neither_copy_nor_upload(
    place: Vault, donor: FakeDonor, label: str
) -> None:
    def stop(each: str, *_: int) -> None:
        if each == label:
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        a_base(place, donor, stop)

    assert list(donor.spool.iterdir()) == []
    assert list(manifest.known(place)) == []
    assert uploads(place) == []


def large(donor: FakeDonor) -> None:
    """Have a copy of many parts."""
    original = donor.clone

    def clone(folder: Path) -> None:
        original(folder)
        (donor.spool / folder.name / "large").write_bytes(os.urandom(20 * 1024**2))

    donor.clone = clone  # type: ignore[method-assign]


def test_credentials_that_expire_while_it_is_stored_are_called_that(
    aws: Aws, place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "PART", 5 * 1024**2)
    large(donor)
    expired = Fault(lambda _, call: call.fields.get("partNumber") == "2", "ExpiredToken")
    with aws.failing(expired), pytest.raises(OpsError, match="credentials have expired"):
        a_base(place, donor)

    assert names(place) == []
    assert uploads(place) == []
    assert list(donor.spool.iterdir()) == []


def test_a_copy_that_goes_away_while_it_is_read_is_an_error(place: Vault, donor: FakeDonor) -> None:
    def sweep(label: str, *_: int) -> None:
        if label == "storing base":
            shutil.rmtree(donor.spool, ignore_errors=True)

    with pytest.raises(OpsError, match="was not read"):
        a_base(place, donor, sweep)

    assert names(place) == []


def test_what_fails_while_it_counts_leaves_no_manifest(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise OpsError("MySQL says: gone away", "look")

    monkeypatch.setattr(base, "census", fails)
    with pytest.raises(OpsError, match="gone away"):
        a_base(place, donor)

    assert list(manifest.known(place)) == []
    assert list(donor.spool.iterdir()) == []


def test_a_manifest_whose_answer_got_lost_is_there_once(
    aws: Aws, place: Vault, donor: FakeDonor
) -> None:
    lost: list[int] = []

    def first(_: int, call: Any) -> bool:
        hit = call.operation == "PutObject" and not lost
        lost.extend([1] * hit)
        return bool(hit)

    with aws.failing(Fault(first, "InternalError", 500, done=True)):
        made = a_base(place, donor)

    assert manifest.find(place, made.id) == made


def test_a_migration_after_the_counted_state_is_not_in_the_manifest(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrate(label: str, *_: int) -> None:
        if label == "storing base":
            monkeypatch.setattr(donor, "triggers", lambda: ["mlflow.new"])
            monkeypatch.setattr(donor, "schema", lambda: "def456")

    made = a_base(place, donor, migrate)

    assert made.schema == "abc123"
    assert made.triggers == ["mlflow.prevent_secrets_aad_mutation"]


def test_the_tail_ends_at_the_counted_state_however_much_is_written_after_it(
    place: Vault, donor: FakeDonor
) -> None:
    wanted: dict[str, int] = {}

    def write(label: str, *_: int) -> None:
        if label == "storing base" and not wanted:
            for name in ("binlog.000002", "binlog.000003"):
                wanted[name] = (donor.data / name).stat().st_size
            donor.commit("binlog.000003", range(9, 40), 8)
            donor.write("binlog.000004", b"later")

    original = donor.clone

    def clone(folder: Path) -> None:
        original(folder)
        donor.commit("binlog.000002", range(6, 8), 5, end=ROTATE)
        donor.commit("binlog.000003", range(8, 9), 7)

    donor.clone = clone  # type: ignore[method-assign]
    made = a_base(place, donor, write)

    assert members(place, made, "tail") == wanted
    assert (made.first_log, made.gtids) == ("binlog.000002", f"{SERVER}:1-8")


def test_logs_that_lead_nowhere_are_an_error_and_no_loop(place: Vault, donor: FakeDonor) -> None:
    donor.rotate = lambda: "binlog.000009"  # type: ignore[method-assign]
    with pytest.raises(OpsError, match=r"binlog\.000009 is gone"):
        a_base(place, donor)


def test_backups_from_the_future_and_names_that_are_no_time_do_not_stop_it(
    place: Vault, donor: FakeDonor
) -> None:
    for identity in ("20991231T000000Z-ffffff", "99999999T999999Z-ffffff"):
        put(place, f"monthly/{identity}/{manifest.NAME}", b"{}")

    assert a_base(place, donor).generation == "monthly"
