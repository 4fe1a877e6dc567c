"""Deploying, side by side with the plain way: bytes over SSH, seconds, failed requests.

The plain way is the one of most guides: `docker save | gzip | ssh … docker load`, then
`docker compose up --detach`. Both do the same to one host, in turns, with images that were built
before. Not a test: `nox -s bench -- deploy` runs it and prints a table.
"""

import io
import shlex
import statistics
import subprocess
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace

import pytest

from ops import console, images, probe, release, secret_files, sizing, stack
from ops.front_door import FrontDoor
from ops.hosts import LocalHost
from ops.settings import Settings
from tests import lab
from tests.conftest import a_release
from tests.e2e.conftest import Project, output
from tests.e2e.machines import on, operator, several, sweep, url

ROUNDS = 3
JOBS = ("first deploy", "code change", "no change", "rollback")
CODE_GOAL, QUIET_GOAL = 100, 3.0
SERVER = "mlflow-compose/web"


@dataclass(frozen=True)
class Cost:
    """What one job took."""

    sent: int
    seconds: float
    requests: int
    failed: int


class Way:
    """One way of bringing a stack to a host, with a project of its own."""

    def __init__(self, project: Project, ec2: lab.Host) -> None:
        self.project, self.ec2 = project, ec2

    def change(self, line: str) -> None:
        """Add a line to a file of ours and build the image."""
        with (self.project.root / "mlflow" / "entrypoint.sh").open("a", encoding="utf-8") as file:
            file.write(f"# {line}\n")
        self.project.invoke("build")

    def deploy(self) -> None:
        """Bring the host to what the project is now."""

    def back(self) -> None:
        """Bring the host to what it was before."""


class Ours(Way):
    """This repository's way."""

    def deploy(self) -> None:
        self.project.invoke("deploy")

    def back(self) -> None:
        self.project.invoke("rollback")


class Plain(Way):
    """The way of the guides: the whole image, and Compose replaces what is different."""

    def __init__(self, project: Project, ec2: lab.Host) -> None:
        super().__init__(project, ec2)
        self.images: list[str] = []

    def settings(self) -> Settings:
        return Settings.load(self.project.root, {}).with_secrets()

    def ssh(self, *words: str) -> list[str]:
        options = ["-o", f"UserKnownHostsFile={self.ec2.known_hosts}", "-o", "BatchMode=yes"]
        where = f"{self.ec2.user}@{self.ec2.address}"
        return ["ssh", *options, "-i", self.ec2.key, where, shlex.join(words)]

    def deploy(self) -> None:
        self.images.append(stack.web_image(self.settings()))
        load = shlex.join(self.ssh("docker", "load"))
        output("bash", "-euo", "pipefail", "-c", f"docker save {self.images[-1]} | gzip | {load}")
        self.start(self.images[-1])

    def back(self) -> None:
        self.start(self.images[-2])

    def start(self, image: str) -> None:
        """Bring the files over and have Compose do the rest."""
        settings = self.settings()
        top = settings.stack_name
        data = self.files(settings, image)
        unpack = self.ssh("sh", "-c", f"mkdir -p {top} && tar --extract --directory={top}")
        subprocess.run(unpack, input=data, check=True, capture_output=True)
        folder = f"{top}/releases/live"
        files = [f"--env-file={folder}/{name}.env" for name in ("compose", "release")]
        files.append(f"--file={folder}/compose/compose.yaml")
        output(*self.ssh("docker", "compose", *files, "up", "--detach", "--wait"))

    def files(self, settings: Settings, image: str) -> bytes:
        """Return the same files that a release has, in one folder that is written over."""
        size = sizing.size(
            settings, [images.engine(LocalHost()).machine]
        )  # the lab's hosts are here
        files, variables = release.contents(settings, size, {stack.web_image(settings): image})
        made = replace(a_release(id="live", image=image), variables=variables)
        data = release.archive(made, files, secret_files.files(settings))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:  # read-only files are not written over
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as copy:
                for entry in tar:
                    entry.mode = 0o644
                    copy.addfile(entry, tar.extractfile(entry))
        return out.getvalue()


@pytest.fixture(scope="module")
def ec2(the_lab: lab.Lab) -> lab.Host:
    assert the_lab.s3
    return several(1)[0]


@pytest.fixture(scope="module")
def ways(make_project: Callable[..., Project], ec2: lab.Host) -> Iterator[dict[str, Way]]:
    made: dict[str, Way] = {}
    # The plain way has nobody who makes a certificate, or who could log in.
    open_to_all = {"TLS": "off", "AUTH": "none", "ALLOW_INSECURE": "true", "WATCH_SECONDS": "0"}
    with ExitStack() as folders:
        for name, kind in (("ours", Ours), ("plain", Plain)):
            folder = operator(make_project, ec2, f"bench-{name}", open_to_all)
            made[name] = kind(folders.enter_context(folder), ec2)
        yield made
        for way in made.values():
            clean(way)


def clean(way: Way) -> None:
    """Leave nothing of a stack on the host, and no server image, whose layers both would share."""
    sweep(way.project, way.ec2)
    form = "{{.Repository}}:{{.Tag}}"
    found = on(way.ec2, "docker", "image", "ls", "--format", form, SERVER).split()
    if found:
        on(way.ec2, "docker", "image", "rm", *found)


@contextmanager
def ssh_bytes(ec2: lab.Host) -> Iterator[list[int]]:
    """Count what goes in and out of the host's SSH port, headers included."""
    rules = [["INPUT", "--dport"], ["OUTPUT", "--sport"]]
    found: list[int] = []
    for chain, side in rules:
        on(ec2, "iptables", "-I", chain, "1", "-p", "tcp", side, "22")
    try:
        yield found
        for chain, _ in rules:
            line = on(ec2, "iptables", "-nvxL", chain, "1")
            found.append(int(line.split()[1]))
    finally:
        for chain, _ in rules:
            on(ec2, "iptables", "-D", chain, "1")


def measure(way: Way, job: Callable[[], None], *, served: bool) -> Cost:
    """Do a job while a client asks all the time."""
    asking = probe.running(FrontDoor(url(way.project, way.ec2))) if served else nullcontext()
    with ssh_bytes(way.ec2) as sent, asking as count:
        begin = time.monotonic()
        job()
        seconds = time.monotonic() - begin
    requests = (count.requests, len(count.failures)) if count else (0, 0)
    return Cost(sum(sent), seconds, *requests)


def one_round(way: Way, number: int) -> dict[str, Cost]:
    """Do every job once."""
    clean(way)
    way.change(f"round {number}")
    found = {JOBS[0]: measure(way, way.deploy, served=False)}
    way.change(f"round {number}, changed")
    found[JOBS[1]] = measure(way, way.deploy, served=True)
    found[JOBS[2]] = measure(way, way.deploy, served=True)
    found[JOBS[3]] = measure(way, way.back, served=True)
    clean(way)
    return found


def spread(values: list[float], shown: Callable[[float], str]) -> str:
    """Return the median with the least and the most."""
    return f"{shown(statistics.median(values))} ({shown(min(values))} to {shown(max(values))})"


def row(job: str, costs: dict[str, list[Cost]]) -> str:
    """Return what a job took both ways, and the ratio."""
    ours, plain = costs["ours"], costs["plain"]
    lines = [f"{job}:"]
    for name, found in (("ours", ours), ("plain", plain)):
        sent = spread([float(each.sent) for each in found], lambda value: console.size(int(value)))
        seconds = spread([each.seconds for each in found], lambda value: f"{value:.1f}")
        requests = sum(each.requests for each in found)
        failed = f"{sum(each.failed for each in found)} of {requests} requests failed"
        lines.append(f"  {name:<5}  {sent}  {seconds} s  {failed if requests else ''}".rstrip())
    pairs = list(zip(ours, plain, strict=True))
    fewer = spread([p.sent / o.sent for o, p in pairs], lambda value: f"{value:.1f}")
    faster = spread([p.seconds / o.seconds for o, p in pairs], lambda value: f"{value:.2f}")
    return "\n".join([*lines, f"  plain/ours  bytes {fewer}  seconds {faster}"])


def bench_deploy_beside_the_plain_way(
    ways: dict[str, Way], measured: Callable[[str], None]
) -> None:
    costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    for number in range(ROUNDS):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in order:
            for job, cost in one_round(ways[name], number).items():
                costs[job][name].append(cost)
    for job in JOBS:
        measured(row(job, costs[job]))

    ours = [cost for job in JOBS for cost in costs[job]["ours"]]
    code, quiet = costs[JOBS[1]], costs[JOBS[2]]["ours"]
    ratio = min(p.sent / o.sent for o, p in zip(code["ours"], code["plain"], strict=True))
    slowest = max(cost.seconds for cost in quiet)
    measured(f"goal: a code change sends {CODE_GOAL} times fewer bytes; seen {ratio:.0f} at least")
    measured(f"goal: no change takes under {QUIET_GOAL:.0f} s; seen {slowest:.1f} s at most")
    assert 0 == sum(cost.failed for cost in ours)
