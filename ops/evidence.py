"""What a drill leaves: a document in S3, signed by whoever held the private key.

The signature is Ed25519, by a key that follows from the private key of the backups: a host, which
has only the public half, cannot make one, and whoever can open backups can check every one.
"""

import base64
import json
from typing import Any

from ops.age_keys import Key

__all__ = ["genuine", "name", "signed"]

PURPOSE = b"mlflow-compose evidence of a drill"


def name(time: str, result: str) -> str:
    """Return where the evidence of a drill is kept."""
    return f"drills/{time}-{result}.json"


def signed(document: dict[str, Any], key: Key) -> bytes:
    """Return a document with its signature."""
    private = _signer(key.reveal().splitlines()[0])
    signature = base64.b64encode(private.sign(_plain(document))).decode()
    return (json.dumps({**document, "signature": signature}, indent=1) + "\n").encode()


def genuine(data: bytes, key: Key) -> bool:
    """Say whether somebody signed a document who held one of these private keys."""
    from cryptography.exceptions import InvalidSignature

    try:
        document = json.loads(data)
        signature = base64.b64decode(document.pop("signature"), validate=True)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return False
    for line in key.reveal().splitlines():
        try:
            _signer(line).public_key().verify(signature, _plain(document))
        except InvalidSignature:
            continue
        return True
    return False


def _plain(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _signer(line: str) -> Any:  # noqa: ANN401 - a key of cryptography's
    """Return the signing key that follows from a private key (RFC 5869)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    seed = HKDF(SHA256(), 32, None, PURPOSE).derive(line.encode())
    return Ed25519PrivateKey.from_private_bytes(seed)
