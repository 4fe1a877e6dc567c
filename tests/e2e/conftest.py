"""Real parts for the end-to-end tests: the lab, and copies of this repository to run in it."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from xdist.scheduler import LoadScopeScheduling

from ops import certificates
from ops.private_ca import Authority
from ops.settings import ADMIN, Settings
from ops.values import Secret
from tests import lab

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
PUBLIC_URL = "https://mlflow.example.test"
SMOKE_STEPS = 11
"""Lines of a smoke test: seven steps, and four that clean up."""

IN_A_VOLUME = dict.fromkeys(
    ("ARTIFACTS_DESTINATION", "ARTIFACT_ACCESS", "S3_ENDPOINT_URL", "S3_REGION"), ""
)
"""Settings that take a stack back to the default for artifacts."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    # on the simulated hosts
    "hosts": (
        "test_deploy.py",
        "test_fleet.py",
        "test_backups.py",
        "test_doctor.py",
        "test_rotation.py",
        "test_images.py",
        "test_aws.py",
        "test_ssh.py",
        "test_upgrade.py",
    ),
    # on the stacks of this machine that files share: the fixtures `stack`, `small` and the like
    "stacks": (
        "test_compose.py",
        "test_front_door.py",
        "test_embedded.py",
        "test_roles.py",
        "test_attacks.py",
        "test_gate.py",
        "test_clients.py",
        "test_browser.py",
        "test_audit.py",
        "test_configuration.py",
        "test_documents.py",
        "test_tls.py",
        "test_plugin.py",
        "test_throughput.py",
    ),
}
"""Files whose tests must not run side by side; each other file is a group of its own."""

FILES = {file: group for group, files in GROUPS.items() for file in files}


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """A group of tests is run by one process, from its first test to its last.

    What `--dist=loadgroup` is for, which groups nothing with pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].rpartition("/")[2]
        return FILES.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Deal groups out in the order of `pytest_collection_modifyitems`."""
    config.option.loadscopereorder = False
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups, which take longest."""
    rank = {file: number for number, files in enumerate(GROUPS.values()) for file in files}
    items.sort(key=lambda item: rank.get(item.path.name, len(GROUPS)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    """Turn a skipped test into a failed one: in CI no promise stays unproven.

    One that failed says what the containers of this machine complained of meanwhile.
    """
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and report.when == "call":
        report.sections.append(("complaints of containers", complaints(call.start)))
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"


COMPLAINT = re.compile(
    r"\[(?:error|crit|alert|emerg|ERROR|WARNING|CRITICAL)\]|Error\b|killed|signal"
)


def complaints(since: float) -> str:
    """Return the last lines that sound like one, of each container of a stack of the tests."""
    names = subprocess.run(
        ["docker", "ps", "--all", "--format={{.Names}}", "--filter=name=^e2e-"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    found = []
    for name in names:
        words = ["docker", "logs", f"--since={int(since)}", name]
        said = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60
        ).stdout.decode(errors="replace")
        lines = [line for line in said.splitlines() if COMPLAINT.search(line)]
        found += [f"{name}: {line[:400]}" for line in lines[-10:]]
    return "\n".join(found)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print what failed at once: a run that is ended before its summary says it too."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        more = "\n".join(text for name, text in report.sections if name.startswith("complaints"))
        sys.stdout.write(f"\n{report.nodeid}, {report.when}:\n{report.longreprtext}\n{more}\n")
        sys.stdout.flush()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was measured below the results."""
    every = [report for reports in terminalreporter.stats.values() for report in reports]
    ends = [report for report in every if getattr(report, "when", "") == "teardown"]
    lines = [line for report in ends for name, line in report.user_properties if name == "measured"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a figure for the end of the run, also when the test runs in another process."""

    def keep(figure: str) -> None:
        request.node.user_properties.append(("measured", f"{request.node.name}: {figure}"))

    return keep


@dataclass(frozen=True)
class Project:
    """A copy of this repository, used as its user does: files, `invoke`, and nothing else."""

    root: Path
    name: str
    port: int
    tls_port: int
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings as the project has them now."""
        return Settings.load(self.root, self.environ)

    @property
    def url(self) -> str:
        """Return the address of the server's front door on this machine."""
        return self.address("localhost")

    def address(self, host: str) -> str:
        """Return the address of its front door on a host."""
        return f"{self.settings.scheme}://{host}:{self.settings.site_port}"

    @property
    def admin(self) -> tuple[str, str]:
        """The user that MLflow was made with."""
        password = self.settings.admin_password
        assert password is not None
        return ADMIN, password.reveal()

    @property
    def ca(self) -> str:
        """The file of the private CA's certificate."""
        settings = self.settings
        certificates.keep_authority(settings)
        return str(certificates.authority_file(settings))

    def login(self) -> dict[str, str]:
        """Return what a client's environment needs to get in, beside the address."""
        settings = self.settings
        found = {}
        if settings.tls == "private-ca":
            found["MLFLOW_TRACKING_SERVER_CERT_PATH"] = self.ca
        if settings.auth != "none" and settings.admin_password is not None:
            found["MLFLOW_TRACKING_USERNAME"], found["MLFLOW_TRACKING_PASSWORD"] = self.admin
        return found

    def smoke(self, url: str = "") -> "subprocess.CompletedProcess[str]":
        """Prove that the server at an address works, as somebody who has logged in."""
        return self.invoke("smoke", "--url", url or self.url, environ=self.login())

    def invoke(
        self,
        *words: str,
        expect: int | None = 0,
        timeout: float = 600,
        environ: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run an Invoke task; fail the test unless it ends with the exit code expected."""
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=self.root,
            env=self.environ | dict(environ or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert expect is None or expect == done.returncode, f"{words}:\n{done.stdout}{done.stderr}"
        return done

    def start(
        self, *words: str, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start an Invoke task and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", *words],
            cwd=self.root,
            env=self.environ | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def shell(self, script: str, **environ: str) -> str:
        """Run lines of a document in the project's folder, as a person would."""
        bin_folder = f"{Path(sys.executable).parent}:{self.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root,
            env=self.environ | {"PATH": bin_folder} | environ,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def client_environ(self) -> dict[str, str]:
        """Return the environment of a client's shell that has evaluated `invoke client-env`."""
        script = 'eval "$("$0" -m invoke client-env)"; export TMPDIR=$1 HOME=$1; env -0'
        # Who somebody is, nobody but they can say.
        done = subprocess.run(
            ["sh", "-euc", script, sys.executable, str(self.root.parent / "client")],
            cwd=self.root,
            env=self.environ | self.login(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)

    def compose(self, *words: str) -> list[str]:
        """Return a `docker compose` line for the project, as compose.yaml's head gives it."""
        return [
            *("docker", "compose", "--env-file", str(self.root / "data/compose/compose.env")),
            *("--file", str(self.root / "compose/compose.yaml"), *words),
        ]

    def set(self, **settings: str) -> None:
        """Add settings to `.env`, or replace them."""
        file = self.root / ".env"
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        kept = [line for line in lines if line.partition("=")[0] not in settings]
        kept += [f"{key}='{value}'" for key, value in settings.items()]
        file.write_text("\n".join(kept) + "\n", "utf-8")

    def unset(self, *keys: str) -> None:
        """Take settings out of `.env`."""
        file = self.root / ".env"
        lines = file.read_text("utf-8").splitlines()
        kept = [line for line in lines if line.partition("=")[0] not in keys]
        file.write_text("\n".join(kept) + "\n", "utf-8")

    def secret(self, key: str) -> str:
        """Return a secret of `.env`."""
        found = getattr(self.settings, key.lower())
        assert isinstance(found, Secret)
        return found.reveal()

    def container(self, service: str) -> str:
        """Return the id of the container of a service, running or not."""
        label = f"label=com.docker.compose.project={self.name}"
        words = ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", label]
        return output(*words, "--filter", f"label=com.docker.compose.service={service}")

    def remove(self) -> None:
        """Remove what the project made, its data included."""
        if not self.root.exists():
            return
        self.invoke("down", expect=None)
        self.sweep()
        shutil.rmtree(self.root, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what Docker has under the project's name, also of a run that was killed."""
        label = f"label=com.docker.compose.project={self.name}"
        volumes = f"name=^{self.name}_"
        for kind, mine in (("container", label), ("network", label), ("volume", volumes)):
            every = ["--all"] if kind == "container" else []
            found = output("docker", kind, "ls", "--quiet", *every, "--filter", mine).split()
            if found:
                output("docker", kind, "rm", *(["--force"] if every else []), *found)


def contents(top: Path, *without: str) -> dict[str, str]:
    """Return the checksum of every file below a folder, but for some names at its top."""
    found = {file.relative_to(top): file for file in top.rglob("*") if file.is_file()}
    return {
        str(name): hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in found.items()
        if name.parts[0] not in without and "__pycache__" not in name.parts
    }


def output(*words: str, stdin: str | None = None) -> str:
    """Run a command that has to succeed and return what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, input=stdin)
    assert done.returncode == 0, f"{words}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@contextmanager
def paused(container: str) -> Iterator[None]:
    """Have a container answer nobody meanwhile."""
    output("docker", "pause", container)
    try:
        yield
    finally:
        output("docker", "unpause", container)


def wait_for(true: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until something is true; return how long it took. Fails the test after `seconds`."""
    begin = time.monotonic()
    while not true():
        assert time.monotonic() < begin + seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begin


def todays(values: Sequence[T], share: int) -> Sequence[T]:
    """Return one in so many of what takes long and is alike; each of them has its day."""
    return values[datetime.now(UTC).toordinal() % share :: share]


# Minutes each; what a team does all day is run every day: a start, a deploy, the door, the roles.
EVERY_OTHER_DAY = (
    (
        "test_backups.py",
        "test_egress.py",
        "test_embedded.py",
        "test_images.py",
        "test_migration.py",
        "test_oidc.py",
        "test_rotation.py",
        "test_sheet.py",
        "test_tls.py",
    ),
    (
        "test_audit.py",
        "test_backup_faults.py",
        "test_browser.py",
        "test_doctor.py",
        "test_fleet.py",
        "test_permissions.py",
        "test_prepare.py",
        "test_public_ca.py",
        "test_rotation_here.py",
        "test_small_host.py",
        "test_transfers.py",
        "test_upgrade.py",
    ),
)
collect_ignore = sorted({*sum(EVERY_OTHER_DAY, ())} - {*todays(EVERY_OTHER_DAY, 2)[0]})
"""Files that have their day tomorrow; one that is named on the command line is run."""


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certified(folder: Path, address: str) -> tuple[Path, tuple[Path, Path]]:
    """Have a company's CA certify a server of its own; return the CA's file and the pair's."""
    company = Authority(Secret("a-company-of-tests"), "company", [address])
    pair = company.issue(datetime.now(UTC))
    files = {"ca.pem": company.pem.encode(), "cert.pem": pair.chain, "key.pem": pair.key}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / "ca.pem", (folder / "cert.pem", folder / "key.pem")


@pytest.fixture(scope="session")
def the_lab() -> lab.Lab:
    """Docker Engine, the images and the S3 server; left up for the next run."""
    return lab.up()


@contextmanager
def projects(folders: pytest.TempPathFactory) -> Iterator[Callable[..., Project]]:
    """Make copies of the repository that are removed at the end, with their data."""
    made: list[Project] = []
    files = output("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard")

    def make(name: str, **settings: str) -> Project:
        root = folders.mktemp(name) / "mlflow-compose"
        for file in filter(None, files.splitlines()):
            if (ROOT / file).exists():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, root / file)
        for folder in ("home", "tmp", "client"):
            (root.parent / folder).mkdir()
        own = {"HOME": str(root.parent / "home"), "TMPDIR": str(root.parent / "tmp")}
        environ = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW_", "AWS_ACCESS", "AWS_SECRET"))
        }
        project = Project(
            root, f"e2e-{name}", free_port(), free_port(), environ | own, contents(root)
        )
        made.append(project)
        project.sweep()
        ports = {"HTTP_PORT": str(project.port), "HTTPS_PORT": str(project.tls_port)}
        project.set(STACK_NAME=project.name, **ports, **settings)
        if CA_FILE.exists():  # the lab may sit behind a private CA, as a company does
            project.set(BUILD_CA_FILE=str(CA_FILE))
        return project

    yield make
    for project in made:
        project.remove()


@pytest.fixture(scope="module")
def make_project(
    the_lab: lab.Lab,  # noqa: ARG001 - every project may use Docker
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Project]]:
    """Make projects that are there for one file of tests."""
    with projects(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def make_shared(
    the_lab: lab.Lab,  # noqa: ARG001 - as above
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Project]]:
    """Make projects that several files share; these files are one of `GROUPS`."""
    with projects(tmp_path_factory) as make:
        yield make


@pytest.fixture(scope="session")
def embedded(make_shared: Callable[..., Project]) -> Project:
    """A server on the embedded engine, up, shared by the tests that leave it up."""
    project = make_shared("embedded")
    project.invoke("up", "--engine", "embedded")
    return project


@pytest.fixture(scope="session")
def stack(make_shared: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack on the compose engine with its artifacts in S3, up, shared likewise."""
    project = make_shared("stack", **s3_settings(the_lab, "s3://mlflow-artifacts/stack"))
    project.invoke("up", "--engine", "compose")
    return project


@pytest.fixture(scope="session")
def guarded(make_shared: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack as others reach it: with TLS and a login, up, shared likewise."""
    project = make_shared(
        "guarded",
        **s3_settings(the_lab, "s3://mlflow-artifacts/guarded"),
        TLS="private-ca",
        AUTH="basic",
        WEB_WORKERS="2",
    )
    project.invoke("up", "--engine", "compose")
    return project


@pytest.fixture
def logged_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients in this process be the admin of the module's `team`."""
    for name, value in request.getfixturevalue("team").login().items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def small(make_shared: Callable[..., Project]) -> Project:
    """A second stack beside the first, under a public name, as behind a proxy that ends TLS.

    Each test gives it the settings it needs and brings it up.
    """
    return make_shared("small", PUBLIC_URL=PUBLIC_URL, AUTH="none", WEB_WORKERS="1")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients in this process see each failure, instead of trying again for minutes."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_LOGGING_LEVEL", "ERROR")


def s3_client(server: lab.S3) -> Any:
    """Return a client of an S3 server of the lab, with its keys."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )


def s3_settings(the_lab: lab.Lab, destination: str) -> dict[str, str]:
    """Make a bucket on the lab's S3 server and return the settings that use it."""
    client = s3_client(the_lab.s3)
    bucket = destination.removeprefix("s3://").partition("/")[0]
    if bucket not in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    return {
        "ARTIFACTS_DESTINATION": destination,
        "S3_ENDPOINT_URL": the_lab.s3.endpoint,
        "S3_REGION": "us-east-1",
        "S3_ACCESS_KEY_ID": the_lab.s3.access_key,
        "S3_SECRET_ACCESS_KEY": the_lab.s3.secret_key,
    }
