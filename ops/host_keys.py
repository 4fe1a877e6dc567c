"""Host keys: which ones are known, and what is said of one that is not.

Why none is taken on its word: docs/decisions/0010-host-keys-are-pinned.md.
"""

import base64
import binascii
import hashlib
import hmac
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ops import envfile
from ops.errors import OpsError, refusal
from ops.settings import Settings

__all__ = ["HostKey", "Known", "entry_name", "files", "known", "pin", "verify"]

HEADER = "# Host keys of this stack's hosts, pinned by `invoke trust`.\n"


@dataclass(frozen=True, slots=True)
class HostKey:
    """The public key a host shows."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """The form in which `ssh-keygen -l` and cloud-init print it."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def words(self) -> str:
        """What a line of known_hosts holds after the name."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Known:
    """One line of a known_hosts file that speaks of a host."""

    file: Path
    line: str
    key: HostKey
    revoked: bool


def entry_name(name: str, port: int) -> str:
    """Return a host as known_hosts files name it."""
    return name.lower() if port == 22 else f"[{name.lower()}]:{port}"


def files(settings: Settings) -> tuple[Path, Path]:
    """Return the project's own file, which `invoke trust` writes, and the user's, only read."""
    return settings.known_hosts, Path("~/.ssh/known_hosts").expanduser()


def known(name: str, paths: Sequence[Path]) -> list[Known]:
    """Return what these files say of a host; a file that is not there says nothing."""
    found = []
    for path in paths:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise refusal(
                f"cannot read {path}: {error.strerror}", f"chmod u+r {shlex.quote(str(path))}"
            ) from None
        found += [entry for line in lines for entry in _entry(line, name, path)]
    return found


def _entry(line: str, name: str, path: Path) -> Iterator[Known]:
    """Yield the entry of a line, if it is one and speaks of this host."""
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    # paramiko takes no certificates of hosts, so a line about their authority has no say.
    if len(fields) < 3 or fields[0].startswith("#") or marker not in {"", "@revoked"}:
        return
    if not _speaks_of(fields[0], name):
        return
    try:
        blob = base64.b64decode(fields[2], validate=True)
    except binascii.Error:
        return
    yield Known(path, line, HostKey(fields[1], blob), revoked=bool(marker))


def _speaks_of(patterns: str, name: str) -> bool:
    """Say whether the first field of a line means this host: names, patterns or a hash."""
    if patterns.startswith("|1|"):
        return _hash_of(patterns, name)
    listed = patterns.lower().split(",")
    if any(fnmatchcase(name, _glob(one[1:])) for one in listed if one.startswith("!")):
        return False
    return any(fnmatchcase(name, _glob(one)) for one in listed)


def _glob(pattern: str) -> str:
    """Return a pattern of known_hosts for fnmatch, to which brackets mean something else."""
    return pattern.replace("[", "[[]")


def _hash_of(field: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in field.split("|")[2:4])
    except ValueError:
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), "sha1").digest(), digest)


def verify(key: HostKey, name: str, address: str, entries: Sequence[Known]) -> None:
    """Refuse a host whose key is not one of its known ones.

    `name` is what known_hosts calls it, `address` what a person has to type to mean it.
    """
    if any(entry.revoked and entry.key == key for entry in entries):
        raise refusal(
            f"the {key.kind} key of {name}, {key.fingerprint}, is marked as revoked",
            "find out who answers at this address; never log in to it",
        )
    valid = [entry for entry in entries if not entry.revoked]
    if any(entry.key == key for entry in valid):
        return
    if valid:
        raise _changed(key, name, address, valid)
    raise refusal(
        f"the host key of {name} is not known: {key.kind} {key.fingerprint}",
        f"invoke trust --host {shlex.quote(address)}",
    )


def _changed(key: HostKey, name: str, address: str, entries: Sequence[Known]) -> OpsError:
    """Return the error for a host that shows another key than the one that is known."""
    same_kind = [entry for entry in entries if entry.key.kind == key.kind]
    old = (same_kind or list(entries))[0]
    cause = (
        f"the host key of {name} has changed: another machine, or somebody in between\n"
        f"  known: {old.key.kind} {old.key.fingerprint} ({old.file})\n"
        f"  shown: {key.kind} {key.fingerprint}"
    )
    stale = dict.fromkeys(entry.file for entry in entries)
    forget = [shlex.join(["ssh-keygen", "-R", name, "-f", str(file)]) for file in stale]
    trust = f"invoke trust --host {shlex.quote(address)}"
    return refusal(cause, "if you know why: " + "; ".join([*forget, trust]))


def pin(settings: Settings, name: str, keys: Sequence[HostKey]) -> None:
    """Write the keys of a host to the project's file, in place of what it said of that host."""
    file = settings.known_hosts
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    dropped = {entry.line for entry in known(name, [file])}
    before = file.read_text("utf-8").splitlines() if file.exists() else HEADER.splitlines()
    kept = [line for line in before if line not in dropped]
    lines = [*kept, *(f"{name} {key.words}" for key in keys)]
    envfile.write_private(file, "".join(f"{line}\n" for line in lines))
