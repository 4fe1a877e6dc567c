"""The certificate of the front door: what the service that has it made is made of, and told."""

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from ops import preflight
from ops.private_ca import Authority
from ops.settings import Settings

__all__ = ["INPUTS", "MEMORY", "MODULES", "OVERLAY", "PUBLIC_CA", "authority", "names"]

OVERLAY = "compose/certificates.yaml"
"""The overlay of a stack that makes its certificate itself."""

PUBLIC_CA = "compose/public-ca.yaml"
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


def names(settings: Settings) -> list[str]:
    """Return what a certificate is for: the public host, and with a CA of our own the machine too.

    The machine's own names are those of tunnels and of programs on it.
    """
    public = urlsplit(settings.url).hostname or ""
    if settings.tls == "acme":
        return [public]
    bound = ip_address(settings.bind_address)
    also = [] if bound.is_unspecified else [str(bound)]
    return list(dict.fromkeys([public, *HERE, *also]))


def authority_file(settings: Settings) -> Path:
    """Return where the private CA's certificate is kept for clients on this machine."""
    return settings.data / "ca.pem"


def keep_authority(settings: Settings) -> None:
    """Write the private CA's certificate, if there is such a CA, where clients look for it."""
    file, text = authority_file(settings), authority(settings)
    if settings.tls != "private-ca" or not text:
        return
    if not (file.exists() and file.read_text("utf-8") == text):
        preflight.data_folder(settings.data)
        file.write_text(text, "utf-8")


def authority(settings: Settings) -> str:
    """Return the certificate that vouches for the door's, as PEM; "" where the machine has it."""
    if settings.tls == "files":
        return Path(settings.tls_certificate_file).read_text("utf-8")
    if settings.tls != "private-ca" or settings.ca_secret is None:
        return ""
    return Authority(settings.ca_secret, settings.stack_name, names(settings)).pem
