"""Debian base images, made once from this machine's own archive, shared by every stand-in."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from . import apt
from .command import run
from .engine import docker
from .turn import workspace

if TYPE_CHECKING:
    from .hub import Hub
    from .present import Image

LOG = logging.getLogger(__name__)
REPOSITORY = "mlflow-lab/base"
SUITES = ("trixie", "sid")
LABEL = "mlflow-compose.lab.base"
# mmdebstrap takes its time to heed a signal. In namespaces of its own all of it ends at once,
# mounts included, when the process that watches them does.
CONFINED = ("unshare", "--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc", "--")
# An image needs no manuals, no translations and, while it is made, no care for power cuts.
SLIM = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/man/*",
    "force-unsafe-io",
)


def name(suite: str) -> str:
    """Name the base image of a suite."""
    return f"{REPOSITORY}:{suite}"


def version(suite: str) -> str:
    """Give a hash of what a base is made from, without the address of the archive."""
    return hashlib.sha256("\n".join([suite, *SLIM]).encode()).hexdigest()[:16]


def is_current(image: Image | None, suite: str) -> bool:
    """Say whether a base that the engine has can stay."""
    return image is not None and image.labels.get(LABEL) == version(suite)


def _tree(suite: str, target: Path) -> None:
    """Write the smallest Debian that has apt as a tar file."""
    source = apt.debian(apt.sources())
    words = [*CONFINED] if os.geteuid() == 0 else []
    words += ["mmdebstrap", "--quiet", "--variant=minbase"]
    words += [f"--keyring={source.signed_by or apt.KEYRING}"]
    words += [f'--aptopt={key} "{value}"' for key, value in apt.options()]
    words += ['--aptopt=Acquire::Languages "none"']
    words += [f"--dpkgopt={option}" for option in SLIM]
    if source.address.startswith("https:"):
        words += ["--include=ca-certificates"]
    remedy = "check that this machine's Debian mirror also offers the suite, then repeat"
    target.parent.chmod(0o755)  # apt drops its privileges to download
    inside = {"TMPDIR": str(target.parent)}
    run(*words, suite, str(target), source.address, remedy=remedy, environ=inside)


def _bootstrap(suite: str) -> None:
    """Make a base from packages."""
    apt.provide("mmdebstrap", "mmdebstrap")
    LOG.info("making %s", name(suite))
    with workspace() as folder:
        target = folder / "tree.tar"
        _tree(suite, target)
        label = f"LABEL {LABEL}={version(suite)}"
        docker("import", "--change", label, "--change", 'CMD ["bash"]', str(target), name(suite))


def make(suite: str, hub: Hub) -> None:
    """Make the base image of a suite: from the official one, or from packages."""
    official = f"debian:{suite}-slim"
    if not hub.pull(official):
        _bootstrap(suite)
        return
    with workspace() as folder:
        (folder / "Dockerfile").write_text(f"FROM {official}\n")
        label = f"{LABEL}={version(suite)}"
        plain = {"DOCKER_BUILDKIT": "0"}
        words = ["docker", "build", "--quiet", "--label", label, "--tag", name(suite), str(folder)]
        run(*words, environ=plain, remedy="mend what the build reports, then repeat")
