"""An older MLflow on a host becomes the newest one, while a team goes on logging."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests import lab
from tests.e2e.conftest import Project, s3_settings, wait_for
from tests.e2e.load import Load
from tests.e2e.machines import on, operator, several, url
from tests.e2e.test_documents import blocks
from tests.e2e.workload import Workload

PAGE = "docs/upgrades.md"
OLDER = os.environ.get("UPGRADE_FROM", "3.14.0")
"""The environment may name another one: `UPGRADE_FROM=3.16.0 nox -s e2e -- -k test_upgrade`."""

NAMES = ("mlflow", "mlflow-skinny", "mlflow-tracing")
PINS = Path("mlflow/requirements.txt")
PIN = re.compile(
    r"^(mlflow(?:-skinny|-tracing)?)==\S+ \\\n(?:    --hash=\S+(?: \\)?\n)+", re.MULTILINE
)
pytestmark = pytest.mark.usefixtures("logged_in")


def older(text: str) -> str:
    """Return the requirements with that MLflow in them, by its hashes."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps"),
            *("--generate-hashes", "--no-header", "--no-annotate", "-"),
        ],
        input="".join(f"{name}=={OLDER}\n" for name in NAMES),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    pins = {found[1]: found[0] for found in PIN.finditer(f"{done.stdout}\n")}
    assert set(NAMES) == set(pins)
    changed, count = PIN.subn(lambda found: pins[found[1]], text)
    assert len(NAMES) == count
    return changed


@pytest.fixture(scope="module")
def host(the_lab: lab.Lab) -> lab.Host:
    assert the_lab.s3
    return several(1)[0]


@pytest.fixture(scope="module")
def team(
    make_project: Callable[..., Project], host: lab.Host, the_lab: lab.Lab
) -> Iterator[Project]:
    """A folder of this version; what runs on the host was deployed from it with an older MLflow."""
    settings = {
        **s3_settings(the_lab, "s3://mlflow-artifacts/upgrade"),
        "BACKUPS_DESTINATION": f"s3://mlflow-artifacts/upgrade-stored-{time.time_ns()}",
        "WEB_WORKERS": "1",
        "WATCH_SECONDS": "1",
    }
    with operator(make_project, host, "upgrade", settings) as project:
        project.invoke("backup-key")
        file = project.root / PINS
        newest = file.read_text("utf-8")
        file.write_text(older(newest), "utf-8")
        project.invoke("deploy", timeout=900)
        project.invoke("add-user", "alice", "--generate", "--host", there(project))
        file.write_text(newest, "utf-8")
        yield project


@pytest.fixture(scope="module")
def logged(team: Project, host: lab.Host, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """What a team has logged with the older server."""
    environ = {**team.environ, **team.login(), "MLFLOW_TRACKING_URI": url(team, host)}
    found = Workload(environ, tmp_path_factory.mktemp("record") / "record.json")
    found.log(megabytes=2)
    return found


def there(project: Project) -> str:
    return project.settings.deploy_host


def upgrade(project: Project, *words: str, expect: int = 0) -> Any:
    return project.invoke("upgrade", "--host", there(project), *words, expect=expect, timeout=900)


def running(project: Project, host: lab.Host) -> dict[str, str]:
    """Return the version of MLflow that each server on the host has, by its container."""
    ps = ("docker", "ps", "--quiet", "--filter", f"name={project.name}-web-")
    words = ("python", "-c", "import importlib.metadata as m; print(m.version('mlflow'))")
    return {each: on(host, "docker", "exec", each, *words) for each in on(host, *ps).split()}


def sql(project: Project, host: lab.Host, text: str) -> str:
    client = 'MYSQL_PWD="$(cat /run/secrets/mysql_root_password)" exec mysql --user=root "$@"'
    words = ("docker", "exec", f"{project.name}-db-1", "sh", "-c", client, "mysql")
    return on(host, *words, "--skip-column-names", "--batch", f"--execute={text}")


def left(project: Project, host: lab.Host) -> str:
    """Return what there is of rehearsals, and of restores but for volumes, which are kept."""
    label = "--filter=label=mlflow-compose.{}=" + project.name
    containers, volumes = (
        ("docker", "ps", "--all", "--quiet"),
        ("docker", "volume", "ls", "--quiet"),
    )
    return "".join(
        (
            on(host, *containers, label.format("upgrade")),
            on(host, *containers, label.format("restore")),
            on(host, *volumes, label.format("upgrade")),
        )
    )


def migrating(project: Project, host: lab.Host) -> bool:
    """Say whether the live database is being migrated."""
    return "journal" in sql(project, host, "SHOW TABLES FROM mlflow LIKE 'alembic%'")


def held(project: Project, host: lab.Host) -> bool:
    folder = f"/home/{host.user}/{project.name}/releases"
    return "hold.conf" in on(host, "ls", folder).split()


def test_a_deploy_of_another_schema_is_refused_and_names_what_to_do(
    team: Project, host: lab.Host, logged: Workload
) -> None:
    before = running(team, host)
    said = team.invoke("deploy", expect=2, timeout=900).stderr

    assert "this release needs schema" in said
    assert "invoke upgrade" in said
    assert before == running(team, host)
    assert [OLDER] == list(before.values())
    assert logged


def test_a_rehearsal_says_what_will_happen_and_changes_nothing(
    team: Project, host: lab.Host, logged: Workload, measured: Callable[[str], None]
) -> None:
    shown, _ = blocks(PAGE)
    assert 'invoke upgrade --host "$DEPLOY_HOST" --rehearse-only\n' == shown
    before = running(team, host)
    found = json.loads(upgrade(team, "--rehearse-only", "--json").stdout)

    assert [OLDER, "3.17.2"] == found["plan"]["mlflow"]
    schemas = {each["name"]: len(each["migrations"]) for each in found["plan"]["schemas"]}
    assert schemas.keys() == {"schema", "login's schema"}
    assert schemas["schema"] > 0
    rehearsal = found["rehearsal"]
    assert [] == rehearsal["differences"]
    assert rehearsal["touched"]
    assert rehearsal["read"]["runs"] > 5
    assert before == running(team, host)
    assert "" == left(team, host)
    assert not migrating(team, host)
    logged.verify()
    measured(f"rehearsed: {rehearsal['seconds']}")


def test_a_migration_that_is_killed_is_taken_back_and_no_write_is_lost(
    team: Project, host: lab.Host, logged: Workload, measured: Callable[[str], None]
) -> None:
    load = Load(url(team, host), writers=2, readers=1, seconds=500)
    with load.running():
        order = team.start("upgrade", "--host", there(team), "--yes")
        wait_for(lambda: migrating(team, host) or order.poll() is not None, 400, "the migration")
        [job] = on(host, "docker", "ps", "--quiet", "--filter", f"name={team.name}-migrate").split()
        on(host, "docker", "kill", job)
        killed = time.monotonic()
        _, said = order.communicate(timeout=300)
        measured(f"the old server again {time.monotonic() - killed:.0f} s after the kill")
        writes = load.writes
        wait_for(lambda: load.writes > writes + 20, 60, "writes that go on")
    measured(load.report())

    assert 1 == order.returncode, said
    assert "going back" in said
    assert f"kept, in case: the volume {team.name}_db" in said
    assert "error: " in said
    assert [OLDER] == list(running(team, host).values())
    assert not migrating(team, host)
    assert not held(team, host)
    assert [] == load.failures
    load.verify()
    logged.verify()
    assert "" == left(team, host)


def test_a_command_that_dies_leaves_writes_waiting_and_the_next_one_takes_it_back(
    team: Project, host: lab.Host, logged: Workload
) -> None:
    load = Load(url(team, host), writers=2, readers=1, seconds=500)
    with load.running():
        order = team.start("upgrade", "--host", there(team), "--yes")
        wait_for(lambda: migrating(team, host) or order.poll() is not None, 400, "the migration")
        os.kill(order.pid, signal.SIGKILL)
        order.communicate(timeout=60)
        assert held(team, host)

        said = team.invoke("deploy", expect=2).stderr
        assert "was cut off" in said
        assert "invoke upgrade --host" in said
        time.sleep(30)  # until the lock of the host, whose holder says nothing any more, is free
        wait_for(lambda: not migrating(team, host) or not jobs(team, host), 60, "the job's end")
        upgrade(team)
        writes = load.writes
        wait_for(lambda: load.writes > writes + 20, 60, "writes that go on")

    assert [OLDER] == list(running(team, host).values())
    assert not held(team, host)
    # Clients have tried as often as they do while nobody was there to take it back.
    load.verify()
    logged.verify()


def jobs(project: Project, host: lab.Host) -> str:
    return on(host, "docker", "ps", "--quiet", "--filter", f"name={project.name}-migrate")


def test_a_team_logs_on_through_an_upgrade(
    team: Project, host: lab.Host, logged: Workload, measured: Callable[[str], None]
) -> None:
    load = Load(url(team, host), writers=2, readers=1, seconds=500)
    with load.running():
        wait_for(lambda: load.writes > 20, 60, "some writes")
        _, shown = blocks(PAGE)
        assert 'invoke upgrade --host "$DEPLOY_HOST" --yes\n' == shown
        done = upgrade(team, "--yes")
        writes = load.writes
        wait_for(lambda: load.writes > writes + 20, 60, "writes that go on")
    times = sorted(load.moments.values())
    longest = max(after - before for before, after in pairwise(times))
    measured(f"{load.report()}; writes waited {longest:.0f} s")

    assert f"MLflow {OLDER} -> 3.17.2" in done.stderr
    assert f"invoke restore --host {there(team)} --id" in done.stderr
    assert ["3.17.2"] == list(running(team, host).values())
    assert not held(team, host)
    assert ([], 0) == (load.failures, load.failed_reads)
    load.verify()
    logged.verify()
    team.invoke("smoke", "--host", there(team))
    assert "alice" in team.invoke("list-users", "--host", there(team)).stdout
    assert "" == left(team, host)
    assert "nothing to rehearse" in upgrade(team).stderr
    assert "upgrade" in team.invoke("releases", "--host", there(team)).stdout

    # --- And back, with the data that the older one knows ---
    refused = team.invoke("rollback", "--host", there(team), expect=2).stderr
    assert "needs schema" in refused
    assert "invoke restore" in refused
    backup = done.stderr.split()[-1]
    back = team.invoke(
        *("restore", "--host", there(team), "--id", backup, "--confirm", team.name), timeout=900
    )
    assert "lost: " in back.stderr
    assert f"invoke rollback --host {there(team)}\n" == back.stdout
    team.invoke("rollback", "--host", there(team), timeout=900)
    assert [OLDER] == list(running(team, host).values())
    logged.verify()
    team.invoke("smoke", "--host", there(team))
