"""The stack's folder on a host: where things are in it, and what it says."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from ops import accounts, audit, nginx, secret_files, stack
from ops.containers import Container, containers
from ops.errors import OpsError
from ops.hosts import Host
from ops.release import MANIFEST, Release
from ops.settings import Settings
from ops.values import Secret

__all__ = ["Facts", "Site"]

VOLUME = "database.env"
"""Names the volume of the database for Compose; it is no part of a release, and outlives them."""

LOOK_AT_HOST = "look at the host: invoke doctor --host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is on a host now."""

    releases: dict[str, Release] = field(default_factory=dict)
    live: Release | None = None
    containers: list[Container] = field(default_factory=list)
    record: list[str] = field(default_factory=list)

    @property
    def outcomes(self) -> dict[str, str]:
        """The last known result of each release, by its id."""
        return audit.outcomes(self.record)

    def service(self, name: str) -> list[Container]:
        """Return the containers of a service; two of `web` while one takes over from the other."""
        return [each for each in self.containers if each.service == name]

    @property
    def healthy(self) -> bool:
        """Whether exactly the live release runs, all its services are well, and it ended well."""
        serving = [each for each in self.containers if each.service != "migrate"]
        return (
            self.live is not None
            and self.outcomes.get(self.live.id) == "ok"
            and sorted(each.service for each in serving) == sorted(self.live.services)
            and all(each.good for each in serving)
            and self.service("web")[0].release == self.live.web
        )


class Site:
    """One host's copy of the stack, in a folder of the login user's home."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.host, self.settings = host, settings
        self.top = settings.stack_name

    def path(self, *parts: str) -> str:
        """Return a path in the stack's folder."""
        return "/".join((self.top, *parts))

    def release(self, identity: str, *parts: str) -> str:
        """Return a path in the folder of a release."""
        return self.path("releases", identity, *parts)

    def compose(self, release: Release, *words: str) -> tuple[str, ...]:
        """Return a `docker compose` line for a release."""
        given = [("--env-file", name) for name in ("compose.env", "release.env")]
        given += [("--file", name) for name in release.compose_files]
        options = [word for flag, name in given for word in (flag, self.release(release.id, name))]
        # A later file wins.
        volume = ("--env-file", self.path(VOLUME)) if release.movable else ()
        return ("docker", "compose", *options, *volume, *words)

    def volume(self) -> str:
        """Return the volume of the database: the first one, or one that a restore put there."""
        said = self.host.run(("cat", self.path(VOLUME))).out.strip()
        return said.partition("=")[2] or stack.database_volume(self.settings)

    def set_volume(self, name: str) -> None:
        """Say which volume is the database from the next start on."""
        draft = self.path(f".{VOLUME}")
        self.host.check(("mkdir", "-p", "-m", "700", self.top), LOOK_AT_HOST)
        self.host.check(("tee", draft), LOOK_AT_HOST, stdin=f"DB_VOLUME={name}\n".encode())
        self.host.check(("mv", "-T", draft, self.path(VOLUME)), LOOK_AT_HOST)

    def passwords(self, release: Release) -> dict[str, Secret]:
        """Return the users of MySQL that a release has made, with their passwords.

        One of an earlier version has fewer.
        """
        found = {}
        for user in accounts.RIGHTS:
            for name in release.secrets:
                if name.startswith(f"{user}{secret_files.CLIENT}-"):
                    text = self.host.check(("cat", self.path("secrets", name)), LOOK_AT_HOST)
                    found[user] = Secret(text.rpartition('password = "')[2].rpartition('"')[0])
        return found

    def facts(self) -> Facts:
        """Read what is there: the releases, which one is live, the containers."""
        found = ("find", self.path("releases"), "-mindepth", "2", "-maxdepth", "2")
        texts = self.host.run((*found, "-name", MANIFEST, "-exec", "cat", "{}", "+")).out
        releases = {each.id: each for each in _manifests(texts.splitlines())}
        link = self.host.run(("readlink", self.release(nginx.LIVE))).out.strip()
        return Facts(
            releases=releases,
            live=releases.get(link),
            containers=containers(self.settings, self.host),
            record=audit.read(self.host, self.top),
        )

    def point(self, identity: str) -> None:
        """Make a release the live one: a new link takes the place of the old in one step."""
        draft = self.release(".live")
        self.host.check(("ln", "-sfn", identity, draft), LOOK_AT_HOST)
        self.host.check(("mv", "-T", draft, self.release(nginx.LIVE)), LOOK_AT_HOST)

    def read(self, identity: str, names: Iterable[str]) -> dict[str, str]:
        """Return files of a release by their path in it."""
        return {
            name: self.host.check(("cat", self.release(identity, name)), LOOK_AT_HOST)
            for name in names
        }


def _manifests(lines: Iterable[str]) -> Iterable[Release]:
    for line in lines:
        try:
            yield Release.from_json(json.loads(line))
        except (ValueError, TypeError):
            raise OpsError(
                f"a {MANIFEST} on the host makes no sense: {line[:80]}",
                "it was written by another version of this repository: use that one",
            ) from None
