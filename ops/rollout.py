"""Deploy and roll back: one path from the live release to another one, on one host or several.

Checks come first and change nothing. Then, under the lock of every host: what an unfinished deploy
left is put right, the release is uploaded, the new server starts beside the old one, NGINX is
switched, the old server drains and stops. Hosts move together: when a step fails on one, all go
back to the release they served.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from ops import audit, console, front_door, hold, lease, probe, prune, release, supply
from ops.errors import OpsError
from ops.hosts import LocalHost
from ops.release import Release
from ops.settings import Settings
from ops.site import LOOK_AT_HOST, Site
from ops.ssh import SshHost
from ops.switch import Switch, recover

__all__ = ["Move", "Moved", "WayBack", "carry_out"]


class WayBack(Protocol):
    """How a migration is taken back; writes wait as long as that may have to be."""

    retry_seconds: int

    def mark(self) -> dict[str, Any]:
        """Return what there is to know for the way back; nobody writes any more."""

    def go(self, noted: dict[str, Any]) -> None:
        """Bring the database back to what it was then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What is to become of the hosts: a release, its files, and the secrets it brings along."""

    release: Release
    files: dict[str, str]
    secrets: dict[str, str]
    migrate: bool = False
    way_back: WayBack | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What a switch cost: requests made through the front doors meanwhile, and failed ones."""

    requests: int
    failures: list[str]
    drained: bool


class Rollout:
    """One move of several hosts, step by step."""

    def __init__(self, settings: Settings, sites: Sequence[Site], move: Move) -> None:
        self.settings, self.sites, self.move = settings, sites, move
        self.step = "lock"
        self.switches: list[Switch] = []
        self.lost: list[Event] = []
        self.noted: dict[str, Any] = {}

    def each(self, step: str, action: Callable[[Switch], object]) -> list[object]:
        """Do one step on every host at once; raise what the first host to fail says."""
        self.step = step
        for lost in self.lost:
            if lost.is_set():
                raise OpsError("the lock was lost: the connection went silent", "deploy again")
        names = ", ".join(site.host.name for site in self.sites)
        with console.progress(f"{step} ({names})"), ThreadPoolExecutor(len(self.sites)) as pool:
            try:
                found = [pool.submit(action, switch) for switch in self.switches]
                return [each.result() for each in found]
            except BaseException:  # Ctrl-C too: nobody waits for the others' patience
                for switch in self.switches:
                    switch.halt.set()
                raise

    def run(self) -> Moved:
        """Take the hosts to the new release, or leave them where they were."""
        with ExitStack() as stack:
            for site in self.sites:
                self.lost.append(stack.enter_context(self.lease(site)))
            self.begin()
            try:
                moved = self.go()
            except OpsError as error:
                self.back(error)
                raise OpsError(error.cause, error.remedy) from None  # a refusal, by now, has failed
            except BaseException as error:
                self.back(error)
                raise
            self.let_go()  # from here on there is no way back: others write
            self.record("ok")
            for site in self.sites:
                prune.releases(site, self.settings.keep_releases)
        return moved

    def lease(self, site: Site) -> AbstractContextManager[Event]:
        """Return the lock of a host, to be entered."""
        who = {"by": self.move.release.made_by, "what": self.move.release.what}
        return lease.held(site.host, site.top, who)

    def begin(self) -> None:
        """Read what is there now that nobody else changes it, and put it right."""
        for site in self.sites:
            facts = site.facts()
            recover(site, facts)
            self.switches.append(Switch(site, site.facts(), self.move.release, facts.live))

    def go(self) -> Moved:
        """Take every step."""
        self.record("started")
        self.step = "images"
        hosts = [site.host for site in self.sites]
        supply.provide(self.settings, LocalHost(), hosts, self.move.release)
        self.each("upload", self.upload)
        self.each("database", Switch.start_database)
        if "certificates" in self.move.release.services:
            self.each("certificates", Switch.start_certificates)
        if "backup" in self.move.release.services:
            self.each("backups", Switch.start_backups)
        if self.move.way_back is not None:
            self.hold(self.move.way_back)
        self.step = "schema"
        self.switches[0].migrate(existing=self.move.migrate)
        if "egress" in self.move.release.services:
            self.each("way out", Switch.start_egress)
        self.each("new server", Switch.start_web)
        self.each("testing NGINX", Switch.test_nginx)
        self.each("asking it", Switch.probe_from_nginx)
        with self.probes() as counts:
            self.each("announcing it", Switch.announce)
            self.each("switch", Switch.take_over)
            drained = self.each("draining the old server", self.drain)
            self.each("stopping it", Switch.stop_old)
        failures = [line for count in counts for line in count.failures]
        return Moved(sum(count.requests for count in counts), failures, all(drained))

    def hold(self, way_back: WayBack) -> None:
        """Keep writes waiting, and note how to come back."""
        seconds, patience = way_back.retry_seconds, self.settings.drain_seconds
        ended = self.each("holding writes", lambda switch: hold.begin(switch, seconds, patience))
        if not all(ended):
            console.say(f"note: requests were under way after DRAIN_SECONDS={patience}")
        self.step = "storing the last changes"
        noted = {"release": self.move.release.id, **way_back.mark()}
        self.each("noting the way back", lambda switch: hold.note(switch.site, seconds, noted))
        self.noted = noted

    def let_go(self) -> None:
        """Let writes go on, where they wait."""
        if self.move.way_back is not None:
            new = self.move.release
            self.each("letting writes go on", lambda switch: hold.end(switch, new))

    def upload(self, switch: Switch) -> None:
        """Bring the release's folder and its secrets to a host."""
        site, move = switch.site, self.move
        data = release.archive(move.release, move.files, move.secrets)
        # Else the host's umask takes rights away that the processes in the containers need.
        words = ("tar", "--extract", "--file=-", "--preserve-permissions")
        site.host.check((*words, f"--directory={site.top}"), LOOK_AT_HOST, stdin=data)

    def drain(self, switch: Switch) -> bool:
        """Wait until a host's old server has nothing more to do."""
        return switch.drain(self.settings.drain_seconds, self.settings.watch_seconds)

    @contextmanager
    def probes(self) -> Iterator[list[probe.Count]]:
        """Have a client ask each host that serves already, all the time."""
        with ExitStack() as stack:
            counts = []
            for switch in self.switches:
                if switch.live is not None and isinstance(switch.site.host, SshHost):
                    listens = front_door.address(self.settings)
                    host = switch.site.host
                    port = stack.enter_context(host.forward(self.settings.site_port, listens))
                    door = front_door.through(self.settings, port)
                    counts.append(stack.enter_context(probe.running(door)))
            yield counts

    def record(self, result: str) -> None:
        """Write what happened to every host."""
        new = self.move.release
        for site in self.sites:
            audit.append(
                site.host,
                site.top,
                {
                    "release": new.id,
                    "by": new.made_by,
                    "what": new.what,
                    "commit": new.commit,
                    "result": result,
                },
            )

    def back(self, error: BaseException) -> None:
        """Have every host serve what it served; say where that was not possible."""
        console.say(f"{self.step} failed: going back")
        for switch in self.switches:
            try:
                switch.give_back(self.settings.drain_seconds)
            except OpsError as problem:
                console.say(
                    f"{switch.site.host.name} could not be taken back: {problem.cause}\n"
                    "  the next deploy puts it right"
                )
        self.back_to_data()
        try:
            self.record(f"failed: {self.step}" if isinstance(error, Exception) else "cancelled")
        except OpsError as problem:
            console.say(f"the audit record lacks this: {problem.cause}")

    def back_to_data(self) -> None:
        """Have the database as it was and writes go on; where that fails they go on waiting."""
        if self.move.way_back is None:
            return
        try:
            if self.noted:
                self.move.way_back.go(self.noted)
            for switch in self.switches:
                if switch.live is not None:
                    hold.end(switch, switch.live)
        except OpsError as problem:
            console.say(
                f"the database could not be taken back: {problem.cause}\n"
                "  writes go on waiting; to try again: invoke upgrade"
            )


def carry_out(settings: Settings, sites: Sequence[Site], move: Move) -> Moved:
    """Take hosts to a release; on failure they serve what they served before."""
    return Rollout(settings, sites, move).run()
