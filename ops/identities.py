"""The keys a person logs in with: files, and what ssh-agent holds."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from paramiko import Agent, PKey
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import SSHException

from ops.routes import Route

__all__ = ["candidates"]

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


def candidates(route: Route, stack: ExitStack, locked: list[Path]) -> Iterator[tuple[str, PKey]]:
    """Yield the keys to try, with their names; append those with a passphrase to `locked`."""
    held = _agent_keys(stack)
    used: set[bytes] = set()
    for path in route.keys:
        for name, key in _of_file(path, held, locked):
            used.add(key.asbytes())
            yield name, key
    if not route.only_these_keys:
        for key in held:
            if key.asbytes() not in used:
                used.add(key.asbytes())
                yield f"agent {getattr(key, 'comment', '') or key.get_name()}", key
    for name in () if route.keys else DEFAULT_KEYS:
        path = Path("~/.ssh").expanduser() / name
        if path.exists():
            yield from ((n, k) for n, k in _of_file(path, [], locked) if k.asbytes() not in used)


def _agent_keys(stack: ExitStack) -> list[PKey]:
    """Return the keys of ssh-agent, if there is one."""
    try:
        agent = Agent()
    except (SSHException, OSError):
        return []
    stack.callback(agent.close)
    return list(agent.get_keys())


def _of_file(path: Path, held: Sequence[PKey], locked: list[Path]) -> Iterator[tuple[str, PKey]]:
    """Yield the key of a file, or ssh-agent's where the file has a passphrase or is a .pub."""
    public = _public(path)
    of_agent = [key for key in held if public and key.asbytes() == public]
    if of_agent:
        yield str(path), of_agent[0]
        return
    try:
        yield str(path), PKey.from_path(path)
    except TypeError:
        locked.append(path)
    except (OSError, ValueError, SSHException, UnknownKeyType, UnsupportedAlgorithm):
        return


def _public(path: Path) -> bytes:
    """Return the public key that lies beside a private one, if it does."""
    file = path if path.suffix == ".pub" else path.with_name(f"{path.name}.pub")
    try:
        return base64.b64decode(file.read_text("utf-8", "replace").split()[1])
    except (OSError, ValueError, IndexError):
        return b""
