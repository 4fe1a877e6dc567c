"""Secrets replaced on a host that serves, with MySQL and MLflow themselves."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops.front_door import FrontDoor, RequestError, headers
from ops.values import Secret
from tests import lab
from tests.e2e.conftest import Project, s3_settings, wait_for
from tests.e2e.load import Load
from tests.e2e.machines import on, operator, several, url

pytestmark = pytest.mark.usefixtures("logged_in")

MYSQL = 'IFS= read -r MYSQL_PWD && export MYSQL_PWD && exec mysql --user="$0" -e "DO 0"'


@pytest.fixture(scope="module")
def machine(the_lab: lab.Lab) -> lab.Host:
    """A host as it could be anywhere."""
    assert the_lab.s3
    return several(1)[0]


@pytest.fixture(scope="module")
def team(
    make_project: Callable[..., Project], machine: lab.Host, the_lab: lab.Lab
) -> Iterator[Project]:
    """A folder of the operator's, and a stack of it on the host."""
    settings = s3_settings(the_lab, "s3://mlflow-artifacts/rotation")
    settings |= {"WEB_WORKERS": "1", "WATCH_SECONDS": "3", "DRAIN_SECONDS": "120"}
    with operator(make_project, machine, "rotation", settings) as project:
        project.invoke("deploy")
        yield project


def let_in(project: Project, machine: lab.Host, user: str, password: str) -> bool:
    """Say whether MySQL on the host lets a user in."""
    label = f"label=com.docker.compose.project={project.name}"
    words = ("docker", "ps", "--quiet", "--filter", label)
    db = on(machine, *words, "--filter", "label=com.docker.compose.service=db")
    script = f"printf '%s\\n' '{password}' | docker exec -i {db} sh -c '{MYSQL}' {user}"
    return "let in" in on(machine, "sh", "-c", f"{script} && echo let in || true")


def rotate(project: Project, key: str) -> tuple[str, str]:
    """Replace a secret on the host; return the old one and the new one."""
    before = project.secret(key)
    words = ("rotate-secret", key, "--host", project.settings.deploy_host)
    done = project.invoke(*words, "--yes", timeout=900)
    after = project.secret(key)
    assert before != after
    assert after not in done.stdout + done.stderr
    assert not list((project.root / "data" / "rotation").glob("*.json"))
    return before, after


@pytest.mark.parametrize(
    ("key", "user"), [("MYSQL_WEB_PASSWORD", "web"), ("MYSQL_PASSWORD", "mlflow")]
)
def test_under_load_no_request_fails_and_the_old_password_is_refused(
    team: Project, machine: lab.Host, key: str, user: str
) -> None:
    with Load(url(team, machine)).running() as load:
        old, new = rotate(team, key)

    assert [] == load.failures
    assert 0 == load.failed_reads
    assert let_in(team, machine, user, new)
    assert not let_in(team, machine, user, old)
    assert "nothing changed" in team.invoke("deploy").stderr


@pytest.mark.parametrize("point", ["letting the new", "new server (", "draining the old"])
def test_killed_on_the_way_the_same_command_ends_it(
    team: Project, machine: lab.Host, point: str
) -> None:
    old = team.secret("MYSQL_WEB_PASSWORD")
    words = ("rotate-secret", "MYSQL_WEB_PASSWORD", "--host", team.settings.deploy_host)
    with team.start(*words) as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if line.startswith(point)), "")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert seen
    team.smoke(url(team, machine))

    # The lock of the deploy ends with the silence of its holder.
    wait_for(lambda: 0 == team.invoke(*words, expect=None).returncode, 300, "the same command ends")
    team.smoke(url(team, machine))
    assert not let_in(team, machine, "web", old)
    assert let_in(team, machine, "web", team.secret("MYSQL_WEB_PASSWORD"))


def test_root_s_password_is_replaced_without_a_restart_of_mysql(
    team: Project, machine: lab.Host
) -> None:
    label = f"label=com.docker.compose.project={team.name}"
    service = "label=com.docker.compose.service=db"
    words = ("docker", "ps", "--quiet", "--no-trunc", "--filter", label, "--filter", service)
    before = on(machine, *words)
    old, new = rotate(team, "MYSQL_ROOT_PASSWORD")

    assert before == on(machine, *words)
    assert let_in(team, machine, "root", new)
    assert not let_in(team, machine, "root", old)
    doctor = ("doctor", "--host", team.settings.deploy_host, "--json")
    found = json.loads(team.invoke(*doctor, expect=None).stdout)
    assert "MySQL does not answer" not in json.dumps(found)


@pytest.mark.parametrize("key", ["KEK_PASSPHRASE", "WEBHOOK_KEY", "SESSION_KEY", "CA_SECRET"])
def test_the_server_works_with_a_new_one(team: Project, machine: lab.Host, key: str) -> None:
    rotate(team, key)

    team.smoke(url(team, machine))


def test_the_admin_s_old_password_is_refused(team: Project, machine: lab.Host) -> None:
    old, _ = rotate(team, "ADMIN_PASSWORD")
    team.smoke(url(team, machine))
    settings = team.settings
    before = headers(replace(settings, admin_password=Secret(old)))
    ca = Path(team.ca).read_text("utf-8")
    door = FrontDoor(url(team, machine), before, certificate=machine.address, ca=ca)
    with pytest.raises(RequestError) as caught:
        door.answers()

    assert 401 == caught.value.status


def test_a_rollback_to_before_a_rotation_is_refused(team: Project) -> None:
    oldest = json.loads(team.invoke("releases", "--json").stdout)[-1]["id"]
    done = team.invoke("rollback", "--to", oldest, expect=2)

    assert "is from before the rotation of its" in done.stderr
