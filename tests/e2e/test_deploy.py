"""Deploying over SSH to a real host: sshd, a Docker Engine of its own, a load that never pauses."""

import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import lab
from tests.e2e.conftest import SMOKE_STEPS, Project, s3_settings, todays
from tests.e2e.load import Load
from tests.e2e.machines import on, operator, several, url
from tests.e2e.test_documents import blocks

pytestmark = pytest.mark.usefixtures("logged_in")

UPLOAD_SIZE = 200 * 1024**2

# The last line of each step of a deploy.
STEPS = [
    "sending ",
    "upload (",
    "database (",
    "checking the database schema (",
    "new server (",
    "asking it (",
    "testing NGINX (",
    "announcing it (",
    "switch (",
    "draining the old server (",
    "stopping it (",
]


@pytest.fixture(scope="module")
def ec2(the_lab: lab.Lab) -> lab.Host:
    """A host as it could be anywhere."""
    assert the_lab.s3
    return several(1)[0]


@pytest.fixture(scope="module")
def team(
    make_project: Callable[..., Project], ec2: lab.Host, the_lab: lab.Lab
) -> Iterator[Project]:
    """A folder of the operator's, and a stack of it on the host."""
    settings = s3_settings(the_lab, "s3://mlflow-artifacts/deploy")
    settings |= {"WEB_WORKERS": "1", "WATCH_SECONDS": "3", "DRAIN_SECONDS": "120"}
    with operator(make_project, ec2, "deploy", settings) as project:
        project.invoke("deploy")
        yield project


def releases(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(project.invoke("releases", "--json").stdout)
    return found


def live(project: Project) -> dict[str, Any]:
    [found] = [each for each in releases(project) if each["live"]]
    return found


def servers(project: Project, ec2: lab.Host) -> list[str]:
    """Return the ids of the containers of `web` on the host."""
    label = f"label=com.docker.compose.project={project.name}"
    service = "label=com.docker.compose.service=web"
    return on(
        ec2, "docker", "ps", "--all", "--quiet", "--filter", label, "--filter", service
    ).split()


BROKEN = [
    ("nginx/snippets/proxy.conf", "no_such_directive on;\n", "testing NGINX", "no_such_directive"),
    ("mlflow/entrypoint.sh", "", "new server", "boom"),  # the server's own start, not the job's
]


@contextmanager
def changed(project: Project, name: str, text: str) -> Iterator[None]:
    """Have a line more in a file of the repository."""
    file = project.root / name
    before = file.read_text("utf-8")
    file.write_text(before + text, "utf-8")
    try:
        yield
    finally:
        file.write_text(before, "utf-8")


class Upload(threading.Thread):
    """One large artifact on its way through the front door, with the real client."""

    SCRIPT = """
import hashlib, sys, mlflow
mlflow.set_experiment("upload")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[1])
uri = f"runs:/{run.info.run_id}/big.bin"
path = mlflow.artifacts.download_artifacts(uri)
print(hashlib.sha256(open(path, "rb").read()).hexdigest())
"""

    def __init__(self, address: str, folder: Path) -> None:
        super().__init__()
        self.file = folder / "big.bin"
        block = os.urandom(1024**2)
        with self.file.open("wb") as stream:
            for _ in range(UPLOAD_SIZE // len(block)):
                stream.write(block)
        self.environ = {
            **os.environ,
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        self.done: subprocess.CompletedProcess[str] | None = None

    def run(self) -> None:
        import sys

        words = [sys.executable, "-c", self.SCRIPT, str(self.file)]
        self.done = subprocess.run(
            words, env=self.environ, capture_output=True, text=True, check=False, timeout=300
        )

    def verify(self) -> None:
        self.join(300)
        assert self.done is not None
        assert self.done.returncode == 0, self.done.stderr[-2000:]
        wanted = hashlib.sha256(self.file.read_bytes()).hexdigest()
        assert wanted == self.done.stdout.split()[-1]


def cost(said: str) -> tuple[int, int]:
    """Return the requests of the probe and the failed ones, from the result line."""
    [line] = [line for line in said.splitlines() if "requests during the switch" in line]
    words = line.split("; ")[1].split()
    return int(words[0]), int(words[5])


@pytest.mark.usefixtures("impatient")
def test_no_request_fails_while_code_and_configuration_change_and_go_back(
    team: Project, ec2: lab.Host, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    first = live(team)
    assert "ok" == first["result"]
    with Load(url(team, ec2)).running() as load:
        upload = Upload(url(team, ec2), tmp_path)
        upload.start()
        with changed(team, "mlflow/entrypoint.sh", "# changed\n"):
            code = team.invoke("deploy")
        with changed(team, "nginx/snippets/proxy.conf", "# changed\n"):
            configuration = team.invoke("deploy")
            assert "nothing changed" in team.invoke("deploy").stderr
        with changed(team, *BROKEN[0][:2]):
            team.invoke("deploy", expect=1)
        back = team.invoke("rollback")
        upload.verify()
    for done in (code, configuration, back):
        requests, failed = cost(done.stderr)
        assert requests > 20
        assert 0 == failed, done.stderr
    measured(f"deploy, deploy, rollback: {load.report()}")
    assert [] == load.failures
    assert 0 == load.failed_reads
    assert load.writes > 50
    load.verify()

    assert "file: nginx/snippets/proxy.conf" in configuration.stderr
    assert {"ok"} == {each["result"] for each in releases(team)}
    assert live(team)["what"].startswith("rollback to ")
    assert 1 == len(servers(team, ec2))
    [sent] = [line for line in code.stderr.splitlines() if line.startswith("sending ")]
    measured(f"code change: {sent}")
    assert "KiB" in sent.partition(" (")[2] or " B," in sent


def test_a_deploy_that_changes_nothing_touches_nothing(team: Project, ec2: lab.Host) -> None:
    team.invoke("deploy")
    before = (releases(team), servers(team, ec2), record(team, ec2))
    done = team.invoke("deploy")

    assert "nothing changed; nothing was touched" in done.stderr
    assert before == (releases(team), servers(team, ec2), record(team, ec2))


def record(team: Project, ec2: lab.Host) -> list[str]:
    """Return the audit record."""
    return on(ec2, "cat", f"/home/{ec2.user}/{team.name}/audit.jsonl").splitlines()


@pytest.mark.parametrize("broken", todays(BROKEN, 2), ids=lambda broken: broken[2])
def test_a_deploy_that_fails_leaves_the_old_release_serving(
    team: Project, ec2: lab.Host, broken: tuple[str, str, str, str]
) -> None:
    name, text, step, said = broken
    before, running = live(team), servers(team, ec2)
    file = team.root / name
    whole = file.read_text("utf-8")
    fails = whole.replace(
        'exec "$@"', 'if [ "$1" = gunicorn ]; then echo boom >&2; exit 1; fi\nexec "$@"'
    )
    file.write_text(whole + text if text else fails, "utf-8")
    try:
        done = team.invoke("deploy", expect=1)
    finally:
        file.write_text(whole, "utf-8")

    assert f"{step} failed: going back" in done.stderr
    assert said in done.stderr
    assert "  try: " in done.stderr
    assert before["id"] == live(team)["id"]
    assert running == servers(team, ec2)
    assert f"failed: {step}" == json.loads(record(team, ec2)[-1])["result"]
    team.smoke(url(team, ec2))


def test_a_server_that_dies_while_it_is_watched_is_taken_back(team: Project, ec2: lab.Host) -> None:
    before = live(team)
    file = team.root / "mlflow" / "entrypoint.sh"
    whole = file.read_text("utf-8")
    dies = whole.replace(
        'exec "$@"', 'if [ "$1" = gunicorn ]; then timeout -s KILL 40 "$@"; fi\nexec "$@"'
    )
    assert dies != whole
    file.write_text(dies, "utf-8")
    team.set(WATCH_SECONDS="60")
    try:
        done = team.invoke("deploy", expect=1)
    finally:
        file.write_text(whole, "utf-8")
        team.set(WATCH_SECONDS="3")

    assert "draining the old server failed: going back" in done.stderr
    assert before["id"] == live(team)["id"]
    assert 1 == len(servers(team, ec2))
    team.smoke(url(team, ec2))


def test_of_two_deploys_at_once_the_second_is_refused(team: Project) -> None:
    with changed(team, "nginx/nginx.conf", "# one\n"), team.start("deploy") as first:
        reading(first, "upload ")
        second = team.invoke("deploy", expect=2)
        first.communicate(timeout=300)

    assert 0 == first.returncode
    assert "is being changed by" in second.stderr
    assert "last heard of" in second.stderr


def reading(process: "subprocess.Popen[str]", until: str) -> None:
    """Read what a task says until a line begins with this."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(until):
            return
    pytest.fail("".join(said))


def killed(deploy: "subprocess.Popen[str]", _: lab.Host) -> None:
    """Kill the operator's end."""
    os.kill(deploy.pid, signal.SIGKILL)


def cut(deploy: "subprocess.Popen[str]", ec2: lab.Host) -> None:
    """End the connection at the host's end; the operator has to say so."""
    on(ec2, "pkill", "-KILL", "-u", ec2.user, "sshd")
    _, said = deploy.communicate(timeout=120)
    assert 1 == deploy.returncode, said
    assert "the connection to" in said
    assert "broke during" in said


def test_a_deploy_that_ends_after_any_step_leaves_a_stack_that_serves_and_can_be_deployed(
    team: Project, ec2: lab.Host
) -> None:
    """Each deploy begins on what the one before it left half-done; the last one ends well.

    The two ends take turns; each of them after each step was run too.
    """
    chosen = todays(STEPS, 3)
    for left, step in reversed([*enumerate(reversed(chosen))]):
        end = (killed, cut)[left % 2]
        file = "mlflow/entrypoint.sh" if step == chosen[0] else "nginx/nginx.conf"
        with changed(team, file, f"# {end.__name__} after {step}\n"):
            with team.start("deploy") as first:
                reading(first, step)
                end(first, ec2)
            team.smoke(url(team, ec2))
    done = team.invoke("deploy")

    assert "ended without letting go of the lock" in done.stderr
    assert "is live" in done.stderr
    assert 1 == len(servers(team, ec2))
    assert "ok" == live(team)["result"]
    team.smoke(url(team, ec2))


def test_ctrl_c_after_the_switch_goes_back(team: Project, ec2: lab.Host) -> None:
    before = live(team)
    team.set(WATCH_SECONDS="120")
    try:
        with changed(team, "nginx/nginx.conf", "# called off\n"), team.start("deploy") as first:
            reading(first, "switch (")
            first.send_signal(signal.SIGINT)
            _, said = first.communicate(timeout=90)
    finally:
        team.set(WATCH_SECONDS="3")

    assert 1 == first.returncode
    assert " failed: going back" in said  # at the end of this step, or in the next one
    assert before["id"] == live(team)["id"]
    assert "cancelled" == json.loads(record(team, ec2)[-1])["result"]
    assert 1 == len(servers(team, ec2))
    team.smoke(url(team, ec2))


def test_a_host_is_looked_at_and_worked_on_from_here(team: Project, ec2: lab.Host) -> None:
    there = ("--host", f"{ec2.user}@{ec2.address}")
    assert "  healthy  " in team.invoke("status", *there).stdout
    [state] = json.loads(team.invoke("status", *there, "--json").stdout).values()
    found = [each["name"] for each in state["services"]]
    assert ["db", "web", "nginx", "certificates", "egress"] == found
    assert set(state["certificate"]["names"]) == {ec2.address, "localhost", "127.0.0.1", "::1"}
    assert all(each["memory_bytes"] > 1024**2 for each in state["services"])

    assert "gunicorn" in team.invoke("logs", *there, "--service", "web").stdout.lower()
    assert SMOKE_STEPS == len(team.invoke("smoke", *there).stdout.splitlines())

    said = team.invoke("exec", *there, "--", "docker", "ps", "--format", "{{.Names}}").stdout
    assert f"{team.name}-nginx-1" in said.split()
    team.invoke("exec", *there, "--", "exit", "7", expect=7)


def test_a_tunnel_leads_to_a_host_and_ends_with_ctrl_c(team: Project) -> None:
    with team.start("tunnel") as tunnel:
        assert tunnel.stdout is not None
        assert team.url == tunnel.stdout.readline().strip()
        team.smoke()
        tunnel.send_signal(signal.SIGINT)
        tunnel.communicate(timeout=30)

    assert 0 == tunnel.returncode


def test_the_commands_of_the_deploy_page_run_as_they_stand_there(
    team: Project, ec2: lab.Host
) -> None:
    with changed(team, "nginx/nginx.conf", "# to go back to\n"):
        team.invoke("deploy")
    before = live(team)
    for block in blocks("docs/deploy.md"):
        team.shell(block, DEPLOY_HOST=f"{ec2.user}@{ec2.address}")

    assert live(team)["what"].startswith("rollback to ")
    assert before["id"] != live(team)["id"]
