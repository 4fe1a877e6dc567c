"""The embedded engine: its bookkeeping with real small processes; the server is a stand-in."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ops import embedded, environment, sizing
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.settings import Settings
from ops.sizing import Machine
from tests.conftest import FakeHost, StandInServer, host_makes, installed, with_test_secrets

# A leader that starts a worker, as MLflow's command does; both are in a session of their own.
FAMILY = "import subprocess, sys; print('up', flush=True); subprocess.run(['sleep', '60'])"
OURS = {**os.environ, embedded.MARK: "ours"}


def write_record(settings: Settings, pid: int, mark: str = "ours", **more: object) -> None:
    embedded.folder(settings).mkdir(parents=True, exist_ok=True)
    entry = {"pid": pid, "mark": mark, "port": settings.http_port, **more}
    (embedded.folder(settings) / "server.json").write_text(json.dumps(entry), "utf-8")


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def family(settings: Settings) -> Iterator[int]:
    """A server of two processes; the number of its leader."""
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True, env=OURS
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"up\n"
        write_record(settings, leader.pid)
        wait_until(lambda: names(settings)[1:] == ["sleep"])
        yield leader.pid
        end_session(leader.pid)


def names(settings: Settings) -> list[str]:
    return sorted(process.name() for process in embedded.processes(settings))


def end_session(leader: int) -> None:
    """Kill every process of a session."""
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (ProcessLookupError, psutil.Error):
            pass


def test_a_server_is_every_process_of_its_session(settings: Settings, family: int) -> None:
    found = embedded.processes(settings)

    assert family in [process.pid for process in found]
    assert names(settings)[1:] == ["sleep"]
    assert embedded.running(settings, LocalHost())


def test_the_workers_of_a_killed_leader_are_still_found_and_stopped(
    settings: Settings, family: int
) -> None:
    os.kill(family, signal.SIGKILL)
    os.waitpid(family, 0)
    (worker,) = embedded.processes(settings)
    assert worker.name() == "sleep"

    assert embedded.stop(settings)
    assert not worker.is_running()
    assert embedded.processes(settings) == []


def test_stopping_ends_all_and_forgets_them(settings: Settings, family: int) -> None:
    assert embedded.down(settings, LocalHost())

    assert embedded.processes(settings) == []
    assert not (embedded.folder(settings) / "server.json").exists()
    assert not embedded.down(settings, LocalHost())
    assert family not in psutil.pids() or psutil.Process(family).status() == psutil.STATUS_ZOMBIE


def test_a_process_that_ignores_the_polite_signal_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.2)
    script = "trap '' TERM; echo up; while :; do sleep 60; done"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True, env=OURS
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        write_record(settings, process.pid)
        assert embedded.stop(settings)

    assert not psutil.pid_exists(process.pid)


def test_a_reused_process_number_is_not_the_server(settings: Settings, family: int) -> None:
    write_record(settings, family, mark="of another start")

    assert embedded.processes(settings) == []
    assert not embedded.stop(settings)
    assert psutil.pid_exists(family)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"pid": "7"}', '{"pid": null}'])
def test_a_record_that_makes_no_sense_means_no_server(settings: Settings, text: str) -> None:
    embedded.folder(settings).mkdir(parents=True)
    (embedded.folder(settings) / "server.json").write_text(text, "utf-8")

    assert embedded.processes(settings) == []


def test_without_a_record_there_is_no_server(settings: Settings) -> None:
    assert embedded.processes(settings) == []
    assert not embedded.running(settings, LocalHost())


def test_status_of_a_running_server(settings: Settings, family: int, server: StandInServer) -> None:
    here = replace(settings, http_port=server.port)
    status = embedded.status(here, LocalHost())
    (web,) = status.services

    assert (status.engine, status.healthy, web.state) == ("embedded", True, "running")
    assert web.uptime_seconds == pytest.approx(
        time.time() - psutil.Process(family).create_time(), abs=2
    )
    assert web.memory_bytes is not None
    assert 100_000 < web.memory_bytes < 1024**3

    server.broken["POST /experiments/search"] = (500, b"no database")
    assert not embedded.status(here, LocalHost()).healthy


def test_status_of_a_stopped_server(settings: Settings) -> None:
    (web,) = embedded.status(settings, LocalHost()).services

    assert (web.state, web.healthy, web.uptime_seconds) == ("stopped", False, None)


# --- Up ---


class MlflowHost(FakeHost):
    """A machine whose MLflow is a small process; the server that answers is the stand-in."""

    def __init__(self, command: Sequence[str] = ("sleep", "60")) -> None:
        super().__init__({"": ""})
        self.command = command
        self.started: list[list[str]] = []
        self.children: list[subprocess.Popen[bytes]] = []

    def start(
        self, words: Sequence[str], env: Mapping[str, str], log: Path, folder: Path
    ) -> "subprocess.Popen[bytes]":
        self.started.append(list(words))
        self.environs.append(dict(env))
        child = super().start(self.command, env, log, folder)
        self.children.append(child)
        return child

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()


@pytest.fixture
def ready(settings: Settings, server: StandInServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose environment is installed and whose front door answers."""
    ready = replace(settings, http_port=server.port)
    installed(ready)
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    return ready


@pytest.fixture
def host(ready: Settings) -> Iterator[MlflowHost]:
    assert environment.complete(ready)
    machine = MlflowHost()
    yield machine
    machine.end()


def up(settings: Settings, host: LocalHost) -> bool:
    return embedded.up(settings, host, migrate=False)


def test_the_first_up_migrates_and_starts_the_server(ready: Settings, host: MlflowHost) -> None:
    assert up(ready, host)

    python = environment.path(ready) / "bin" / "python"
    assert host.lines == [f"{python} -I {ready.root}/ops/migration.py"]
    (words,) = host.started
    assert words[-5:] == [
        "server",
        "--host=127.0.0.1",
        f"--port={ready.http_port}",
        f"--workers={embedded.workers(ready)}",
        "--uvicorn-opts=--no-access-log",
    ]
    assert len(embedded.processes(ready)) == 1


def test_the_server_is_started_by_its_python_so_that_a_moved_folder_still_works(
    ready: Settings, host: MlflowHost
) -> None:
    up(ready, host)
    python = str(environment.path(ready) / "bin" / "python")

    assert host.started[0][0] == python
    assert "mlflow" in host.started[0][:4]


def test_a_second_up_changes_nothing(ready: Settings, host: MlflowHost) -> None:
    up(ready, host)
    before = embedded.processes(ready)

    assert not up(ready, host)
    assert embedded.processes(ready) == before
    assert len(host.started) == 1


def test_changed_settings_start_the_server_again(ready: Settings, host: MlflowHost) -> None:
    up(ready, host)
    (before,) = embedded.processes(ready)

    assert up(replace(ready, web_workers=3), host)
    assert not before.is_running() or before.status() == psutil.STATUS_ZOMBIE
    assert "--workers=3" in host.started[1]


def test_the_workers_follow_from_this_machine_unless_they_are_given(settings: Settings) -> None:
    machine = Machine(os.cpu_count() or 1, psutil.virtual_memory().total)

    assert sizing.sqlite_workers(settings, machine) == embedded.workers(settings)
    assert 7 == embedded.workers(replace(settings, web_workers=7))


def test_up_with_migrate_says_so_to_the_job(ready: Settings, host: MlflowHost) -> None:
    embedded.up(ready, host, migrate=True)

    assert host.lines[0].endswith("migration.py --existing")


def test_the_files_are_this_user_s_alone(
    ready: Settings, host: MlflowHost, zero_umask: None
) -> None:
    assert zero_umask is None
    shutil.rmtree(ready.data)
    host_makes(host, environment.path(ready))
    full = replace(ready, artifacts_destination="s3://bucket", s3_access_key_id="AKIA0")
    full = replace(with_test_secrets(full), s3_secret_access_key=ready.kek_passphrase)
    up(full, host)
    modes = {
        name: stat.S_IMODE((full.data / name).stat().st_mode)
        for name in (".", "embedded", "embedded/s3_credentials")
    }

    assert modes == {".": 0o700, "embedded": 0o700, "embedded/s3_credentials": 0o600}


def test_the_server_is_told_nothing_of_the_person_s_own_mlflow(
    ready: Settings, host: MlflowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    up(ready, host)
    environ = host.environs[-1]

    assert "MLFLOW_TRACKING_URI" not in environ
    assert environ["HTTPS_PROXY"] == "http://proxy:3128"
    assert environ["MLFLOW_CRYPTO_KEK_PASSPHRASE"] == "kek-passphrase-1"


def test_a_server_that_dies_at_the_start_is_an_error_with_its_last_words(
    ready: Settings, server: StandInServer, host: MlflowHost
) -> None:
    server.broken["POST /experiments/search"] = (502, b"")
    host.command = ["sh", "-c", "echo no such option >&2; exit 3"]
    with pytest.raises(OpsError, match="exit code 3 from: ") as caught:
        up(ready, host)

    assert caught.value.cause.splitlines()[1:] == ["  no such option"]
    assert caught.value.code == 1


def test_a_long_log_is_put_aside_at_the_start(
    ready: Settings, host: MlflowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOG_LIMIT", 10)
    log = embedded.folder(ready) / "server.log"
    log.write_text("a long log of last year\n", "utf-8")
    up(ready, host)

    assert (log.parent / "server.log.1").read_text("utf-8") == "a long log of last year\n"
    assert log.read_text("utf-8") == ""


def test_a_job_that_refuses_starts_no_server(ready: Settings, host: MlflowHost) -> None:
    host.answers[""] = Result(2, "", "error: it is half-migrated\n  try: restore the copy\n")
    with pytest.raises(OpsError, match="half-migrated") as caught:
        up(ready, host)

    assert caught.value.code == 2
    assert host.started == []


def test_a_new_address_is_checked_before_the_running_server_is_stopped(
    ready: Settings, host: MlflowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(ready, host)
    before = embedded.processes(ready)
    monkeypatch.undo()
    with pytest.raises(OpsError, match=r"192\.0\.2\.1 is no address of this machine"):
        up(replace(ready, bind_address="192.0.2.1"), host)

    assert embedded.processes(ready) == before


def test_a_new_port_is_checked_before_the_running_server_is_stopped(
    ready: Settings, host: MlflowHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(ready, host)
    before = embedded.processes(ready)
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = replace(ready, http_port=other.getsockname()[1])
        with pytest.raises(OpsError, match="is taken"):
            up(taken, host)

    assert embedded.processes(ready) == before


# --- Database ---


def test_the_database_is_put_into_wal_mode_and_stays_there(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    embedded.prepare_database(file)
    connection = sqlite3.connect(file)

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, False),
        ({"build_ca_file": "/ca.pem"}, False),
        ({"web_memory_limit": "4g"}, False),
        ({"web_workers": 3}, True),
        ({"bind_address": "0.0.0.0"}, True),
        ({"http_port": 6000}, True),
        ({"public_url": "https://x.example"}, True),
        ({"job_execution": True}, True),
        ({"artifacts_destination": "s3://bucket"}, True),
    ],
)
def test_the_server_is_started_again_for_what_it_reads_only(
    settings: Settings, change: dict[str, object], again: bool
) -> None:
    other = replace(settings, **change)  # type: ignore[arg-type]

    assert (embedded.fingerprint(settings) != embedded.fingerprint(other)) == again


def test_logs_are_the_end_of_the_file(settings: Settings) -> None:
    log = embedded.folder(settings) / "server.log"
    log.parent.mkdir(parents=True)
    log.touch()
    host = FakeHost({})
    embedded.logs(settings, host, service="", follow=False)
    embedded.logs(settings, host, service="web", follow=True)

    assert host.lines == [f"tail -n 500 {log}", f"tail -n 500 -F {log}"]
