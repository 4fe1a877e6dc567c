"""The engines a stack can run on, and which of them this machine takes."""

import shutil
from dataclasses import dataclass
from typing import Protocol

from ops import compose, embedded
from ops.errors import OpsError, refusal
from ops.hosts import LocalHost
from ops.settings import Settings
from ops.states import Status, remembered

__all__ = ["ENGINES", "Choice", "Engine", "choose", "compose_problem", "current"]


class Engine(Protocol):
    """What every engine does; the modules `embedded` and `compose` are the two there are."""

    def up(self, settings: Settings, host: LocalHost, *, migrate: bool) -> bool:
        """Bring the server up and wait until it answers; return False when nothing changed."""

    def down(self, settings: Settings, host: LocalHost) -> bool:
        """Stop the server, keep its data; return False when it was not running."""

    def running(self, settings: Settings, host: LocalHost) -> bool:
        """Say whether any part of the server runs."""

    def status(self, settings: Settings, host: LocalHost) -> Status:
        """Return the state of each service."""

    def logs(self, settings: Settings, host: LocalHost, *, service: str, follow: bool) -> None:
        """Become the program that shows the logs."""


ENGINES: dict[str, Engine] = {"compose": compose, "embedded": embedded}
DOCKER_MANUAL = "https://docs.docker.com/engine/install/"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and why it was taken."""

    name: str
    why: str


def choose(wanted: str, settings: Settings, host: LocalHost) -> Choice:
    """Return the engine to use: the one asked for, the one in use, or the best there is."""
    if wanted not in ("auto", *ENGINES):
        raise refusal(
            f"there is no engine {wanted!r}",
            "use --engine auto, --engine embedded or --engine compose",
        )
    last = remembered(settings)
    problem = compose_problem(host) if "compose" in (wanted, last) or wanted == "auto" else None
    if wanted == "compose" or (wanted == "auto" and last == "compose"):
        if problem:
            raise problem
        why = "asked for" if wanted == "compose" else "this stack already runs on it"
        return Choice("compose", why)
    if wanted == "embedded" or last == "embedded":
        why = "asked for" if wanted == "embedded" else "this stack already runs on it"
        return Choice("embedded", why)
    if problem:
        return Choice("embedded", problem.cause)
    return Choice("compose", "a Docker Engine with Compose v2 answers")


def compose_problem(host: LocalHost) -> OpsError | None:
    """Return why the compose engine cannot be used here, or None."""
    version = host.run(("docker", "version", "--format", "{{.Server.Version}}"))
    if version.code == 127:
        return refusal("docker is not installed", f"install Docker Engine: {DOCKER_MANUAL}")
    if "permission denied" in version.err:
        return refusal(
            "no permission to use Docker",
            "run: sudo usermod -aG docker $USER, then log out and in again",
        )
    if version.code != 0:
        said = (version.err or version.out).strip().splitlines() or ["no reason given"]
        return refusal(
            f"no Docker Engine answers: {said[-1]}", "start it: sudo systemctl start docker"
        )
    if host.run(("docker", "compose", "version", "--short")).code != 0:
        found = "only Compose v1" if shutil.which("docker-compose") else "no Compose"
        return refusal(
            f"docker has {found}; Compose v2 is needed",
            "install the plugin docker-compose-plugin: https://docs.docker.com/compose/install/",
        )
    return None


def current(settings: Settings) -> Engine | None:
    """Return the engine this stack runs on; None before the first `up`."""
    return ENGINES.get(remembered(settings))
