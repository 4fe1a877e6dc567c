"""One process at a time works on the labs of this machine, in folders that do not outlive it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = f"mlflow-compose-lab-{os.getuid()}"
PATIENCE = 10  # seconds for killed processes to be gone


def _sweep(folder: Path) -> None:
    """Remove a folder, in which the last processes of a killed one may still be writing."""
    end = time.monotonic() + PATIENCE
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def taken() -> Iterator[None]:
    """Wait for the turn; that of a killed process passes on, and what it left is swept up."""
    path = Path(tempfile.gettempdir()) / f"{PREFIX}.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for folder in path.parent.glob(f"{PREFIX}-*"):
            _sweep(folder)
        yield
    finally:
        os.close(handle)


@contextmanager
def workspace() -> Iterator[Path]:
    """Have a folder for as long as it takes."""
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as folder:
        yield Path(folder)
