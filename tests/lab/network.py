"""The network of a lab: a bridge whose gateway address everybody can reach."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .command import outcome
from .engine import SUBNETS, docker
from .errors import LabError

if TYPE_CHECKING:
    from .place import Place

ROUTES = Path("/proc/net/route")
FORM = "{{(index .IPAM.Config 0).Subnet}}"


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge network and its subnet."""

    name: str
    subnet: ipaddress.IPv4Network

    @property
    def gateway(self) -> str:
        """Give the address of this machine on the network; services are published there."""
        return str(self.subnet[1])

    def address(self, number: int) -> str:
        """Give one address of the subnet."""
        return str(self.subnet[number])


def routes(text: str) -> list[ipaddress.IPv4Network]:
    """Read the destinations of the kernel's routing table, without the default route."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        target, mask = (socket.inet_ntoa(struct.pack("<I", int(words[at], 16))) for at in (1, 7))
        network = ipaddress.IPv4Network(f"{target}/{mask}", strict=False)
        if network.prefixlen:
            found.append(network)
    return found


def _existing(name: str) -> Network | None:
    """Look the network up."""
    done = outcome(["docker", "network", "inspect", "--format", FORM, name])
    if done.returncode != 0:
        return None
    return Network(name, ipaddress.IPv4Network(done.stdout.strip()))


def ensure(place: Place) -> Network:
    """Have the network, on the first subnet that nothing on this machine uses."""
    found = _existing(place.name)
    if found is not None:
        return found
    taken = routes(ROUTES.read_text())
    for subnet in ipaddress.IPv4Network(SUBNETS).subnets(new_prefix=24):
        if any(subnet.overlaps(other) for other in taken):
            continue
        network = Network(place.name, subnet)
        words = ["--label", place.label, "--subnet", str(subnet), "--gateway", network.gateway]
        docker("network", "create", *words, place.name)
        return network
    raise LabError(f"no subnet of {SUBNETS} is free", "python -m tests.lab down, for every lab")


def remove(place: Place) -> None:
    """Remove the network, also from containers that somebody else connected to it."""
    form = "{{range .Containers}}{{.Name}} {{end}}"
    done = outcome(["docker", "network", "inspect", "--format", form, place.name])
    if done.returncode != 0:
        return
    for container in done.stdout.split():
        docker("network", "disconnect", "--force", place.name, container)
    docker("network", "rm", place.name)
