"""What the certificate service is made of and told, for `stack`."""

from collections.abc import Sequence
from ipaddress import ip_address

__all__ = ["ACME", "INPUTS", "MEMORY", "MODULES", "OVERLAY", "names"]

OVERLAY = "compose/certificates.yaml"
"""The overlay of a stack that makes its certificate itself."""

ACME = "compose/acme.yaml"
"""The overlay over that one of a stack that asks a CA for it."""

MODULES = ("errors", "values", "key_pairs", "private_ca", "acme_orders", "certifier")
"""What the service has of this package; a test compares it with what those import."""

INPUTS = (
    "certificates/Dockerfile",
    "certificates/Dockerfile.dockerignore",
    "certificates/requirements.txt",
    *(f"ops/{name}.py" for name in MODULES),
)
"""Of what its image is made."""

MEMORY = 128
"""MiB of the service."""

HERE = ("localhost", "127.0.0.1", "::1")


def names(mode: str, host: str, bind_address: str) -> Sequence[str]:
    """Return what a certificate is for: the public host, and with a CA of our own the machine too.

    `host` is as URLs have it. The machine's own names are those of tunnels and of programs on it.
    """
    public = host.removeprefix("[").removesuffix("]")
    if mode == "acme":
        return [public]
    bound = ip_address(bind_address)
    also = [] if bound.is_unspecified else [str(bound)]
    return list(dict.fromkeys([public, *HERE, *also]))
