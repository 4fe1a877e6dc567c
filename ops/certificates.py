"""The certificate of the front door: what the service that has it made is made of, and told."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from ops import preflight
from ops.errors import refusal
from ops.key_pairs import Pair
from ops.private_ca import Authority
from ops.settings import Settings

__all__ = [
    "FILES",
    "INPUTS",
    "MEMORY",
    "MODULES",
    "OVERLAY",
    "PUBLIC_CA",
    "authority",
    "given",
    "names",
    "paths",
    "require_given",
]

OVERLAY = "compose/certificates.yaml"
"""The overlay of a stack that makes its certificate itself."""

PUBLIC_CA = "compose/public-ca.yaml"
"""The overlay over that one of a stack that asks a CA for it."""

FILES = "compose/certificate-files.yaml"
"""The overlay of a stack whose certificate somebody else makes."""

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


def paths(settings: Settings) -> dict[str, str]:
    """Return where NGINX finds the certificate with its chain, and its key."""
    if settings.tls == "files":
        return {"CHAIN": "/run/secrets/tls_certificate", "KEY": "/run/secrets/tls_key"}
    return {"CHAIN": "/certificates/live/chain.pem", "KEY": "/certificates/live/key.pem"}


def given(settings: Settings) -> dict[str, str]:
    """Return the texts of a certificate and a key that are files of somebody's, as secrets."""
    files = {"tls_certificate": settings.tls_certificate_file, "tls_key": settings.tls_key_file}
    return {name: Path(file).read_text("utf-8") for name, file in files.items() if file}


def require_given(settings: Settings) -> None:
    """Refuse files that are no certificate of this server that is valid now, with its key."""
    try:
        problem = _problem(settings) if settings.tls == "files" else ""
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        problem = str(error)
    if problem:
        raise refusal(
            f"the certificate in {settings.tls_certificate_file} is not to be used: {problem}",
            "set TLS_CERTIFICATE_FILE to the certificate with its chain, the server's own first, "
            "and TLS_KEY_FILE to its key without a passphrase, both as PEM",
        )


def _problem(settings: Settings) -> str:
    texts, host = given(settings), urlsplit(settings.url).hostname or ""
    pair = Pair(texts["tls_certificate"].encode(), texts["tls_key"].encode())
    if not any(_covers(name, host) for name in pair.names):
        return f"it is for {', '.join(pair.names)}, and not for {host}"
    ended = pair.end < datetime.now(UTC)
    return f"it ended at {pair.end:%Y-%m-%d %H:%M} UTC" if ended else ""


def _covers(name: str, host: str) -> bool:
    """Say whether a name in a certificate is a host's, which it may begin with a star for.

    https://www.rfc-editor.org/rfc/rfc9525#section-6.3
    """
    first, _, rest = host.partition(".")
    return name.lower() == host or (bool(first and rest) and name.lower() == f"*.{rest}")


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
