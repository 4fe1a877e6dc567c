"""TLS as it is: a server on this machine with a certificate, and a client that verifies it."""

import socket
import ssl
import tempfile
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ops.key_pairs import Pair, general_names, new_key, private_pem

__all__ = ["handshake", "self_signed"]


def handshake(pair: Pair, name: str, ca: str) -> dict[str, Any]:
    """Let a client that trusts `ca` alone reach a server by some name; return what it was shown.

    As strict as Python 3.13 is by itself; raises ssl.SSLCertVerificationError.
    """
    client = ssl.create_default_context(cadata=ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        chain.write_bytes(pair.chain)
        key.write_bytes(pair.key)
        server.load_cert_chain(chain, key)
    near, far = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(server, far))
    thread.start()
    try:
        with near, client.wrap_socket(near, server_hostname=name) as made:
            shown = made.getpeercert()
            assert shown
            return dict(shown)
    finally:
        thread.join()


def _serve(context: ssl.SSLContext, end: socket.socket) -> None:
    with end:
        try:
            context.wrap_socket(end, server_side=True).close()
        except (ssl.SSLError, OSError):
            pass


def self_signed(names: Sequence[str], days: float) -> Pair:
    """Make a certificate that signs itself, a hundred days old and valid for some more."""
    key, now = new_key(), datetime.now(UTC)
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    made = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(title)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    return Pair(made.public_bytes(Encoding.PEM), private_pem(key))
