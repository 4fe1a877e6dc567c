"""A registry, over plain HTTP, under one address for this machine and the simulated hosts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from . import containers, images
from .containers import Container
from .engine import SUBNETS, docker

if TYPE_CHECKING:
    from .network import Network
    from .place import Place

LOG = logging.getLogger(__name__)
PORT = 5000


def _warn() -> None:
    """Say so where an engine that is not ours will refuse the registry."""
    allowed = docker("info", "--format", "{{json .RegistryConfig.InsecureRegistryCIDRs}}")
    if SUBNETS not in allowed:
        LOG.warning(
            'this Docker Engine will not push to the lab: add "insecure-registries": ["%s"] to its '
            "daemon.json (simulated hosts have it)",
            SUBNETS,
        )


def ensure(place: Place, network: Network) -> str:
    """Have the registry running and give its address."""
    name = f"{place.name}-registry"
    docker("volume", "create", "--label", place.label, name)
    options = ["--network", network.name, "--ip", network.address(3)]
    options += ["--publish", f"{network.gateway}:{PORT}:{PORT}"]
    options += ["--volume", f"{name}:/var/lib/registry"]
    if name not in containers.names(place):
        _warn()
    containers.ensure(place, Container(name, images.REGISTRY.name, (*options,)))
    containers.wait("the registry", lambda: containers.speaks_http(network.gateway, PORT), name)
    return f"{network.gateway}:{PORT}"
