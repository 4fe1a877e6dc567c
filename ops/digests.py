"""What tells contents apart: short names that follow from them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["files", "fingerprint", "texts"]


def texts(values: dict[str, str]) -> str:
    """Return 12 hex digits that change with any of the values."""
    text = "".join(f"{name}={value}\0" for name, value in values.items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def files(root: Path, names: Iterable[str]) -> str:
    """Return 12 hex digits of the names, modes and contents of files and folders under `root`."""
    total = hashlib.sha256()
    for name in names:
        top = root / name
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file():
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                executable = bool(file.stat().st_mode & 0o100)
                total.update(f"{file.relative_to(root)} {executable} {content}\n".encode())
    return total.hexdigest()[:12]


def fingerprint(secret: str, salt: str) -> str:
    """Return what tells one secret from another, and is slow to try many with.

    Rounds: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    """
    made = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt.encode(), 600_000)
    return made.hex()[:32]
