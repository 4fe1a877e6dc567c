"""A certificate with its key, and the folder in which NGINX finds the one that is live.

NGINX reads `live/chain.pem` and `live/key.pem` when it shakes hands. Each pair has a folder of its
own, and `live` is a link that one rename turns to the next: whenever a writer is killed, the link
leads to a whole pair. Two reads, one before the rename and one after it, are no pair; NGINX sees
that and reads both again (tests/e2e/test_certificates.py).
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Pair", "Shelf", "general_names", "new_key", "private_pem", "write"]

KEPT = 2
"""Folders of pairs: the live one, and the last one, so that no file has the inode of that."""


def general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    """Return names as certificates have them: IP addresses, and DNS names."""
    return [_general_name(name) for name in names]


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new P-256 key, of the kind every client knows."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as NGINX reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """A chain of certificates, the server's own first, and the key to that one; both as PEM."""

    chain: bytes
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse, with ValueError, what is no certificate, no key, or not the key to it."""
        key = serialization.load_pem_private_key(self.key, None)
        if key.public_key() != self.leaf.public_key():
            raise ValueError("the key is not the one of the certificate")

    @property
    def leaf(self) -> x509.Certificate:
        """The server's own certificate."""
        return x509.load_pem_x509_certificates(self.chain)[0]

    @property
    def names(self) -> list[str]:
        """The names and addresses that it is for, sorted."""
        extension = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = [
            *extension.value.get_values_for_type(x509.DNSName),
            *map(str, extension.value.get_values_for_type(x509.IPAddress)),
        ]
        return sorted(found)

    @property
    def begin(self) -> datetime:
        """Since when it is valid."""
        return self.leaf.not_valid_before_utc

    @property
    def end(self) -> datetime:
        """Until when."""
        return self.leaf.not_valid_after_utc

    @property
    def last_third(self) -> datetime:
        """When a third of its life is left; lives differ, and Let's Encrypt's become shorter."""
        return self.end - (self.end - self.begin) / 3


class Shelf:
    """The folder of the pairs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.live = folder / "live"

    def read(self) -> Pair | None:
        """Return the live pair; None where there is none, or none that is whole."""
        try:
            return Pair(
                (self.live / "chain.pem").read_bytes(), (self.live / "key.pem").read_bytes()
            )
        except (OSError, ValueError):
            return None

    def purpose(self) -> str:
        """Return what the live pair was made for, in the words it was put with."""
        try:
            return (self.live / "purpose").read_text("utf-8")
        except OSError:
            return ""

    def put(self, pair: Pair, purpose: str, now: datetime) -> None:
        """Make a pair the live one."""
        name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{pair.leaf.serial_number:040x}"
        made = self.folder / "pairs" / name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700, parents=True)
        write(made / "chain.pem", pair.chain)
        write(made / "key.pem", pair.key)
        write(made / "purpose", purpose.encode())
        _sync(made.parent)
        link = self.folder / ".live.new"
        link.unlink(missing_ok=True)
        link.symlink_to(made.relative_to(self.folder))
        link.replace(self.live)
        _sync(self.folder)
        self.sweep()

    def sweep(self) -> None:
        """Remove older pairs, and what a killed writer left."""
        live = self.live.resolve().name
        others = [path for path in (self.folder / "pairs").glob("*") if path.name != live]
        for path in sorted(others, key=lambda path: path.name, reverse=True)[KEPT - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def write(file: Path, content: bytes) -> None:
    """Write a file for its owner alone, whole and on the disk, or not at all."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(handle)
    draft.replace(file)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
