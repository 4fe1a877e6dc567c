"""Where a stack runs, for what is done to a running one: this machine, or hosts that move together.

Hosts share one database, or there is one host: what is done in the database is done by the first.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from ops import compose, console, deploys, fleet, front_door, images, remote, sizing, stack, states
from ops.containers import containers
from ops.errors import refusal
from ops.front_door import FrontDoor
from ops.hosts import Host, LocalHost
from ops.settings import Settings
from ops.site import Site

__all__ = ["Here", "Place", "Premises", "There", "premises"]


@dataclass(frozen=True, slots=True)
class Place:
    """A machine with a running stack, as long as it is reached."""

    host: Host
    compose: Callable[..., tuple[str, ...]]
    """Returns a `docker compose` line of the stack that runs."""
    door: Callable[[Settings], AbstractContextManager[FrontDoor]]
    """Reaches the front door with the login of some settings."""

    @property
    def database(self) -> tuple[str, ...]:
        """How a command in MySQL's container begins."""
        return self.compose("exec", "--no-TTY", "db")

    def job(self, *words: str) -> tuple[str, ...]:
        """Return how a command beside the server is run, with its image and its secrets."""
        return self.compose("run", "--rm", "--no-deps", "--no-TTY", "migrate", *words)


class Premises(Protocol):
    """All the machines of a stack."""

    def require_current(self) -> None:
        """Refuse a stack that does not run as `.env` and this folder describe it."""

    def reached(self) -> AbstractContextManager[Place]:
        """Reach the machine that has the database, or speaks to it."""

    def bring(self) -> None:
        """Have every server run with what is in `.env` now."""


class Here:
    """The stack in containers on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.local = settings, LocalHost()

    def require_current(self) -> None:
        """Refuse a stack that does not run as `.env` and this folder describe it."""
        settings, host = self.settings, self.local
        if states.remembered(settings) != "compose":
            raise refusal(
                "no stack in containers runs here", "bring it up: invoke up; or name a host: --host"
            )
        size = sizing.size(settings, [images.engine(host).machine])
        if not compose.unchanged(settings, size, host, containers(settings, host)):
            raise refusal("the stack does not run as it is described", "first: invoke up")

    @contextmanager
    def reached(self) -> Iterator[Place]:
        """Reach this machine."""

        def line(*words: str) -> tuple[str, ...]:
            return stack.compose(self.settings, *words)

        yield Place(self.local, line, lambda settings: nullcontext(front_door.local(settings)))

    def bring(self) -> None:
        """Have the server run with what is in `.env` now."""
        compose.up(Settings.load(self.settings.root), self.local, migrate=False)


class There:
    """The stack on hosts."""

    def __init__(self, settings: Settings, hosts: str) -> None:
        self.settings, self.hosts = settings, hosts

    def require_current(self) -> None:
        """Refuse hosts that do not run what is described here: a deploy would change more."""
        lines = deploys.pending(self.hosts)
        if lines:
            raise refusal(
                "\n  ".join(["the hosts do not run what is described here", *lines]),
                f"first: invoke deploy --host {self.hosts}",
            )
        if states.remembered(self.settings) == "compose":
            console.say("note: the database of the stack on this machine keeps the old secret")

    @contextmanager
    def reached(self) -> Iterator[Place]:
        """Reach the first host."""
        with fleet.reach(self.settings, self.hosts) as found:
            site = found[0]
            release = remote.live(site)

            def line(*words: str) -> tuple[str, ...]:
                return site.compose(release, *words)

            yield Place(site.host, line, lambda settings: _door(site, settings))

    def bring(self) -> None:
        """Deploy: nobody is kept out meanwhile."""
        deploys.bring(self.hosts)


@contextmanager
def _door(site: Site, settings: Settings) -> Iterator[FrontDoor]:
    with remote.door(site) as port:
        yield front_door.through(settings, port)


def premises(settings: Settings, hosts: str) -> Premises:
    """Return where a stack is: on the hosts that are given, or here."""
    return There(settings, hosts) if hosts else Here(settings)
