"""A bare Debian, as it comes, made ready over SSH with packages from this machine's own mirror.

The host has no systemd: what systemd would start, the tests start. The tests are in order.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable

import pytest

from tests import lab
from tests.e2e.conftest import Project, output, wait_for

# Holds the lock of dpkg for a while, as an upgrade in the background does.
HOLD = """\
import fcntl, sys, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
time.sleep(8)
"""


class Bare:
    """A host of the lab and the project that makes it ready."""

    def __init__(self, host: lab.Host, project: Project) -> None:
        self.host, self.project = host, project
        self.address = f"{host.user}@{host.address}:{host.port}"

    def prepare(self, expect: int = 0) -> "subprocess.CompletedProcess[str]":
        return self.project.invoke("prepare", "--host", self.address, expect=expect)

    def ssh(self, *words: str) -> str:
        options = ["-o", f"UserKnownHostsFile={self.host.known_hosts}", "-o", "BatchMode=yes"]
        where = f"{self.host.user}@{self.host.address}"
        return output(
            "ssh", *options, "-i", self.host.key, "-p", str(self.host.port), where, *words
        )

    def root(self, *words: str) -> str:
        return output("docker", "exec", self.host.name, *words)

    def everything(self) -> str:
        """Return a sum over all that `prepare` might change."""
        script = "(find /etc /usr/local -type f -exec sha256sum {} +; dpkg -l; id ubuntu) | sort"
        return self.root("sh", "-c", f"{script} | sha256sum")


@pytest.fixture(scope="module")
def bare(make_project: Callable[..., Project]) -> Bare:
    host = lab.bare_host()
    project = make_project("prepare", DEPLOY_KEY=host.key)
    (project.root / "data").mkdir()
    shutil.copy(host.known_hosts, project.root / "data" / "known_hosts")
    return Bare(host, project)


def test_the_host_is_bare(bare: Bare) -> None:
    with pytest.raises(AssertionError, match="not found"):
        bare.ssh("docker", "version")


def test_a_host_without_docker_is_not_deployed_to(bare: Bare) -> None:
    before = bare.everything()
    done = bare.project.invoke("deploy", "--host", bare.address, expect=2)

    assert "docker is not installed there" in done.stderr
    assert f"invoke prepare --host {bare.address}" in done.stderr
    assert before == bare.everything()


def test_without_sudo_or_a_mirror_nothing_is_touched(bare: Bare) -> None:
    before = bare.everything()
    rule, broken = "/etc/sudoers.d/90-cloud-init-users", "/etc/apt/apt.conf.d/99broken"
    bare.root("mv", rule, "/root/rule")
    assert "cannot become root" in bare.prepare(expect=2).stderr
    bare.root("mv", "/root/rule", rule)
    proxy = """printf 'Acquire::%s::Proxy "http://127.0.0.1:9";\\n' http https >"$0\""""
    bare.root("sh", "-c", proxy, broken)
    assert "cannot fetch packages" in bare.prepare(expect=2).stderr
    bare.root("rm", broken)

    assert before == bare.everything()


def test_a_run_that_was_killed_is_continued_by_the_next(bare: Bare) -> None:
    first = bare.project.start("prepare", "--host", bare.address)
    assert first.stderr is not None
    for line in first.stderr:
        if "log rotation: done" in line:
            break
    time.sleep(4)
    first.kill()
    first.communicate()
    done = bare.prepare()

    assert "dockerd is not running; start it" in done.stderr
    assert json.loads(bare.root("cat", "/etc/docker/daemon.json"))["live-restore"] is True
    assert 'Unattended-Upgrade "1"' in bare.ssh("apt-config", "dump", "APT::Periodic")
    assert "docker" in bare.ssh("id", "-nG").split()


def test_a_second_run_changes_nothing_and_docker_answers_the_login_user(bare: Bare) -> None:
    start = ("sh", "-c", "exec dockerd >>/var/log/dockerd.log 2>&1")
    output("docker", "exec", "--detach", bare.host.name, *start)
    wait_for(lambda: _answers(bare), 60, "dockerd on the bare host")
    before = bare.everything()
    done = bare.prepare()

    assert before == bare.everything()
    assert "nothing to do; nothing was touched" in done.stderr
    assert "will do" not in done.stderr
    assert done.stdout == f"{bare.address} is ready: invoke deploy --host {bare.address}\n"
    assert bare.ssh("docker", "version", "--format", "{{.Server.Version}}")
    assert bare.ssh("docker", "compose", "version", "--short") >= "2.24"
    assert bare.ssh("docker", "info", "--format", "{{.LiveRestoreEnabled}}") == "true"


def test_a_locked_package_database_is_waited_for_and_said(bare: Bare) -> None:
    bare.root("apt-get", "remove", "--yes", "chrony")
    output("docker", "exec", "--detach", bare.host.name, "python3", "-c", HOLD)
    done = bare.prepare()

    assert "keeps the packages locked; waiting up to 120 s" in done.stderr
    assert "time: done" in done.stderr


def test_what_was_prepared_is_deployed_to(bare: Bare) -> None:
    """The host reaches no registry: every image comes from this machine."""
    url = f"https://{bare.host.address}:{bare.project.tls_port}"
    bare.project.set(DEPLOY_HOST=bare.address, BIND_ADDRESS="0.0.0.0", PUBLIC_URL=url)
    bare.project.set(WEB_WORKERS="1", WATCH_SECONDS="0")
    done = bare.project.invoke("deploy", timeout=900)

    assert "first release" in done.stderr
    assert url == done.stdout.strip()
    bare.project.smoke(url)


def _answers(bare: Bare) -> bool:
    words = ["docker", "exec", bare.host.name, "docker", "version"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
