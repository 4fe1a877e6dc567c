"""What a backup says of itself: read as it was written, and nothing else taken for it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ops import manifest
from ops.errors import OpsError
from ops.manifest import Manifest
from ops.vault import Vault
from tests.aws import Aws
from tests.stored import a_manifest, a_vault, put

MADE = a_manifest()
OBJECT = {
    "name": "x.tar.zst.age",
    "size": 1,
    "sha256": "",
    "plain_size": 1,
    "plain_sha256": "",
}
PLACE = f"{MADE.folder}/{manifest.NAME}"


def test_it_reads_as_it_was_written() -> None:
    assert Manifest.read(MADE.text(), PLACE) == MADE
    assert json.loads(MADE.text())["format"] == 1
    assert MADE.size == 110


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"id": "20261125T150342Z-ffffff"},
        {"generation": "weekly"},
        {"objects": [{"name": "../../x.tar.zst.age"}]},
        {"objects": [{**OBJECT, "name": "../x.tar.zst.age"}]},
        {"objects": [{**OBJECT, "name": "/etc/x.tar.zst.age"}]},
        {"objects": [{**OBJECT, "name": "x.tar.zst.age\n"}]},
        {"tables": []},
        {"as_of": "yesterday"},
        {"as_of": "2026-11-25T15:03:43"},
        {"gtids": "some"},
        {"first_log": "binlog.index"},
        {"recipients": "age1"},
        {"schema": None},
        {"tables": {"mlflow.runs": {"rows": "7", "checksum": 1}}},
        {"as_of": None},
        {"more": 1},
        {"gtids": "all of them"},
        {"gtids": None},
        {"server": "../other"},
        {"first_log": "../binlog.000001"},
        {"objects": [{**OBJECT, "size": "1"}]},
        {"objects": {}, "tables": {"mlflow.runs": {}}},
    ],
    ids=str,
)
def test_anything_else_is_refused_with_its_place(change: dict[str, Any]) -> None:
    data = json.dumps({**json.loads(MADE.text()), **change}).encode()
    with pytest.raises(OpsError, match=f"{PLACE} is no manifest") as caught:
        Manifest.read(data, PLACE)

    assert caught.value.code == 2


def test_one_of_a_later_format_is_called_that_whatever_is_in_it() -> None:
    with pytest.raises(OpsError, match="format 2"):
        Manifest.read(b'{"format": 2, "id": "x", "new": []}', PLACE)


def test_an_object_that_a_backup_does_not_have_is_refused() -> None:
    with pytest.raises(OpsError, match="is a dump and holds no base") as caught:
        a_manifest(kind=manifest.DUMP, objects=[]).stored("base.tar.zst.age")

    assert caught.value.code == 2


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"", b"{", b"[]", b"\xff", b"null", b" " * (5 * 1024**2)]
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(OpsError, match="is no manifest"):
        Manifest.read(data, PLACE)


def test_a_backup_exists_when_its_manifest_does(place: Vault) -> None:
    put(place, f"{MADE.folder}/base.tar.zst.age", b"x")
    assert list(manifest.known(place)) == []

    put(place, PLACE, MADE.text())
    assert list(manifest.known(place)) == [("daily", MADE.id)]
    assert manifest.find(place, MADE.id) == MADE


def test_what_only_looks_like_one_is_not_known(place: Vault) -> None:
    for name in (
        "daily/x/manifest.json",
        "daily/99999999T999999Z-1f3a9c/manifest.json",  # digits, and no time
        f"hourly/{MADE.id}/manifest.json",
        f"{PLACE}.bak",
    ):
        put(place, name, MADE.text())

    assert list(manifest.known(place)) == []


@pytest.mark.parametrize(
    "identity", ["", "../x", "20261125T150342Z-1F3A9C", "x" * 10_000, "20261125T150342Z-1f3a9c/.."]
)
def test_what_is_no_id_is_refused_before_anything_is_asked(aws: Aws, identity: str) -> None:
    place = a_vault(aws)
    asked = len(aws.calls)
    with pytest.raises(OpsError, match="no id of a backup") as caught:
        manifest.find(place, identity)

    assert caught.value.code == 2
    assert len(caught.value.cause) < 120
    assert len(aws.calls) == asked


def test_an_id_that_is_not_there_is_refused(place: Vault) -> None:
    with pytest.raises(OpsError, match="there is no backup"):
        manifest.find(place, MADE.id)


def test_ids_sort_by_time_and_never_meet() -> None:
    now = datetime(2026, 11, 25, 15, 3, 42, tzinfo=UTC)
    ids = {manifest.new_id(now) for _ in range(200)}

    assert len(ids) == 200
    assert {each.partition("-")[0] for each in ids} == {"20261125T150342Z"}
    assert all(manifest.ID.fullmatch(each) for each in ids)
    assert {manifest.begun(each) for each in ids} == {now}


def test_a_restore_was_proven_when_the_last_good_drill_began(place: Vault) -> None:
    assert manifest.last_proven(place) is None
    for name in ("20261101T000000Z-ok", "20261103T000000Z-failed", "20261102T000000Z-ok", "x"):
        put(place, f"drills/{name}.json", b"{}")

    assert manifest.last_proven(place) == datetime(2026, 11, 2, tzinfo=UTC)


def test_one_that_makes_no_sense_does_not_hide_the_others(place: Vault) -> None:
    put(place, PLACE, MADE.text())
    put(place, "weekly/20261124T150342Z-1f3a9c/manifest.json", b"{")
    put(place, "monthly/20261123T150342Z-1f3a9c/manifest.json", MADE.text())

    found, damaged = manifest.every(place)

    assert found == [MADE]
    assert [(each, error.cause.partition("/")[0]) for each, error in damaged.items()] == [
        ("20261123T150342Z-1f3a9c", "monthly"),
        ("20261124T150342Z-1f3a9c", "weekly"),
    ]
