"""The images of a release, brought to the hosts that are to run it."""

from collections.abc import Sequence
from pathlib import Path

from ops import console, images, registry, stack, transfer
from ops.errors import OpsError
from ops.hosts import Host, LocalHost
from ops.release import Release
from ops.settings import Settings
from ops.transfer import Sent

__all__ = ["image_name", "provide"]


def image_name(settings: Settings) -> str:
    """Return the name under which hosts have the server image."""
    name = stack.web_image(settings)
    return registry.image_name(settings.registry, name) if settings.registry else name


def provide(
    settings: Settings, local: LocalHost, hosts: Sequence[Host], release: Release
) -> list[Sent]:
    """Have every image of a release on every host; return what was sent to each."""
    lacking = [
        host
        for host in hosts
        if (found := images.image(host, release.image)) is None
        or found.identity != release.image_id
    ]
    sent = []
    if lacking and _in_registry(settings, release):
        if release.image == image_name(settings):  # else it was pushed when it was deployed
            registry.push(local, settings.registry, stack.web_image(settings))
        for host in lacking:
            registry.pull(host, release.image)
    elif lacking:
        sent = transfer.send_image(local, lacking, release.image, settings.data)
    for base in stack.BASES:
        lacking = [host for host in hosts if images.image(host, base) is None]
        refused = [host for host in lacking if not pulled(host, base)]
        if refused:
            sent += carried(local, refused, base, settings.data)
    return sent


def _in_registry(settings: Settings, release: Release) -> bool:
    """Say whether hosts have the image of a release from a registry, whatever REGISTRY is now."""
    repository = stack.web_image(settings).rpartition(":")[0]
    return release.image.rpartition(":")[0] != repository


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
