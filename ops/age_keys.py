"""Private keys of age, which open backups: made, read, found. No other module writes or reads one.

A key file is what `age-keygen` writes and `age --identity` takes, so the stock program does with it
what this repository does.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from ops import console, envfile
from ops.errors import OpsError, refusal
from ops.settings import Settings

__all__ = [
    "Key",
    "default_file",
    "default_files",
    "find",
    "locked",
    "make",
    "named",
    "new_file",
    "parse",
    "read",
    "taken",
]

OTHERS = stat.S_IRWXG | stat.S_IRWXO
PRIVATE, PUBLIC = "AGE-SECRET-KEY-", "AGE1"
LOCKED = (b"age-encryption.org/v1", b"-----BEGIN AGE ENCRYPTED FILE-----")
FORGET = "take it out of their history"
MOST = 64 * 1024
"""Bytes; a key file has some 200."""


class Key:
    """One private key or several; it never shows them: no command and no message can take it."""

    __slots__ = ("_identities",)

    def __init__(self, identities: Iterable[Any]) -> None:
        self._identities = tuple(identities)

    @property
    def recipients(self) -> list[str]:
        """The public halves."""
        return [str(each.to_public()) for each in self._identities]

    def reveal(self) -> str:
        """Return the private keys, one a line; for the standard input of the one that decrypts."""
        return "".join(f"{each}\n" for each in self._identities)

    def opens(self, recipients: Iterable[str]) -> bool:
        """Say whether it opens what is encrypted for these public keys."""
        return not set(self.recipients).isdisjoint(recipients)

    def __add__(self, other: "Key") -> "Key":
        return Key(self._identities + other._identities)

    def __repr__(self) -> str:
        return "Key(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Key is not to be carried away")


def make(file: Path) -> str:
    """Write a new key to a file, for its owner alone, never over another; return its public half.

    The file is there whole, and on the disk, or not at all. Raises a refusal if it cannot be.
    """
    from pyrage import x25519

    identity = x25519.Identity.generate()
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"# created: {created}\n# public key: {identity.to_public()}\n{identity}\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
            draft = Path(folder) / file.name
            envfile.write_private(draft, text)
            _publish(draft, file)
    except OSError as error:
        raise refusal(
            f"cannot write a key to {file}: {error.strerror}", "name another file: --out FILE"
        ) from None
    return read(file).recipients[0]


def _publish(draft: Path, file: Path) -> None:
    """Give a draft its name, for good; unlike a rename it leaves alone what is there.

    File systems without hard links, as on many USB sticks, have no owners either, and would show
    the key to everybody: there it fails.
    """
    try:
        file.hardlink_to(draft)
    except FileExistsError:
        raise taken(file) from None
    handle = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def taken(file: Path) -> OpsError:
    """Return the error for a file that is there and is to stay."""
    return refusal(
        f"{file} is there already, and a key is never written over anything",
        "name another file: --out FILE",
    )


def read(file: Path) -> Key:
    """Return what a key file holds; asks for the passphrase if it has one.

    Raises a refusal for a file that is not there, that others may read, or that holds anything else
    than private keys. No message has any part of what is in it.
    """
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read(MOST + 1)
    except FileNotFoundError:
        raise refusal(f"there is no key file {file}", "name the one you have: --key FILE") from None
    except OSError as error:
        raise refusal(
            f"cannot read the key file {file}: {error.strerror}", "name another: --key FILE"
        ) from None
    if mode & OTHERS:
        raise refusal(f"the key file {file} is open to others ({mode:04o})", f"chmod 600 {file}")
    if len(data) > MOST:
        raise refusal(f"{file} is no key file: it is too large", "name another: --key FILE")
    if data.startswith(LOCKED):
        data = _unlocked(data, file)
    return parse(data.decode("utf-8-sig", "replace"), str(file))


def locked(file: Path) -> bool:
    """Say whether a key file has a passphrase; no for one that cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(max(map(len, LOCKED))).startswith(LOCKED)
    except OSError:
        return False


def _unlocked(data: bytes, file: Path) -> bytes:
    """Return what is in a key file that was encrypted with a passphrase: `age --passphrase`."""
    from pyrage import DecryptError, passphrase

    given = console.ask_hidden(f"Passphrase of {file}: ")
    if given is None:
        raise refusal(
            f"the key file {file} has a passphrase, and nobody is here to type it",
            "run it in a terminal, or name a file without one: --key FILE",
        )
    try:
        plain: bytes = passphrase.decrypt(data, given)
    except DecryptError:
        raise refusal(
            f"the passphrase does not open the key file {file}",
            "repeat with the one it was encrypted with; a file encrypted for a key has none",
        ) from None
    return plain


def parse(text: str, source: str) -> Key:
    """Return what the text of a key file holds; refuses other text. `source` is its name."""
    from pyrage import IdentityError, x25519

    identities = []
    for number, each in enumerate(text.splitlines(), 1):
        line = each.strip()
        if not line or line.startswith("#"):
            continue
        if line.upper().startswith(PUBLIC):
            raise refusal(
                f"line {number} of {source} is a public key, which opens nothing",
                f"name the file with its private half, {PRIVATE}1…: --key FILE",
            )
        try:
            identities.append(x25519.Identity.from_str(line))
        except (IdentityError, UnicodeEncodeError):
            raise refusal(
                f"line {number} of {source} is no private key of age",
                f"correct it: {PRIVATE}1… and 58 characters, as age-keygen writes them",
            ) from None
    if not identities:
        raise refusal(
            f"{source} holds no private key", f"name a file with one, {PRIVATE}1…: --key FILE"
        )
    return Key(identities)


def default_file(settings: Settings) -> Path:
    """Return where a stack's key lies unless a person says otherwise: in no repository."""
    return settings.personal / f"{settings.stack_name}.agekey"


def default_files(settings: Settings) -> list[Path]:
    """Return the stack's key files that are there, the newest first: the default one, `.2`, `.3`.

    A stack's name has no dot, so none of them is another stack's.
    """
    found = {}
    for file in settings.personal.glob(f"{settings.stack_name}*.agekey"):
        part = re.fullmatch(rf"{settings.stack_name}(?:\.([1-9][0-9]*))?\.agekey", file.name)
        if part:
            found[int(part[1] or 1)] = file
    return [found[number] for number in sorted(found, reverse=True)]


def new_file(settings: Settings) -> Path:
    """Return where the next key of a stack goes: it is counted on from the newest."""
    there = default_files(settings)
    if not there:
        return default_file(settings)
    number = re.search(r"\.([0-9]+)\.agekey$", there[0].name)
    return settings.personal / f"{settings.stack_name}.{int(number[1]) + 1 if number else 2}.agekey"


def find(settings: Settings, given: str) -> Key:
    """Return the key of a file that a person named, or all that lie where they are by default.

    Older ones open older backups. Raises a refusal where there is none.
    """
    if given:
        return read(named(given, "--key"))
    files = default_files(settings)
    if not files:
        raise refusal(
            f"the private key is not at {default_file(settings)}",
            "name its file: --key FILE (invoke backup-key makes one, for backups after it)",
        )
    first, *older = [read(file) for file in files]
    return sum(older, first)


def named(given: str, flag: str) -> Path:
    """Return the file that a person named, absolute."""
    if PRIVATE in given.upper():
        raise refusal(
            f"{flag} was given a private key in place of the name of a file",
            f"put it into a file of mode 600 and name that; shells keep what is typed: {FORGET}",
        )
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:
        raise refusal(
            f"{flag} {given!r} begins with the home folder of somebody unknown here",
            "write the whole path",
        ) from None
