"""The images of a release, brought to the hosts that are to run it."""

from collections.abc import Sequence
from pathlib import Path

from ops import console, images, registry, stack, transfer
from ops.errors import OpsError
from ops.hosts import Host, LocalHost
from ops.release import Release
from ops.settings import Settings
from ops.transfer import Sent

__all__ = ["base", "image_name", "image_names", "provide"]


def image_name(settings: Settings) -> str:
    """Return the name under which hosts have the server image."""
    return image_names(settings)[stack.web_image(settings)]


def image_names(settings: Settings) -> dict[str, str]:
    """Return the names under which hosts have our images, by their names here."""
    return {
        name: registry.image_name(settings.registry, name) if settings.registry else name
        for name in stack.own_images(settings)
    }


def provide(
    settings: Settings, local: LocalHost, hosts: Sequence[Host], release: Release
) -> list[Sent]:
    """Have every image of a release on every host; return what was sent to each."""
    sent = []
    for name, identity in release.images.items():
        sent += own(settings, local, hosts, name, identity)
    for name in stack.BASES:
        sent += base(local, hosts, name, settings.data)
    return sent


def own(
    settings: Settings, local: LocalHost, hosts: Sequence[Host], name: str, identity: str
) -> list[Sent]:
    """Have one of our images on hosts, by its name there and its id."""
    lacking = [
        host
        for host in hosts
        if (found := images.image(host, name)) is None or found.identity != identity
    ]
    if lacking and _in_registry(name):
        here = {there: here for here, there in image_names(settings).items()}
        if name in here:  # else it was pushed when it was deployed
            registry.push(local, settings.registry, here[name])
        for host in lacking:
            registry.pull(host, name)
    elif lacking:
        return transfer.send_image(local, lacking, name, settings.data)
    return []


def base(local: LocalHost, hosts: Sequence[Host], name: str, folder: Path) -> list[Sent]:
    """Have an image that is not ours on hosts."""
    lacking = [host for host in hosts if images.image(host, name) is None]
    refused = [host for host in lacking if not pulled(host, name)]
    return carried(local, refused, name, folder) if refused else []


def _in_registry(name: str) -> bool:
    """Say whether hosts have an image of ours from a registry, whatever REGISTRY is now."""
    return not name.startswith(stack.OWN)


def pulled(host: Host, name: str) -> bool:
    """Let a host fetch an image from where its name says; False when it cannot."""
    with console.progress(f"{host.name} fetches {name}") as detail:
        return host.follow(("docker", "pull", name), detail).code == 0


def carried(local: LocalHost, hosts: Sequence[Host], name: str, folder: Path) -> list[Sent]:
    """Send an image from this machine to hosts that cannot fetch it, if it is here."""
    if images.image(local, name) is None:
        raise OpsError(
            f"{hosts[0].name} cannot fetch {name}, and this machine does not have it",
            f"let the host reach a registry, or get it here: docker pull {name}",
        )
    return transfer.send_image(local, hosts, name, folder)
