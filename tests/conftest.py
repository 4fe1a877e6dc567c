"""What the fast tests share: a project to work on, the fake of `LocalHost`, a server to talk to."""

import io
import json
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import hypothesis
import paramiko
import pytest

from ops import environment
from ops.aws import Account, log_in
from ops.containers import Container
from ops.hosts import LocalHost, Result
from ops.release import Release
from ops.settings import Settings
from ops.sizing import Size
from ops.ssh import SshHost, connect
from ops.values import Secret
from ops.vault import Vault
from tests.aws import Aws, loader, running
from tests.ssh_server import SshServer
from tests.stored import a_vault

ROOT = Path(__file__).resolve().parent.parent
PROJECT_FILES = (
    "tasks.py",
    "ops",
    "compose",
    "nginx",
    "mlflow",
    "backup",
    "certificates",
    "egress",
)


def pytest_configure() -> None:
    """Let the programs that tests start be ended with Ctrl-C.

    A shell starts what it puts in the background with SIGINT ignored, and that is inherited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says little while other tests run beside it.
hypothesis.settings.register_profile("beside others", deadline=None)
hypothesis.settings.load_profile("beside others")


SIZE = Size(
    web_workers=2,
    pool_size=20,
    max_overflow=21,
    web_memory=1152,
    db_memory=1152,
    buffer_pool=512,
    max_connections=1994,
)
"""What fits a machine of 2 cores and 4 GiB."""

BACKUPS: Mapping[str, Any] = {
    "backups_destination": "s3://my-backups/mlflow",
    "s3_region": "eu-central-1",
    "backup_recipients": "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z",
}

OK = Result(0, "", "")
FAILS = Result(1, "", "")


def copy_project(target: Path) -> Path:
    """Copy the files that a running stack needs, and nothing that was made by running one."""
    target.mkdir(parents=True, exist_ok=True)
    for name in PROJECT_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the repository without a stack."""
    return copy_project(tmp_path / "project")


@pytest.fixture
def settings(project: Path) -> Settings:
    """The settings of a fresh stack, with secrets that are the same in every test."""
    return with_test_secrets(Settings(root=project))


@pytest.fixture
def guarded(settings: Settings) -> Settings:
    """The same with a place for backups."""
    return replace(settings, **BACKUPS)


def docker_info(
    version: str = "28.2.2",
    *,
    root: str = "/var/lib/docker",
    cpu: str = "x86_64",
    status: Sequence[Sequence[str]] = (),
    cores: int = 2,
    memory: int = 3840 * 1024**2,
) -> str:
    """Return what an engine says of itself and its machine, as it is asked."""
    return json.dumps([version, status, root, cpu, cores, memory])


def with_test_secrets(settings: Settings) -> Settings:
    return replace(
        settings,
        mysql_password=Secret("mysql-password-1"),
        mysql_root_password=Secret("mysql-root-password-1"),
        kek_passphrase=Secret("kek-passphrase-1"),
        mysql_web_password=Secret("mysql-web-password-1"),
        backup_password=Secret("backup-password-1"),
        admin_password=Secret("admin-password-1"),
        session_key=Secret("session-key-12345"),
        webhook_key=Secret("webhook-key-12345"),
        ca_secret=Secret("ca-secret-1234567"),
    )


class FakeHost(LocalHost):
    """The one fake of these tests: a machine whose programs answer what the test says.

    `answers` maps the beginning of a command line to its answer; the longest that fits is taken.
    A line that no answer fits fails the test.
    """

    def __init__(self, answers: Mapping[str, Result | str]) -> None:
        self.answers = dict(answers)
        self.lines: list[str] = []
        self.environs: list[Mapping[str, str]] = []
        self.given: list[bytes] = []

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline: float = 0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        del deadline, env
        line = shlex.join(words)
        self.lines.append(line)
        if stdin:
            self.given.append(stdin)
        fits = [start for start in self.answers if line.startswith(start)]
        assert fits, f"no answer for: {line}"
        answer = self.answers[max(fits, key=len)]
        return Result(0, answer, "") if isinstance(answer, str) else answer

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        assert stdin is not None
        self.environs.append(dict(env or {}))
        done = self.run(words)
        output = done.out + done.err
        for line in output.splitlines(keepends=True):
            on_line(line)
        return Result(done.code, "", output)

    def replace(self, words: Sequence[str]) -> None:
        self.lines.append(shlex.join(words))

    def ran(self, *fragments: str) -> bool:
        """Say whether one of the lines held all of these."""
        return any(all(fragment in line for fragment in fragments) for line in self.lines)


class StandInServer:
    """A real HTTP server that speaks the part of MLflow's REST API the smoke test uses.

    It keeps what it is told in memory. `broken` maps "METHOD /path" to the answer given instead:
    a status and a body, or None to hang up. With `name` it hangs up on every other Host header, as
    NGINX does; `headers` are added to each answer.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.hosts: list[str] = []
        self.broken: dict[str, tuple[int, bytes] | None] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.artifact_root = "mlflow-artifacts:"
        self.name = ""
        self.headers: dict[str, str] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer takes 40 ms

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, data = server.answer(
                    self.command, parts.path, dict(parse_qsl(parts.query)), body
                )
                server.hosts.append(self.headers.get("Host", ""))
                if status == 0 or server.name not in ("", server.hosts[-1]):
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                for each in server.headers.items():
                    self.send_header(*each)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's names

        return Handler

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """Return status and body; status 0 hangs up."""
        short = path.removeprefix("/api/2.0/mlflow")
        if short.startswith("-artifacts"):
            short = "/artifacts"
        line = f"{method} {short}"
        self.requests.append(line)
        self.bodies.append(body)
        if line in self.broken:
            return self.broken[line] or (0, b"")
        if short == "/artifacts":
            return self._artifact(method, path, body)
        fields = json.loads(body) if body else dict(query)
        try:
            found = getattr(self, "_" + short.strip("/").replace("/", "_").replace("-", "_"))(
                fields
            )
        except (AttributeError, LookupError) as error:
            return 404, json.dumps({"error_code": "NOT_FOUND", "message": repr(error)}).encode()
        return 200, json.dumps(found).encode()

    def _artifact(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            self.artifacts[path] = body
            return 200, b"{}"
        found = [each for each in self.artifacts if f"{each}/".startswith(f"{path}/")]
        if not found:
            return 404, b"no such artifact"
        if method == "DELETE":
            for each in found:
                del self.artifacts[each]
            return 200, b"{}"
        return 200, self.artifacts[path]

    def _experiments_search(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"experiments": list(self.experiments.values())}

    def _experiments_get_by_name(self, fields: dict[str, Any]) -> dict[str, Any]:
        named = {entry["name"]: entry for entry in self.experiments.values()}
        return {"experiment": named[fields["experiment_name"]]}

    def _experiments_get(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"experiment": self.experiments[fields["experiment_id"]]}

    def _experiments_create(self, fields: dict[str, Any]) -> dict[str, Any]:
        identity = str(len(self.experiments) + 1)
        self.experiments[identity] = {
            "experiment_id": identity,
            "name": fields["name"],
            "lifecycle_stage": "active",
        }
        return {"experiment_id": identity}

    def _experiments_restore(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.experiments[fields["experiment_id"]]["lifecycle_stage"] = "active"
        return {}

    def _experiments_delete(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.experiments[fields["experiment_id"]]["lifecycle_stage"] = "deleted"
        return {}

    def _runs_create(self, fields: dict[str, Any]) -> dict[str, Any]:
        identity = f"{len(self.runs) + 1:032x}"
        info = {
            "run_id": identity,
            "experiment_id": fields["experiment_id"],
            "artifact_uri": f"{self.artifact_root}/1/{identity}/artifacts",
            "lifecycle_stage": "active",
        }
        self.runs[identity] = {"info": info, "data": {"metrics": [], "params": [], "tags": []}}
        return {"run": self.runs[identity]}

    def _runs_get(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"run": self.runs[fields["run_id"]]}

    def _runs_delete(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.runs[fields["run_id"]]["info"]["lifecycle_stage"] = "deleted"
        return {}

    def _runs_log_batch(self, fields: dict[str, Any]) -> dict[str, Any]:
        data = self.runs[fields["run_id"]]["data"]
        data["metrics"].extend(fields["metrics"])
        data["params"].extend(fields.get("params", []))
        return {}

    def _runs_set_tag(self, fields: dict[str, Any]) -> dict[str, Any]:
        tag = {"key": fields["key"], "value": fields["value"]}
        self.runs[fields["run_id"]]["data"]["tags"].append(tag)
        return {}

    def _runs_search(self, _: dict[str, Any]) -> dict[str, Any]:
        active = [r for r in self.runs.values() if r["info"]["lifecycle_stage"] == "active"]
        return {"runs": active}

    def _metrics_get_history(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"metrics": self.runs[fields["run_id"]]["data"]["metrics"]}

    def _registered_models_create(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.models[fields["name"]] = []
        return {"registered_model": {"name": fields["name"]}}

    def _registered_models_delete(self, fields: dict[str, Any]) -> dict[str, Any]:
        del self.models[fields["name"]]
        return {}

    def _model_versions_create(self, fields: dict[str, Any]) -> dict[str, Any]:
        versions = self.models[fields["name"]]
        versions.append({"version": str(len(versions) + 1)})
        return {"model_version": versions[-1]}


@pytest.fixture
def server() -> Iterator[StandInServer]:
    """A server on a free port of this machine."""
    running = StandInServer()
    yield running
    running.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """An empty AWS that this process has for the real one."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("botocore.session.create_loader", lambda _: loader())
    if "MOTO_EC2_LOAD_DEFAULT_AMIS" not in os.environ:  # half a second for each region asked
        monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with running() as made:
        for name, value in made.environ.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def place(aws: Aws) -> Vault:
    """An empty place for backups."""
    return a_vault(aws)


@pytest.fixture
def account(aws: Aws) -> Account:
    """An empty account of AWS."""
    del aws
    return log_in()


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the operator's whose `.env` the tasks read; nobody is at the terminal."""
    del home
    top = tmp_path / "folder"
    top.mkdir()
    load = Settings.load.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls: load(cls, top, {})))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return top


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a person at a terminal who answers this."""

    def type_in(text: str) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr("sys.stdin", Terminal(text))

    return type_in


@pytest.fixture
def zero_umask() -> Iterator[None]:
    """Take away what usually hides a wrong file mode."""
    before = os.umask(0)
    yield
    os.umask(before)


def installed(settings: Settings) -> None:
    """Make what an installed environment is known by."""
    target = environment.path(settings)
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "python").symlink_to(sys.executable)
    (target / "complete").touch()


def host_makes(host: FakeHost, target: Path) -> None:
    """Let the fake `venv` make what the real one would."""
    run = host.run

    def make(words: Sequence[str], **_: Any) -> Result:
        if "venv" in words:
            (target / "bin").mkdir(parents=True)
            (target / "bin" / "python").symlink_to(sys.executable)
        return run(words)

    host.run = make  # type: ignore[method-assign]


def leave_rotation(settings: Settings, **fields: str) -> None:
    """Leave what a rotation leaves that was cut off."""
    folder = settings.data / "rotation"
    folder.mkdir(parents=True)
    left = {"key": "MYSQL_PASSWORD", "old": "aaa", "new": "bbb", "hosts": "", **fields}
    (folder / "unfinished.json").write_text(json.dumps(left), "utf-8")


def a_release(**fields: Any) -> Release:
    """Return a release; what is not given is as plain as can be."""
    plain: dict[str, Any] = {
        "id": "20261124T010203Z",
        "made_by": "ana@laptop",
        "commit": "abc",
        "what": "deploy",
        "image": "web:1",
        "image_id": "sha256:1",
        "schema": "a",
        "files": {"compose/compose.yaml": "1"},
    }
    given = plain | fields
    return Release(origin=given.pop("origin", given["id"]), **given)


def a_container(service: str, **fields: Any) -> Container:
    """Return a container of a stack, running and healthy unless told otherwise."""
    plain: dict[str, Any] = {
        "service": service,
        "state": "running",
        "exit_code": 0,
        "health": "healthy",
        "started_at": "2026-11-24T01:02:03Z",
        "config_hash": "",
        "identity": f"id-of-{service}",
        "listens": (),
        "mounts": (),
        "image": "sha256:1",
        "release": "",
    }
    return Container(**plain | fields)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without keys and configuration, and no ssh-agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


@pytest.fixture
def user_key(home: Path) -> paramiko.PKey:
    """The user's key, where ssh looks for it."""
    made = paramiko.ECDSAKey.generate()
    made.write_private_key_file(str(home / ".ssh" / "id_ecdsa"))
    return made


@pytest.fixture
def new_sshd(tmp_path: Path, user_key: paramiko.PKey) -> Iterator[Callable[..., SshServer]]:
    """Make hosts that let the user in."""
    made: list[SshServer] = []

    def make(*host_keys: paramiko.PKey) -> SshServer:
        folder = tmp_path / f"host-{len(made)}"
        folder.mkdir()
        keys = host_keys or (paramiko.ECDSAKey.generate(),)
        made.append(SshServer(folder, keys, [user_key]))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def sshd(new_sshd: Callable[..., SshServer]) -> SshServer:
    """A host that lets the user in."""
    return new_sshd()


@pytest.fixture
def knowing(tmp_path: Path, sshd: SshServer) -> Settings:
    """Settings of a project that knows the host."""
    settings = Settings(root=tmp_path)
    settings.data.mkdir()
    settings.known_hosts.write_text(sshd.known_line, "utf-8")
    return settings


@pytest.fixture
def remote(knowing: Settings, sshd: SshServer) -> Iterator[SshHost]:
    """The host, logged in to."""
    with connect(sshd.address, knowing) as connected:
        yield connected
