"""From a bare host to one that `deploy` can use: the plan, the commands in order, every refusal."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from ops import prepare
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from ops.site import Site
from tests.conftest import FAILS, OK, FakeHost

READ, WRITE = "sudo -n sh -c 'test ", "sudo -n sh -c 'set -eu"
ABSENT = Result(127, "", "not found")
APT, DNF = "sudo -n env LC_ALL=C DEBIAN_FRONTEND=noninteractive", "sudo -n env LC_ALL=C dnf"
ON = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'
ASKING = (READ, "sudo -n true", "sudo -n docker info", "sudo -n dockerd --version")


def system(identity: str, version: str) -> dict[str, Result | str]:
    return {"cat /etc/os-release": f"ID={identity}\nVERSION_ID='{version}'\n"}


COMMON: dict[str, Result | str] = {
    "id --user --name": "ubuntu\n",
    "sudo -n true": OK,
    "test -e /snap/bin/docker": FAILS,
    "uname -m": "x86_64\n",
    "test -d /run/systemd/system": OK,
}
BARE: dict[str, Result | str] = {
    **COMMON,
    "sudo -n dockerd --version": FAILS,
    "docker --version": ABSENT,
    "dpkg-query": FAILS,
    "rpm": FAILS,
    READ: "",
    "sudo -n docker info": FAILS,
    "docker compose version --short": ABSENT,
    "systemctl is-enabled": FAILS,
    "id --groups --name ubuntu": "ubuntu sudo\n",
    "apt-config": "",
    "env LC_ALL=C apt-cache policy": "c:\n  Candidate: 2.26.1-4\n",
    "docker version": "26.1.5\n",
    "sudo -n": "",
    "curl": "",
    "mktemp": "/tmp/d\n",
    "sha256sum": "",
    "rm -f": "",
}
DAEMON = (
    '{"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "5"},'
    ' "live-restore": true}'
)
READY: dict[str, Result | str] = {
    **COMMON,
    "sudo -n dockerd --version": "Docker version 26.1.5+dfsg1, build 411e817",
    "docker --version": "Docker version 26.1.5+dfsg1, build a72d7cd",
    "dpkg-query": "installed docker.io\ninstalled unattended-upgrades\ninstalled chrony\n",
    "rpm": "docker\ndnf-automatic\nchrony\n",
    f'{READ}! -e "$1" || cat "$1"\' sh /etc/docker/daemon.json': DAEMON,
    f'{READ}! -e "$1" || cat "$1"\' sh /etc/dnf/automatic.conf': (
        "[commands]\nupgrade_type = security\napply_updates = yes\n"
    ),
    f'{READ}! -e "$1" || cat "$1"\' sh /etc/dnf/vars/releasever': "latest\n",
    "sudo -n docker info": "true inactive\n",
    "docker compose version --short": "2.26.1-4\n",
    "systemctl is-enabled": "enabled\n",
    "systemctl is-active": "active\n",
    "id --groups --name ubuntu": "ubuntu sudo docker\n",
    "apt-config": ON,
    "docker version": "26.1.5\n",
    "sudo -n usermod": "",
}


class Machine(FakeHost):
    """A machine that remembers what was written and which Compose it got."""

    name = "host-1"

    def run(self, words: Any, *, stdin: bytes = b"", **more: Any) -> Result:
        done = super().run(words, stdin=stdin, **more)
        if words[-1].endswith("20auto-upgrades"):
            self.answers["apt-config"] = stdin.decode()
        if "install" in words and any("compose" in word for word in words):
            self.answers["docker compose version --short"] = "2.40.3\n"
        return done

    def changes(self) -> list[str]:
        """Return what was done as root, apart from asking."""
        done = [line for line in self.lines if line.startswith("sudo -n")]
        done = [line for line in done if not line.startswith(ASKING)]
        writes = {line: f"write {line.split()[-1]}" for line in done if line.startswith(WRITE)}
        return [writes.get(line, line) for line in done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Callable[..., int]:
    """Run `prepare` on machines that need no network; return how often it logged in."""
    monkeypatch.setattr(Settings, "load", lambda: settings)

    def call(*hosts: FakeHost, device: str = "") -> int:
        logins = []

        @contextmanager
        def sites(_: Settings, names: str) -> Iterator[list[Site]]:
            logins.append(names)
            yield [Site(host, settings) for host in hosts]

        monkeypatch.setattr(prepare, "reach", sites)
        prepare.prepare("host-1", device)
        return len(logins)

    return call


INSTALL = (
    f"{APT} apt-get install --yes --no-install-recommends "
    "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)
MEND = f"{APT} dpkg --configure -a"
REFRESH = f"{APT} apt-get update -o APT::Update::Error-Mode=any"
ENABLE = "sudo -n systemctl enable --now"
GROUP = "sudo -n usermod --append --groups docker ubuntu"
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"
PUT = [
    f"sudo -n install -D -m 0755 -o root -g root /tmp/d {PLUGIN}.new",
    f"sudo -n mv -f {PLUGIN}.new {PLUGIN}",
]


def installs(*names: str) -> list[str]:
    return [MEND, f"{INSTALL} {' '.join(names)}"]


def apt_rest(service: str) -> list[str]:
    return [
        *[f"{ENABLE} docker", GROUP, *installs("unattended-upgrades")],
        *["write /etc/apt/apt.conf.d/20auto-upgrades", *installs("chrony"), f"{ENABLE} {service}"],
    ]


def test_a_bare_debian_13_gets_everything_from_its_packages(run: Callable[..., int]) -> None:
    host = Machine({**BARE, **system("debian", "13")})

    assert run(host) == 2
    assert host.changes() == [
        *[REFRESH, "write /etc/docker/daemon.json", *installs("docker.io", "docker-cli")],
        *[*installs("docker-compose"), *apt_rest("chrony")],
    ]


def test_a_bare_ubuntu_likewise_under_its_own_names(run: Callable[..., int]) -> None:
    host = Machine({**BARE, **system("ubuntu", "24.04")})
    run(host)

    assert host.changes() == [
        *[REFRESH, "write /etc/docker/daemon.json", *installs("docker.io")],
        *[*installs("docker-compose-v2"), *apt_rest("chrony")],
    ]


def test_a_bare_debian_12_gets_the_released_compose(run: Callable[..., int]) -> None:
    policy = {"env LC_ALL=C apt-cache policy": "c:\n  Candidate: 1.29.2-3\n"}
    host = Machine({**BARE, **policy, **system("debian", "12")})
    run(host)

    assert host.changes() == [
        *[REFRESH, "write /etc/docker/daemon.json", *installs("docker.io"), *PUT],
        *apt_rest("chrony"),
    ]


def test_a_bare_amazon_linux_gets_the_released_compose(run: Callable[..., int]) -> None:
    host = Machine({**BARE, **system("amzn", "2023")})
    run(host)
    common = "--assumeyes --setopt=exit_on_lock=True --setopt=install_weak_deps=False"

    assert host.changes() == [
        *[f"{DNF} makecache {common}", "write /etc/docker/daemon.json"],
        *[f"{DNF} install {common} docker", *PUT, f"{ENABLE} docker", GROUP],
        *["write /etc/dnf/vars/releasever", f"{DNF} install {common} dnf-automatic"],
        *["write /etc/dnf/automatic.conf", f"{ENABLE} dnf-automatic.timer"],
        *[f"{DNF} install {common} chrony", f"{ENABLE} chronyd"],
    ]


@pytest.mark.parametrize(
    ("identity", "version"), [("debian", "13"), ("ubuntu", "22.04"), ("amzn", "2023")]
)
def test_a_host_that_is_ready_is_not_touched(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], identity: str, version: str
) -> None:
    host = Machine({**READY, **system(identity, version)})

    assert run(host) == 1
    said = capsys.readouterr()
    assert host.changes() == []
    assert said.err.count("done already") == 7
    assert "nothing to do; nothing was touched" in said.err
    assert said.out == "host-1 is ready: invoke deploy --host host-1\n"


def test_only_what_is_missing_is_done(run: Callable[..., int]) -> None:
    host = Machine({**READY, **system("debian", "13"), "id --groups --name ubuntu": "ubuntu\n"})

    assert run(host) == 2  # a group counts from the next login on
    assert host.changes() == [GROUP]


def test_the_plan_is_one_line_a_step(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run(Machine({**BARE, **system("debian", "13"), "id --groups --name ubuntu": "docker\n"}))

    lines = [line.split("  ") for line in capsys.readouterr().err.splitlines()]
    plan = [[word.strip() for word in words if word.strip()] for words in lines if not words[0]]
    assert [words[:2] for words in plan] == [
        ["log rotation", "will do"],
        ["Docker Engine", "will do"],
        ["Docker Compose", "will do"],
        ["start at boot", "will do"],
        ["group docker", "done already"],
        ["security upgrades", "will do"],
        ["time", "will do"],
    ]


def test_no_host_is_changed_before_all_are_looked_at(run: Callable[..., int]) -> None:
    good, bad = (Machine({**BARE, **system(name, "13")}) for name in ("debian", "alpine"))
    with pytest.raises(OpsError, match="not known here") as caught:
        run(good, bad)

    assert caught.value.code == 2
    assert good.changes() == [REFRESH]


def test_docker_from_elsewhere_stays_and_gets_no_package_of_the_system(
    run: Callable[..., int],
) -> None:
    others = {"dpkg-query": "installed unattended-upgrades\ninstalled chrony\n"}
    missing = {"docker compose version --short": FAILS}
    tools = {key: BARE[key] for key in ("mktemp", "curl", "sha256sum", "rm -f", "sudo -n")}
    host = Machine({**READY, **tools, **others, **missing, **system("debian", "13")})
    run(host)

    assert host.changes() == PUT


@pytest.mark.parametrize(
    ("answers", "cause", "remedy"),
    [
        ({"sudo -n true": Result(1, "", "sudo: a password is required")}, "asks for one", "ubuntu"),
        ({"sudo -n true": Result(127, "", "sudo: not found")}, "there is no sudo", "ec2-user"),
        ({"test -e /snap/bin/docker": OK}, "as a snap", "snap remove"),
        ({"cat /etc/os-release": "ID=arch\n"}, "is not known here", "Debian 12"),
        ({READ: "{"}, "is no JSON", "by hand"),
        ({"uname -m": "riscv64", "env LC_ALL=C apt-cache policy": ""}, "not pinned", "aarch64"),
        (
            {f"{APT} apt-get update": Result(100, "", "E: Failed to fetch http://m Could not …")},
            "cannot fetch packages",
            "reach its package mirror",
        ),
    ],
)
def test_what_is_refused_has_touched_nothing(
    run: Callable[..., int], answers: Mapping[str, Result | str], cause: str, remedy: str
) -> None:
    host = Machine({**BARE, **system("debian", "13"), **answers})
    with pytest.raises(OpsError) as caught:
        run(host)

    assert (cause in caught.value.cause, remedy in caught.value.remedy) == (True, True)
    assert caught.value.code == 2
    assert set(host.changes()) <= {REFRESH}


class Breaking(Machine):
    """A machine on which one installation fails."""

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        done = super().follow(words, on_line, env, stdin=stdin)
        return Result(100, "", "No space left on device") if words[-1] == "docker-cli" else done


def test_what_fails_half_way_is_an_error_of_the_other_kind(run: Callable[..., int]) -> None:
    host = Breaking({**BARE, **system("debian", "13")})
    with pytest.raises(OpsError, match="the disk of host-1 is full") as caught:
        run(host)

    assert caught.value.code == 1
    assert "invoke prepare" in caught.value.remedy
    assert GROUP not in host.changes()


def test_a_data_volume_comes_before_docker(run: Callable[..., int]) -> None:
    disk: dict[str, Result | str] = {
        "sudo -n readlink": "/dev/nvme1n1\n",
        "sudo -n lsblk": "nvme1n1\n",
        "sudo -n findmnt": FAILS,
        "sudo -n blkid --probe --match-tag TYPE": Result(2, "", ""),
        "sudo -n blkid --probe --match-tag UUID": "0f5a7ab6-4a7e\n",
        "sudo -n find /var": FAILS,
    }
    host = Machine({**BARE, **disk, **system("debian", "13")})
    run(host, device="/dev/nvme1n1")
    done = host.changes()

    first = done.index("sudo -n mount /var/lib/docker")
    assert done.index("sudo -n mkfs.ext4 -q /dev/nvme1n1") < first
    assert first < done.index(f"{INSTALL} docker.io docker-cli")


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        (
            {"docker version": Result(1, "", "permission denied while trying to connect")},
            "may not use Docker",
        ),
        ({"docker version": Result(1, "", "Cannot connect to the daemon")}, "no Docker answers"),
        ({"docker compose version --short": "2.20.0\n"}, "still finds Compose '2.20.0'"),
    ],
)
def test_a_host_that_is_not_ready_in_the_end_is_an_error(
    answers: Mapping[str, Result | str], cause: str
) -> None:
    with pytest.raises(OpsError) as caught:
        prepare.verify(Machine({**READY, **answers}), systemd=True)

    assert cause in caught.value.cause
    assert caught.value.code == 1


def test_without_systemd_starting_dockerd_is_left_to_the_person(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    dead = {"docker version": FAILS, "test -d /run/systemd/system": FAILS}
    run(Machine({**READY, **system("debian", "13"), **dead}))

    said = capsys.readouterr()
    assert "left out" in said.err
    assert "dockerd is not running; start it, then: invoke prepare" in said.err
    assert said.out == ""
