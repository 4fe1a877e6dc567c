"""Secrets replaced on this machine, each by one command; with MySQL and MLflow themselves."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests import lab
from tests.e2e.conftest import Project, output, s3_settings, wait_for

MYSQL = 'IFS= read -r MYSQL_PWD && export MYSQL_PWD && exec mysql --user="$0" -e "DO 0" 2>&1'
USERS = {
    "MYSQL_WEB_PASSWORD": "web",
    "MYSQL_PASSWORD": "mlflow",
    "MYSQL_ROOT_PASSWORD": "root",
    "BACKUP_PASSWORD": "backup",
}


@pytest.fixture(scope="module")
def project(make_project: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack with all that has a secret: TLS, a login, backups."""
    made = make_project(
        "rotation-here",
        **s3_settings(the_lab, "s3://mlflow-artifacts/rotation-here"),
        BACKUPS_DESTINATION=f"s3://mlflow-artifacts/rotation-here-stored-{time.time_ns()}",
        TLS="private-ca",
        AUTH="basic",
        WEB_WORKERS="1",
    )
    made.invoke("backup-key")
    made.invoke("up", "--engine", "compose")
    return made


def let_in(project: Project, user: str, password: str) -> bool:
    """Say whether MySQL lets a user in."""
    words = ("docker", "exec", "--interactive", project.container("db"), "sh", "-c", MYSQL, user)
    done = subprocess.run(
        words, input=f"{password}\n", capture_output=True, text=True, timeout=60, check=False
    )
    assert 0 == done.returncode or "ERROR 1045" in done.stdout, done.stdout + done.stderr
    return 0 == done.returncode


def rotate(project: Project, key: str) -> tuple[str, str]:
    """Replace a secret; return the old one and the new one."""
    before, database = project.secret(key), project.container("db")
    done = project.invoke("rotate-secret", key, "--yes", timeout=900)
    after = project.secret(key)

    assert before != after
    assert not [each for each in (before, after) if each in done.stdout + done.stderr]
    assert not list((project.root / "data" / "rotation").glob("*.json"))
    assert database == project.container("db"), "MySQL was replaced"
    return before, after


def status(project: Project, user: str, password: str) -> int:
    """Return what the front door answers somebody."""
    address = f"{project.url}/api/2.0/mlflow/experiments/search?max_results=1"
    answer = requests.get(address, auth=(user, password), verify=project.ca, timeout=30)
    return answer.status_code


@pytest.mark.parametrize("key", USERS)
def test_a_password_of_mysql_is_replaced_and_the_old_one_refused(
    project: Project, key: str
) -> None:
    old, new = rotate(project, key)

    assert let_in(project, USERS[key], new)
    assert not let_in(project, USERS[key], old)
    project.smoke()


def test_the_backup_service_goes_on_with_its_new_password(project: Project) -> None:
    rotate(project, "BACKUP_PASSWORD")

    # It may be at a backup of its own just then.
    words = ("backup", "--kind", "dump")
    wait_for(lambda: 0 == project.invoke(*words, expect=None).returncode, 180, "a backup")


def test_with_the_new_secrets_there_is_nothing_to_do(project: Project) -> None:
    before = [project.container(name) for name in ("db", "web", "nginx", "backup")]
    project.invoke("up")

    assert before == [project.container(name) for name in ("db", "web", "nginx", "backup")]


@pytest.mark.parametrize("point", ["letting the new", "starting the database", "starting the serv"])
def test_killed_on_the_way_the_same_command_ends_it(project: Project, point: str) -> None:
    old = project.secret("MYSQL_WEB_PASSWORD")
    with project.start("rotate-secret", "MYSQL_WEB_PASSWORD") as process:
        assert process.stderr is not None
        seen = next((line for line in process.stderr if line.startswith(point)), "")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert seen, "it was never there"

    done = project.invoke("rotate-secret", "MYSQL_WEB_PASSWORD")
    assert "was cut off: it goes on" in done.stderr
    assert let_in(project, "web", project.secret("MYSQL_WEB_PASSWORD"))
    assert not let_in(project, "web", old)
    project.smoke()


@pytest.mark.parametrize("key", ["KEK_PASSPHRASE", "WEBHOOK_KEY", "SESSION_KEY"])
def test_the_server_works_with_a_new_key(project: Project, key: str) -> None:
    old, _ = rotate(project, key)
    project.smoke()

    noted = f"# an earlier {key}, for backups of then: {old}\n"
    assert (key != "SESSION_KEY") == (noted in (project.root / ".env").read_text("utf-8"))


def test_the_admin_comes_with_the_new_password_only(project: Project) -> None:
    old, new = rotate(project, "ADMIN_PASSWORD")

    assert (200, 401) == (status(project, "admin", new), status(project, "admin", old))
    project.smoke()


def test_a_new_ca_is_agreed_to_and_then_signs_what_nginx_shows(project: Project) -> None:
    before = Path(project.ca).read_text("utf-8")
    done = project.invoke("rotate-secret", "CA_SECRET", expect=2)
    assert "nobody is here to agree to it; nothing was changed" in done.stderr
    rotate(project, "CA_SECRET")

    assert before != Path(project.ca).read_text("utf-8")
    # NGINX shows a new certificate within a minute.
    words = ("smoke", "--url", project.url)
    wait_for(
        lambda: 0 == project.invoke(*words, expect=None, environ=project.login()).returncode,
        180,
        "the smoke test",
    )


def test_a_password_of_mysql_is_in_no_description_of_a_container(project: Project) -> None:
    new = [project.secret(key) for key in USERS]
    names = [project.container(name) for name in ("db", "web", "backup", "dump")]
    shown = output("docker", "inspect", *names)

    assert not [each for each in new if each in shown]
