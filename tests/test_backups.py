"""Backups ordered, listed, verified: against moto's S3, with bases of a MySQL that is a double."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import backups, evidence, manifest, restore
from ops.age_keys import parse
from ops.chain import Segment
from ops.errors import OpsError
from ops.hosts import Result
from ops.manifest import Manifest
from ops.settings import Settings
from ops.vault import Vault
from tests.aws import Aws, Fault
from tests.binlogs import SERVER
from tests.restored import BACKUP, Docker, FakeHome, at_home, prepared
from tests.stored import (
    BUCKET,
    OTHER,
    PRIVATE,
    a_base,
    a_donor,
    a_manifest,
    a_vault,
    names,
    put,
)
from tests.test_age_keys import written

KEY, OTHERS = parse(PRIVATE, "key"), parse(OTHER, "key")


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack with backups, and the key at hand."""
    return prepared(folder, monkeypatch)


@pytest.fixture
def place(aws: Aws, settings: Settings) -> Vault:
    """An empty place for them."""
    assert settings
    return a_vault(aws)


@pytest.fixture
def made(place: Vault, tmp_path: Path) -> Manifest:
    """A base, and two pieces of the logs that follow it."""
    donor = a_donor(tmp_path)
    donor.commit("binlog.000001", range(1, 6))
    found = a_base(place, donor)
    piece(place, 2, (0, 100), found.time + timedelta(seconds=10))
    piece(place, 2, (100, 300), found.time + timedelta(seconds=20))
    return found


def piece(
    place: Vault, file: int, span: tuple[int, int], at: datetime, server: str = SERVER
) -> Segment:
    """Store a piece of a log."""
    data = f"{file} {span}".encode()
    committed = (at - restore.EPOCH) // restore.MICROSECOND
    digest = hashlib.sha256(data).hexdigest()[:16]
    found = Segment(server, f"binlog.{file:06d}", *span, committed, digest)
    put(place, found.key, data)
    return found


def store(place: Vault, **fields: Any) -> Manifest:
    """Store a manifest alone."""
    found = a_manifest(**fields)
    put(place, f"{found.folder}/{manifest.NAME}", found.text())
    return found


def proof(place: Vault, backup: str, key: Any = KEY, *, at: int = 1, result: str = "ok") -> str:
    """Store evidence of a drill."""
    begun = f"20261125T1600{at:02d}Z"
    told = {"backup": backup, "finished": f"2026-11-25T16:01:{at:02d}+00:00", "result": result}
    name = evidence.name(begun, result)
    put(place, name, evidence.signed(told, key))
    return name


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    backups.show(as_json=True)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


# --- Ordered ---


@pytest.fixture
def at_work(
    place: Vault, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHome]:
    """A stack whose backup service answers."""
    assert place
    found = FakeHome(settings, Docker())
    at_home(monkeypatch, backups, found)
    yield found
    assert [] == found.locked


@pytest.mark.parametrize("kind", [manifest.BASE, manifest.DUMP])
def test_the_id_of_a_backup_is_the_result(
    at_work: FakeHome, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    at_work.local.answers["docker exec live-backup"] = (
        f'progress ["copying", 0, 9]\n{BACKUP}\nprogress ["storing base", 9, 9]\n'
    )
    backups.backup("", kind)
    out, err = capsys.readouterr()

    assert f"{BACKUP}\n" == out
    assert "copying (" in err
    assert [f"docker exec live-backup python -m ops.keeper take {kind}"] == at_work.local.lines


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (Result(2, "", "error: a backup is under way already\n  try: wait\n"), "under way already"),
        (Result(137, "", 'progress ["copying", 0, 9]\n'), "exit code 137"),
        (Result(0, "", ""), "exit code 0"),
        (Result(0, "", "something else\n"), "something else"),
    ],
)
def test_a_backup_that_fails_says_why(at_work: FakeHome, said: Result, cause: str) -> None:
    at_work.local.answers["docker exec live-backup"] = said
    with pytest.raises(OpsError, match=cause) as caught:
        backups.backup("", manifest.BASE)

    assert caught.value.code == (2 if said.code == 2 else 1)


@pytest.mark.parametrize("kind", ["", "Base", "all", "dumps", "base; ls"])
def test_a_kind_that_is_none_is_refused(at_work: FakeHome, kind: str) -> None:
    with pytest.raises(OpsError, match="no backup of the kind") as caught:
        backups.backup("", kind)

    assert 2 == caught.value.code
    assert [] == at_work.local.lines


@pytest.mark.parametrize(("hosts", "remedy"), [("", "invoke up"), ("a", "invoke deploy --host")])
def test_without_the_service_it_is_refused(at_work: FakeHome, hosts: str, remedy: str) -> None:
    at_work.running = {"db"}
    with pytest.raises(OpsError, match="does not run") as caught:
        backups.backup(hosts, manifest.BASE)

    assert (2, f"start it: {remedy}") == (caught.value.code, caught.value.remedy)
    assert [] == at_work.local.lines


# --- Listed ---


def test_an_empty_place_is_said_to_be_empty(
    place: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    backups.show(as_json=False)

    assert ("", f"there is no backup in {place} yet\n") == capsys.readouterr()
    assert [] == listed(capsys)


def test_scripts_get_everything(made: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    [row] = listed(capsys)

    assert list(backups.FACTS) == list(row)
    assert (made.id, "base", "monthly", made.as_of) == tuple(row.values())[:4]
    assert 0 <= row["age_seconds"] < 60
    assert (made.size, 7, made.recipients) == (row["size"], row["rows"], row["recipients"])
    reached = made.time + timedelta(seconds=20)
    assert reached.isoformat(timespec="seconds") == row["restores_to"]
    assert (None, None, None) == (row["proven"], row["proven_with_this_key"], row["damaged"])


def test_a_person_gets_a_line_each_the_newest_last_and_plain_in_a_pipe(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store(place, id="20201125T150342Z-1f3a9c", server=SERVER.replace("2", "3"))
    proof(place, made.id)
    capsys.readouterr()
    backups.show(as_json=False)
    out, err = capsys.readouterr()
    lines = out.splitlines()

    assert [first.id, made.id] == [line.split()[0] for line in lines]
    assert lines[0].endswith("  to 2026-11-25T15:03:43+00:00  never proven")
    assert lines[1].endswith("  proven 2026-11-25T16:01")
    assert "\x1b" not in out
    assert out.isascii()
    assert "" == err


def test_a_way_ends_where_pieces_are_missing_or_at_the_backup_itself(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    piece(place, 2, (400, 500), made.time + timedelta(seconds=90))
    assert (made.time + timedelta(seconds=20)).isoformat(timespec="seconds") == (
        listed(capsys)[0]["restores_to"]
    )
    other = store(place, server=SERVER.replace("2", "3"), as_of="2026-11-25T15:03:43.9+00:00")
    dump = store(place, id="20261125T150342Z-000000", kind=manifest.DUMP, first_log="")
    found = {row["id"]: row["restores_to"] for row in listed(capsys)}
    assert "2026-11-25T15:03:43+00:00" == found[other.id] == found[dump.id]


DAMAGED = "20261126T000000Z-000000"


def test_a_damaged_manifest_is_listed_as_such_among_the_others(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    put(place, f"weekly/{DAMAGED}/manifest.json", b"{")
    rows = {row["id"]: row for row in listed(capsys)}

    assert {made.id, DAMAGED} == set(rows)
    assert list(backups.FACTS) == list(rows[DAMAGED])
    assert "is no manifest" in rows[DAMAGED]["damaged"]
    assert rows[DAMAGED]["size"] is None
    assert rows[made.id]["damaged"] is None

    backups.show(as_json=False)
    out = capsys.readouterr().out
    assert f"{DAMAGED}  damaged: weekly/{DAMAGED}/manifest.json is no manifest" in out


def test_what_is_no_backup_is_not_listed(place: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("daily/x/manifest.json", "yearly/20261125T150342Z-1f3a9c/manifest.json"):
        put(place, name, b"{")
    put(place, "daily/20261125T150342Z-1f3a9c/base.tar.zst.age", b"one that was cut off")

    assert [] == listed(capsys)


def test_only_a_drill_that_went_well_proves_anything(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    proof(place, made.id, result="failed")
    put(place, "drills/some-ok.json", b"{}")

    assert listed(capsys)[0]["proven"] is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"null", b"[" * 10**6])
def test_evidence_that_makes_no_sense_is_told_of(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    proof(place, made.id)
    put(place, evidence.name("20261125T170000Z", "ok"), data)
    backups.show(as_json=True)
    out, err = capsys.readouterr()

    assert "note: drills/20261125T170000Z-ok.json makes no sense\n" in err
    assert "2026-11-25T16:01:01+00:00" == json.loads(out)[0]["proven"]


def test_the_last_proof_counts_and_one_of_ours_before_all_others(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in (3, 1, 2):
        proof(place, made.id, at=at)
    assert "2026-11-25T16:01:03+00:00" == listed(capsys)[0]["proven"]

    proof(place, made.id, OTHERS, at=4)
    row = listed(capsys)[0]
    assert ("2026-11-25T16:01:03+00:00", True) == (row["proven"], row["proven_with_this_key"])


def test_a_proof_by_another_key_is_said_to_be_one(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    proof(place, made.id, OTHERS)

    assert listed(capsys)[0]["proven_with_this_key"] is False
    backups.show(as_json=False)
    assert "proven 2026-11-25T16:01, says somebody without your key\n" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["gone", "locked", "open"])
def test_without_a_key_that_reads_unasked_nobody_says_whose_a_proof_is(
    place: Vault,
    made: Manifest,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    how: str,
) -> None:
    proof(place, made.id, OTHERS)
    file = settings.personal / "stack.agekey"
    if how == "gone":
        file.unlink()
    elif how == "locked":
        written(file, b"age-encryption.org/v1\nof a passphrase")
    else:
        file.chmod(0o644)
    row = listed(capsys)[0]

    assert ("2026-11-25T16:01:01+00:00", None) == (row["proven"], row["proven_with_this_key"])


# --- Verified ---


def wrong(identity: str = "") -> list[str]:
    """Verify; return the lines of what is wrong."""
    try:
        backups.verify(identity)
    except OpsError as error:
        caught = error
    else:
        return []
    head, *lines = caught.cause.splitlines()
    assert (1, f"{len(lines)} of what is stored cannot be trusted") == (caught.code, head)
    assert "invoke backup" in caught.remedy
    return [line.strip() for line in lines]


def test_what_is_as_it_was_stored_is_said_to_be(
    made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    backups.verify("")
    out, err = capsys.readouterr()

    assert f"{made.id}\n" == out
    assert "all of it is what it was when it was stored\n" in err
    assert "reading logs (" in err


def test_no_backup_at_all_is_nothing_to_trust(place: Vault) -> None:
    with pytest.raises(OpsError, match=f"there is no backup in {place} to verify") as caught:
        backups.verify("")

    assert 1 == caught.value.code


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("name", ["base.tar.zst.age", "tail.tar.zst.age"])
@pytest.mark.parametrize(
    "spoil",
    [flipped, lambda data: data[:-1], lambda data: data + b"x", lambda _: b""],
    ids=["flipped", "cut", "longer", "empty"],
)
def test_an_object_that_was_changed_is_found(
    place: Vault, made: Manifest, name: str, spoil: Any
) -> None:
    whole = f"{made.folder}/{name}"
    data = spoil(place.read(whole))
    put(place, whole, data)

    assert [f"{whole}: {len(data)} bytes that are not those of the manifest"] == wrong()


def test_an_object_that_is_gone_is_found(place: Vault, made: Manifest) -> None:
    name = f"{made.folder}/base.tar.zst.age"
    place.s3.delete_object(Bucket=BUCKET, Key=place.key(name))

    assert [f"{place}/{name} is not there"] == wrong()


def test_two_objects_that_changed_places_are_found(place: Vault, made: Manifest) -> None:
    one, other = (f"{made.folder}/{each.name}" for each in made.objects)
    before = place.read(one)
    put(place, one, place.read(other))
    put(place, other, before)

    assert 2 == len(wrong())


def test_a_damaged_manifest_is_found_and_the_rest_is_verified(place: Vault, made: Manifest) -> None:
    put(place, f"weekly/{DAMAGED}/manifest.json", made.text())
    put(place, f"{made.folder}/tail.tar.zst.age", b"")
    lines = wrong()

    assert 2 == len(lines)
    assert lines[0].startswith(f"weekly/{DAMAGED}/manifest.json is no manifest")
    assert lines[1].startswith(f"{made.folder}/tail")


def test_pieces_of_logs_that_were_changed_or_are_gone_are_found(
    place: Vault, made: Manifest
) -> None:
    last = piece(place, 3, (0, 50), made.time + timedelta(seconds=30))
    put(place, last.key, b"something else")
    assert [f"{last.key}: bytes that are not those its name speaks of"] == wrong()

    [middle] = [name for name in names(place, "logs/") if "/000000000100-" in name]
    place.s3.delete_object(Bucket=BUCKET, Key=place.key(middle))
    assert [f"logs/{SERVER}: pieces are missing after binlog.000002, byte 100"] != wrong()
    piece(place, 2, (300, 400), made.time + timedelta(seconds=25))
    assert [f"logs/{SERVER}: pieces are missing after binlog.000002, byte 100"] == wrong()


def test_a_piece_that_s3_does_not_give_does_not_end_it(
    aws: Aws, place: Vault, made: Manifest
) -> None:
    put(place, f"{made.folder}/tail.tar.zst.age", b"")
    fault = Fault(
        lambda _, call: call.operation == "GetObject" and "/logs/" in call.fields["path"],
        "AccessDenied",
        403,
    )
    with aws.failing(fault):
        assert 3 == len(wrong())


def test_what_several_backups_lead_on_to_is_read_and_told_once(
    aws: Aws, place: Vault, made: Manifest
) -> None:
    again = replace(made, id=f"{made.id[:-6]}ffffff", objects=[])
    put(place, f"{again.folder}/{manifest.NAME}", again.text())
    piece(place, 2, (400, 500), made.time + timedelta(seconds=30))
    aws.calls.clear()

    assert [f"logs/{SERVER}: pieces are missing after binlog.000002, byte 300"] == wrong()
    read = [call.fields["path"] for call in aws.calls if call.operation == "GetObject"]
    assert 2 == len([path for path in read if "/logs/" in path])
    assert len(read) == len(set(read))


def test_logs_that_are_gone_because_of_their_age_are_no_damage(
    place: Vault, made: Manifest
) -> None:
    old = datetime.now(UTC) - timedelta(days=15, minutes=1)
    before = replace(
        made,
        id=f"{old:%Y%m%dT%H%M%SZ}-1f3a9c",
        as_of=old.isoformat(),
        generation="weekly",
        first_log="binlog.000001",
        objects=[],
    )
    put(place, f"{before.folder}/{manifest.NAME}", before.text())

    assert [] == wrong()
    assert [] == wrong(before.id)


def test_an_id_limits_it_to_that_backup_and_the_logs_that_follow(
    place: Vault, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    other = store(place, id="20201125T150342Z-1f3a9c")
    put(place, f"weekly/{DAMAGED}/manifest.json", b"{")
    assert 3 == len(wrong())
    capsys.readouterr()

    assert [] == wrong(made.id)
    assert f"{made.id}\n" == capsys.readouterr().out
    assert 2 == len(wrong(other.id))
    piece(place, 2, (400, 500), made.time + timedelta(seconds=30))
    assert 1 == len(wrong(made.id))


@pytest.mark.parametrize("identity", ["../x", "20261125T150342Z-ffffff", DAMAGED])
def test_an_id_that_is_none_is_refused(place: Vault, made: Manifest, identity: str) -> None:
    put(place, f"weekly/{DAMAGED}/manifest.json", b"{")
    with pytest.raises(OpsError) as caught:
        backups.verify(identity)

    assert 2 == caught.value.code
    assert made
