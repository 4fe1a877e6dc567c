"""The embedded engine: MLflow on SQLite and a folder, in an environment of its own, no Docker."""

import json
import os
import secrets
import signal
import sqlite3
import time
from pathlib import Path

import psutil

from ops import (
    console,
    digests,
    envfile,
    environment,
    front_door,
    jobs,
    preflight,
    secret_files,
    sizing,
    stack,
)
from ops.errors import refusal
from ops.hosts import LocalHost, failure
from ops.settings import Settings
from ops.sizing import Machine
from ops.states import Service, Status, remember

__all__ = ["down", "logs", "running", "status", "up"]

MARK = "MLFLOW_COMPOSE_SERVER"
"""The variable by which the processes of one start are known."""

FIRST_OPEN_PORT = 1024
START_SECONDS = 180
STOP_SECONDS = 20
LOG_LIMIT = 10 * 1024**2


def folder(settings: Settings) -> Path:
    """Return the folder with the database, the artifacts, the log and the environment."""
    return settings.data / "embedded"


def up(settings: Settings, host: LocalHost, *, migrate: bool) -> bool:
    """Start the server and wait until it answers; return False when it already did."""
    require_alone(settings)
    if settings.database_host:
        raise refusal(
            "the embedded engine keeps everything in SQLite, but DATABASE_HOST is set",
            "take it out of .env, or: invoke up --engine compose",
        )
    with preflight.only_one(settings.data):
        before = record(settings) if processes(settings) else {}
        if before.get("bind") != bind(settings):
            check_port(settings)
        environment.check(settings)
        check_database(folder(settings) / "mlflow.db")
        if settings.missing_secrets():
            preflight.env_file(settings.root)
        remember(settings, "embedded")
        settings = settings.with_secrets()
        if before.get("settings") == fingerprint(settings):
            front_door.wait(front_door.local(settings), START_SECONDS, lambda: None)
            return False
        if before:
            console.say("the settings changed: the server is started again")
            stop(settings)
        start(settings, host, migrate=migrate)
    return True


def require_alone(settings: Settings) -> None:
    """Refuse a server that others reach: login and TLS are NGINX's, and there is none."""
    if settings.auth != "none" or settings.tls != "off":
        raise refusal(
            f"others reach {settings.url}, and the embedded engine has neither login nor TLS",
            "use the compose engine (invoke up --engine compose), "
            "or take PUBLIC_URL and BIND_ADDRESS out of .env",
        )


def bind(settings: Settings) -> str:
    """Return where the server listens."""
    return f"{settings.bind_address}:{settings.http_port}"


def check_port(settings: Settings) -> None:
    """Refuse a port that is taken, or that only root may open."""
    preflight.port_free(settings.bind_address, settings.http_port)
    if settings.http_port < FIRST_OPEN_PORT and os.geteuid() != 0:
        raise refusal(
            f"HTTP_PORT {settings.http_port} is open to root only",
            f"set HTTP_PORT in .env to {FIRST_OPEN_PORT} or above",
        )


def start(settings: Settings, host: LocalHost, *, migrate: bool) -> None:
    """Make what is missing, migrate, start the server, wait for its first answer."""
    files = folder(settings)
    files.mkdir(mode=0o700, exist_ok=True)
    (files / "artifacts").mkdir(exist_ok=True)
    envfile.write_private(files / "s3_credentials", secret_files.s3_credentials(settings))
    environment.install(settings, host)
    prepare_database(files / "mlflow.db")
    run_migration(settings, host, existing=migrate)
    log = files / "server.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(files / "server.log.1")
    with console.progress("starting the server"):
        words = (
            # Not bin/mlflow: its first line holds the path it was installed under.
            *(str(environment.path(settings) / "bin" / "python"), "-m", "mlflow", "server"),
            f"--host={settings.bind_address}",
            f"--port={settings.http_port}",
            f"--workers={workers(settings)}",
            "--uvicorn-opts=--no-access-log",
        )
        mark = secrets.token_hex(8)
        process = host.start(words, server_environ(settings) | {MARK: mark}, log, files)
        entry = {
            "pid": process.pid,
            "mark": mark,
            "bind": bind(settings),
            "settings": fingerprint(settings),
        }
        (files / "server.json").write_text(json.dumps(entry), "utf-8")

        def alive() -> None:
            if process.poll() is not None:
                raise failure(
                    words, process.returncode, log.read_text("utf-8", "replace"), "invoke logs"
                )

        front_door.wait(front_door.local(settings), START_SECONDS, alive)


def down(settings: Settings, host: LocalHost) -> bool:  # noqa: ARG001 - one signature for both
    """Stop the server; return False when it was not running."""
    with preflight.only_one(settings.data):
        return stop(settings)


def stop(settings: Settings) -> bool:
    """End every process of the server: politely, then not."""
    members = processes(settings)
    for process in members:
        send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(members, STOP_SECONDS)
    for process in stubborn:
        send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, STOP_SECONDS)
    (folder(settings) / "server.json").unlink(missing_ok=True)
    return bool(members)


def send(process: psutil.Process, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass


def running(settings: Settings, host: LocalHost) -> bool:  # noqa: ARG001 - one signature for both
    """Say whether anything of the server runs."""
    return bool(processes(settings))


def status(settings: Settings, host: LocalHost) -> Status:  # noqa: ARG001 - one signature for both
    """Return the state of the server as one service called `web`."""
    members = processes(settings)
    healthy = False
    if members:
        try:
            front_door.local(settings).answers()
            healthy = True
        except front_door.RequestError:
            pass
    began = min((process.create_time() for process in members), default=None)
    service = Service(
        name="web",
        state="running" if members else "stopped",
        healthy=healthy,
        uptime_seconds=time.time() - began if began else None,
        memory_bytes=sum(memory(process) for process in members) if members else None,
    )
    return Status("embedded", settings.url, healthy, (service,))


def memory(process: psutil.Process) -> int:
    """Return the memory of a process in bytes, shared pages divided among those who share them."""
    try:
        info = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", 0) or info.uss)


def logs(settings: Settings, host: LocalHost, *, service: str, follow: bool) -> None:
    """Show the server's log; with `follow`, until Ctrl-C."""
    if service not in ("", "web"):
        raise refusal(f"the embedded engine has no service {service!r}", "use --service web")
    log = folder(settings) / "server.log"
    if not log.exists():
        raise refusal("there is no log yet", "start the server: invoke up")
    host.replace(("tail", "-n", "500", *(["-F"] if follow else []), str(log)))


def record(settings: Settings) -> dict[str, object]:
    """Return what is known of the server that was started last."""
    file = folder(settings) / "server.json"
    try:
        entry = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def processes(settings: Settings) -> list[psutil.Process]:
    """Return the processes of the server: all that are in the session it was started in.

    The session outlives its leader: after `kill -9` of MLflow's command the workers are still
    found. A session number that has gone to somebody else after a reboot is told by its
    environment, which lacks the mark. (Start times would not do: they move with the clock.)
    """
    entry = record(settings)
    mark = entry.get("mark")
    return [each for each in session(entry.get("pid")) if mark and mark_of(each) == mark]


def session(leader: object) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return found


def mark_of(process: psutil.Process) -> str:
    """Return the mark of the server a process belongs to; "" where that is not to be seen."""
    try:
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""


def fingerprint(settings: Settings) -> str:
    """Return what changes when the server has to be started again."""
    inputs = {
        **stack.server_env(settings),
        "requirements": environment.path(settings).name,
        "bind": bind(settings),
        "workers": str(workers(settings)),
        "s3": secret_files.s3_credentials(settings),
    }
    return digests.texts(inputs)


def workers(settings: Settings) -> int:
    """Return the number of worker processes on this machine."""
    machine = Machine(os.cpu_count() or 1, psutil.virtual_memory().total)
    return sizing.sqlite_workers(settings, machine)


def server_environ(settings: Settings) -> dict[str, str]:
    """Return the server's environment: this one without the person's own MLflow settings."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return own | stack.server_env(settings)


def check_database(file: Path) -> None:
    """Refuse a file that is there and is no SQLite database."""
    if not file.exists():
        return
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise refusal(
            f"{file} is not a usable SQLite database: {error}", "restore it from a copy"
        ) from None
    finally:
        connection.close()


def prepare_database(file: Path) -> None:
    """Put the database into WAL mode: readers and the writer do not wait for one another.

    The mode is kept in the file. Commits are still synced one by one (synchronous=FULL is
    SQLite's default), so what was acknowledged survives a power cut.
    https://www.sqlite.org/wal.html
    """
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def run_migration(settings: Settings, host: LocalHost, *, existing: bool) -> None:
    """Run the migration job on the database."""
    words = (
        str(environment.path(settings) / "bin" / "python"),
        "-I",
        str(settings.root / "ops" / "migration.py"),
        *(["--existing"] if existing else []),
    )
    jobs.migrate(host, words, server_environ(settings))
