"""The services of a lab: containers made once, started when stopped, replaced when outdated."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .command import outcome
from .engine import docker
from .errors import LabError
from .place import LABEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from .place import Place

SPEC = f"{LABEL}.spec"
PATIENCE = 60  # seconds for a service to answer


@dataclass(frozen=True, slots=True)
class Container:
    """How a container is to be run; `inputs` are contents that the words only refer to."""

    name: str
    image: str
    options: tuple[str, ...]
    command: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def version(self) -> str:
        """Give a hash of everything that decides what runs."""
        identity = docker("image", "inspect", "--format", "{{.Id}}", self.image).strip()
        whole = [self.name, identity, self.options, self.command, self.inputs]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:16]


def ensure(place: Place, wanted: Container) -> None:
    """Have the container running as wanted."""
    version = wanted.version()
    form = f'{{{{index .Config.Labels "{SPEC}"}}}} {{{{.State.Running}}}}'
    done = outcome(["docker", "container", "inspect", "--format", form, wanted.name])
    if done.returncode == 0:
        made, running = done.stdout.split(" ")
        is_same = made == version
        if is_same and running.strip() == "true":
            return
        if is_same and outcome(["docker", "start", wanted.name]).returncode == 0:
            return
        docker("rm", "--force", "--volumes", wanted.name)
    words = ["--name", wanted.name, "--label", place.label, "--label", f"{SPEC}={version}"]
    docker("run", "--detach", *words, *wanted.options, wanted.image, *wanted.command)


def names(place: Place) -> list[str]:
    """List the containers of a lab, running or not."""
    filters = ["--filter", f"label={place.label}", "--format", "{{.Names}}"]
    return docker("ps", "--all", *filters).split()


def wait(what: str, answers: Callable[[], bool], container: str) -> None:
    """Wait until a service answers, or raise with the last lines of its container's log."""
    end = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > end:
            done = outcome(["docker", "logs", "--tail", "5", container])
            said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
            cause = "\n  ".join([f"{what} does not answer after {PATIENCE} s", *said])
            raise LabError(cause, f"docker logs {container}")
        time.sleep(0.2)


def listens(address: str, port: int) -> bool:
    """Say whether a TCP port accepts connections."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def speaks_http(address: str, port: int) -> bool:
    """Say whether HTTP is answered, if only with a refusal; Docker's proxy accepts too soon."""
    connection = http.client.HTTPConnection(address, port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def remove(place: Place) -> None:
    """Remove every container and volume of a lab."""
    found = names(place)
    if found:
        docker("rm", "--force", "--volumes", *found)
    filters = ["--quiet", "--filter", f"label={place.label}"]
    volumes = docker("volume", "ls", *filters).split()
    if volumes:
        docker("volume", "rm", *volumes)
