"""An image on its way from this machine to hosts: each is sent only the layers it lacks."""

import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops import archive, console, images, layers, preflight
from ops.archive import Archive
from ops.errors import OpsError, refusal
from ops.hosts import Host, LocalHost
from ops.images import Engine, Image
from ops.layers import Content

__all__ = ["Sent", "send_image"]

LOOK = "look at the Docker Engine there: docker info"
SEND_SECONDS = 3600.0
MARGIN = 256 * 1024**2
"""Disk a host keeps free for everything else."""

UNPACKED_TWICE = 2.1
"""`docker load` unpacks the archive beside the layers it makes of it, on either store; the rest is
what files take above their size (docs/decisions/0011-only-missing-layers-are-sent.md)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What went to a host; bytes as they went over the wire."""

    host: str
    bytes: int
    layers_sent: int
    layers_kept: int


@dataclass(frozen=True, slots=True)
class Errand:
    """What one host needs."""

    host: Host
    engine: Engine
    by_id: bool
    """Whether the id there is the one here: not where either has the containerd store."""
    missing: frozenset[str]


def send_image(local: LocalHost, hosts: Sequence[Host], name: str, folder: Path) -> list[Sent]:
    """Bring an image of this machine to hosts and return what went to each.

    `docker save` runs once for all of them, and not at all where every host has the image. What is
    refused is refused before anything goes to any host. `folder` takes the layers meanwhile.
    """
    wanted = images.image(local, name)
    if wanted is None:
        raise refusal(f"there is no image {name} on this machine", "build it first: invoke build")
    here = images.engine(local)
    done = {host.name: Sent(host.name, 0, 0, len(wanted.layers)) for host in hosts}
    errands = [found for host in hosts if (found := _errand(here, host, wanted, name))]
    if errands:
        missing = frozenset[str]().union(*(errand.missing for errand in errands))
        with _collected(local, name, wanted, missing, folder) as content:
            for errand in errands:
                _room(errand, content)
            for errand in errands:
                done[errand.host.name] = _send(errand, content, wanted, name)
    return list(done.values())


def _errand(here: Engine, host: Host, wanted: Image, name: str) -> Errand | None:
    """Return what a host needs, or None when it has the image; give it the name, if only that."""
    there = images.engine(host)
    if wanted.architecture != there.architecture:
        raise refusal(
            f"{name} is made for {wanted.architecture}, {host.name} has {there.architecture}",
            f"build it for the host: docker build --platform linux/{there.architecture} …",
        )
    by_id = not (here.containerd or there.containerd)
    if _same(images.image(host, name), wanted, by_id=by_id):
        return None
    if _same(images.image(host, wanted.identity), wanted, by_id=by_id):
        host.check(("docker", "image", "tag", wanted.identity, name), LOOK)
        return None
    has = images.present(host, name, containerd=there.containerd)
    chain = zip(wanted.layers, layers.chain_ids(wanted.layers), strict=True)
    return Errand(host, there, by_id, frozenset(layer for layer, top in chain if top not in has))


def _same(found: Image | None, wanted: Image, *, by_id: bool) -> bool:
    if found is None:
        return False
    return found.identity == wanted.identity if by_id else found.facts == wanted.facts


@contextmanager
def _collected(
    local: LocalHost, name: str, wanted: Image, missing: AbstractSet[str], folder: Path
) -> Iterator[Content]:
    """Yield the image in parts, with these layers in a folder that is gone afterwards."""
    preflight.data_folder(folder)
    preflight.disk_space(folder, wanted.size, f"taking {name} apart")
    with tempfile.TemporaryDirectory(prefix="image-", dir=folder) as place:  # made with mode 0700
        with console.progress(f"reading {name}"):
            words = ("docker", "image", "save", name)
            with local.reading(words, "look at the Docker Engine of this machine") as stream:
                content = layers.read(stream, wanted.layers, missing, Path(place))
        yield content


def _room(errand: Errand, content: Content) -> None:
    """Refuse when the host's disk is too small for the layers it is to be sent."""
    sizes = {layer.digest: layer.size for layer in content.layers}
    needed = int(sum(sizes[layer] for layer in errand.missing) * UNPACKED_TWICE) + MARGIN
    out = errand.host.check(("df", "-Pk", errand.engine.root), LOOK)
    free = int(out.splitlines()[-1].split()[3]) * 1024
    if free < needed:
        raise refusal(
            f"the image needs {console.size(needed)} on {errand.host.name}; "
            f"{errand.engine.root} has {console.size(free)} free",
            "free some space there, for instance: docker image prune",
        )


def _send(errand: Errand, content: Content, wanted: Image, name: str) -> Sent:
    """Send the archive and make sure that the image it became is the one meant."""
    host = errand.host
    parcel = archive.build(content, name, errand.missing)
    before = images.image(host, name)
    try:
        count = _stream(errand, parcel, f"sending {name} to {host.name}")
    except OpsError as error:
        _forget(host, name, before)
        full = "no space left on device" in error.cause
        remedy = "free some space there: docker image prune" if full else "try again"
        raise OpsError(error.cause, remedy) from None
    expected = parcel.manifest_digest if errand.engine.containerd else parcel.config_digest
    found = images.image(host, name)
    if found is None or found.identity != expected:
        _forget(host, name, before)
        seen = found.identity if found else "no image of that name"
        raise OpsError(
            f"{host.name} made {seen} of {name}, which is {expected}", f"try again; {LOOK}"
        )
    sent = [layer for layer in wanted.layers if layer in errand.missing]
    return Sent(host.name, count, len(sent), len(wanted.layers) - len(sent))


def _stream(errand: Errand, parcel: Archive, label: str) -> int:
    """Give the archive to `docker load` on the host; return how many bytes that took."""
    total = 0
    with console.transfer(label, parcel.size) as moved:

        def read() -> Iterator[bytes]:
            for chunk in parcel.chunks():
                yield chunk
                moved(len(chunk), 0)

        def wire() -> Iterator[bytes]:
            nonlocal total
            for chunk in archive.packed(read(), errand.engine.packing):
                yield chunk
                total += len(chunk)
                moved(0, len(chunk))

        errand.host.send(("docker", "image", "load"), wire(), lambda _: None, SEND_SECONDS)
    return total


def _forget(host: Host, name: str, before: Image | None) -> None:
    """Put a name back to what it meant before a failed transfer, if the host is in reach."""
    try:
        found = images.image(host, name)
        if found is not None and found != before:
            host.run(("docker", "image", "rm", name))
            if before is not None:
                host.run(("docker", "image", "tag", before.identity, name))
    except OpsError:
        pass
