"""The service beside MySQL: what it does by itself, on order, and when something is away.

MySQL is a double; the real one is beside it in tests/e2e/test_backups.py.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import keeper, manifest
from ops.binlog import ROTATE
from ops.chain import Segment, unbroken
from ops.errors import OpsError, refusal
from ops.keeper import Keeper, due
from ops.manifest import Manifest
from ops.settings import Settings
from ops.vault import Vault
from tests.aws import Aws, Fault
from tests.binlogs import OTHER as FOREIGN
from tests.binlogs import SERVER, log
from tests.conftest import ROOT
from tests.stored import PLACE, FakeDonor, a_donor, a_manifest, names, put

NOW = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
STEP = Callable[[], object]


@pytest.fixture
def donor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDonor:
    """A MySQL, with a service beside it."""
    made = a_donor(tmp_path)
    made.commit("binlog.000001", range(1, 6))
    monkeypatch.setattr(keeper, "Donor", lambda host: made if host == "db" else None)
    for name, path in {
        "DATA": made.data,
        "SPOOL": made.spool,
        "STATE": made.spool / "state.json",
        "LOCK": made.spool / "lock",
    }.items():
        monkeypatch.setattr(keeper, name, path)
    monkeypatch.setenv("KEK_FINGERPRINT", "f" * 32)
    monkeypatch.setitem(keeper.TAKERS, manifest.DUMP, lambda *_: dumped())
    return made


def dumped() -> Manifest:
    return a_manifest(kind=manifest.DUMP, first_log="", as_of=datetime.now(UTC).isoformat())


@pytest.fixture
def ours(donor: FakeDonor) -> Keeper:
    del donor
    return Keeper(PLACE)


def turns(service: Keeper, *steps: STEP) -> list[float]:
    """Have it make a turn, then each step and one more turn; return for how long it waited."""
    left, pauses = iter(steps), []

    def wait(pause: float) -> bool:
        pauses.append(pause)
        finished(service)
        step = next(left, service.stop.set)
        step()
        return service.stop.is_set()

    service.stop = threading.Event()
    service.stop.wait = wait  # type: ignore[method-assign, assignment]
    service.serve()
    return pauses


def finished(service: Keeper) -> None:
    """Wait for the backup that is under way."""
    if service.work is not None:
        service.work.join(20)


def state() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(keeper.STATE.read_text("utf-8"))
    return found


def bases(place: Vault) -> list[str]:
    return [identity for _, identity in manifest.known(place)]


def stored(place: Vault) -> list[Segment]:
    return [each for name in names(place, "logs/") if (each := Segment.parse(name))]


# --- By itself ---


def test_with_a_new_server_it_ships_and_takes_a_base_at_once(
    place: Vault, ours: Keeper, donor: FakeDonor
) -> None:
    pauses = turns(ours, lambda: None)

    [identity] = bases(place)
    assert pauses == [keeper.POLL_SECONDS] * 2
    assert {each.file for each in stored(place)} == {"binlog.000001", "binlog.000002"}
    found = state()
    assert (found["server"], found["log"]) == (SERVER, "binlog.000002")
    assert found["last"]["id"] == identity
    assert "error" not in found
    assert found["begun"] <= found["shipped_to"] <= found["at"]
    assert sorted(path.name for path in donor.spool.iterdir()) == ["lock", "state.json"]


def test_a_base_that_is_there_is_found_and_none_is_taken(
    place: Vault, ours: Keeper, donor: FakeDonor
) -> None:
    turns(ours)
    turns(Keeper(PLACE), lambda: None)
    assert len(bases(place)) == 1

    donor.uuid = FOREIGN
    turns(Keeper(PLACE))
    assert len(bases(place)) == 2


def test_a_server_that_was_replaced_meanwhile_gets_a_base_and_logs_of_its_own(
    place: Vault, ours: Keeper, donor: FakeDonor
) -> None:
    def change() -> None:
        donor.uuid, donor.committed = FOREIGN, 0
        for path in donor.data.glob("binlog.*"):
            path.unlink()
        donor.write("binlog.000001", log([]))

    turns(ours, change)

    assert state()["server"] == FOREIGN
    assert {each.server for each in stored(place)} == {SERVER, FOREIGN}
    assert [manifest.find(place, each).server for each in bases(place)].count(FOREIGN) == 1


def test_s3_that_is_away_is_said_since_when_and_nothing_is_deleted(
    aws: Aws, place: Vault, ours: Keeper, donor: FakeDonor
) -> None:
    away = Fault(lambda *_: True, "AccessDenied", 403)
    seen: list[dict[str, Any]] = []

    def write() -> None:
        aws.faults.append(away)
        donor.commit("binlog.000002", range(6, 9), 5, end=ROTATE)
        donor.commit("binlog.000003", range(9, 11), 8)
        old = time.time() - 10**6
        for path in donor.data.glob("binlog.*"):
            os.utime(path, (old, old))
        donor.forgotten.clear()

    def look() -> None:
        seen.append(state())
        assert donor.forgotten == []

    def back() -> None:
        look()
        aws.faults.remove(away)

    pauses = turns(ours, write, look, back)

    assert pauses == [keeper.POLL_SECONDS, *[keeper.WAIT_SECONDS] * 2, keeper.POLL_SECONDS]
    assert "denies" in seen[0]["error"]
    assert seen[0]["error_since"] == seen[1]["error_since"] < seen[1]["at"]
    assert seen[0]["shipped_to"] == seen[1]["shipped_to"] < seen[0]["error_since"]
    assert {"error", "error_since"} & {*state()} == set()
    assert donor.forgotten == ["binlog.000003"]
    assert unbroken(stored(place), SERVER, "binlog.000001").gap is None


def test_s3_that_is_away_from_the_start_is_waited_for(aws: Aws, place: Vault, ours: Keeper) -> None:
    away = Fault(lambda *_: True, "ExpiredToken", 400)
    aws.faults.append(away)
    pauses = turns(ours, lambda: aws.faults.remove(away))

    assert pauses == [keeper.WAIT_SECONDS, keeper.POLL_SECONDS]
    assert len(bases(place)) == 1


def test_mysql_that_is_away_is_said_too(ours: Keeper, place: Vault, donor: FakeDonor) -> None:
    donor.fails["server"] = OpsError("MySQL says: gone away", "look")
    seen: list[str] = []

    def back() -> None:
        seen.append(state()["error"])
        donor.fails.clear()

    turns(ours, back)

    assert seen == ["MySQL says: gone away"]
    assert len(bases(place)) == 1


def test_what_goes_wrong_after_shipping_is_said_since_when(
    ours: Keeper, place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise OpsError("MySQL says: a backup lock", "wait")

    del place
    old = time.time() - 10**6
    seen: list[str] = []

    def age() -> None:
        donor.commit("binlog.000002", range(6, 9), 5)
        os.utime(donor.data / "binlog.000001", (old, old))
        monkeypatch.setattr(donor, "forget", refuse)

    turns(ours, age, *[lambda: seen.append(state()["error_since"])] * 2)

    assert len(seen) == 2
    assert len({*seen}) == 1
    assert state()["error"] == "MySQL says: a backup lock"


def test_a_base_that_failed_is_tried_again_and_not_at_once(
    ours: Keeper, place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    seen: list[dict[str, Any]] = []
    rotate = donor.rotate

    def count() -> str:
        tried.append("once")
        return rotate()

    monkeypatch.setattr(donor, "rotate", count)
    donor.fails["clone"] = OpsError("MySQL says: the disk is full", "make room")

    def later() -> None:
        seen.append(state())
        assert len(tried) == 1
        donor.fails.clear()
        assert ours.failed_at is not None
        ours.failed_at -= keeper.RETRY_SECONDS

    turns(ours, lambda: None, lambda: None, later, lambda: None)

    assert seen[0]["base_error"] == "MySQL says: the disk is full"
    assert "error" not in seen[0]  # logs are shipped all the same
    assert len(tried) == 2
    assert len(bases(place)) == 1
    assert "base_error" not in state()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyError("x"), RuntimeError("odd")]
)
def test_whatever_a_base_fails_with_it_is_not_tried_again_at_once(
    ours: Keeper, place: Vault, donor: FakeDonor, error: Exception
) -> None:
    donor.fails["clone"] = error
    turns(ours, lambda: None, lambda: None)

    assert str(error) in state()["base_error"]
    assert len(donor.logs()) == 2
    assert bases(place) == []
    assert ours.failed_at is not None


def test_logs_that_went_before_they_were_stored_make_a_base_due(
    ours: Keeper, place: Vault, donor: FakeDonor
) -> None:
    def lose() -> None:
        for path in donor.data.glob("binlog.*"):
            path.unlink()
        donor.commit("binlog.000009", range(20, 22), 19)

    turns(ours, lose, lambda: None)

    firsts = {manifest.find(place, each).first_log for each in bases(place)}
    assert firsts == {"binlog.000002", "binlog.000010"}


def test_a_gap_is_not_forgotten_when_s3_goes_away_right_after_it(
    aws: Aws, ours: Keeper, place: Vault, donor: FakeDonor
) -> None:
    """A piece beyond the gap is stored, the next is not, and so another shipper goes on there."""
    puts: list[int] = []

    def second(_: int, call: Any) -> bool:
        hit = call.operation == "PutObject" and "/logs/" in call.fields["path"]
        puts.extend([1] * hit)
        return bool(hit and len(puts) == 2)

    def lose() -> None:
        for path in donor.data.glob("binlog.*"):
            path.unlink()
        donor.commit("binlog.000009", range(20, 22), 19, end=ROTATE)
        donor.commit("binlog.000010", range(22, 24), 21)
        aws.faults.append(Fault(second, "AccessDenied", 403))

    turns(ours, lose, lambda: None, lambda: None)

    assert len(bases(place)) == 2
    assert ours.gap is False


def test_a_gap_of_an_earlier_service_makes_a_base_due(
    ours: Keeper, place: Vault, donor: FakeDonor
) -> None:
    def write() -> None:
        donor.commit("binlog.000002", range(6, 9), 5, end=ROTATE)
        donor.commit("binlog.000003", range(9, 11), 8)

    turns(ours, write)
    for lost in [each for each in stored(place) if each.file == "binlog.000002"]:
        place.s3.delete_object(Bucket=place.bucket.name, Key=place.key(lost.key))
    turns(Keeper(PLACE))

    assert len(bases(place)) == 2


def test_a_manifest_that_is_none_keeps_nobody_from_shipping(
    ours: Keeper, place: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    later = f"{datetime.now(UTC) + timedelta(hours=1):%Y%m%dT%H%M%SZ}-ffffff"
    put(place, f"daily/{later}/{manifest.NAME}", b'{"format": 99}')
    turns(ours)

    assert len(stored(place)) > 0
    assert len(bases(place)) == 2
    assert "format 99" in capsys.readouterr().err


def test_a_base_from_the_future_is_none(ours: Keeper, place: Vault, donor: FakeDonor) -> None:
    """By a clock that was ahead: for years there would be none."""
    del donor
    ahead = a_manifest(
        id="20991231T000000Z-ffffff", as_of="2099-12-31T00:00:00+00:00", generation="monthly"
    )
    put(place, f"{ahead.folder}/{manifest.NAME}", ahead.text())
    turns(ours)

    assert len(bases(place)) == 2


def test_a_full_disk_keeps_nobody_from_shipping(
    ours: Keeper, place: Vault, donor: FakeDonor, capsys: pytest.CaptureFixture[str]
) -> None:
    (donor.spool / "state.new").mkdir()  # it cannot be written to
    turns(ours, lambda: donor.commit("binlog.000002", range(6, 9), 5))

    assert not keeper.STATE.exists()
    assert unbroken(stored(place), SERVER, "binlog.000001").segments[-1].file == "binlog.000002"
    assert "IsADirectoryError" in capsys.readouterr().err


def test_what_a_killed_base_left_is_removed_at_the_start_and_nothing_else(
    ours: Keeper, place: Vault, donor: FakeDonor
) -> None:
    del place
    (donor.spool / "20261125T150342Z-1f3a9c" / "mlflow").mkdir(parents=True)
    (donor.spool / "dump").mkdir()
    turns(ours)

    found = sorted(path.name for path in donor.spool.iterdir())
    assert found == ["dump", "lock", "state.json"]


def test_a_dump_is_taken_after_the_base_and_then_each_week(
    ours: Keeper, place: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    del place
    made: list[Manifest] = []

    def take(*_: object) -> Manifest:
        made.append(dumped())
        return made[-1]

    monkeypatch.setitem(keeper.TAKERS, manifest.DUMP, take)
    turns(ours, lambda: None, lambda: None, lambda: None)

    assert len(made) == 1


def test_the_last_proven_restore_is_told(ours: Keeper, place: Vault) -> None:
    put(place, "drills/20261102T000000Z-ok.json", b"{}")
    turns(ours)

    assert state()["proven"] == "2026-11-02T00:00:00+00:00"


def test_a_backup_that_was_ordered_is_told_and_none_is_taken_beside_it(
    ours: Keeper, place: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.0)
    ordered: list[str] = []

    def order() -> None:
        assert ours.last is not None
        old = datetime.now(UTC) - timedelta(days=2)
        earlier = f"{old:%Y%m%dT%H%M%SZ}-ffffff"
        before = replace(ours.last, id=earlier, as_of=old.isoformat())
        for name in names(place, ours.last.generation):
            place.s3.delete_object(Bucket=place.bucket.name, Key=place.key(name))
        put(place, f"{before.folder}/{manifest.NAME}", before.text())
        ordered.append(keeper.take(PLACE, place, manifest.BASE, lambda *_: None).id)

    turns(ours, order, lambda: None)

    assert state()["last"]["id"] == ordered[0]
    assert len(bases(place)) == 2


# --- When one is due ---


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, True),
        (NOW - timedelta(hours=11, minutes=59), False),
        (NOW - timedelta(hours=12), False),
        (NOW - timedelta(hours=12, seconds=1), True),
        (NOW - timedelta(days=400), True),
        (NOW + timedelta(minutes=5), False),  # a clock that was put right
        (NOW + timedelta(days=30), True),  # one that was wrong
    ],
)
def test_a_base_is_due_when_the_last_is_from_before_the_time_of_the_day(
    last: datetime | None, expected: bool
) -> None:
    assert expected == due(last, NOW, "03:00")


def test_before_the_time_of_the_day_yesterday_s_counts() -> None:
    early = NOW.replace(hour=2, minute=59)

    assert due(early - timedelta(hours=23, minutes=50), early, "03:00") is False
    assert due(early - timedelta(hours=24), early, "03:00") is True


def test_a_dump_is_due_on_the_seventh_day() -> None:
    week = keeper.WEEK - keeper.DAY
    for days, expected in ((0, False), (1, False), (6, False), (7, True), (60, True)):
        assert due(NOW - timedelta(days=days), NOW, "03:00", week) is expected
    assert due(None, NOW, "03:00", week) is True


# --- On order ---


def run(monkeypatch: pytest.MonkeyPatch, *words: str, **more: Any) -> int:
    monkeypatch.setattr("sys.argv", ["keeper", *words])
    monkeypatch.setattr(Settings, "load", classmethod(lambda *_: more.get("settings", PLACE)))
    monkeypatch.setattr("signal.signal", more.get("handle", lambda *_: None))
    return keeper.main()


Capture = pytest.CaptureFixture[str]


def test_an_order_prints_the_id_and_nothing_else(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    del donor
    assert run(monkeypatch, "take", "base") == 0
    out, err = capsys.readouterr()

    assert out.splitlines() == bases(place)
    lines = [line.partition(" ") for line in err.splitlines()]
    assert {word for word, _, _ in lines} == {"progress"}
    assert json.loads(lines[0][2])[0] == "copying"


def test_an_order_that_fails_says_why_and_what_to_do(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    del place
    donor.fails["rotate"] = OpsError("MySQL says: gone away", "see whether it runs")
    assert run(monkeypatch, "take", "base") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("error: MySQL says: gone away\n  try: see whether it runs\n")

    donor.fails["rotate"] = OSError(28, "No space left on device")
    assert run(monkeypatch, "take", "base") == 1
    assert "error: OSError: [Errno 28] No space left on device\n  try: " in capsys.readouterr().err

    donor.fails["rotate"] = refusal("no", "yes")
    assert run(monkeypatch, "take", "base") == 2


def test_of_two_orders_at_once_the_second_is_refused(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    original, codes = donor.clone, []

    def clone(folder: Path) -> None:
        original(folder)
        codes.append(run(monkeypatch, "take", "base"))
        assert (donor.spool / folder.name).exists()

    monkeypatch.setattr(donor, "clone", clone)
    assert run(monkeypatch, "take", "base") == 0

    assert codes == [2]
    assert len(bases(place)) == 1
    assert "a backup is under way already" in capsys.readouterr().err


def test_one_that_was_killed_keeps_nobody_out(
    place: Vault, donor: FakeDonor, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import fcntl, os, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(donor.spool / "lock")], capture_output=True, check=False
    )
    assert done.stdout == b"held\n"
    (donor.spool / "20261125T150342Z-1f3a9c").mkdir()

    assert run(monkeypatch, "take", "base") == 0
    assert len(bases(place)) == 1
    assert sorted(path.name for path in donor.spool.iterdir()) == ["lock"]


def test_being_told_to_end_counts_also_where_it_was_taken_for_an_error(
    place: Vault,
    donor: FakeDonor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert place
    assert donor

    handlers: dict[int, Callable[[], None]] = {}

    def take(*_: object) -> None:
        with suppress(SystemExit):
            handlers[signal.SIGTERM]()
        raise OpsError("age cannot encrypt", "look")

    monkeypatch.setattr(keeper, "take", take)
    assert run(monkeypatch, "take", "base", handle=handlers.__setitem__) == 143
    assert "age cannot encrypt" not in capsys.readouterr().err


SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from ops import keeper
from tests.stored import FakeDonor

data, spool = Path({data!r}), Path({spool!r})
donor = FakeDonor(data, spool)
original = donor.clone

def clone(folder):
    original(folder)
    with (spool / folder.name / "large").open("wb") as file:
        file.truncate(100 * 1024**3)

donor.clone = clone
keeper.Donor = lambda _: donor
keeper.DATA, keeper.SPOOL, keeper.LOCK = data, spool, spool / "lock"
sys.argv = ["keeper", "take", "base"]
sys.exit(keeper.main())
"""


def test_an_order_that_is_told_to_stop_leaves_nothing(
    aws: Aws, place: Vault, tmp_path: Path
) -> None:
    data, spool = tmp_path / "mysql", tmp_path / "spool"
    script = SCRIPT.format(root=str(ROOT), data=str(data), spool=str(spool))
    settings = {
        "BACKUPS_DESTINATION": PLACE.backups_destination,
        "BACKUP_RECIPIENTS": PLACE.backup_recipients,
        "KEK_FINGERPRINT": "f" * 32,
    }
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, **aws.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        while '"storing base", 1' not in running.stderr.readline():
            pass
        running.terminate()
        out, err = running.communicate(timeout=30)

    assert (running.returncode, out) == (143, "")
    assert "Traceback" not in err
    assert [path.name for path in spool.iterdir()] == ["lock"]
    assert names(place) == []
    assert "Uploads" not in place.s3.list_multipart_uploads(Bucket=place.bucket.name)


def test_without_a_place_an_order_is_refused(
    donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    del donor
    assert run(monkeypatch, "take", "base", settings=Settings()) == 2
    assert "no place for backups" in capsys.readouterr().err


def test_the_state_is_what_was_written_last_or_empty(
    donor: FakeDonor, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    del donor
    assert run(monkeypatch, "state") == 0
    assert json.loads(capsys.readouterr().out) == {}

    service = Keeper(PLACE)
    service.tell()
    assert run(monkeypatch, "state") == 0
    assert json.loads(capsys.readouterr().out) == service.state


def test_settings_that_are_wrong_are_said_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.keeper", "state"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "BACKUP_AT": "25:99"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")


def test_progress_is_told_when_something_else_begins_and_at_its_end(capsys: Capture) -> None:
    tell = keeper.Teller()
    for done in range(101):
        tell("storing base", done, 100)
    tell("storing tail", 0, 5)

    lines = [line.partition(" ")[2] for line in capsys.readouterr().err.splitlines()]
    assert [json.loads(line) for line in lines] == [
        ["storing base", 0, 100],
        ["storing base", 100, 100],
        ["storing tail", 0, 5],
    ]
