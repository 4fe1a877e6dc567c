"""Backups, proven: a host that is destroyed under load and comes back elsewhere, to the second."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ops import vault
from ops.settings import Settings
from tests import lab
from tests.e2e.conftest import Project, output, s3_settings, wait_for
from tests.e2e.load import Load
from tests.e2e.machines import known, on, several, sweep, team_settings, url
from tests.e2e.test_documents import blocks
from tests.e2e.workload import Workload

PAGE = "docs/backups.md"
"""Its first block is how the host is set up here, and the others are run in the end."""

LOSS_WINDOW = 10
"""Seconds of acknowledged writes that a host may take along when it goes."""

GONE = "DELETE FROM latest_metrics; DELETE FROM metrics; DELETE FROM params; DELETE FROM tags;"

pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture(scope="module")
def hosts(the_lab: lab.Lab) -> list[lab.Host]:
    """Two hosts; the first one is killed on the way."""
    assert the_lab.s3
    return several(2)


def answers(machine: lab.Host) -> bool:
    try:
        on(machine, "docker", "info")
    except AssertionError:
        return False
    return True


@pytest.fixture(scope="module")
def team(
    make_project: Callable[..., Project], hosts: list[lab.Host], the_lab: lab.Lab
) -> Iterator[Project]:
    """A folder of the operator's; a stack of it on the first host, backed up."""
    artifacts = s3_settings(the_lab, "s3://mlflow-artifacts/backups")
    project = make_project(
        "backups",
        **artifacts,
        **team_settings(hosts[0]),
        BACKUPS_DESTINATION=f"s3://mlflow-artifacts/stored-{time.time_ns()}",
        BIND_ADDRESS="0.0.0.0",
        WEB_WORKERS="1",
        WATCH_SECONDS="1",
    )
    project.set(PUBLIC_URL=f"https://{hosts[0].address}:{project.tls_port}")
    known(project, hosts[0])
    for machine in hosts:
        sweep(project, machine)
    project.shell(blocks(PAGE)[0])
    yield project
    output("docker", "start", hosts[0].name)
    for machine in hosts:
        wait_for(lambda: answers(machine), 60, "the host's Docker Engine")  # noqa: B023
        sweep(project, machine)


def listed(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.invoke("list-backups", "--json").stdout)
    return found


def bases(project: Project) -> list[dict[str, Any]]:
    """Return those from which logs lead on."""
    return [each for each in listed(project) if each["kind"] == "base"]


def sql(project: Project, machine: lab.Host, text: str) -> str:
    """Ask MySQL on the host, as its root."""
    client = 'MYSQL_PWD="$(cat /run/secrets/mysql_root_password)" exec mysql --user=root "$@"'
    words = ("docker", "exec", f"{project.name}-db-1", "sh", "-c", client, "mysql")
    options = ("--skip-column-names", "--batch", "--database=mlflow")
    return on(machine, *words, *options, f"--execute={text}")


# Connections of MLflow's client to the host that is killed, which it never closes.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("impatient")
def test_a_destroyed_host_comes_back_elsewhere_to_the_last_seconds(
    team: Project,
    hosts: list[lab.Host],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    measured: Callable[[str], None],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")  # so long hangs who asks a dead host
    first, second = hosts
    environ = {**team.environ, **team.login(), "MLFLOW_TRACKING_URI": url(team, first)}
    workload = Workload(environ, tmp_path / "record.json")
    workload.log(megabytes=2)
    sql(team, first, "CREATE USER 'reader'@'%' IDENTIFIED BY 'reads-and-no-more'")
    triggers = sql(team, first, "SHOW TRIGGERS")
    assert "prevent_secrets_aad_mutation" in triggers
    team.invoke("backup", "--host", team_host(first))

    load = Load(url(team, first), writers=2, readers=1, seconds=120)
    with load.running():
        wait_for(lambda: load.writes > 60, 60, "some writes")
        time.sleep(LOSS_WINDOW + 2)
        output("docker", "kill", first.name)
        died = time.time()
    assert load.writes > 100

    # --- Another host, on which nothing is ---
    known(team, second)
    team.set(**team_settings(second), PUBLIC_URL=f"https://{second.address}:{team.tls_port}")
    team.invoke("verify")
    begin = time.monotonic()
    done = team.invoke("restore", "--host", team_host(second), "--confirm", team.name)
    measured(f"restored in {time.monotonic() - begin:.0f} s")
    assert "invoke deploy" in done.stdout
    team.invoke("deploy")

    load.uri = url(team, second)
    team.login()  # by the CA's certificate for another address
    load.verify(before=died - LOSS_WINDOW)
    late = [moment for moment in load.moments.values() if moment > died - LOSS_WINDOW]
    measured(f"{load.writes} writes, {len(late)} of them in the last {LOSS_WINDOW} s")
    replace(workload, environ={**workload.environ, "MLFLOW_TRACKING_URI": load.uri}).verify()
    assert sql(team, second, "SHOW TRIGGERS").split("\t")[0] == triggers.split("\t")[0]
    assert "reader" in sql(team, second, "SELECT user FROM mysql.user")
    team.invoke("smoke", "--host", team_host(second))


def test_everything_deleted_comes_back_as_it_was_the_second_before(
    team: Project, hosts: list[lab.Host], impatient: None
) -> None:
    _ = impatient
    second = hosts[1]
    team.invoke("backup", "--host", team_host(second))
    load = Load(url(team, second), writers=1, readers=1, seconds=30)
    with load.running():
        wait_for(lambda: load.writes > 20, 60, "some writes")
    time.sleep(1.1)
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    time.sleep(1.1)
    sql(team, second, GONE)
    wait_for(lambda: bases(team)[-1]["restores_to"] > moment[:19], 60, "the logs in S3")

    done = team.invoke(
        "restore", "--host", team_host(second), "--at", moment, "--confirm", team.name
    )

    load.verify()
    assert "is kept" in done.stderr
    team.invoke("smoke", "--host", team_host(second))
    wait_for(lambda: bases(team)[-1]["as_of"] > moment, 60, "a base of the restored database")


def test_a_drill_proves_a_restore_and_leaves_evidence(team: Project, hosts: list[lab.Host]) -> None:
    second = hosts[1]
    before = team.invoke("status", "--host", team_host(second), expect=1)
    assert "the last proven restore is missing" in before.stderr

    names = ("docker", "ps", "--all", "--format", "{{.Names}}")
    before_it = sorted(on(second, *names).split())
    for block in blocks(PAGE)[1:]:
        team.shell(block, DEPLOY_HOST=team_host(second))

    place = vault.reach(Settings.load(team.root, team.environ))
    [evidence] = [json.loads(place.read(entry.name)) for entry in place.list("drills/")]
    assert evidence["result"] == "ok"
    assert evidence["mlflow"]["runs"] > 0
    assert evidence["rows"] > 1000
    assert evidence["artifacts"]["places"] > 0
    assert evidence["artifacts"]["missing"] == []
    assert before_it == sorted(on(second, *names).split())
    assert any(each["proven"] for each in listed(team))
    wait_for(
        lambda: team.invoke("status", "--host", team_host(second), expect=None).returncode == 0,
        120,
        "a status without a complaint",
    )
    team.invoke("doctor", "--host", team_host(second), expect=None)


def team_host(machine: lab.Host) -> str:
    return f"{machine.user}@{machine.address}"
