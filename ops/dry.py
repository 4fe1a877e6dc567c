"""A deploy on paper: every command and upload, in order, and no connection is opened.

The host imagined here runs a release before this one, so that every step comes up, and answers as
such a host would. What is printed is what the deploy itself runs; the figures that follow from a
machine are those of the one imagined.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ops.hosts import DEADLINE, Result
from ops.paper import PaperHost
from ops.release import Release
from ops.sizing import Machine
from ops.switch import BESIDE

__all__ = ["MACHINE", "ImaginedHost"]

MACHINE = Machine(cores=2, memory=4 * 1024**3)
"""What an imagined host has."""

BEFORE = "20000101T000000Z"
"""The release that an imagined host runs; no real one is as old."""

LOOKS = ("find", "readlink", "cat", "tail", "docker ps", "docker inspect", "docker image inspect")
"""How commands begin that change nothing: asked again and again, they are printed once."""

ASK = "http://127.0.0.1:8081/release"
"""What NGINX is asked until it serves the release it was told of."""


class ImaginedHost(PaperHost):
    """A host on paper with a stack on it that is well, and with the images of a release."""

    def __init__(self, name: str, release: Release) -> None:
        super().__init__(name)
        self.new = release
        self.old = replace(release, id=BEFORE, origin=BEFORE)
        self.live = self.serves = self.old
        self.beside = [(name, self.old.web) for name in BESIDE if name in release.services]
        self.seen: set[str] = set()

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Print the command, a look only once, and answer."""
        line = " ".join(words)
        looks = line.startswith(LOOKS) or ASK in line
        if not looks or line not in self.seen:
            super().run(words, stdin=stdin, deadline=deadline, env=env)
        self.seen.add(line)
        started = re.search(r"--scale=(\w+)=", line)
        if started:
            self.beside.append((started[1], self.new.web))
        elif line.startswith("ln -sfn"):
            self.live = self.new
        elif line.endswith("-s reload"):
            self.serves = self.live
        return Result(0, self._answer(line), "")

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        """Print the command; the lock is given, and kept for as long as there are beats."""
        done = self.run(words, env=env)
        on_line("ready\n")
        for _ in stdin:
            pass
        return done

    def _answer(self, line: str) -> str:
        """Return what the host would print."""
        if line.startswith("find") and "cat" in line:
            return self.old.as_json()
        if ASK in line:
            return self.serves.web
        answers = {
            "readlink": self.live.id,
            "docker ps": "1\n",
            "docker inspect": json.dumps(self._containers()),
            "docker image inspect --format={{.Id}}": self.new.image_id,
            "docker image inspect": json.dumps(_image(self.new.image_id)),
        }
        return next((text for start, text in answers.items() if line.startswith(start)), "")

    def _containers(self) -> list[dict[str, object]]:
        pairs = [(name, "") for name in self.new.services if name not in BESIDE]
        return [_container(*pair, self.new.image_id) for pair in (*pairs, *self.beside)]


def _image(identity: str) -> dict[str, object]:
    """Return what `docker image inspect` says, as far as it is read."""
    facts = {"Created": "", "Architecture": "", "Os": "", "RootFS": {}}
    return {"Id": identity, "Size": 0, **facts}


def _container(service: str, release: str, image: str) -> dict[str, object]:
    """Return what `docker inspect` says of a container that is well."""
    labels = {
        "com.docker.compose.service": service,
        "com.docker.compose.config-hash": "",
        "mlflow-compose.release": release,
    }
    state = {"Status": "running", "ExitCode": 0, "StartedAt": ""}
    return {
        "Id": f"{service}-of-{release}" if release else service,
        "Image": image,
        "Config": {"Labels": labels},
        "State": {**state, "Health": {"Status": "healthy"}},
        "HostConfig": {"PortBindings": {}},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }
