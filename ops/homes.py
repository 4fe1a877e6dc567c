"""Where a stack is at home, as far as its database is concerned: this machine, or a host."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from ops import aws, builds, compose, fleet, images, lease, preflight, secret_files, stack, supply
from ops.containers import containers
from ops.envfile import write_private
from ops.errors import refusal
from ops.hosts import Host, LocalHost
from ops.release import Release
from ops.settings import Settings
from ops.site import LOOK_AT_HOST, Site
from ops.switch import Switch

__all__ = ["Home", "LocalHome", "SiteHome", "home"]

STOP = ("backup", "dump", "web", "db")
"""What is stopped while another volume becomes the database; NGINX goes on and says so."""

DRILL = "drill"
"""The folder of the lock of a drill, which changes nothing of the stack."""


class Home(Protocol):
    """Where the database of a stack is; there may be none yet."""

    @property
    def host(self) -> Host:
        """Where commands run."""

    def inside(self, service: str) -> tuple[str, ...]:
        """Return how a command in a running service begins."""

    def runs(self, service: str) -> bool:
        """Say whether a service runs."""

    def volume(self) -> str:
        """Return the volume of the database."""

    def images(self) -> str:
        """Have the images that a restore takes; return that of the backup service."""

    def server_image(self) -> str:
        """Have the image of the server; return its name."""

    def kept(self) -> AbstractContextManager[None]:
        """Keep everybody else from changing the stack."""

    def drilling(self) -> AbstractContextManager[None]:
        """Keep a second drill out, and nobody else."""

    def credentials(self) -> str:
        """Return the credentials file with which a container there reaches S3."""

    def take(self, volume: str, revision: str) -> bool:
        """Make a volume the database; return whether a server runs on it then.

        None is started that needs another revision of the schema.
        """


class LocalHome:
    """The stack on this machine."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.local = settings, LocalHost()

    @property
    def host(self) -> Host:
        """Where commands run."""
        return self.local

    def inside(self, service: str) -> tuple[str, ...]:
        """Return how a command in a running service begins."""
        return stack.compose(self.settings, "exec", "--no-TTY", service)

    def runs(self, service: str) -> bool:
        """Say whether a service runs."""
        found = containers(self.settings, self.local)
        return any(each.service == service and each.state == "running" for each in found)

    def volume(self) -> str:
        """Return the volume of the database."""
        return compose.database_volume(self.settings)

    def images(self) -> str:
        """Have the images that a restore takes; return that of the backup service."""
        compose.build(self.settings, self.local)
        supply.base(self.local, [self.local], stack.BASES[0], self.settings.data)
        return stack.backup_image(self.settings)

    def server_image(self) -> str:
        """Have the image of the server; return its name."""
        compose.build(self.settings, self.local)
        return stack.web_image(self.settings)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep everybody else from changing the stack."""
        with preflight.only_one(self.settings.data):
            yield

    @contextmanager
    def drilling(self) -> Iterator[None]:
        """Keep a second drill out, and nobody else."""
        preflight.data_folder(self.settings.data)
        with preflight.only_one(self.settings.data / DRILL):
            yield

    def credentials(self) -> str:
        """Return the credentials file with which a container there reaches S3."""
        # A container does not see who is logged in to AWS here.
        return secret_files.s3_credentials(self.settings) or aws.credentials_file(
            self.settings.s3_region
        )

    def take(self, volume: str, revision: str) -> bool:  # noqa: ARG002 - what serves next fits it
        """Make a volume the database; return whether a server runs on it then."""
        self.settings = Settings.load()  # a restore makes the secrets that were missing
        file = stack.folder(self.settings) / compose.VOLUME
        file.parent.mkdir(mode=0o700, exist_ok=True)
        before = self.volume()
        was_up = bool(containers(self.settings, self.local))
        try:
            self._stop()
            write_private(file, f"{volume}\n", 0o600)
            if was_up:
                compose.bring_up(self.settings, self.local)
        except BaseException:
            write_private(file, f"{before}\n", 0o600)
            if was_up:
                self._stop()
                compose.bring_up(self.settings, self.local)
            raise
        return was_up

    def _stop(self) -> None:
        """Stop and remove what has the volume; not by Compose, which may lack a new setting."""
        found = containers(self.settings, self.local)
        ids = [each.identity for each in found if each.service in STOP]
        if ids:
            remedy = "look at the Docker Engine"
            self.local.check(("docker", "stop", *ids), remedy, deadline=600)
            self.local.check(("docker", "rm", "--force", "--volumes", *ids), remedy)


class SiteHome:
    """The stack on a host."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.live: Release | None = site.facts().live

    @property
    def host(self) -> Host:
        """Where commands run."""
        return self.site.host

    def inside(self, service: str) -> tuple[str, ...]:
        """Return how a command in a running service begins."""
        assert self.live is not None
        return self.site.compose(self.live, "exec", "--no-TTY", service)

    def runs(self, service: str) -> bool:
        """Say whether a service runs."""
        return self.live is not None and any(
            each.state == "running" for each in self.site.facts().service(service)
        )

    def volume(self) -> str:
        """Return the volume of the database."""
        return self.site.volume()

    def images(self) -> str:
        """Have the images that a restore takes; return that of the backup service."""
        settings = self.site.settings
        name = self._own(stack.backup_image(settings))
        supply.base(LocalHost(), [self.host], stack.BASES[0], settings.data)
        return name

    def server_image(self) -> str:
        """Have the image of the server; return its name."""
        return self._own(stack.web_image(self.site.settings))

    def _own(self, ours: str) -> str:
        """Have one of our images, by its name here; return its name there."""
        local, settings = LocalHost(), self.site.settings
        name = supply.image_names(settings)[ours]
        if images.image(self.host, name) is None:
            found = builds.identities(settings, local)
            supply.own(settings, local, [self.host], name, found[ours])
        return name

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep everybody else from changing the stack; refuses one that could not be changed."""
        if self.live is not None and not self.live.movable:
            name = self.site.host.name
            raise refusal(
                f"the live release of {name} takes no restored database: it was deployed by an "
                "older version, or has its database elsewhere",
                f"deploy first: invoke deploy --host {name}",
            )
        with lease.held(self.site.host, self.site.top, {"by": "invoke", "what": "restore"}):
            yield

    @contextmanager
    def drilling(self) -> Iterator[None]:
        """Keep a second drill out, and nobody else."""
        self.host.check(("mkdir", "-p", "-m", "700", self.site.top), LOOK_AT_HOST)
        with lease.held(self.host, self.site.path(DRILL), {"by": "invoke", "what": "drill"}):
            yield

    def credentials(self) -> str:
        """Return the credentials file with which a container there reaches S3."""
        return secret_files.s3_credentials(self.site.settings)

    def take(self, volume: str, revision: str) -> bool:
        """Make a volume the database; return whether a server runs on it then."""
        before = self.volume()
        if self.live is None:
            self.site.set_volume(volume)
            return False
        fits = revision in ("", self.live.schema)
        try:
            self._stop()
            self.site.set_volume(volume)
            self._start(serve=fits)
        except BaseException:
            self.site.set_volume(before)
            self._stop()
            self._start()
            raise
        return fits

    def _stop(self) -> None:
        assert self.live is not None
        gone = [name for name in STOP if name in self.live.services]
        words = self.site.compose(self.live, "rm", "--stop", "--force", *gone)
        self.site.host.check(words, LOOK_AT_HOST, deadline=600)

    def _start(self, *, serve: bool = True) -> None:
        assert self.live is not None
        switch = Switch(self.site, self.site.facts(), self.live, self.live)
        switch.start_database()
        if "backup" in self.live.services:
            switch.start_backups()
        if serve:
            switch.up("--wait", "--wait-timeout=300", "web")


@contextmanager
def home(settings: Settings, hosts: str) -> Iterator[Home]:
    """Yield where the stack is: on this machine, or on the one host that is given."""
    if not hosts:
        yield LocalHome(settings)
        return
    with fleet.reach(settings, hosts) as found:
        if len(found) > 1:
            raise refusal("several hosts are given", "name one: --host")
        yield SiteHome(found[0])
