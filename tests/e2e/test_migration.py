"""The migration job on a real MySQL: interrupted, half-made, older, newer, foreign."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.e2e.conftest import Project, output

OLDER = "770bee3ae1dd"
# What `up` does first: the files that a `docker compose` line of the test reads.
WRITE_FILES = (
    "from ops import compose, images, preflight, sizing; from ops.hosts import LocalHost; "
    "from ops.settings import Settings; s = Settings.load().with_secrets(); "
    "preflight.data_folder(s.data); "
    "compose.write_files(s, sizing.size(s, [images.engine(LocalHost()).machine]))"
)
RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"

# Brings an empty database to an older revision, as an older MLflow left it, with one run in it.
MAKE_OLDER = f"""
import os, sqlalchemy as sa
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
engine = sa.create_engine(uri)
Base.metadata.create_all(engine)
config = _get_alembic_config(uri)
command.upgrade(config, "{OLDER}")
with engine.begin() as connection:
    connection.execute(sa.text(
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
        "VALUES (7, 'kept', 'mlflow-artifacts:/7', 'active')"))
    connection.execute(sa.text(
        "INSERT INTO runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id, "
        "source_type, user_id, artifact_uri) VALUES ('{"a" * 32}', 'old', 'FINISHED', 1, 'active', "
        "7, 'LOCAL', 'me', 'mlflow-artifacts:/7/a/artifacts')"))
"""


@pytest.fixture(scope="module")
def template(make_project: Callable[..., Project]) -> Iterator[Project]:
    """A stack that came up once; the tests copy its volume, with an empty database in it."""
    made = make_project("migration-template")
    made.invoke("up", "--engine", "compose")
    in_database(made, "DROP DATABASE mlflow", "CREATE DATABASE mlflow")
    made.invoke("down")
    yield made
    made.remove()


@pytest.fixture
def project(make_project: Callable[..., Project], template: Project) -> Iterator[Project]:
    """A stack of this test's own, down, with a database that is empty."""
    made = make_project("migration")
    secrets = [line for line in env_lines(template) if "PASS" in line]
    with (made.root / ".env").open("a") as file:
        file.write("\n".join(secrets) + "\n")
    labels = [
        f"--label=com.docker.compose.project={made.name}",
        "--label=com.docker.compose.volume=db",
    ]
    output("docker", "volume", "create", *labels, f"{made.name}_db")
    volumes = [f"--volume={template.name}_db:/from:ro", f"--volume={made.name}_db:/to"]
    output("docker", "run", "--rm", *volumes, "python:3.13-slim", "cp", "-a", "/from/.", "/to/")
    made.shell(f'python -c "{WRITE_FILES}"')
    yield made
    made.remove()


def test_an_interrupted_first_migration_is_taken_back_and_done_again(project: Project) -> None:
    with up_in_background(project) as first:
        kill_job(project, tables=30)

    assert 1 == first.returncode
    assert "exit code 137" in first.said

    again = project.invoke("up", "--engine", "compose")

    assert "note: an interrupted first migration of 2" in again.stderr
    project.invoke("smoke")


def test_an_older_database_is_left_alone_until_its_migration_is_asked_for(project: Project) -> None:
    make_older(project)

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert f"the database is at revision {OLDER} of an older MLflow" in refused.stderr
    assert "invoke up --migrate" in refused.stderr
    assert not project.container("web")

    project.invoke("up", "--engine", "compose", "--migrate")

    assert ["kept"] == experiments(project)
    project.invoke("smoke")


def test_a_half_migrated_database_is_named_and_the_runbook_brings_the_copy_back(
    project: Project,
) -> None:
    make_older(project)
    run_section("Before a migration: keep a copy", project)
    before = checksum(project)
    with up_in_background(project, "--migrate") as first:
        kill_job(project, tables=45)
    assert 1 == first.returncode

    for _ in range(2):  # it neither loops nor changes anything, however often it is tried
        refused = project.invoke("up", "--engine", "compose", "--migrate", expect=2)
        assert f"half-migrated: it was being migrated from {OLDER}" in refused.stderr
        assert "docs/runbook.md, 'half-migrated'" in refused.stderr

    run_section("half-migrated", project)

    assert before == checksum(project)
    project.invoke("up", "--engine", "compose", "--migrate")
    assert ["kept"] == experiments(project)


def test_parts_of_a_later_revision_are_named_as_half_migrated(project: Project) -> None:
    make_older(project)
    in_database(project, "CREATE TABLE secrets (id INT)")

    refused = project.invoke("up", "--engine", "compose", "--migrate", expect=2)

    assert "half-migrated: it already holds parts of a later revision" in refused.stderr
    assert "(1050" in refused.stderr


def test_tables_without_a_revision_are_refused(project: Project) -> None:
    in_database(project, "CREATE TABLE runs (id INT)")

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert "holds tables but names no schema revision" in refused.stderr
    assert "runs" == in_database(project, "SHOW TABLES")


def test_a_database_of_a_newer_mlflow_is_refused(project: Project) -> None:
    make_older(project)
    in_database(project, "UPDATE alembic_version SET version_num = 'f00dfeedf00d'")

    refused = project.invoke("up", "--engine", "compose", "--migrate", expect=2)

    assert "revision f00dfeedf00d, which this MLflow does not know" in refused.stderr


@pytest.mark.parametrize(
    ("history", "named"),
    [
        ('{"file_format":"1","upgrade_history":[{"version":"8.4.6"}]}', "8.4"),
        ("8.0.36", "8.0"),
        ("11.4.2-MariaDB", "MariaDB 11.4.2"),
    ],
)
def test_a_volume_of_another_server_is_refused(project: Project, history: str, named: str) -> None:
    """No other server runs here: the file it leaves in its volume is what is put there."""
    write_history(project, history)

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert f"the volume {project.name}_db was made by {named}," in refused.stderr
    assert history == in_volume(project, "cat /volume/mysql_upgrade_history")
    assert not project.container("db")


def test_a_volume_that_mysql_did_not_make_is_refused(project: Project) -> None:
    in_volume(project, "rm -r /volume/* && echo hello > /volume/notes.txt")

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert "was made by something that is not MySQL 8.4 or newer" in refused.stderr
    assert "notes.txt" == in_volume(project, "ls /volume")


def test_another_password_than_the_volume_was_made_with_is_named(project: Project) -> None:
    right = env_value(project, "MYSQL_PASSWORD")
    project.set(MYSQL_PASSWORD="another-password-than-before")

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert "refuses the password in .env" in refused.stderr
    assert not project.container("db")
    project.set(MYSQL_PASSWORD=right)
    project.invoke("up", "--engine", "compose")


def test_a_volume_without_its_env_file_is_refused(project: Project) -> None:
    file = project.root / ".env"
    kept = [line for line in file.read_text().splitlines() if "PASS" not in line]
    file.write_text("\n".join(kept) + "\n")

    refused = project.invoke("up", "--engine", "compose", expect=2)

    assert ".env lacks MYSQL_PASSWORD, MYSQL_ROOT_PASSWORD, KEK_PASSPHRASE" in refused.stderr
    assert "MYSQL_PASSWORD" not in file.read_text()


class Background:
    """An `invoke up` that runs while something is done to it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.said = ""
        self.returncode = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        out, err = self._process.communicate(timeout=300)
        self.said, self.returncode = out + err, self._process.returncode


def up_in_background(project: Project, *words: str) -> Background:
    return Background(project.start("up", "--engine", "compose", *words))


def kill_job(project: Project, *, tables: int) -> None:
    """Kill the migration job (SIGKILL) once the database holds so many tables."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        database, job = project.container("db"), project.container("migrate")
        if database and job:
            words = ["docker", "exec", database, "sh", "-c", "ls /var/lib/mysql/mlflow/*.ibd"]
            found = subprocess.run(words, capture_output=True, text=True, check=False)
            if len(found.stdout.split()) >= tables:
                output("kill", "-9", output("docker", "inspect", "-f", "{{.State.Pid}}", job))
                return
        time.sleep(0.05)
    pytest.fail(f"the migration never reached {tables} tables")


def make_older(project: Project) -> None:
    words = project.compose("run", "--rm", "--no-TTY", "migrate", "python", "-c", MAKE_OLDER)
    output(*words)
    output(*project.compose("down"))


def in_database(project: Project, *statements: str) -> str:
    """Run SQL as root in the project's MySQL, started for it if it is not up."""
    was_up = bool(project.container("db"))
    output(*project.compose("up", "--detach", "--wait", "db"))
    script = 'MYSQL_PWD=$(cat /run/secrets/mysql_root_password) exec mysql -uroot -N "$@"'
    words = ["exec", "-T", "db", "sh", "-c", script, "sh"]
    database = [] if statements[0].startswith("DROP DATABASE") else ["mlflow"]
    said = output(*project.compose(*words, "-e", "; ".join(statements), *database))
    if not was_up:
        output(*project.compose("down"))
    return said


def checksum(project: Project) -> str:
    return in_database(project, "CHECKSUM TABLE runs, experiments", "SHOW TABLES")


def in_volume(project: Project, script: str) -> str:
    volume = f"--volume={project.name}_db:/volume"
    return output("docker", "run", "--rm", volume, "python:3.13-slim", "sh", "-c", script)


def write_history(project: Project, text: str) -> None:
    in_volume(project, f"printf '%s' '{text}' > /volume/mysql_upgrade_history")


def env_lines(project: Project) -> list[str]:
    return (project.root / ".env").read_text("utf-8").splitlines()


def env_value(project: Project, key: str) -> str:
    return next(x.partition("=")[2].strip("'") for x in env_lines(project) if x.startswith(key))


def experiments(project: Project) -> list[str]:
    names = in_database(project, "SELECT name FROM experiments ORDER BY experiment_id").split("\n")
    return [name for name in names if not name.startswith(("Default", "mlflow-compose"))]


def run_section(title: str, project: Project) -> None:
    """Run the commands of a section of the runbook as they stand there."""
    text = RUNBOOK.read_text("utf-8")
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert blocks, title
    project.shell("\n".join(blocks).replace("mlflow-compose_", f"{project.name}_"))
