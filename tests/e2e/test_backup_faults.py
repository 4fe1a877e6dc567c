"""Backups under attack: kills at every step, S3 away, damage in what is stored."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ops import vault
from ops.settings import Settings
from ops.vault import Vault
from tests import lab
from tests.e2e.conftest import Project, output, paused, s3_settings, todays, wait_for
from tests.e2e.test_backups import listed

AS_ROOT = 'MYSQL_PWD="$(cat /run/secrets/mysql_root_password)" exec mysql --user=root'
# The last line of each step of a restore.
STEPS = [
    "backed up as it is now",
    "fetching base (",
    "fetching tail (",
    "repeating what the logs say (",
    "comparing every table",
    "starting the database (",
]


@pytest.fixture(scope="module")
def spare(the_lab: lab.Lab) -> lab.Lab:
    """The lab with an S3 server that nobody else uses."""
    return replace(the_lab, s3=lab.spare_s3())


@pytest.fixture(scope="module")
def team(make_project: Callable[..., Project], spare: lab.Lab) -> Project:
    """A stack on this machine, backed up."""
    project = make_project(
        "faults",
        **s3_settings(spare, "s3://mlflow-artifacts/faults"),
        BACKUPS_DESTINATION=f"s3://mlflow-artifacts/faults-stored-{time.time_ns()}",
        WEB_WORKERS="1",
    )
    project.invoke("backup-key")
    project.invoke("up", "--engine", "compose")
    project.invoke("smoke")
    wait_for(lambda: {"base", "dump"} == {each["kind"] for each in listed(project)}, 90, "backups")
    return project


def place(project: Project) -> Vault:
    return vault.reach(Settings.load(project.root, project.environ))


def sql(project: Project, text: str) -> str:
    """Ask MySQL, as its root."""
    words = ("docker", "exec", "-i", f"{project.name}-db-1", "sh", "-c", f"{AS_ROOT} -N")
    return output(*words, stdin=text)


def state(project: Project) -> dict[str, Any]:
    words = ("docker", "exec", f"{project.name}-backup-1", "python", "-m", "ops.keeper", "state")
    found: dict[str, Any] = json.loads(output(*words))
    return found


def kill(project: Project, service: str) -> None:
    """End a service's process as a lack of memory would; Docker starts it again."""
    pid = output("docker", "inspect", "-f", "{{.State.Pid}}", f"{project.name}-{service}-1")
    os.kill(int(pid), signal.SIGKILL)


def well(project: Project, service: str) -> bool:
    form = ("-f", "{{.State.Status}} {{.State.Health.Status}}")
    said = output("docker", "inspect", *form, f"{project.name}-{service}-1")
    return said.strip() == "running healthy"


def spool(project: Project) -> list[str]:
    found = output("docker", "exec", f"{project.name}-backup-1", "ls", "/spool").split()
    return [name for name in found if "Z-" in name]


def stored(project: Project) -> None:
    """Wait until all that is committed now is in S3."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    wait_for(lambda: state(project).get("shipped_to", "") > now, 90, "the changes in S3")


@pytest.mark.parametrize("seconds", todays([0.3, 0.6, 1.0], 3))
def test_a_service_that_is_killed_leaves_nothing_and_goes_on(team: Project, seconds: float) -> None:
    before = [each["id"] for each in listed(team)]
    order = team.start("backup")
    wait_for(lambda: spool(team) or order.poll() is not None, 30, "a copy in the spool")
    time.sleep(seconds - 0.3)
    kill(team, "backup")
    order.communicate(timeout=60)
    wait_for(lambda: well(team, "backup"), 60, "the service")

    # One that was stored whole just before the service could say so is there too.
    added = [each["id"] for each in listed(team) if each["id"] not in before]
    assert len(added) in ([1] if order.returncode == 0 else [0, 1])
    for identity in added:
        team.invoke("verify", "--id", identity)
    assert spool(team) == []
    team.invoke("backup")
    team.invoke("verify")


def test_mysql_that_is_killed_while_it_copies_itself_comes_back_and_so_do_backups(
    team: Project,
) -> None:
    order = team.start("backup")
    wait_for(lambda: spool(team) or order.poll() is not None, 30, "a copy in the spool")
    kill(team, "db")
    order.communicate(timeout=90)
    wait_for(lambda: well(team, "db"), 120, "MySQL")

    team.invoke("smoke")
    stored(team)
    team.invoke("backup")
    assert spool(team) == []
    team.invoke("verify")


def test_s3_that_is_away_is_said_and_nothing_is_lost(team: Project, spare: lab.Lab) -> None:
    with paused(spare.s3.name):
        sql(team, "CREATE TABLE mlflow.meanwhile (i INT PRIMARY KEY); FLUSH BINARY LOGS;")
        sql(team, "INSERT INTO mlflow.meanwhile VALUES (1), (2);")
        time.sleep(62)
        said = team.invoke("status", expect=1)
        assert "backups: changes are stored 1 min" in said.stderr
    stored(team)
    team.invoke("verify")
    kept = output("docker", "exec", f"{team.name}-db-1", "sh", "-c", "ls /var/lib/mysql/binlog.0*")
    assert "binlog.000001" in kept


def test_one_transaction_of_a_hundred_megabytes_is_stored_in_pieces(team: Project) -> None:
    rows = "SELECT REPEAT(CHAR(97 + i % 26), 900) FROM n"
    sql(
        team,
        "SET SESSION cte_max_recursion_depth = 1000000;"
        "CREATE TABLE mlflow.large (id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(1000));"
        "INSERT INTO mlflow.large (text) WITH RECURSIVE n(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) {rows};",
    )
    stored(team)
    team.invoke("verify")

    names = [entry.name for entry in place(team).list("logs/")]
    assert sum("-0-" in name for name in names) >= 100 // 8


def test_what_was_damaged_is_found_before_anything_is_touched(team: Project) -> None:
    newest = [each["id"] for each in listed(team) if each["kind"] == "base"][-1]
    where = place(team)
    [name] = [each.name for each in where.list("") if newest in each.name and "/base" in each.name]
    data = where.read(name)
    form = ("-f", "{{range .Mounts}}{{.Name}} {{end}}")
    before = sorted(output("docker", "inspect", *form, f"{team.name}-db-1").split())
    flipped = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]
    try:
        where.s3.put_object(Bucket=where.bucket.name, Key=where.key(name), Body=flipped)
        said = team.invoke("verify", expect=1)
        assert name in said.stderr
        words = ("restore", "--id", newest, "--confirm", team.name)
        said = team.invoke(*words, expect=1)
        assert "changed or cut off" in said.stderr
    finally:
        where.s3.put_object(Bucket=where.bucket.name, Key=where.key(name), Body=data)

    assert before == sorted(output("docker", "inspect", *form, f"{team.name}-db-1").split())
    team.invoke("verify")
    left = output("docker", "volume", "ls", "--quiet", "--filter", f"name={team.name}_db-")
    assert left == ""


@pytest.mark.parametrize("step", todays(STEPS, 6))
def test_a_restore_that_is_killed_can_be_done_again(team: Project, step: str) -> None:
    process = team.start("restore", "--confirm", team.name)
    assert process.stderr is not None
    clock = threading.Timer(240, process.kill)
    clock.start()
    for line in process.stderr:
        if line.startswith(step):
            process.kill()
            break
    process.communicate()
    clock.cancel()

    assert process.returncode == -signal.SIGKILL
    team.invoke("up")
    team.invoke("smoke")


def test_after_all_of_it_a_restore_succeeds_and_nothing_is_left_over(team: Project) -> None:
    wait_for(lambda: well(team, "backup"), 60, "the service")
    team.invoke("restore", "--confirm", team.name, timeout=900)

    team.invoke("smoke")
    assert sql(team, "SELECT COUNT(*) FROM mlflow.large").strip() == "120000"
    left = output("docker", "ps", "--all", "--quiet", "--filter", "label=mlflow-compose.restore")
    assert left == ""


def test_a_dump_restores_to_what_was_counted(team: Project) -> None:
    identity = team.invoke("backup", "--kind", "dump").stdout.strip()
    said = team.invoke("drill", "--id", identity, "--json")

    evidence = json.loads(said.stdout)
    assert evidence["result"] == "ok"
    assert evidence["backup"] == identity
    assert evidence["rows"] > 100
