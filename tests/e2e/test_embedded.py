"""The embedded engine under a team's load: nothing acknowledged is lost, nothing else touched."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import SMOKE_STEPS, Project, contents, wait_for
from tests.e2e.load import Load
from tests.e2e.workload import Workload

Measured = Callable[[str], None]

pytestmark = pytest.mark.usefixtures("impatient")

PIP = (".cache", ".rustup")
"""What pip leaves in a home folder: its cache; rustup's, whose `rustc` it asks for its version."""


@pytest.fixture(scope="module")
def workload(embedded: Project, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """The training script, run once; the tests read back what it logged."""
    work = Workload(embedded.client_environ(), tmp_path_factory.mktemp("record") / "record.json")
    work.log(megabytes=50)
    return work


def folder(project: Project) -> Path:
    return project.root / "data" / "embedded"


def leader(project: Project) -> int:
    return int(json.loads((folder(project) / "server.json").read_text("utf-8"))["pid"])


def session(project: Project) -> list[psutil.Process]:
    """Return the server's processes, the oldest first, found without the project's own code."""
    first, found = leader(project), []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and os.getsid(process.pid) == first:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return sorted(found, key=lambda process: (process.create_time(), process.pid))


def workers(project: Project) -> list[psutil.Process]:
    """Return the processes that answer requests: below uvicorn's own."""
    return [p for p in session(project) if "spawn_main" in " ".join(command_line(p))]


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def identities(project: Project) -> list[tuple[int, float]]:
    return [(process.pid, process.create_time()) for process in session(project)]


def status(project: Project, expect: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.invoke("status", "--json", expect=expect).stdout)
    return found


def test_everything_a_training_script_logs_is_read_back_equal(
    workload: Workload, measured: Measured
) -> None:
    said = workload.verify()
    assert "equal: 32 models" in said
    measured(said.splitlines()[-1])


def test_a_second_up_changes_nothing(embedded: Project) -> None:
    file = embedded.root / ".env"
    before = (identities(embedded), file.read_bytes(), file.stat().st_mtime_ns)
    done = embedded.invoke("up")
    assert before == (identities(embedded), file.read_bytes(), file.stat().st_mtime_ns)
    assert f"{embedded.url}\n" == done.stdout
    assert "nothing changed" in done.stderr


def test_the_secrets_of_a_fresh_copy_were_made_and_are_for_one_person_only(
    embedded: Project,
) -> None:
    file = embedded.root / ".env"
    assert 0o600 == file.stat().st_mode & 0o777
    assert 0o700 == (embedded.root / "data").stat().st_mode & 0o777
    keys = [line.partition("=")[0] for line in file.read_text("utf-8").splitlines()]
    for key in ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE"):
        assert 1 == keys.count(key)


def test_status_tells_a_script_what_runs(embedded: Project) -> None:
    found = status(embedded)
    [service] = found.pop("services")
    assert (found.pop("backups"), found.pop("certificate")) == (None, None)
    assert {"engine": "embedded", "url": embedded.url, "healthy": True} == found
    assert ("web", "running", True) == (service["name"], service["state"], service["healthy"])
    oldest = session(embedded)[0].create_time()
    assert abs(service["uptime_seconds"] - (time.time() - oldest)) < 10
    assert 100 * 1024**2 < service["memory_bytes"] < 2 * 1024**3


def test_the_smoke_test_passes_and_cleans_up(embedded: Project) -> None:
    done = embedded.invoke("smoke")
    lines = done.stdout.splitlines()
    assert SMOKE_STEPS == len(lines)
    assert all(line.startswith("ok  ") for line in lines)
    assert [] == list((folder(embedded) / "artifacts").rglob("smoke.bin"))


def test_a_shell_that_evaluates_client_env_has_a_working_client(embedded: Project) -> None:
    script = "import mlflow; print(mlflow.get_tracking_uri(), mlflow.get_experiment('0').name)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=embedded.client_environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"{embedded.url} Default\n" == done.stdout, done.stderr


def test_sqlite_runs_in_wal_mode(embedded: Project) -> None:
    connection = sqlite3.connect(f"file:{folder(embedded) / 'mlflow.db'}?mode=ro", uri=True)
    try:
        assert "wal" == connection.execute("PRAGMA journal_mode").fetchone()[0]
    finally:
        connection.close()


def test_logs_shows_what_the_server_wrote_and_refuses_other_services(embedded: Project) -> None:
    written = (folder(embedded) / "server.log").read_text("utf-8")
    shown = embedded.invoke("logs", "--service", "web").stdout
    assert "Application startup complete" in shown
    assert written.endswith(shown)
    refused = embedded.invoke("logs", "--service", "db", expect=2)
    assert "no service 'db'" in refused.stderr
    assert "" == refused.stdout


def test_a_killed_worker_is_replaced_by_itself_and_nothing_acknowledged_is_lost(
    embedded: Project, measured: Measured
) -> None:
    before = workers(embedded)
    assert 2 == len(before)
    follower = embedded.start("logs", "--follow")
    try:
        with Load(embedded.url).running() as load:
            wait_for(lambda: load.writes > 50, 60, "writes before the kill")
            before[0].kill()

            def healed() -> bool:
                now = {process.pid for process in workers(embedded)}
                return len(now) == 2 and before[0].pid not in now

            seconds = wait_for(healed, 60, "a second worker again")
            reached = load.writes
            wait_for(lambda: load.writes > reached + 50, 60, "writes after the kill")
        assert before[1].is_running()
        load.verify()
        assert status(embedded)["healthy"]
        died = f"Child process [{before[0].pid}] died"
        assert follower.stdout is not None
        assert any(died in line for line in follower.stdout)  # pytest-timeout ends a wait in vain
    finally:
        follower.kill()
        follower.communicate()
    measured(f"{load.report()}; a new worker after {seconds:.1f} s")


def test_killing_the_whole_server_loses_no_acknowledged_write(
    embedded: Project, measured: Measured
) -> None:
    with Load(embedded.url).running() as load:
        wait_for(lambda: load.writes > 100, 60, "writes before the kill")
        for process in session(embedded):
            process.send_signal(signal.SIGKILL)
        wait_for(lambda: load.failures, 30, "failed writes: the server is gone")
        found = status(embedded, expect=1)
        assert (False, "stopped") == (found["healthy"], found["services"][0]["state"])
        embedded.invoke("up")
        reached = load.writes
        wait_for(lambda: load.writes > reached + 100, 60, "writes after the kill")
    load.verify()
    measured(load.report())


def test_down_ends_every_process_and_says_so_and_up_brings_everything_back(
    embedded: Project, workload: Workload
) -> None:
    before = session(embedded)
    assert "its data is kept" in embedded.invoke("down").stderr
    assert [] == [process for process in before if process.is_running()]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", embedded.port))

    found = status(embedded, expect=1)
    [service] = found["services"]
    assert (False, "stopped", None, None) == (
        found["healthy"],
        service["state"],
        service["uptime_seconds"],
        service["memory_bytes"],
    )
    failed = embedded.invoke("smoke", expect=1)
    assert "server and database answer" in failed.stderr
    assert "Application startup complete" in embedded.invoke("logs").stdout
    assert "was not running" in embedded.invoke("down").stderr

    embedded.invoke("up")
    assert "equal: 32 models" in workload.verify()


@pytest.mark.usefixtures("workload")
def test_nothing_is_written_outside_the_data_folder_and_env(embedded: Project) -> None:
    assert embedded.files == contents(embedded.root, ".env", "data")
    home = Path(embedded.environ["HOME"])
    assert {} == contents(home, *PIP)
    assert {} == contents(Path(embedded.environ["TMPDIR"]))
