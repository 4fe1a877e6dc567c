"""What images a machine has, and what its engine takes."""

import json
from dataclasses import dataclass
from typing import Any

from ops import layers
from ops.errors import OpsError
from ops.hosts import Host, failure
from ops.sizing import Machine

__all__ = ["Engine", "Image", "engine", "image", "present"]

LOOK = "look at the Docker Engine there: docker info"
ASKED = ("ServerVersion", "DriverStatus", "DockerRootDir", "Architecture", "NCPU", "MemTotal")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
STARTED_WITH = ("Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Labels", "Healthcheck")


@dataclass(frozen=True, slots=True)
class Engine:
    """A Docker Engine as far as it matters for what it can be sent and what it can run."""

    version: tuple[int, int]
    containerd: bool
    root: str
    architecture: str
    machine: Machine

    @property
    def packing(self) -> str:
        """Return the packing that `docker load` takes.

        Never zstd: it crashed an engine (docs/decisions/0011-only-missing-layers-are-sent.md). The
        containerd store took no packing at all before 25.0 (moby/moby#46605).
        """
        return "plain" if self.containerd and self.version < (25, 0) else "gzip"


@dataclass(frozen=True, slots=True)
class Image:
    """An image of an engine. The id is the configuration's digest or, with containerd, another."""

    identity: str
    layers: tuple[str, ...]
    size: int
    architecture: str
    facts: str
    """All that is the same for one image on any engine, also where the ids differ."""


def engine(host: Host) -> Engine:
    """Ask a machine for its engine; one command, for each costs a round trip."""
    form = ",".join(f"{{{{json .{name}}}}}" for name in ASKED)
    out = host.check(("docker", "info", "--format", f"[{form}]"), LOOK)
    try:
        version, status, root, architecture, cores, memory = json.loads(out)
        major, minor = (int(part) for part in version.split(".")[:2])
        machine = Machine(int(cores), int(memory))
    except (ValueError, TypeError, AttributeError):
        raise OpsError(f"docker info did not tell of its engine: {out.strip()!r}", LOOK) from None
    return Engine(
        version=(major, minor),
        containerd=["driver-type", "io.containerd.snapshotter.v1"] in (status or []),
        root=root,
        architecture=ARCHITECTURES.get(architecture, architecture),
        machine=machine,
    )


def image(host: Host, name: str) -> Image | None:
    """Return the image of this name or id, if the machine has it."""
    words = ("docker", "image", "inspect", "--format", "{{json .}}", name)
    done = host.run(words)
    if done.code == 1 and "no such image" in done.err.lower():
        return None
    if done.code != 0:
        raise failure(words, done.code, done.err, LOOK)
    found: dict[str, Any] = json.loads(done.out)
    config = found.get("Config") or {}
    facts = [found["RootFS"].get("Layers"), found["Created"], found["Architecture"], found["Os"]]
    facts += [config.get(key) or None for key in STARTED_WITH]
    return Image(
        found["Id"],
        tuple(found["RootFS"].get("Layers") or ()),
        found["Size"],
        found["Architecture"],
        json.dumps(facts, sort_keys=True),
    )


def present(host: Host, name: str, *, containerd: bool) -> frozenset[str]:
    """Return the chain ids of the layers that an image of this name need not bring along.

    With Docker's own store (overlay2) these are the layers of every image, untagged ones too. The
    containerd store has a pulled or built layer packed, under another digest: an image loaded on
    top runs, but is incomplete, and a later `docker save` there wrote 6,656 bytes without an error
    (28.5.2). Only images of the same repository count there, because those came by `docker load`:
    the first transfer brings the base along once.
    """
    listed = host.check(("docker", "image", "ls", "--all", "--quiet", "--no-trunc"), LOOK)
    identities = sorted(set(listed.split()))
    if not identities:
        return frozenset()
    form = '{"layers":{{json .RootFS.Layers}},"tags":{{json .RepoTags}}}'
    # An image that went away meanwhile is an error among the answers; the others still count.
    done = host.run(("docker", "image", "inspect", "--format", form, *identities))
    repository = name.rpartition(":")[0]
    chains: set[str] = set()
    for line in filter(None, done.out.splitlines()):
        found = json.loads(line)
        own = any(tag.rpartition(":")[0] == repository for tag in found["tags"] or ())
        if own or not containerd:
            chains.update(layers.chain_ids(found["layers"] or ()))
    return frozenset(chains)
