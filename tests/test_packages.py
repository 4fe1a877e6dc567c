"""apt and dnf: what is asked, how long a lock is waited for, what goes wrong and what to do."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from ops import packages
from ops.errors import OpsError
from ops.hosts import Result
from ops.packages import Apt, Dnf
from tests.conftest import FakeHost

LOCK = (
    "E: Could not get lock /var/lib/dpkg/lock-frontend. "
    "It is held by process 4711 (unattended-upgr)\n"
)
APT = "sudo -n env LC_ALL=C DEBIAN_FRONTEND=noninteractive"
DNF = "sudo -n env LC_ALL=C dnf"


class Busy(FakeHost):
    """A machine whose package manager is locked the first few times."""

    def __init__(self, times: int, said: str = LOCK) -> None:
        super().__init__({"": ""})
        self.refusals: Iterator[Result] = iter([Result(100, "", said)] * times)

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        done = super().follow(words, on_line, env, stdin=stdin)
        return next(self.refusals, done)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only while somebody sleeps."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    return slept


def test_apt_asks_once_mends_what_was_interrupted_and_installs_what_is_named() -> None:
    host = FakeHost({"": ""})
    apt = Apt(host)
    apt.install(["docker.io", "docker-cli"])
    apt.install(["chrony"])

    begin = (
        f"{APT} apt-get install --yes --no-install-recommends "
        "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
    )
    assert host.lines == [
        f"{APT} apt-get update -o APT::Update::Error-Mode=any",
        f"{APT} dpkg --configure -a",
        f"{begin} docker.io docker-cli",
        f"{APT} dpkg --configure -a",
        f"{begin} chrony",
    ]


def test_dnf_asks_once_and_never_waits_for_a_lock_in_silence() -> None:
    host = FakeHost({"": ""})
    Dnf(host).install(["docker"])

    common = "--assumeyes --setopt=exit_on_lock=True --setopt=install_weak_deps=False"
    assert host.lines == [f"{DNF} makecache {common}", f"{DNF} install {common} docker"]


def test_what_is_installed_is_told_from_what_was_removed() -> None:
    apt = FakeHost({"dpkg-query": Result(1, "installed chrony\nconfig-files ntp\n", "no ntpsec")})
    dnf = FakeHost({"rpm": Result(1, "docker\npackage dnf-automatic is not installed\n", "")})

    assert Apt(apt).installed(["chrony", "ntp", "ntpsec"]) == ["chrony"]
    assert Dnf(dnf).installed(["docker", "dnf-automatic"]) == ["docker"]


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("docker-compose:\n  Installed: (none)\n  Candidate: 2.26.1-4\n", "2.26.1-4"),
        ("docker-compose:\n  Installed: (none)\n  Candidate: (none)\n", ""),
        ("", ""),
    ],
)
def test_what_apt_would_install_is_known(said: str, version: str) -> None:
    assert Apt(FakeHost({"env LC_ALL=C apt-cache policy": said})).candidate("x") == version


def test_a_lock_is_waited_for_with_one_message(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    Apt(Busy(3)).refresh()

    said = capsys.readouterr().err
    assert len(clock) == 3
    assert said.count("process 4711 (unattended-upgr) keeps the packages locked") == 1
    assert "waiting up to 120 s" in said


@pytest.mark.parametrize(
    "said",
    [
        LOCK,
        "E: Unable to acquire the dpkg frontend lock, is another process using it?",
        "dpkg: error: dpkg frontend lock was locked by another process with pid 8191",
        "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 12 (apt-get)",
        "Error: Failed to obtain the transaction lock (logged in as: root).",
    ],
)
def test_a_lock_that_stays_ends_the_wait(clock: list[float], said: str) -> None:
    with pytest.raises(OpsError, match="kept the packages locked for 120 s") as caught:
        Apt(Busy(1000, said)).refresh()

    assert sum(clock) == packages.LOCK_SECONDS
    assert "invoke prepare" in caught.value.remedy


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        (
            "E: Failed to fetch http://m/dists Temporary failure resolving 'm'",
            "cannot fetch packages: E: Failed to fetch",
            "reach its package mirror",
        ),
        (
            "Err:1 x\n  Could not connect to m:80 (192.0.2.1), connection timed out",
            "cannot fetch packages: Could not connect",
            "reach its package mirror",
        ),
        (
            "Error: Failed to download metadata for repo 'amazonlinux': Cannot prepare mirror",
            "cannot fetch packages",
            "reach its package mirror",
        ),
        (
            "dpkg: error processing archive: cannot write: No space left on device",
            "the disk of this machine is full",
            "df -h",
        ),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "is full", "df -h"),
        ("At least 34MB more space needed on the / filesystem.", "is full", "df -h"),
        ("E: Unable to locate package docker.io", "Unable to locate package", "mend that"),
    ],
)
def test_what_goes_wrong_is_told_with_cause_and_remedy(said: str, cause: str, remedy: str) -> None:
    with pytest.raises(OpsError) as caught:
        Apt(FakeHost({"": Result(100, "", said)})).refresh()

    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert "Traceback" not in str(caught.value)


def test_a_password_in_the_address_of_a_mirror_is_not_shown() -> None:
    said = "E: Failed to fetch https://user:hunter2@mirror.example/x  Connection refused"
    with pytest.raises(OpsError) as caught:
        Apt(FakeHost({"": Result(100, "", said)})).refresh()

    assert "hunter2" not in str(caught.value)
    assert "mirror.example" in str(caught.value)


def test_a_mirror_that_fails_is_asked_again_by_the_next_installation() -> None:
    answers: dict[str, Any] = {"": Result(100, "", "E: broken")}
    host = FakeHost(answers)
    apt = Apt(host)
    with pytest.raises(OpsError):
        apt.refresh()
    host.answers[""] = ""
    apt.install(["x"])

    assert len([line for line in host.lines if "update" in line]) == 2
