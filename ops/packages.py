"""A host's packages: what is installed, what could be, and installing with patience."""

import re
import time
from collections.abc import Callable, Sequence

from ops import console
from ops.errors import OpsError
from ops.hosts import Host, Result, failure
from ops.steps import AGAIN, as_root

__all__ = ["LOCK_SECONDS", "Apt", "Dnf", "Packages"]

LOCK_SECONDS = 120
PAUSE_SECONDS = 5

LOCKED = re.compile(
    r"could not get lock|unable to lock|unable to acquire the dpkg|another process using it"
    r"|locked by another process"
    r"|obtain the transaction lock|another copy is running|existing lock",
    re.IGNORECASE,
)
HOLDER = re.compile(r"(?:held by process|another process with pid) (\d+)(?: \(([\w.+-]+)\))?")
FULL = re.compile(r"no space left on device|enough free space|more space needed", re.IGNORECASE)
UNREACHED = re.compile(
    r"could not resolve|failure resolving|failed to fetch|(?:unable to|could not) connect"
    r"|cannot initiate the connection|connection (?:timed out|refused)|network is unreachable"
    r"|no route to host|failed to download metadata|curl error|all mirrors were tried",
    re.IGNORECASE,
)


class Packages:
    """What apt and dnf have in common."""

    refresh_words: tuple[str, ...]
    install_words: tuple[str, ...]

    def __init__(self, host: Host) -> None:
        self.host = host
        self._fresh = False

    def installed(self, names: Sequence[str]) -> list[str]:
        """Return those of these packages that are there."""
        raise NotImplementedError

    def candidate(self, name: str) -> str:
        """Return the version that would be installed; "" where none is offered."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Have the list of what is offered; once is enough."""
        if not self._fresh:
            self._run("asking for packages", as_root(*self.refresh_words))
            self._fresh = True

    def install(self, names: Sequence[str]) -> None:
        """Install packages, with what they need and nothing that is only recommended."""
        self.refresh()
        label = f"installing {', '.join(names)}"
        self._run(label, as_root(*self.install_words, *names))

    def _run(self, label: str, words: Sequence[str]) -> None:
        with console.progress(f"{self.host.name}: {label}") as detail:
            done = self._patiently(words, detail)
        if done.code != 0:
            raise problem(self.host.name, words, done)

    def _patiently(self, words: Sequence[str], detail: Callable[[str], None]) -> Result:
        """Run a command again while another program holds the lock, but not for ever."""
        end = time.monotonic() + LOCK_SECONDS
        waited = False
        while True:
            done = self.host.follow(words, detail)
            if done.code == 0 or not LOCKED.search(done.err):
                return done
            if time.monotonic() >= end:
                raise OpsError(
                    f"{self.host.name}: {holder(done.err)} has kept the packages locked for "
                    f"{LOCK_SECONDS} s",
                    "wait until it has ended, then: invoke prepare",
                )
            if not waited:
                console.say(
                    f"{self.host.name}: {holder(done.err)} keeps the packages locked; "
                    f"waiting up to {LOCK_SECONDS} s"
                )
                waited = True
            time.sleep(PAUSE_SECONDS)


class Apt(Packages):
    """Debian's packages."""

    quiet = ("env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
    # Without the mode, a mirror that is out of reach is a warning, and old lists are used.
    refresh_words = (*quiet, "apt-get", "update", "-o", "APT::Update::Error-Mode=any")
    install_words = (
        *(*quiet, "apt-get", "install", "--yes", "--no-install-recommends"),
        *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"),
    )

    def installed(self, names: Sequence[str]) -> list[str]:
        """Return those of these packages that are there."""
        words = ("dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}\\n")
        said = self.host.run((*words, *names)).out.splitlines()
        return [name for name in names if f"installed {name}" in said]

    def candidate(self, name: str) -> str:
        """Return the version that would be installed; "" where none is offered."""
        said = self.host.run(("env", "LC_ALL=C", "apt-cache", "policy", name)).out
        found = re.search(r"^\s+Candidate: (\S+)$", said, re.MULTILINE)
        return found[1] if found and found[1] != "(none)" else ""

    def install(self, names: Sequence[str]) -> None:
        """Install packages, after mending what an interrupted installation left."""
        self.refresh()
        self._patiently(as_root(*self.quiet, "dpkg", "--configure", "-a"), lambda _: None)
        super().install(names)


class Dnf(Packages):
    """Amazon Linux's packages."""

    # dnf would wait for the lock without end and without a word.
    common = ("--assumeyes", "--setopt=exit_on_lock=True", "--setopt=install_weak_deps=False")
    refresh_words = ("env", "LC_ALL=C", "dnf", "makecache", *common)
    install_words = ("env", "LC_ALL=C", "dnf", "install", *common)

    def installed(self, names: Sequence[str]) -> list[str]:
        """Return those of these packages that are there."""
        words = ("rpm", "--query", "--queryformat", "%{NAME}\\n")
        said = self.host.run((*words, *names)).out.splitlines()
        return [name for name in names if name in said]

    def candidate(self, name: str) -> str:
        """Return the version that would be installed; "" where none is offered."""
        words = ("dnf", "repoquery", "--quiet", "--latest-limit=1", "--queryformat", "%{version}")
        return self.host.run(as_root(*words, name)).out.strip()


def holder(said: str) -> str:
    """Return who holds the lock, as far as it is said."""
    found = HOLDER.search(said)
    if not found:
        return "another program"
    return f"process {found[1]} ({found[2]})" if found[2] else f"process {found[1]}"


def problem(name: str, words: Sequence[str], done: Result) -> OpsError:
    """Return the error for a failed command of the package manager: cause and remedy."""
    said = [re.sub(r"://[^/\s@]*@", "://***@", line.strip()) for line in done.err.splitlines()]
    full = next((line for line in said if FULL.search(line)), "")
    if full:
        return OpsError(
            f"the disk of {name} is full: {full}",
            "make room (df -h, sudo docker system df) or enlarge the volume, then: invoke prepare",
        )
    unreached = next((line for line in said if UNREACHED.search(line)), "")
    if unreached:
        return OpsError(
            f"{name} cannot fetch packages: {unreached}",
            "let it reach its package mirror (route, security group, proxy), then: invoke prepare",
        )
    return failure(words, done.code, "\n".join(said), AGAIN)
