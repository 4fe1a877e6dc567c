"""A folder as a stream of tar, made while it is read and unpacked while it comes."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ops.errors import OpsError

__all__ = ["pack", "unpack"]

BLOCK = 1024**2
END = 2 * tarfile.BLOCKSIZE


def pack(folder: Path, sizes: dict[str, int] | None = None) -> Iterator[bytes]:
    """Yield the tar of a folder's contents; with `sizes` only these files, cut to these bytes.

    A file that is shorter than it was when it was begun is an error: a tar cannot say so.
    """
    if sizes is None:
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    else:
        names = list(sizes)
    for name in names:
        path = folder / name
        entry = tarfile.TarInfo(name)
        status = path.lstat()
        entry.mode, entry.mtime = status.st_mode & 0o777, int(status.st_mtime)
        if path.is_dir():
            entry.type = tarfile.DIRTYPE
        else:
            entry.size = status.st_size if sizes is None else sizes[name]
        yield entry.tobuf(tarfile.PAX_FORMAT)
        if entry.isreg():
            yield from _content(path, entry.size)
    yield b"\0" * END


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(BLOCK, left))
            if not data:
                raise OpsError(f"{path} became shorter while it was read", "try again")
            left -= len(data)
            yield data
    yield b"\0" * (-size % tarfile.BLOCKSIZE)


def unpack(stream: IO[bytes], folder: Path) -> None:
    """Unpack a tar into a folder; refuses names that lead out of it, links and devices."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as tar:
            for entry in tar:
                if not (entry.isreg() or entry.isdir()):
                    raise OpsError(f"the backup holds {entry.name!r}, which is no file", "")
                tar.extract(entry, folder, filter="tar")
                if entry.isdir():
                    (folder / entry.name).chmod(entry.mode & 0o750)
    except tarfile.TarError as error:
        raise OpsError(
            f"the backup does not unpack: {error}", "take another: invoke list-backups"
        ) from None
