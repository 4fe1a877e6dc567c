"""A base of a MySQL that is a double: what is stored, and what is left when it fails."""

import io
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ops import manifest, seals
from ops.errors import OpsError
from ops.manifest import Manifest, Table
from ops.vault import Vault
from tests.aws import Aws, Fault
from tests.binlogs import SERVER
from tests.stored import PRIVATE, FakeDonor, a_base, a_donor, a_vault, names


@pytest.fixture
def place(aws: Aws) -> Vault:
    return a_vault(aws)


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
