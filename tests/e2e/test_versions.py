"""Databases that real older servers made and filled, brought to this version's on a real MySQL."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import CA_FILE, Project, output, todays, wait_for
from tests.e2e.test_migration import in_database
from tests.e2e.workload import same

OLDEN = Path(__file__).with_name("olden.py")
VERSIONS = ("2.22.4", "3.1.4", "3.5.1", "3.10.1", "3.14.0", "3.15.0", "3.16.0")
CAPS = "'setuptools<81' 'sqlalchemy<2.1'"
"""What older ones say they take and do not, in versions that came after them."""

DOCKERFILE = """
FROM python:3.13-slim
ARG MLFLOW
RUN --mount=type=secret,id=ca \\
    if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \\
    pip install --no-cache-dir "mlflow==$MLFLOW" pymysql cryptography %s
ENV MLFLOW_TRACKING_URI=http://127.0.0.1:5000 MLFLOW_DISABLE_TELEMETRY=true
"""

POINTS = int(os.environ.get("VERSIONS_POINTS", "40000"))
"""Rows of metrics."""

EACH = int(os.environ.get("VERSIONS_SHARE", "7"))
"""One in so many versions a day."""


@pytest.fixture(scope="module")
def project(make_project: Callable[..., Project]) -> Project:
    """A stack whose database the tests empty and have filled by others."""
    made = make_project("versions", AUTH="none", WEB_WORKERS="1")
    made.invoke("up", "--engine", "compose")
    return made


@contextmanager
def serving(project: Project, version: str) -> Iterator[str]:
    """Have an older server on the project's MySQL, as by hand; yield its container."""
    image, name = f"e2e-olden:{version}", f"{project.name}-olden"
    secrets = [f"--secret=id=ca,src={CA_FILE}"] if CA_FILE.exists() else []
    build = ("docker", "build", "--tag", image, f"--build-arg=MLFLOW={version}", *secrets, "-")
    output(*build, stdin=DOCKERFILE % CAPS)
    store = f"mysql+pymysql://mlflow:{project.secret('MYSQL_PASSWORD')}@db:3306/mlflow"
    output(
        *("docker", "run", "--detach", "--name", name, f"--network={project.name}_database"),
        *(image, "mlflow", "server", "--host=127.0.0.1", "--workers=1"),
        *(f"--backend-store-uri={store}", "--default-artifact-root=mlflow-artifacts:/"),
    )
    try:
        look = "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health')"
        words = ["docker", "exec", name, "python", "-c", look]
        wait_for(
            lambda: subprocess.run(words, capture_output=True, check=False).returncode == 0,
            240,
            "the older server",
        )
        yield name
    finally:
        output("docker", "rm", "--force", "--volumes", name)


def run(words: Sequence[str], verb: str, **environ: str) -> Any:
    """Have a client fill a server, or read all there is."""
    done = subprocess.run(
        [*words, "-", *verb.split()],
        input=OLDEN.read_text("utf-8"),
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout) if verb == "read" else None


@pytest.mark.parametrize("version", todays(VERSIONS, EACH))
def test_what_an_older_server_made_is_there_after_its_migration(
    version: str, project: Project, measured: Callable[[str], None]
) -> None:
    output(*project.compose("stop", "web"))
    in_database(project, "DROP DATABASE mlflow", "CREATE DATABASE mlflow")
    with serving(project, version) as container:
        inside = ("docker", "exec", "--interactive", container, "python")
        run(inside, f"fill {POINTS}")
        before = run(inside, "read")
    rows = in_database(project, "SELECT COUNT(*) FROM metrics")
    assert int(rows) >= POINTS

    refused = project.invoke("up", "--engine", "compose", expect=2)
    assert "of an older MLflow" in refused.stderr
    done = project.invoke("up", "--engine", "compose", "--migrate")

    after = run([sys.executable], "read", MLFLOW_TRACKING_URI=project.url)
    for what, found in before.items():
        same(found, after[what], f"{what} of {version}")
    assert rows == in_database(project, "SELECT COUNT(*) FROM metrics")
    project.invoke("smoke")
    [took] = [line for line in done.stderr.splitlines() if "checking the database schema" in line]
    measured(f"{rows} metric rows, {len(before['runs'])} runs of {version}: {took}")
