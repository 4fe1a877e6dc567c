"""A database brought back: what is chosen, what is asked first, and what is left when it fails."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import homes, manifest, restore, vault
from ops.chain import Segment
from ops.errors import OpsError
from ops.homes import LocalHome
from ops.hosts import Result
from ops.manifest import Manifest, Table
from ops.restore import Asked, choose
from ops.scratch import Scratch, Way
from ops.settings import Settings
from ops.values import Secret
from ops.vault import Vault
from tests.aws import REGION, Aws, Fault
from tests.binlogs import OTHER as OTHER_SERVER
from tests.binlogs import SERVER
from tests.restored import (
    AFTER,
    ALONE,
    BACKUP,
    DUMPED,
    LIVE,
    MADE,
    MANNERS,
    SECRETS,
    STACK,
    Caught,
    Docker,
    FakeHome,
    at_home,
    fetched,
    interrupt,
)
from tests.stored import OTHER, PRIVATE, a_manifest, put
from tests.test_age_keys import written

Breaks = Callable[[int, str], Result | None]
AT = MADE.time
UTC_TEXT = "%Y-%m-%dT%H:%M:%S+00:00"


def stored(place: Vault, **fields: Any) -> Manifest:
    """Store a manifest."""
    made = a_manifest(**fields)
    put(place, f"{made.folder}/{manifest.NAME}", made.text())
    return made


def piece(
    place: Vault, file: int, span: tuple[int, int], at: datetime, server: str = SERVER
) -> None:
    """Store a piece of a log whose last change is of a moment."""
    committed = (at - restore.EPOCH) // restore.MICROSECOND
    made = Segment(server, f"binlog.{file:06d}", *span, committed, "f" * 16)
    put(place, made.key, b"")


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def refused(place: Vault, asked: Asked) -> OpsError:
    with pytest.raises(OpsError) as caught:
        choose(place, asked)
    assert 2 == caught.value.code
    assert caught.value.remedy
    return caught.value


# --- Which backup, and how far ---


@pytest.mark.parametrize(
    "identity",
    [
        "",
        " ",
        "../" * 20,
        f"daily/{MADE.id}",
        f"{MADE.id}/",
        f"{MADE.id}\n",
        MADE.id.upper(),
        MADE.id.replace("Z", "z"),
        "x" * 10_000,
        "20261125T150342Z-1f3a9٣",
        "*",
        "--id",
    ],
)
def test_what_is_no_id_is_refused_before_s3_is_asked(aws: Aws, place: Vault, identity: str) -> None:
    stored(place)
    aws.calls.clear()
    error = refused(place, Asked(identity))

    assert "is no id of a backup" in error.cause
    assert 100 > len(error.cause)
    assert [] == aws.calls


def test_an_id_that_is_not_there_is_refused(place: Vault) -> None:
    stored(place)

    assert "there is no backup 20261125T150342Z-ffffff" in (
        refused(place, Asked("20261125T150342Z-ffffff")).cause
    )


def test_an_id_stands_for_the_state_of_that_backup_alone(place: Vault) -> None:
    made = stored(place)
    stored(place, id="20261126T150342Z-1f3a9c", as_of="2026-11-26T15:03:42+00:00")
    piece(place, 2, (0, 100), after(60))

    assert Way(made) == choose(place, Asked(MADE.id))


def test_a_dump_is_taken_by_its_id_only_for_no_logs_lead_on_from_it(place: Vault) -> None:
    made = stored(place, kind=manifest.DUMP)

    assert restore.choose(place, Asked(made.id)) == Way(made)
    assert "no backup in" in refused(place, Asked()).cause


def test_an_id_and_a_moment_are_one_too_many(place: Vault) -> None:
    assert "--id and --at" in refused(place, Asked(MADE.id, "2026-11-25 15:04")).cause
    assert "--id and --at" in refused(place, Asked("", "")).cause


def test_an_empty_place_is_refused(place: Vault) -> None:
    assert f"there is no backup in {place}" in refused(place, Asked()).cause
    assert "there is no backup" in refused(place, Asked(at="2026-11-25T15:04Z")).cause


def test_without_either_it_is_the_newest_with_all_that_came_after(place: Vault) -> None:
    stored(place, id="20261124T150342Z-1f3a9c", as_of="2026-11-24T15:03:42+00:00")
    made = stored(place)
    piece(place, 2, (0, 100), after(60))
    piece(place, 2, (100, 250), after(120))
    last = (after(120) - restore.EPOCH) // restore.MICROSECOND

    assert Way(made, "last", 250, last) == choose(place, Asked())


def test_a_moment_takes_the_last_backup_before_it_and_the_logs_up_to_it(place: Vault) -> None:
    made = stored(place)
    stored(place, id="20261126T150342Z-1f3a9c", as_of="2026-11-26T15:03:42+00:00")
    piece(place, 2, (0, 100), after(60))
    piece(place, 3, (0, 100), after(120))
    piece(place, 3, (100, 300), after(180))
    piece(place, 4, (0, 1000), after(240))
    until = (after(90) - restore.EPOCH) // restore.MICROSECOND

    # A log is fetched as a whole.
    assert Way(made, str(until), 400, until) == (choose(place, Asked(at=f"{after(90):{UTC_TEXT}}")))


def test_a_moment_after_the_last_change_leads_to_that_change(place: Vault) -> None:
    made = stored(place)
    piece(place, 2, (0, 100), after(60))
    last = (after(60) - restore.EPOCH) // restore.MICROSECOND
    # Of the past, as it has to be.
    until = (after(3600) - restore.EPOCH) // restore.MICROSECOND

    assert Way(made, str(until), 100, last) == way_at(place, after(3600))


def way_at(place: Vault, at: datetime) -> Way:
    return restore.way_on(place, restore.found_bases(place)[-1], at)


def test_the_moment_of_the_backup_itself_can_be_had(place: Vault) -> None:
    made = stored(place)

    assert made == choose(place, Asked(at=made.as_of)).backup
    before = made.time - timedelta(microseconds=1)
    assert "the first backup stands for 2026-11-25T15:03:43" in (
        refused(place, Asked(at=before.isoformat())).cause
    )


def test_a_moment_that_has_not_been_is_refused(place: Vault) -> None:
    stored(place)
    later = datetime.now(UTC) + timedelta(minutes=1)

    assert "has not been yet" in refused(place, Asked(at=later.isoformat())).cause


def test_a_moment_in_a_gap_is_refused_with_how_far_the_way_leads(place: Vault) -> None:
    stored(place)
    piece(place, 2, (0, 100), after(60))
    piece(place, 2, (200, 300), after(180))
    error = refused(place, Asked(at=f"{after(120):{UTC_TEXT}}"))

    assert "missing after binlog.000002, byte 100" in error.cause
    assert f"the way leads to {after(60)}" in error.cause
    assert choose(place, Asked(at=f"{after(59):{UTC_TEXT}}"))


def test_where_the_first_log_is_gone_the_way_leads_to_the_backup_itself(place: Vault) -> None:
    made = stored(place)
    piece(place, 3, (0, 100), after(180))

    assert f"the way leads to {made.time}" in refused(place, Asked(at=after(120).isoformat())).cause


def test_a_backup_is_followed_by_the_logs_of_its_own_server(place: Vault) -> None:
    first = stored(place)
    second = stored(
        place,
        id="20261125T160342Z-1f3a9c",
        as_of="2026-11-25T16:03:42+00:00",
        server=OTHER_SERVER,
        first_log="binlog.000001",
    )
    piece(place, 2, (0, 100), after(60))
    piece(place, 1, (0, 70), after(4000), OTHER_SERVER)

    assert (second, 70) == (choose(place, Asked()).backup, choose(place, Asked()).logs)
    at_first = choose(place, Asked(at=after(30).isoformat()))
    assert (first, 100) == (at_first.backup, at_first.logs)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 2}'])
def test_a_damaged_manifest_is_told_of_and_left_out(
    place: Vault, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    made = stored(place)
    name = "monthly/20261126T000000Z-000000/manifest.json"
    put(place, name, data)

    assert made == choose(place, Asked()).backup
    assert made == choose(place, Asked(at=after(5).isoformat())).backup
    assert made == choose(place, Asked(made.id)).backup
    assert f"note: left out: {name} is no manifest" in capsys.readouterr().err
    assert "is no manifest" in refused(place, Asked("20261126T000000Z-000000")).cause


def test_an_s3_that_does_not_answer_is_no_damaged_manifest(aws: Aws, place: Vault) -> None:
    stored(place)
    fault = Fault(lambda _, call: call.operation == "GetObject", "AccessDenied", 403)
    with aws.failing(fault), pytest.raises(OpsError, match="denies"):
        choose(place, Asked())


# --- A whole restore ---


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack with backups, and the key at hand."""
    from tests.restored import prepared

    monkeypatch.setattr("ops.digests.fingerprint", lambda *_: "f" * 32)  # slow on purpose
    return prepared(folder, monkeypatch)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A machine whose Docker is a double, and S3 with one backup that is asked for nothing more."""
    monkeypatch.setattr(vault, "reach", lambda _: None)
    monkeypatch.setattr(restore, "choose", lambda *_: Way(MADE, "last", logs=100))
    made = Docker()
    made.answers["docker exec live-backup"] = f'progress ["copying", 0, 1]\n{BACKUP}\n'
    return made


@pytest.fixture
def home_of(
    settings: Settings, host: Docker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHome]:
    """The home of a stack that runs there."""
    home = FakeHome(settings, host)
    monkeypatch.setattr(home, "credentials", lambda: "")
    at_home(monkeypatch, restore, home)
    yield home
    assert home.locked in ([], ["kept", "kept no more"])


CHANGES = ("volume create", "volume rm", "docker rm", "docker run", "docker stop", "live-backup")


def changes(host: Docker) -> list[str]:
    """Return the commands that change anything."""
    return [
        line
        for line in host.lines
        if line.startswith(("images", "take")) or any(each in line for each in CHANGES)
    ]


STEPS = [
    *("live-backup python -m ops.keeper take", "images", "volume create", "ops.keeper fetch"),
    *("docker run --detach", "/restore/logs/tail/", "gtid_executed", "CHECKSUM TABLE"),
    *("information_schema.triggers", "/restore/logs/after/", "gtid_executed", "docker stop"),
    *("take", "volume rm"),
]


def test_the_order_is_checks_safety_images_volumes_fetch_proof_replay_and_then_the_place(
    home_of: FakeHome, host: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    restore.restore(Asked(), "", confirm=STACK)
    lines = iter(host.lines)
    for step in STEPS:
        assert any(step in line for line in lines), step

    assert home_of.live in host.volumes
    assert {LIVE, home_of.live} == set(host.volumes)
    assert ["live-db"] == list(host.containers)
    out, err = capsys.readouterr()
    assert "http://localhost:5050\n" == out
    assert f"backed up as it is now: {BACKUP}\n" in err
    assert "as it was counted: 1 tables, 7 rows\n" in err
    assert "repeated 4 changes, the last of 2026-11-25T15:10:00.000+00:00\n" in err
    assert f"kept, in case: the volume {LIVE}; when you are sure: docker volume rm {LIVE}\n" in err


def test_a_dump_is_loaded_into_a_new_mysql_and_proven_like_a_base(
    home_of: FakeHome, host: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "choose", lambda *_: Way(DUMPED))
    host.made, host.found = DUMPED, ALONE
    restore.restore(Asked(DUMPED.id), "", confirm=STACK)
    lines = iter(host.lines)
    steps = ["ops.keeper fetch", "docker run --detach", "< /restore/logs/dump.sql", "gtid_executed"]
    for step in [*steps, "CHECKSUM TABLE", "triggers", "docker stop", "take"]:
        assert any(step in line for line in lines), step

    assert {LIVE, home_of.live} == set(host.volumes)
    assert not host.ran("mysqlbinlog")
    assert not [line for line in host.lines for secret in SECRETS if secret in line]


def test_on_a_bare_host_nothing_is_kept_and_the_next_step_is_named(
    home_of: FakeHome, host: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    host.volumes.clear()
    home_of.running, home_of.starts = set(), False
    restore.restore(Asked(), "bare", confirm=STACK)
    out, err = capsys.readouterr()

    assert "invoke deploy --host bare\n" == out
    assert "where no database runs now" in err
    assert "kept" not in err
    assert not host.ran("live-")


def test_data_of_an_earlier_release_has_that_one_named_as_the_next_step(
    home_of: FakeHome, capsys: pytest.CaptureFixture[str]
) -> None:
    home_of.starts = False
    restore.restore(Asked(), "a.example", confirm=STACK)

    assert "invoke rollback --host a.example\n" == capsys.readouterr().out


def test_the_first_thing_is_to_remove_what_a_killed_one_left(
    home_of: FakeHome, host: Docker
) -> None:
    label = f"mlflow-compose.restore={STACK}"
    home_of.live = f"{LIVE}-2"
    host.volumes |= {f"{LIVE}-{at}{end}": label for at in "12" for end in ("", "-logs")}
    host.containers[f"{LIVE}-1-mysql"] = label
    host.volumes[f"{LIVE}-0"] = label  # in place once, and kept since
    restore.restore(Asked(), "", confirm=STACK)

    assert {LIVE, f"{LIVE}-0", f"{LIVE}-2", home_of.live} == set(host.volumes)
    assert home_of.live != f"{LIVE}-2"


@pytest.mark.parametrize("typed", [None, "", "yes\n", "Stack\n", "stack2\n", "\n"], ids=repr)
def test_without_the_word_nothing_is_changed(
    home_of: FakeHome,
    host: Docker,
    answer: Callable[[str], None],
    folder: Path,
    typed: str | None,
) -> None:
    before = (folder / ".env").read_text()
    if typed is not None:
        answer(typed)
    with pytest.raises(OpsError, match="nothing was changed") as caught:
        restore.restore(Asked(), "", confirm="")

    assert 2 == caught.value.code
    assert [] == changes(host)
    assert (LIVE, before) == (home_of.live, (folder / ".env").read_text())


@pytest.mark.parametrize("confirm", ["yes", "Stack", " stack"])
def test_a_wrong_confirmation_is_none(home_of: FakeHome, host: Docker, confirm: str) -> None:
    with pytest.raises(OpsError, match="nobody is here to agree") as caught:
        restore.restore(Asked(), "", confirm=confirm)

    assert (2, "repeat with --confirm stack") == (caught.value.code, caught.value.remedy)
    assert [] == changes(host)
    assert home_of


def test_who_types_the_name_of_the_stack_agrees(
    home_of: FakeHome, answer: Callable[[str], None]
) -> None:
    answer(f"{STACK}\n")
    restore.restore(Asked(), "", confirm="")

    assert LIVE != home_of.live


def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(
    home_of: FakeHome, host: Docker
) -> None:
    host.free = 1024
    with pytest.raises(OpsError, match="are free") as caught:
        restore.restore(Asked(), "", confirm=STACK)

    assert 2 == caught.value.code
    assert [] == changes(host)
    assert home_of


def test_a_key_of_others_is_refused_before_the_host_is_asked(
    home_of: FakeHome, host: Docker, tmp_path: Path
) -> None:
    file = written(tmp_path / "key", OTHER)
    with pytest.raises(OpsError, match="the key does not open") as caught:
        restore.restore(Asked(key=str(file)), "", confirm=STACK)

    assert 2 == caught.value.code
    assert [] == host.lines
    assert home_of


@pytest.mark.parametrize(
    ("version", "good"),
    [
        *(("9.7.4", True), ("9.7.99", True), ("8.4.3", True)),
        *(("9.8.0", False), ("10.1.0", False), ("", False), ("x", False)),
    ],
)
def test_a_backup_of_a_newer_mysql_is_refused(version: str, good: bool) -> None:
    from ops.age_keys import parse

    made = a_manifest(version=version)
    with suppress(OpsError):
        restore.check(made, parse(PRIVATE, "key"))
        assert good
        return
    assert not good


# --- What fails ---


FAULTLESS = len("0123456789")
"""At least so many commands a restore has; the number is counted when it is run."""


def tried() -> BaseException | None:
    """Try a restore; return what it ended with."""
    try:
        restore.restore(Asked(), "", confirm=STACK)
    except Caught as error:
        return error
    return None


TOLERATED = (
    *("live-db sh -c", "live-backup", "df -Pk", "docker logs", "volume inspect", "docker rm"),
    "volume rm",
)
"""Commands without which a restore can be: what they are for is said to be missing, or swept."""


BASE = Way(MADE, "last", logs=100), AFTER
DUMP = Way(DUMPED), ALONE


@pytest.mark.parametrize(("way", "found"), [BASE, DUMP], ids=["base", "dump"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("manner", MANNERS)
def test_whatever_fails_leaves_the_database_and_nothing_else(
    settings: Settings,
    host: Docker,
    monkeypatch: pytest.MonkeyPatch,
    manner: str,
    *,
    late: bool,
    way: Way,
    found: dict[str, Any],
) -> None:
    monkeypatch.setattr(restore, "choose", lambda *_: way)
    host.made, host.found = way.backup, found
    at_home(monkeypatch, restore, FakeHome(settings, host))
    monkeypatch.setattr(FakeHome, "credentials", lambda _: "")
    assert None is tried()
    count = len(host.lines)
    assert FAULTLESS < count
    for number in range(1, count + 1):
        other = Docker(way.backup, found)
        other.answers = host.answers
        other.breaks, other.late = at(number, MANNERS[manner]), late
        home = FakeHome(settings, other)
        at_home(monkeypatch, restore, home)
        error = tried()
        line = other.lines[number - 1]
        taken = any(each.startswith("take") for each in other.lines[: number - 1])

        assert ["kept", "kept no more"] == home.locked, line
        if manner == "interrupt":
            assert isinstance(error, KeyboardInterrupt), line
        elif error is None:
            assert any(each in line for each in TOLERATED), line
        else:
            assert isinstance(error, OpsError)
            assert not taken, line
            assert 1 == error.code, line
            assert error.remedy
        assert LIVE in other.volumes, line
        assert taken or LIVE == home.live or error is None, line
        check_nothing_left(home, other, line)


def at(number: int, act: Breaks) -> Breaks:
    """Do something in the place of the command of this number."""
    return lambda at, line: act(at, line) if at == number else None


def check_nothing_left(home: FakeHome, host: Docker, line: str) -> None:
    """What is left, if cleaning up was what failed, is removed by the next restore."""
    if not any(each in line for each in (" rm --force ",)):
        assert [each for each in host.left if each != home.live] == [], line
    host.breaks = lambda *_: None
    kept = {LIVE, home.live}
    assert None is tried()
    assert kept | {home.live} == set(host.volumes), line
    assert ["live-db"] == list(host.containers), line
    home.locked = home.locked[:2]


def test_a_safety_backup_that_fails_is_said_and_no_reason_to_stop(
    home_of: FakeHome, host: Docker, capsys: pytest.CaptureFixture[str]
) -> None:
    host.answers["docker exec live-backup"] = Result(
        1, "", 'progress ["copying", 0, 1]\nerror: S3 is away\n  try: wait\n'
    )
    restore.restore(Asked(), "", confirm=STACK)

    assert "note: no backup of what is there now: S3 is away\n" in capsys.readouterr().err
    assert LIVE != home_of.live


def test_a_place_that_cannot_be_taken_leaves_the_old_one(home_of: FakeHome, host: Docker) -> None:
    host.answers["take"] = Result(1, "", "unhealthy")
    with pytest.raises(OpsError, match="unhealthy"):
        restore.restore(Asked(), "", confirm=STACK)

    assert (LIVE, [LIVE]) == (home_of.live, list(host.volumes))


@pytest.mark.parametrize(
    ("tail", "last"), [(f"{SERVER}:1-4", AFTER["gtids"]), (MADE.gtids, f"{SERVER}:1-10")]
)
def test_what_is_not_the_state_that_was_meant_is_not_put_in_place(
    home_of: FakeHome, host: Docker, tail: str, last: str
) -> None:
    host.leads_to = {"tail/": tail, "after/": last}
    with pytest.raises(OpsError, match="the database has the transactions"):
        restore.restore(Asked(), "", confirm=STACK)

    assert (LIVE, [LIVE]) == (home_of.live, list(host.volumes))


def test_a_volume_that_became_the_database_is_not_removed_though_the_rest_failed(
    home_of: FakeHome, host: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(volume: str, _: str) -> bool:
        home_of.live = volume
        raise OpsError("the disk is full, and the old volume cannot be named", "make room")

    monkeypatch.setattr(home_of, "take", half)
    with pytest.raises(OpsError, match="the disk is full"):
        restore.restore(Asked(), "", confirm=STACK)

    assert home_of.live != LIVE
    assert {LIVE, home_of.live} == set(host.volumes)


def test_a_row_too_few_is_not_put_in_place(home_of: FakeHome, host: Docker) -> None:
    host.rows = {"mlflow.runs": [6, 42]}
    with pytest.raises(OpsError, match="is not what"):
        restore.restore(Asked(), "", confirm=STACK)

    assert not [line for line in host.lines if line.startswith("take")]
    assert LIVE == home_of.live


# --- What is said first ---

PASSWORD = Secret("of-root-of-root")


def test_what_is_lost_is_counted_from_the_state_that_comes_back(
    home_of: FakeHome, host: Docker
) -> None:
    host.answers["docker exec live-db"] = "3\n"
    late = (after(90) - restore.EPOCH) // restore.MICROSECOND
    for way, since in (
        (Way(MADE), MADE.time),
        (Way(MADE, str(late), 10, late), after(90)),
        (Way(MADE, "last", 10, late), after(90)),
        (Way(MADE, "last", 0, 0), MADE.time),
    ):
        host.given.clear()
        assert ["lost: 3 runs begun since", "lost: 3 versions of models"] == (
            restore.lost(way, home_of, PASSWORD)
        )
        password, question = host.given[0].decode().splitlines()
        assert PASSWORD.reveal() == password
        assert question.endswith(f"start_time > {int(since.timestamp() * 1000)}")
    assert not host.ran(PASSWORD.reveal())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Result(0, "0\n", ""), []),
        (Result(1, "", "no such table"), ["note: what is lost by it is not known"]),
        (Result(0, "", ""), ["note: what is lost by it is not known"]),
    ],
)
def test_what_is_not_known_is_said(
    home_of: FakeHome, host: Docker, answer: Result, said: list[str]
) -> None:
    host.answers["docker exec live-db"] = answer

    assert said == [line.partition(":  ")[0][: len(said[0])] for line in lost_of(home_of)]


def lost_of(home: FakeHome) -> list[str]:
    return restore.lost(Way(MADE), home, PASSWORD)


def test_without_root_s_password_the_database_is_not_asked(home_of: FakeHome, host: Docker) -> None:
    host.lines.clear()

    assert ["note: what is lost by it is not known: MYSQL_ROOT_PASSWORD is not in .env"] == (
        restore.lost(Way(MADE), home_of, None)
    )
    assert not host.lines


def test_the_backup_the_moment_and_the_place_are_shown(
    home_of: FakeHome, host: Docker, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    big = replace(MADE, stack="other", tables={"mlflow.metrics": Table(4_000_000, 1)})
    until = (after(90) - restore.EPOCH) // restore.MICROSECOND
    restore.show(Way(big, str(until), 10, until), home_of, settings)

    assert (
        f"backup {MADE.id} of {MADE.as_of}: 110 B, 4,000,000 rows\n"
        "note: it is of another stack, other\n"
        "brought to: 2026-11-25 15:05:13+00:00\n"
        "MLflow's schema: abc123; MySQL 9.7.4\n"
        f"on the-host, in the place of {LIVE}, which is kept\n"
    ) == capsys.readouterr().err
    home_of.running.clear()
    restore.show(Way(MADE, "last", 10, until), home_of, settings)
    said = capsys.readouterr().err
    assert "brought to: the last change that was stored, of 2026-11-25 15:05:13+00:00\n" in said
    assert "on the-host, where no database runs now\n" in said
    assert host.lines


def test_another_passphrase_than_then_is_told(
    home_of: FakeHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ops.digests.fingerprint", lambda *_: "another")
    restore.restore(Asked(), "", confirm=STACK)

    assert "note: KEK_PASSPHRASE is not the one of then" in capsys.readouterr().err
    assert home_of


# --- Secrets ---


def test_no_secret_is_in_a_command_or_on_the_screen(
    aws: Aws,
    settings: Settings,
    host: Docker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-aws")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token-of-aws")
    at_home(monkeypatch, restore, FakeHome(settings, host))
    restore.restore(Asked(), "", confirm=STACK)
    given = next(json.loads(each) for each in host.given if each.startswith(b"{"))

    assert {"key", "credentials"} == set(given)
    assert PRIVATE == given["key"]
    assert (
        "[default]\naws_access_key_id = an-access-key\naws_secret_access_key = a-secret-of-aws\n"
        f"aws_session_token = a-token-of-aws\nregion = {REGION}\n"
    ) == given["credentials"]
    out, err = capsys.readouterr()
    for secret in (*SECRETS, "an-access-key", "a-secret-of-aws", "a-token-of-aws"):
        assert secret not in "".join(host.lines) + out + err
    assert aws.calls == []


def test_keys_of_the_env_file_come_before_those_of_this_machine(
    aws: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.restored import prepared

    keys = {"S3_ACCESS_KEY_ID": "of-env", "S3_SECRET_ACCESS_KEY": "a-secret-of-env"}
    home = LocalHome(prepared(folder, monkeypatch, **keys))

    assert "of-env" in home.credentials()
    assert "testing" not in home.credentials()
    assert aws


def test_a_host_has_its_role(settings: Settings) -> None:
    class Site:
        def __init__(self) -> None:
            self.settings = settings

        def facts(self) -> Any:
            return Facts()

    class Facts:
        live = None

    site: Any = Site()

    assert "" == homes.SiteHome(site).credentials()


def test_ctrl_c_while_it_is_fetched_leaves_nothing(home_of: FakeHome, host: Docker) -> None:
    host.breaks = lambda _, line: interrupt() if "ops.keeper fetch" in line else None
    with pytest.raises(KeyboardInterrupt):
        restore.restore(Asked(), "", confirm=STACK)

    assert [LIVE] == list(host.volumes)
    assert LIVE == home_of.live


def test_without_logs_after_it_only_its_own_state_is_proven(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    from ops.age_keys import parse

    host = Docker(found=fetched())
    made = Scratch(host, settings, Way(MADE))
    with made.volumes():
        restore.bring(made, parse(PRIVATE, "key"), "backup:1", "")

    assert not host.ran("/restore/logs/after/")
    assert "repeated" not in capsys.readouterr().err
