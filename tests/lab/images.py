"""The images of the stack: official where a registry answers, else stand-ins of the same name."""

from __future__ import annotations

import hashlib
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import bases, wheels
from .command import outcome, run
from .engine import docker
from .hub import Hub
from .present import Image, present
from .turn import workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOG = logging.getLogger(__name__)
FOLDER = Path(__file__).parent / "images"
LABEL = "mlflow-compose.lab.stand-in"
BUILDERS = 2  # at once; more gain nothing on two cores


@dataclass(frozen=True, slots=True)
class StandIn:
    """An image the lab can build: its name, its folder in images/, the Debian it starts from."""

    name: str
    folder: str
    suite: str = ""

    def version(self) -> str:
        """Give a hash of everything the image is built from."""
        digest = hashlib.sha256(bases.version(self.suite).encode() if self.suite else b"")
        root = FOLDER / self.folder
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            runs = bool(path.stat().st_mode & 0o100)
            digest.update(f"\n{path.relative_to(root)} {runs}\n".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]


PYTHON = StandIn("python:3.13-slim", "python", "trixie")
PYTHON_FULL = StandIn("python:3.13", "python-full", "trixie")
MYSQL = StandIn("mysql:9.7", "mysql", "sid")
NGINX = StandIn("nginx:1.30", "nginx", "sid")
HTTPD = StandIn("httpd:2.4", "httpd", "sid")
OFFICIAL = (PYTHON, PYTHON_FULL, MYSQL, NGINX, HTTPD)
RCLONE = StandIn("mlflow-lab/rclone:latest", "rclone")
REGISTRY = StandIn("mlflow-lab/registry:latest", "registry", "trixie")
HOST = StandIn("mlflow-lab/host:latest", "host", "trixie")
BARE = StandIn("mlflow-lab/host-bare:latest", "host-bare", "trixie")
OWN = (RCLONE, REGISTRY, HOST, BARE)


def is_stand_in(name: str) -> bool:
    """Say whether a name stands for an image that the lab built, not for an official one."""
    image = present([name]).get(name)
    return image is not None and LABEL in image.labels


def _build(wanted: StandIn, old: Image | None) -> None:
    """Build a stand-in and drop the one it replaces."""
    LOG.info("building %s", wanted.name)
    with workspace() as parent:
        folder = parent / wanted.folder
        shutil.copytree(FOLDER / wanted.folder, folder)
        requirements = folder / "requirements.txt"
        if requirements.exists():
            wheels.programs(requirements, folder / "bin")
        words = ["docker", "build", "--quiet", "--force-rm", "--tag", wanted.name]
        if wanted.suite:
            words += ["--build-arg", f"BASE={bases.name(wanted.suite)}"]
        words += ["--label", f"{LABEL}={wanted.version()}", str(folder)]
        # The classic builder leaves nothing beside the image: no build cache to clean up.
        plain = {"DOCKER_BUILDKIT": "0"}
        run(*words, environ=plain, remedy="mend what the build reports, then repeat")
    if old is not None:
        outcome(["docker", "image", "rm", old.id])


def _each(work: Callable[..., None], *arguments: Sequence[object]) -> None:
    """Do independent work side by side and raise the first error."""
    with ThreadPoolExecutor(BUILDERS) as pool:
        list(pool.map(work, *arguments))


def _is_current(wanted: StandIn, image: Image | None) -> bool:
    """Say whether an image can stay: an official one always, a stand-in while nothing changed."""
    if image is None:
        return False
    if LABEL not in image.labels:
        return wanted in OFFICIAL
    return image.labels[LABEL] == wanted.version()


def ensure(wanted: Sequence[StandIn]) -> None:
    """Have every wanted image: an official one is kept as it is, a stand-in is kept up to date."""
    have = present([*(one.name for one in wanted), *map(bases.name, bases.SUITES)])
    missing = [one for one in wanted if not _is_current(one, have.get(one.name))]
    hub = Hub()
    missing = [one for one in missing if one not in OFFICIAL or not hub.pull(one.name)]
    needed = {one.suite for one in missing if one.suite}
    fresh = {suite for suite in needed if bases.is_current(have.get(bases.name(suite)), suite)}
    stale = sorted(needed - fresh)
    _each(bases.make, stale, [hub] * len(stale))
    _each(_build, missing, [have.get(one.name) for one in missing])


def remove() -> list[str]:
    """Remove every image that the lab built and give those still in use."""
    names = [*(stand_in.name for stand_in in (*OFFICIAL, *OWN)), *map(bases.name, bases.SUITES)]
    found = present(names)
    ours = [name for name in names if name in found and _is_ours(found[name])]
    used = [name for name in ours if outcome(["docker", "image", "rm", name]).returncode != 0]
    # What an interrupted build had finished has no name, but the label of its base.
    unnamed = ["--filter", "dangling=true", "--filter", f"label={bases.LABEL}"]
    docker("image", "prune", "--force", *unnamed)
    return [*used, *docker("image", "ls", "--quiet", *unnamed).split()]


def _is_ours(image: Image) -> bool:
    """Say whether the lab made an image."""
    return LABEL in image.labels or bases.LABEL in image.labels
