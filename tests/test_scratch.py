"""A restored MySQL of nobody's: what Docker is told, what is proven, and what is left of it."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from ops import accounts
from ops.errors import OpsError
from ops.hosts import Result
from ops.manifest import Stored, Table
from ops.scratch import DRILL, RESTORE, Scratch, Way, told
from ops.settings import Settings
from tests.conftest import with_test_secrets
from tests.restored import (
    AFTER,
    DUMPED,
    LIVE,
    MADE,
    MANNERS,
    SECRETS,
    STACK,
    Caught,
    Docker,
    fails,
    loses,
)
from tests.stored import PLACE, PRIVATE, a_manifest

SETTINGS = with_test_secrets(PLACE)
RESTORES, DRILLS = f"mlflow-compose.restore={STACK}", f"mlflow-compose.drill={STACK}"


def scratch(host: Docker, purpose: str = RESTORE, settings: Settings = SETTINGS) -> Scratch:
    return Scratch(host, settings, Way(host.made), purpose)


# --- Volumes ---


def test_a_restored_volume_is_kept_as_compose_has_it_and_that_of_the_logs_goes() -> None:
    host = Docker()
    made = scratch(host)
    with made.volumes():
        assert {LIVE, made.volume, made.logs} == set(host.volumes)

    assert {LIVE, made.volume} == set(host.volumes)
    labels = f"--label com.docker.compose.project={STACK} --label com.docker.compose.volume=db"
    assert host.ran("volume create", labels, made.volume)


def test_a_drill_s_volumes_go_and_are_none_of_compose_s() -> None:
    host = Docker()
    with scratch(host, DRILL).volumes(keep=False):
        assert 3 == len(host.volumes)

    assert [LIVE] == list(host.volumes)
    assert not host.ran("com.docker.compose")


@pytest.mark.parametrize("manner", MANNERS.values(), ids=MANNERS)
@pytest.mark.parametrize("number", [1, 2])
def test_volumes_that_cannot_be_made_are_not_left(
    manner: Callable[[int, str], Result], number: int
) -> None:
    host = Docker()
    host.breaks = lambda at, line: manner(at, line) if at == number else None
    with pytest.raises(Caught), scratch(host).volumes():
        raise AssertionError

    assert [LIVE] == list(host.volumes)


def test_what_went_wrong_is_not_hidden_by_a_host_that_is_lost_then() -> None:
    host = Docker()

    def go_wrong() -> None:
        made = scratch(host)
        with made.volumes(), made.mysql():
            host.breaks = loses
            raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        go_wrong()


def test_two_of_the_same_second_are_two() -> None:
    host = Docker()

    assert scratch(host).volume != scratch(host).volume


def test_what_is_the_database_by_now_stays_whatever_failed_then() -> None:
    host = Docker()
    made = scratch(host)

    def go_wrong() -> None:
        with made.volumes(live=lambda: made.volume):
            raise ValueError("after it was put in place")

    with pytest.raises(ValueError, match="after"):
        go_wrong()

    assert {LIVE, made.volume} == set(host.volumes)


def test_where_it_is_not_known_what_the_database_is_nothing_is_removed() -> None:
    host = Docker()
    made = scratch(host)

    def lost() -> str:
        raise OpsError("the host does not answer", "look")

    with made.volumes(live=lost):
        pass

    assert {LIVE, made.volume, made.logs} == set(host.volumes)


# --- What one left that was killed ---


def leftover(host: Docker, purpose: str = RESTORE, at: str = "1") -> tuple[str, str, str]:
    """Have what a killed one leaves; return the volumes of data and logs, and the container."""
    label = f"mlflow-compose.{purpose}={STACK}"
    data, logs, container = (f"{LIVE}-{at}{end}" for end in ("", "-logs", "-mysql"))
    host.volumes |= {data: label, logs: label}
    host.containers[container] = label
    return data, logs, container


def test_what_a_killed_one_left_is_removed(capsys: pytest.CaptureFixture[str]) -> None:
    host = Docker()
    data, _, _ = leftover(host)
    leftover(host, at="2")
    scratch(host).sweep(LIVE)

    assert [LIVE] == list(host.volumes)
    assert ["live-db"] == list(host.containers)
    assert f"a restore left that was cut off: {data}\n" in capsys.readouterr().err


def test_the_database_is_never_removed_and_a_later_sweep_knows_that_it_was_in_place() -> None:
    host = Docker()
    data, logs, _ = leftover(host)  # killed after it was put in place
    scratch(host).sweep(data)
    assert {LIVE, data} == set(host.volumes)

    scratch(host).sweep("another by now")

    assert {LIVE, data} == set(host.volumes)
    assert logs not in host.volumes


def test_restores_and_drills_and_other_stacks_leave_each_other_alone() -> None:
    host = Docker()
    drill = leftover(host, DRILL)
    host.volumes |= {"x": "mlflow-compose.restore=other", "x-logs": "mlflow-compose.restore=other"}
    before = dict(host.volumes)
    scratch(host).sweep(LIVE)

    assert before == host.volumes
    assert drill[2] in host.containers

    scratch(host, DRILL).sweep(LIVE)
    assert {LIVE, "x", "x-logs"} == set(host.volumes)
    assert ["live-db"] == list(host.containers)


def test_a_leftover_that_somebody_holds_stays_known_as_one() -> None:
    host = Docker()
    data, logs, _ = leftover(host)
    host.containers["somebody"] = data
    with pytest.raises(OpsError) as caught:
        scratch(host).sweep(LIVE)

    assert f"docker ps --all --filter volume={data}" in caught.value.remedy
    assert {LIVE, data, logs} == set(host.volumes)


def test_what_cannot_be_removed_now_is_removed_by_the_next() -> None:
    host = Docker()
    made = scratch(host)
    with made.volumes():
        host.breaks = lambda _, line: fails() if " volume rm " in line else None
    assert made.logs in host.volumes

    host.breaks = lambda *_: None
    scratch(host).sweep(made.volume)
    assert {LIVE, made.volume} == set(host.volumes)


# --- Room ---


@pytest.mark.parametrize(("free", "enough"), [(2044, True), (2043, False)])
def test_what_the_disk_would_not_hold_is_refused(free: int, enough: bool) -> None:
    objects = [
        Stored("base.tar.zst.age", 1, "", 1_500_000, ""),
        Stored("tail.tar.zst.age", 1, "", 44_000, ""),
    ]
    host = Docker()
    host.free = free * 1024
    way = Way(a_manifest(objects=objects), "last", logs=200_000)
    made = Scratch(host, SETTINGS, way)
    assert int(1.2 * 1_744_000) == way.room
    if enough:
        made.check_room()
        return
    with pytest.raises(OpsError, match="are free on the disk of /var/lib/docker") as caught:
        made.check_room()

    assert 2 == caught.value.code
    assert [LIVE] == list(host.volumes)


def test_a_disk_that_is_not_to_be_seen_is_trusted() -> None:
    host = Docker()
    host.breaks = lambda _, line: fails() if line.startswith("df ") else None
    scratch(host).check_room()


# --- Fetching ---


def test_the_key_and_the_credentials_go_in_by_stdin_alone() -> None:
    host = Docker()
    made = scratch(host)
    found = made.fetch("backup:1", PRIVATE, "[default]\naws_secret_access_key = a-secret\n")
    [given] = host.given

    assert ["binlog.000002", "binlog.000003"] == found.after
    assert {"key": PRIVATE, "credentials": "[default]\naws_secret_access_key = a-secret\n"} == (
        json.loads(given)
    )
    line = host.lines[0]
    assert f"backup:1 python -m ops.keeper fetch --id={MADE.id}" in line
    assert "--read-only --tmpfs=/tmp:size=16m --cap-drop=ALL" in line
    for secret in (*SECRETS, "a-secret"):
        assert secret not in line


@pytest.mark.parametrize("to", ["last", "1795619356000000"])
def test_the_service_is_told_how_far(to: str) -> None:
    host = Docker()
    Scratch(host, SETTINGS, Way(MADE, to)).fetch("backup:1", PRIVATE, "")

    assert host.lines[0].endswith(f"--to={to}")


def test_what_the_service_says_of_a_failure_is_said_on() -> None:
    host = Docker()
    said = "error: base.tar.zst.age is not what the manifest says\n  try: take another\n"
    host.breaks = lambda *_: Result(2, "", f'progress ["x", 1, 2]\n{said}')
    with pytest.raises(OpsError, match="not what the manifest says") as caught:
        scratch(host).fetch("backup:1", PRIVATE, "")

    assert (1, "take another") == (caught.value.code, caught.value.remedy)


@pytest.mark.parametrize("said", ["", "warning: x\n", "[]\n", '{"tail": []}\n', '{"x": 1}\n'])
def test_a_service_that_says_something_else_is_an_error(said: str) -> None:
    host = Docker()
    host.breaks = lambda *_: Result(0, said, "")
    with pytest.raises(OpsError, match="did not say what it fetched"):
        scratch(host).fetch("backup:1", PRIVATE, "")


def test_progress_is_shown_and_other_lines_are_not() -> None:
    heard = []
    hear = told(lambda *step: heard.append(step))
    hear('progress ["fetching base", 5, 10]\n')
    hear("a word of warning\n")
    hear("\n")

    assert [("fetching base", 5, 10)] == heard


# --- MySQL ---


def test_mysql_has_no_network_and_the_passwords_of_now(capsys: pytest.CaptureFixture[str]) -> None:
    host = Docker()
    with scratch(host).mysql():
        assert 2 == len(host.containers)

    assert ["live-db"] == list(host.containers)
    assert host.ran("--detach", "--network=none", "--skip-networking", "--skip-log-bin")
    sql = b"".join(host.given).decode()
    for user in ("'root'@'localhost'", "'root'@'%'", "'mlflow'@'%'"):
        given = sql.index(f"ALTER USER IF EXISTS {user} IDENTIFIED BY '")
        assert given < sql.index(f"ALTER USER IF EXISTS {user} DISCARD OLD PASSWORD;")
    captured = capsys.readouterr()
    for secret in ("mysql-password-1", "mysql-root-password-1"):
        assert secret in sql
        assert secret not in "".join(host.lines) + captured.out + captured.err


def test_no_password_of_then_comes_back_with_a_user_that_is_made_anew() -> None:
    host = Docker()
    with scratch(host).mysql():
        pass
    sql = b"".join(host.given).decode()
    [gone] = re.findall(r"DROP USER IF EXISTS (.*);", sql)

    # The one that owns the tables is not made anew: it is given its password of now.
    made = {f"'{name}'@'%'" for name in accounts.RIGHTS} - {"'mlflow'@'%'"}
    assert made == set(gone.split(", "))
    assert sql.index("FLUSH PRIVILEGES;") < sql.index("DROP USER")


def test_it_ends_in_order_before_its_container_goes() -> None:
    host = Docker()
    with scratch(host).mysql():
        pass

    assert ["docker stop", "docker rm"] == [" ".join(line.split()[:2]) for line in host.lines[-2:]]


def test_one_that_does_not_stop_in_order_is_an_error() -> None:
    host = Docker()
    host.breaks = lambda _, line: fails() if line.startswith("docker stop") else None
    with pytest.raises(OpsError, match="docker stop"), scratch(host).mysql():
        pass

    assert ["live-db"] == list(host.containers)


def test_one_that_does_not_start_says_why() -> None:
    host = Docker()
    host.breaks = lambda _, line: fails() if "mysqladmin" in line else None
    with pytest.raises(OpsError, match="does not start on the restored data") as caught:
        scratch(host).mysql().__enter__()

    assert "what MySQL said" in caught.value.cause
    assert ["live-db"] == list(host.containers)


def test_logs_are_repeated_in_their_order_and_the_passwords_put_back() -> None:
    host = Docker()
    scratch(host).replay("after", ["binlog.000002", "binlog.000003"])
    script = host.lines[0]

    assert "/restore/logs/after/binlog.000002 /restore/logs/after/binlog.000003" in script
    assert "pipefail" in script
    assert script.index("binlog.000003") < script.index("/dev/shm/passwords")


def test_no_logs_are_nothing_to_repeat() -> None:
    host = Docker()
    scratch(host).replay("after", [])

    assert [] == host.lines


def test_a_dump_is_loaded_with_the_users_of_now_and_no_password_in_a_command() -> None:
    host = Docker(DUMPED)
    with scratch(host).loaded():
        assert DUMPED.gtids == scratch(host).executed()

    assert ["live-db"] == list(host.containers)
    assert host.ran("--detach", "--network=none", "MYSQL_DATABASE=mlflow")
    assert not host.ran("skip-grant-tables")
    users = next(at for at, line in enumerate(host.lines) if "< /dev/shm/passwords" in line)
    load = next(at for at, line in enumerate(host.lines) if "dump.sql" in line)
    assert users < load
    sql = b"".join(host.given).decode()
    assert sql.index("CREATE USER") < sql.index("ALTER USER IF EXISTS 'mlflow'@'%'")
    assert ["mlflow", "mlflow_oidc"] == re.findall(r"GRANT ALL ON (\w+)\.\* TO 'mlflow'@'%'", sql)
    assert not [line for line in host.lines for secret in SECRETS if secret in line]


def test_a_dump_that_does_not_load_is_an_error_and_its_mysql_goes() -> None:
    host = Docker(DUMPED)
    host.breaks = lambda _, line: fails() if "dump.sql" in line else None
    with pytest.raises(OpsError, match="no such luck"):
        scratch(host).loaded().__enter__()

    assert ["live-db"] == list(host.containers)


def test_a_dump_takes_its_size_twice() -> None:
    assert 2400 == Way(DUMPED).room
    assert 1320 == Way(MADE).room


# --- The proof ---


def test_a_database_that_is_as_it_was_counted_is_proven() -> None:
    scratch(Docker()).prove()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([6, 42], "6 rows, sum 42 instead of 7 rows, sum 42"),
        ([7, 43], "7 rows, sum 43 instead of 7 rows, sum 42"),
        (None, "nothing instead of 7 rows"),
    ],
)
def test_a_table_that_is_not_as_it_was_counted_is_an_error(
    rows: list[int] | None, said: str
) -> None:
    host = Docker()
    host.rows = {"mlflow.runs": rows} if rows else {}
    with pytest.raises(OpsError, match=f"mlflow.runs: {said}") as caught:
        scratch(host).prove()

    assert "invoke list-backups" in caught.value.remedy


def test_of_many_wrong_tables_ten_are_named() -> None:
    tables = {f"mlflow.t{number}": Table(1, 1) for number in range(99)}
    host = Docker(replace(MADE, tables=tables))
    host.rows = {}
    with pytest.raises(OpsError) as caught:
        scratch(host).prove()

    assert 11 == len(caught.value.cause.splitlines())


@pytest.mark.parametrize(
    ("found", "said"),
    [([], "the triggers are gone, and"), (["mlflow.other"], "the triggers are mlflow.other, and")],
)
def test_triggers_are_part_of_it(found: list[str], said: str) -> None:
    host = Docker()
    host.triggers = found
    with pytest.raises(OpsError, match=f"{said} should be mlflow.prevent_secrets_aad_mutation"):
        scratch(host).prove()


def test_the_set_of_transactions_is_read_whatever_lines_it_comes_in() -> None:
    host = Docker()
    host.executed = "a:1-5,b:1"

    assert "a:1-5,b:1" == scratch(host).executed()


def test_tables_that_are_not_there_are_left_out_of_the_count() -> None:
    host = Docker()

    assert {"mlflow.runs": Table(7, 42)} == scratch(host).census(["mlflow.runs", "mlflow.none"])
    assert {} == scratch(host).census(["mlflow.none"])
    assert AFTER["gtids"] != MADE.gtids
