"""A host under examination: how it is reached, and what is asked of it more than once."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from ops import front_door, images, sizing
from ops.checks import NotChecked
from ops.containers import Container
from ops.front_door import FrontDoor
from ops.hosts import Host, LocalHost, Result
from ops.images import Engine
from ops.settings import Settings
from ops.site import Facts, Site
from ops.sizing import Size
from ops.ssh import connect

__all__ = ["Patient"]


@dataclass(kw_only=True)
class Patient:
    """A host by the address given. `site` and `door` are there once somebody has logged in."""

    given: str
    settings: Settings
    local: LocalHost
    opened: ExitStack
    site: Site = field(init=False)
    door: FrontDoor = field(init=False)

    def log_in(self) -> None:
        """Connect, until `opened` is closed; the host's front door then has a port here."""
        host = self.opened.enter_context(connect(self.given, self.settings))
        listens = front_door.address(self.settings)
        port = self.opened.enter_context(host.forward(self.settings.site_port, listens))
        self.site = Site(host, self.settings)
        self.door = front_door.through(self.settings, port)

    @property
    def host(self) -> Host:
        """The machine."""
        return self.site.host

    @cached_property
    def facts(self) -> Facts:
        """What is on the host; asked once."""
        return self.site.facts()

    @cached_property
    def engine(self) -> Engine:
        """The host's Docker Engine, with what machine it is on; asked once."""
        return images.engine(self.host)

    @property
    def size(self) -> Size:
        """What the next deploy would give the services here."""
        return sizing.size(self.settings, [self.engine.machine])

    @property
    def own_database(self) -> bool:
        """Whether the live release has a MySQL of its own."""
        return self.facts.live is None or "db" in self.facts.live.services

    def running(self, service: str) -> Container:
        """Return the container of a service; raises NotChecked when it does not run."""
        found = [each for each in self.facts.service(service) if each.state == "running"]
        if not found:
            raise NotChecked(f"{service} does not run")
        return found[0]

    def inside(self, service: str, words: Sequence[str], stdin: str) -> Result:
        """Run a command in the container of a service; raises NotChecked when it does not run."""
        identity = self.running(service).identity
        line = ("docker", "exec", "--interactive", identity, *words)
        return self.host.run(line, stdin=stdin.encode())
