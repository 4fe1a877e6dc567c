"""Tiny images in both layouts of `docker save`, and the double of an engine that has them."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import zstandard

from ops import layers
from ops.errors import OpsError
from ops.hosts import Result
from tests.conftest import FakeHost, docker_info

NAME = "mlflow-compose/web:0123456789ab"
INFO = "docker info"
INSPECT = "docker image inspect --format '{{json .}}'"
LIST = "docker image ls --all --quiet --no-trunc"
ALL = 'docker image inspect --format \'{"layers"'


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def untar(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        names = [member.name for member in members]
        assert len(names) == len(set(names))
        return {member.name: archive.extractfile(member).read() for member in members}  # type: ignore[union-attr]


@dataclass(frozen=True)
class Synthetic:
    """An image of layers with one small file each."""

    contents: tuple[bytes, ...]

    @property
    def layers(self) -> list[bytes]:
        return [tar([("file", content)]) for content in self.contents]

    @property
    def diff_ids(self) -> list[str]:
        return [sha(layer) for layer in self.layers]

    @property
    def chains(self) -> list[str]:
        return layers.chain_ids(self.diff_ids)

    @property
    def config(self) -> bytes:
        rootfs = {"type": "layers", "diff_ids": self.diff_ids}
        return json.dumps({"os": "linux", "rootfs": rootfs}, indent=1).encode()

    def old(self) -> bytes:
        """The layout of engines up to 24: names that say nothing, the table at the end."""
        config = f"{sha(self.config)[7:]}.json"
        folders = [hashlib.sha256(b"v1" + bytes([i])).hexdigest() for i in range(len(self.layers))]
        files = [(config, self.config)]
        for folder, layer in sorted(zip(folders, self.layers, strict=True)):
            files += [(f"{folder}/VERSION", b"1.0"), (f"{folder}/json", b"{}")]
            files += [(f"{folder}/layer.tar", layer)]
        table = {
            "Config": config,
            "RepoTags": [NAME],
            "Layers": [f"{f}/layer.tar" for f in folders],
        }
        return tar(
            [*files, ("manifest.json", json.dumps([table]).encode()), ("repositories", b"{}")]
        )

    def oci(self, pack: Callable[[bytes], bytes] = bytes) -> bytes:
        """The layout of engines from 25 on; the containerd store has packed layers in it."""
        blobs = {sha(blob): blob for blob in [self.config, *map(pack, self.layers)]}
        files = [(f"blobs/sha256/{name[7:]}", blob) for name, blob in sorted(blobs.items())]
        paths = [f"blobs/sha256/{sha(pack(layer))[7:]}" for layer in self.layers]
        config = f"blobs/sha256/{sha(self.config)[7:]}"
        table = {"Config": config, "RepoTags": [NAME], "Layers": paths}
        files += [("index.json", b"{}"), ("manifest.json", json.dumps([table]).encode())]
        return tar([*files, ("oci-layout", b"{}")])

    def inspected(self, identity: str = "", architecture: str = "amd64") -> str:
        found: dict[str, Any] = {
            "Id": identity or sha(self.config),
            "RootFS": {"Layers": self.diff_ids},
            "Created": "2026-11-24T00:00:00Z",
            "Architecture": architecture,
            "Os": "linux",
            "Size": sum(map(len, self.layers)),
            "Config": {"Cmd": ["sh"]},
        }
        return json.dumps(found)


LAYOUTS: Mapping[str, Callable[[Synthetic], bytes]] = {
    "old": Synthetic.old,
    "oci": Synthetic.oci,
    "oci with gzip": lambda image: image.oci(lambda data: gzip.compress(data, mtime=0)),
    "oci with zstd": lambda image: image.oci(zstandard.ZstdCompressor().compress),
}


def info(version: str = "26.1.5+dfsg1", *, containerd: bool = False, cpu: str = "x86_64") -> str:
    status = [["driver-type", "io.containerd.snapshotter.v1"]] if containerd else [["a", "b"]]
    return docker_info(version, status=status, cpu=cpu)


NO_IMAGE = Result(1, "[]\n", "Error: No such image: x")


class EngineDouble(FakeHost):
    """The double of a Docker Engine: `docker save` gives `saved`, `docker load` keeps the archive.

    Once it was loaded, the answers of `loaded` are added to what it answers.
    """

    def __init__(
        self, answers: Mapping[str, Result | str], *, name: str = "host", saved: bytes = b""
    ) -> None:
        super().__init__({INFO: info(), INSPECT: NO_IMAGE, LIST: "", **answers})
        self.name = name
        self.saved = saved
        self.loaded: Mapping[str, Result | str] = {}
        self.received = b""
        self.fails = ""

    @contextmanager
    def reading(self, words: Sequence[str], remedy: str) -> Iterator[IO[bytes]]:  # noqa: ARG002
        self.lines.append(" ".join(words))
        yield io.BytesIO(self.saved)

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],  # noqa: ARG002
        deadline: float,  # noqa: ARG002
    ) -> Result:
        self.lines.append(" ".join(words))
        self.received = b"".join(chunks)
        self.answers |= self.loaded
        if self.fails:
            raise OpsError(self.fails, "as the host says")
        return Result(0, "", "")
