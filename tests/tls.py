"""TLS as it is: a server on this machine with a certificate, and a client that verifies it."""

import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import Any

from ops.key_pairs import Pair

__all__ = ["handshake"]


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
