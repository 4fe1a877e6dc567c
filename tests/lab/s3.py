"""S3 with real bytes on disk: rclone serves a volume, under one address for everybody."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from . import containers, images
from .containers import Container
from .engine import docker
from .model import S3

if TYPE_CHECKING:
    from .network import Network
    from .place import Place

PORT = 9000
VARIABLE = "RCLONE_AUTH_KEY"


def _credentials(place: Place) -> tuple[str, str]:
    """Give the key pair of this lab, made on first use."""
    path = place.folder / "s3.env"
    if not path.exists():
        pair = f"LAB{secrets.token_hex(8).upper()},{secrets.token_hex(20)}"
        # rclone reads the variable as a list in CSV, so the one pair in it must be quoted.
        place.write(path.name, f'{VARIABLE}="{pair}"\n')
    access, secret = path.read_text().strip().partition("=")[2].strip('"').split(",")
    return access, secret


def ensure(place: Place, network: Network) -> S3:
    """Have the S3 server running."""
    return _ensure(place, network, f"{place.name}-s3", 2, PORT)


def spare(place: Place, network: Network) -> S3:
    """Have another one running, with data of its own."""
    # Docker gives containers that ask for no address the lowest one that is free.
    return _ensure(place, network, f"{place.name}-s3-spare", 250, PORT + 1)


def _ensure(place: Place, network: Network, name: str, number: int, port: int) -> S3:
    access, secret = _credentials(place)
    docker("volume", "create", "--label", place.label, name)
    options = ["--network", network.name, "--ip", network.address(number)]
    options += ["--publish", f"{network.gateway}:{port}:{PORT}", "--volume", f"{name}:/data"]
    options += ["--env-file", str(place.folder / "s3.env")]
    command = ["serve", "s3", "/data", "--addr", f":{PORT}"]
    container = Container(name, images.RCLONE.name, (*options,), (*command,), (access, secret))
    containers.ensure(place, container)
    containers.wait("the S3 server", lambda: containers.speaks_http(network.gateway, port), name)
    return S3(f"http://{network.gateway}:{port}", access, secret, name)
