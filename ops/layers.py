"""What an image is made of: chain ids, and the parts of what `docker save` writes.

Both layouts are read alike. The engines up to 24 write `<id>/layer.tar`, where the name says
nothing of the content; from 25 on, and with the containerd store, a blob is named by its digest
and may be compressed. So a file is a layer when its content, unpacked, has the digest of one.
"""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from ops.errors import OpsError

__all__ = ["Content", "Layer", "chain_ids", "digest", "read"]

BLOCK = 1024**2
BLOBS = "blobs/sha256/"

SMALL = 4 * 1024**2
"""Files up to this size are also kept in memory: one of them is the image's configuration."""

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
UNREADABLE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)
REMEDY = "build the image again, then repeat"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, unpacked: its digest (Docker's "diff id"), its size, and its file if it is kept."""

    digest: str
    size: int
    file: Path | None


@dataclass(frozen=True, slots=True)
class Content:
    """An image in parts: its configuration, byte for byte, and its layers from the base up."""

    config: bytes
    layers: tuple[Layer, ...]


def digest(data: bytes) -> str:
    """Return the digest that names these bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """Return for each layer the name of it together with everything below it.

    https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(digest(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def read(
    stream: IO[bytes], diff_ids: Sequence[str], wanted: AbstractSet[str], folder: Path
) -> Content:
    """Take an image apart as `docker save` writes it; the wanted layers are put into the folder.

    One pass: the table of contents comes last, so every file is hashed on its way. What turns out
    not to be wanted is removed at once.
    """
    found: dict[str, Layer] = {}
    texts: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for entry in filter(tarfile.TarInfo.isreg, tar):
                named = f"sha256:{entry.name.removeprefix(BLOBS)}"
                if named in diff_ids and named not in wanted:
                    found[named] = Layer(named, entry.size, None)
                    continue
                body = tar.extractfile(entry)
                assert body is not None
                if entry.size <= SMALL:
                    texts[entry.name] = body.read()
                    body = io.BytesIO(texts[entry.name])
                layer = _unpack(body, wanted - found.keys(), folder)
                if layer.digest in diff_ids:
                    found.setdefault(layer.digest, layer)
    except UNREADABLE as error:
        raise OpsError(f"what docker save wrote cannot be read: {error}", REMEDY) from None
    except OSError as error:
        raise OpsError(
            f"the layers cannot be put into {folder}: {error.strerror}",
            "free some space there, or set DATA_FOLDER in .env to a larger disk",
        ) from None
    if missing := set(diff_ids) - found.keys():
        raise OpsError(f"docker save wrote no layer {min(missing)}", REMEDY)
    return Content(_config(texts, diff_ids), tuple(found[name] for name in diff_ids))


def _unpack(body: IO[bytes], wanted: AbstractSet[str], folder: Path) -> Layer:
    """Read a file to its end, hashing it unpacked; keep it if that makes it a wanted layer."""
    total, size = hashlib.sha256(), 0
    plain = _plain(body)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
        while block := plain.read(BLOCK):
            total.update(block)
            size += len(block)
            if wanted:  # else there is nothing left to look for but sizes
                file.write(block)
    name = f"sha256:{total.hexdigest()}"
    if name in wanted:
        return Layer(name, size, path.rename(folder / total.hexdigest()))
    path.unlink()
    return Layer(name, size, None)


def _plain(body: IO[bytes]) -> IO[bytes]:
    """Return what reads a file unpacked, whatever it was packed with."""
    head = body.read(len(ZSTD))
    whole = io.BufferedReader(_Joined(head, body), BLOCK)
    if head.startswith(GZIP):
        return gzip.GzipFile(fileobj=whole)  # type: ignore[return-value]
    if head == ZSTD:
        return zstandard.ZstdDecompressor().stream_reader(whole, read_across_frames=True)
    return whole


class _Joined(io.RawIOBase):
    """A stream with the bytes put back that were read off to look at them."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as the library has it
        data = self._head or self._rest.read(len(buffer))
        self._head = b""
        buffer[: len(data)] = data
        return len(data)


def _config(texts: Mapping[str, bytes], diff_ids: Sequence[str]) -> bytes:
    """Return the configuration of the image; an archive may hold one for each platform."""
    try:
        for image in json.loads(texts["manifest.json"]):
            config = texts[image["Config"]]
            if json.loads(config)["rootfs"]["diff_ids"] == list(diff_ids):
                return config
    except (LookupError, ValueError, TypeError):
        pass
    raise OpsError("docker save wrote no configuration of the image", REMEDY)
