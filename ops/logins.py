"""Logging in over SSH: the connection, the check of the host's key, the keys of the person."""

import logging
import shlex
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from paramiko import Transport
from paramiko.channel import Channel
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    IncompatiblePeer,
    SSHException,
)

from ops import host_keys, identities
from ops.errors import OpsError, refusal
from ops.host_keys import HostKey
from ops.hosts import LocalHost
from ops.routes import Route
from ops.settings import Settings

__all__ = ["keys_shown", "log_in"]

PATIENCE = 10.0
"""Seconds for each of: the connection, the other side's greeting, its proof of who it is."""

KEEP_ALIVE = 15
GIVE_UP = 60
"""Seconds without an acknowledgement after which the kernel calls a connection broken."""

WINDOW = 16 * 1024 * 1024
"""What a host may send before we confirm: paramiko's 2 MiB are 21 MB/s at 100 ms."""

KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""Names under which a kind of key is negotiated, where they are not its own."""


def log_in(route: Route, settings: Settings, stack: ExitStack) -> Transport:
    """Open a connection to a host that is the right one, as a user it lets in.

    Whatever has to be closed again is put on `stack`.
    """
    entries = host_keys.known(route.known_as, host_keys.files(settings))
    kinds = list(dict.fromkeys(entry.key.kind for entry in entries if not entry.revoked))
    transport = _handshake(route, settings, stack, kinds)
    host_keys.verify(_shown(transport), route.known_as, route.address, entries)
    _authenticate(transport, route, stack)
    transport.set_keepalive(KEEP_ALIVE)
    return transport


def keys_shown(route: Route, settings: Settings) -> list[HostKey]:
    """Return every key that a host shows to somebody who has not logged in."""
    found: list[HostKey] = []
    refusals: list[OpsError] = []
    for kind in KINDS:
        with ExitStack() as stack:
            try:
                found.append(_shown(_handshake(route, settings, stack, [kind], only=True)))
            except HandshakeError as error:  # as a rule: it has no key of this kind
                refusals.append(error)
    if not found:
        raise refusals[-1]
    return found


class HandshakeError(OpsError):
    """Something answers, but no encrypted connection comes of it."""


def _shown(transport: Transport) -> HostKey:
    key = transport.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _handshake(
    route: Route, settings: Settings, stack: ExitStack, kinds: Sequence[str], *, only: bool = False
) -> Transport:
    """Return an encrypted connection; who is at its other end has not been looked at yet."""
    logger = logging.getLogger("paramiko")
    if not logger.handlers:  # else its tracebacks would go to stderr beside our one error
        logger.addHandler(logging.NullHandler())
    where = f"{route.host}:{route.port}"
    try:
        transport = Transport(_wire(route, settings, stack), default_window_size=WINDOW)
        stack.callback(transport.close)
        transport.banner_timeout = transport.handshake_timeout = PATIENCE
        options = transport.get_security_options()
        first = [name for kind in kinds for name in ALGORITHMS.get(kind, (kind,))]
        first = [name for name in first if name in options.key_types]
        rest = [] if only else [name for name in options.key_types if name not in first]
        options.key_types = (*first, *rest)
        # They need no second pass for the MAC: 340 MiB/s to a host on this machine, else 160.
        quick = [name for name in options.ciphers if "-gcm@" in name]
        options.ciphers = (*quick, *(name for name in options.ciphers if name not in quick))
        transport.start_client(timeout=PATIENCE)
        transport.get_remote_server_key()  # raises where the time was up
    except IncompatiblePeer as error:
        raise HandshakeError(
            f"no common algorithm with {where}: {error}", "update the host's OpenSSH"
        ) from None
    except (SSHException, EOFError, OSError) as error:
        said = str(error) or type(error).__name__
        raise HandshakeError(
            f"no SSH handshake with {where}: {said}", "check that sshd listens at this port"
        ) from None
    return transport


def _wire(route: Route, settings: Settings, stack: ExitStack) -> socket.socket | Channel:
    """Return what carries the bytes: a socket, a program of the user's, or another host."""
    if route.proxy_command:
        # Its line is the user's own, in their own configuration, for a shell to read.
        return LocalHost().wire(["sh", "-c", f"exec {route.proxy_command}"], stack)
    if not route.jumps:
        return _socket(route, stack)
    *before, last = route.jumps
    gate = replace(last, jumps=(*before,), proxy_command="" if before else last.proxy_command)
    through = log_in(gate, settings, stack)
    try:
        return through.open_channel(
            "direct-tcpip", (route.host, route.port), ("127.0.0.1", 0), timeout=PATIENCE
        )
    except (ChannelException, SSHException) as error:
        raise OpsError(
            f"cannot reach {route.host}:{route.port} from {gate.address}: {error}",
            f"allow port {route.port} from {gate.address} in the security group",
        ) from None


def _socket(route: Route, stack: ExitStack) -> socket.socket:
    """Return a connection that notices when the other side is gone."""
    where = f"cannot reach {route.host}:{route.port}"
    try:
        wire = socket.create_connection((route.host, route.port), timeout=PATIENCE)
    except socket.gaierror as error:
        raise OpsError(f"{where}: {error.strerror}", "check the name of the host") from None
    except TimeoutError:
        raise OpsError(
            f"{where}: timed out after {PATIENCE:g} s",
            f"allow port {route.port} from your address in the security group",
        ) from None
    except ConnectionRefusedError:
        raise OpsError(
            f"{where}: connection refused", "check the port, and that sshd runs on the host"
        ) from None
    except OSError as error:
        raise OpsError(f"{where}: {error.strerror}", "check the address and your network") from None
    stack.callback(wire.close)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; with it each keep-alive wants an answer
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVE_UP * 1000)
    return wire


def _authenticate(transport: Transport, route: Route, stack: ExitStack) -> None:
    """Show the host one key after the other until it takes one."""
    tried: list[str] = []
    locked: list[Path] = []
    why = "none was accepted"
    for name, key in identities.candidates(route, stack, locked):
        tried.append(name)
        try:
            more = transport.auth_publickey(route.user, key)
        except BadAuthenticationType as error:
            why = f"the host takes no keys, only {', '.join(error.allowed_types)}"
            break
        except (AuthenticationException, SSHException, EOFError, OSError) as error:
            if transport.is_active():
                continue
            why = f"the host hung up: {error}"
            break
        if not more:
            return
        why = f"the host wants {', '.join(more)} besides a key"
        break
    raise _not_let_in(route, tried, locked, why)


def _not_let_in(route: Route, tried: Sequence[str], locked: Sequence[Path], why: str) -> OpsError:
    """Return the error for a host that takes none of our keys."""
    where = f"{route.user}@{route.known_as}"
    paths = " ".join(shlex.quote(str(path)) for path in locked)
    if not tried and locked:
        return refusal(
            f"cannot log in to {where}: a passphrase protects {paths}", f"ssh-add {paths}"
        )
    keys = f"keys tried: {', '.join(tried)}" if tried else "there is no key to try"
    cause = f"cannot log in to {where}: {why}\n  {keys}"
    if locked:
        return OpsError(f"{cause}\n  left out for their passphrase: {paths}", f"ssh-add {paths}")
    return OpsError(
        cause,
        "check DEPLOY_USER and DEPLOY_KEY, and that the public key is in the user's"
        " ~/.ssh/authorized_keys on the host",
    )
