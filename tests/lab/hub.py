"""The public registry: asked until it fails once, then left alone for the rest of the run."""

from __future__ import annotations

import logging
import select
import subprocess

from .command import leashed

LOG = logging.getLogger(__name__)
PATIENCE = 10  # seconds for the registry to begin to answer


class Hub:
    """Pulls official images, and remembers that it cannot."""

    def __init__(self) -> None:
        """Assume that the registry can be reached."""
        self.is_reachable = True

    def pull(self, name: str) -> bool:
        """Pull an image, unless the registry has failed before."""
        if not self.is_reachable:
            return False
        LOG.info("pulling %s", name)
        self.is_reachable = _pull(name)
        if not self.is_reachable:
            LOG.info("no registry offers %s: building from Debian packages instead", name)
        return self.is_reachable


def _pull(name: str) -> bool:
    """Pull an image, unless no registry begins to answer soon."""
    with subprocess.Popen(
        leashed(["docker", "pull", name]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        # The first line appears once the registry has named the layers: now waiting is worth it.
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        if not ready or b"Pulling from" not in process.stdout.readline():
            process.terminate()
            return False
        process.stdout.read()
    return process.returncode == 0
