"""Databases that real older servers made and filled, brought to this version's on a real MySQL."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Project, free_port, output, todays, wait_for
from tests.e2e.test_migration import in_database
from tests.e2e.workload import same

OLDEN = Path(__file__).with_name("olden.py")
VERSIONS = ("2.22.4", "3.1.4", "3.5.1", "3.10.1", "3.14.0", "3.15.0", "3.16.0")
CAPS = ("setuptools<81", "sqlalchemy<2.1")
"""What older ones say they take and do not, in versions that came after them."""

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


def olden(version: str, folder: Path) -> Path:
    """Return the Python of an environment with an older MLflow."""
    uv = (sys.executable, "-m", "uv")
    output(*uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    needs = (f"mlflow=={version}", "pymysql", "cryptography", *CAPS)
    output(*uv, "pip", "install", "--quiet", "--python", str(python), *needs)
    return python


@contextmanager
def serving(project: Project, python: Path, log: Path) -> Iterator[str]:
    """Have an older server on the project's MySQL, started by hand; yield its address."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    address = output("docker", "inspect", "-f", form, project.container("db")).split()[0]
    password = project.secret("MYSQL_PASSWORD")
    store = f"mysql+pymysql://mlflow:{password}@{address}:3306/mlflow"
    port = free_port()
    words = ("-m", "mlflow", "server", f"--backend-store-uri={store}", f"--port={port}")
    places = ("--host=127.0.0.1", "--workers=1", "--default-artifact-root=mlflow-artifacts:/")
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [str(python), *words, *places],
            stdout=stream,
            stderr=stream,
            cwd=log.parent,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()[-3000:]
        try:
            urlopen(f"{url}/health", timeout=2).close()
        except (URLError, OSError):
            return False
        return True

    try:
        wait_for(answers, 240, "the older server")
        yield url
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself, and its log says why
            os.killpg(server.pid, 15)
        server.wait(30)


def run(python: Path | str, url: str, *words: str, **environ: str) -> Any:
    done = subprocess.run(
        [str(python), str(OLDEN), *words],
        env={**os.environ, **environ, "MLFLOW_TRACKING_URI": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout) if done.stdout.startswith("{") else None


@pytest.mark.parametrize("version", todays(VERSIONS, EACH))
def test_what_an_older_server_made_is_there_after_its_migration(
    version: str, project: Project, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    python = olden(version, tmp_path / "olden")
    output(*project.compose("stop", "web"))
    in_database(project, "DROP DATABASE mlflow", "CREATE DATABASE mlflow")
    with serving(project, python, tmp_path / "log") as url:
        run(python, url, "fill", str(POINTS))
        before = run(python, url, "read")
    rows = in_database(project, "SELECT COUNT(*) FROM metrics")
    assert int(rows) >= POINTS

    refused = project.invoke("up", "--engine", "compose", expect=2)
    assert "of an older MLflow" in refused.stderr
    done = project.invoke("up", "--engine", "compose", "--migrate")

    after = run(sys.executable, project.url, "read")
    for what, found in before.items():
        same(found, after[what], f"{what} of {version}")
    assert rows == in_database(project, "SELECT COUNT(*) FROM metrics")
    project.invoke("smoke")
    [took] = [line for line in done.stderr.splitlines() if "checking the database schema" in line]
    measured(f"{rows} metric rows, {len(before['runs'])} runs of {version}: {took}")
