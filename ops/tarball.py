"""A folder as a stream of tar, made while it is read and unpacked while it comes.

Not by `tarfile`: what comes out of age is pushed, and tarfile pulls. A pipe between the two took
longer than all else of a restore together (measured: 9 s of 12 for four million rows).
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ops.errors import OpsError

__all__ = ["Unpacker", "pack"]

BLOCK = 1024**2
SIZE = tarfile.BLOCKSIZE
LONG_NAME = b"L"
"""The type of an entry whose content is the name of the next one, where that has no room for it.

https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""


LONGEST_NAME = 4096
"""Bytes: Linux has no longer ones."""


def pack(folder: Path, sizes: dict[str, int] | None = None) -> Iterator[bytes]:
    """Yield the tar of a folder's contents; with `sizes` only these files, cut to these bytes.

    A file that is shorter than it was when it was begun is an error: a tar cannot say so.
    """
    try:
        yield from _packed(folder, sizes)
    except OSError as error:
        raise OpsError(f"{folder} was not read: {error}", "try again: invoke backup") from None


def _packed(folder: Path, sizes: dict[str, int] | None) -> Iterator[bytes]:
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
        yield entry.tobuf(tarfile.GNU_FORMAT)
        if entry.isreg():
            yield from _content(path, entry.size)
    yield bytes(2 * SIZE)


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb") as file:
        while left:
            data = file.read(min(BLOCK, left))
            if not data:
                raise OpsError(f"{path} became shorter while it was read", "try again")
            left -= len(data)
            yield data
    yield bytes(-size % SIZE)


class Unpacker:
    """Takes the bytes of a tar as they come; refuses names that lead out, links and devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head = bytearray()
        self.file: IO[bytes] | None = None
        self.name: bytearray | None = None
        self.left = self.padding = 0
        self.ended = False

    def write(self, data: bytes) -> int:
        """Take the next bytes."""
        try:
            self._take(memoryview(data))
        except OSError as error:
            raise OpsError(
                f"what the backup holds cannot be written: {error}",
                "make room on the disk that Docker's volumes are on, then again: invoke restore",
            ) from None
        return len(data)

    def _take(self, view: memoryview) -> None:
        while view and not self.ended:
            if self.left:
                view = self._content(view)
            elif self.padding:
                skipped = min(self.padding, len(view))
                self.padding -= skipped
                view = view[skipped:]
            else:
                taken = SIZE - len(self.head)
                self.head += view[:taken]
                view = view[taken:]
                if len(self.head) == SIZE:
                    self._entry(bytes(self.head))
                    self.head.clear()

    def _content(self, view: memoryview) -> memoryview:
        part = view[: self.left]
        if self.file is not None:
            self.file.write(part)
        elif self.name is not None:
            self.name += part
        self.left -= len(part)
        if not self.left:
            self._done()
        return view[len(part) :]

    def _entry(self, head: bytes) -> None:
        """Begin what a head stands for."""
        if not any(head):
            self.ended = True
            return
        try:
            entry = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise OpsError(f"the backup does not unpack: {error}", TAKE_ANOTHER) from None
        if entry.size < 0 or (entry.type == LONG_NAME and entry.size > LONGEST_NAME):
            raise OpsError(
                f"the backup does not unpack: an entry of {entry.size} bytes", TAKE_ANOTHER
            )
        self.left, self.padding = entry.size, -entry.size % SIZE
        if entry.type == LONG_NAME:
            self.name = bytearray()
            return
        if self.name is not None:
            entry.name = self.name.rstrip(b"\0").decode("utf-8", "surrogateescape")
            self.name = None
        path = self.folder / _safe(entry)
        if entry.isdir():
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        else:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.file = path.open("xb")
        if not self.left:
            self._done()

    def _done(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def close(self) -> None:
        """Raise unless the end was there."""
        self._done()
        if not self.ended:
            raise OpsError("the backup does not unpack: it has no end", TAKE_ANOTHER)


TAKE_ANOTHER = "take another: invoke list-backups"


def _safe(entry: tarfile.TarInfo) -> str:
    """Return the name of an entry; refuses what is no file or folder below this one."""
    name = PurePosixPath(entry.name)
    inside = name.parts and ".." not in name.parts and not name.is_absolute()
    inside = inside and "\0" not in entry.name
    if not inside or not (entry.isreg() or entry.isdir()):
        raise OpsError(f"the backup holds {entry.name!r}, which is none of ours", TAKE_ANOTHER)
    return entry.name
