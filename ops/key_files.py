"""Key files of this machine, as EC2 needs them: made, checked, and their public half."""

import base64
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko import PKey
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import SSHException

from ops import envfile
from ops.errors import refusal

__all__ = ["make", "public_half"]

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make(file: Path) -> str:
    """Make a private key without a passphrase, readable to its owner alone; return its public half.

    Ed25519, which EC2 takes for Linux:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-key-pairs.html
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    envfile.write_private(file, text.decode())
    return public_half(file)


def public_half(file: Path) -> str:
    """Return a key's kind and public half, as authorized_keys has them.

    Raises a refusal for a file that others may read, or that is no key.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        cause = f"cannot read the key {file}: {error.strerror}"
        raise refusal(cause, "correct DEPLOY_KEY") from None
    if mode & OTHERS:
        raise refusal(f"the key {file} is open to others ({mode:04o})", f"chmod 600 {file}")
    beside = file.with_name(f"{file.name}.pub")
    try:
        if beside.exists():  # enough, and it needs no passphrase
            kind, blob = beside.read_text("utf-8").split()[:2]
            base64.b64decode(blob, validate=True)
            return f"{kind} {blob}"
        key = PKey.from_path(file)
        return f"{key.get_name()} {key.get_base64()}"
    except TypeError:
        cause = f"the key {file} has a passphrase and no public half beside it"
        raise refusal(cause, f"write it: ssh-keygen -y -f {file} > {beside}") from None
    except (OSError, ValueError, SSHException, UnknownKeyType) as error:
        raise refusal(f"{file} is no private key: {error}", "correct DEPLOY_KEY") from None
