"""Checks of this machine before anything is changed; each raises an error with code 2."""

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ops import console
from ops.errors import refusal

__all__ = ["data_folder", "disk_space", "env_file", "only_one", "port_free"]


def data_folder(folder: Path) -> None:
    """Make the data folder, for this user's eyes only, or say why that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise refusal(
            f"cannot make the data folder {folder}: {error.strerror}",
            "set DATA_FOLDER in .env to a folder you can write to",
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise refusal(
            f"the data folder {folder} is not writable for you",
            f"make it yours: sudo chown -R $USER {folder}",
        )


def env_file(root: Path) -> None:
    """Refuse when secrets have to be kept in `.env` and cannot be."""
    file = (root / ".env").resolve()
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise refusal(
            f"cannot keep the generated secrets in .env: {file.parent} is not writable for you",
            f"make it yours: sudo chown -R $USER {file.parent}",
        )


def disk_space(folder: Path, needed: int, what: str) -> None:
    """Refuse when the disk that holds `folder` has less than `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise refusal(
            f"{what} needs {console.size(needed)}; {folder} has {console.size(free)} free",
            "free some space, or set DATA_FOLDER in .env to a larger disk",
        )


def port_free(address: str, port: int) -> None:
    """Refuse when something else listens on the port, or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise refusal(
                f"BIND_ADDRESS {address} is no address of this machine",
                "use 127.0.0.1 (this machine only) or 0.0.0.0 (every network it is on)",
            ) from None
        if error.errno == errno.EADDRINUSE:
            raise refusal(
                f"port {port} is taken: something else listens on {address}:{port}",
                f"set HTTP_PORT in .env to a free port; who has it: ss -ltnp sport = :{port}",
            ) from None
        if error.errno != errno.EACCES:  # ports below 1024 are Docker's to open, not ours
            raise


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second change of the same stack out; the lock ends with the process."""
    data_folder(folder)
    file = folder / "lock"
    with file.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise refusal(
                f"{holder} is changing this stack", "wait for it to end, then try again"
            ) from None
        stream.truncate(0)
        now = datetime.now(UTC).strftime("%H:%M:%S UTC")
        stream.write(f"process {os.getpid()} (since {now})")
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)
