"""A real SSH server in this process, for fast tests: it runs commands, keeps files, leads on ports.

It speaks the protocol by paramiko's other half; what is installed on this machine does not matter.
`tests/e2e/test_ssh.py` asks OpenSSH the same questions.
"""

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
from paramiko.channel import Channel
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)
from paramiko.sftp import SFTP_OK

GULP = 256 * 1024


class SshServer:
    """A host on a free port of this machine, whose users' files are below `home`."""

    def __init__(
        self, home: Path, host_keys: Sequence[paramiko.PKey], accepted: Sequence[paramiko.PKey]
    ) -> None:
        self.home = home
        self.host_keys = list(host_keys)
        self.accepted = {key.get_base64() for key in accepted}
        self.users: list[str] = []
        self.offered: list[str] = []
        self.led_to: list[tuple[str, int]] = []
        self.commands: list[bytes] = []
        self.terminals: list[tuple[int, int]] = []
        self.resized = threading.Event()
        self.sessions = 10
        self.processes: list[subprocess.Popen[bytes]] = []
        self._transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        return f"somebody@127.0.0.1:{self.port}"

    @property
    def known_line(self) -> str:
        key = self.host_keys[0]
        return f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"

    def cut(self) -> None:
        """Break every connection, as a host does that loses its power."""
        for transport in self._transports:
            transport.sock.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for transport in self._transports:
            transport.close()
        for process in self.processes:  # what was given up goes on, as it does on a real host
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(wire, default_window_size=2**21)
            for key in self.host_keys:
                transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files, self.home)
            self._transports.append(transport)
            session = Session(self)
            with suppress(paramiko.SSHException, EOFError):
                transport.start_server(event=threading.Event(), server=session)
                start(dispatch, transport, session.wires)


class Session(paramiko.ServerInterface):
    """What one client may do."""

    def __init__(self, server: SshServer) -> None:
        self.server = server
        self.wires: dict[int, socket.socket] = {}

    def get_allowed_auths(self, username: str) -> str:
        del username
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.users.append(username)
        self.server.offered.append(key.get_base64())
        return AUTH_SUCCESSFUL if key.get_base64() in self.server.accepted else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        del kind, chanid
        return OPEN_SUCCEEDED if self.server.sessions > 0 else OPEN_FAILED_CONNECT_FAILED

    def check_channel_pty_request(self, channel: Channel, *rest: Any) -> bool:
        del channel
        self.server.terminals.append(rest[1:3])
        return True

    def check_channel_window_change_request(self, channel: Channel, *rest: Any) -> bool:
        del channel
        self.server.terminals.append(rest[:2])
        self.server.resized.set()
        return True

    def check_channel_exec_request(self, channel: Channel, command: bytes) -> bool:
        self.server.commands.append(command)
        start(run, channel, command, self.server)
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        del origin
        self.server.led_to.append(destination)
        try:
            wire = socket.create_connection(destination, timeout=5)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        wire.settimeout(None)
        self.wires[chanid] = wire
        return OPEN_SUCCEEDED


def start(target: Callable[..., None], *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def run(channel: Channel, command: bytes, server: SshServer) -> None:
    """Run a command as sshd does: by the user's shell."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=server.home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(server.home)},
        bufsize=0,
        start_new_session=True,
    )
    server.processes.append(process)
    start(feed, channel, process)
    outputs = [
        start(drain, process.stdout, channel.sendall),
        start(drain, process.stderr, channel.sendall_stderr),
    ]
    for output in outputs:
        output.join()
    code = process.wait()
    with suppress(OSError, EOFError, paramiko.SSHException):
        channel.shutdown_write()
        if code >= 0:
            channel.send_exit_status(code)
        channel.close()


def feed(channel: Channel, process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with suppress(OSError):
        while data := channel.recv(GULP):
            process.stdin.write(data)
    with suppress(OSError):
        process.stdin.close()


def drain(stream: Any, write: Callable[[bytes], object]) -> None:
    with stream:
        while data := stream.read(GULP):
            try:
                write(data)
            except OSError:
                return


def dispatch(transport: paramiko.Transport, wires: dict[int, socket.socket]) -> None:
    """Join each channel that leads on to its socket; the others have what they need."""
    kept = []  # a channel that nobody holds is closed
    while transport.is_active():
        channel = transport.accept(0.2)
        kept.append(channel)
        if channel is not None and channel.get_id() in wires:
            start(lead, channel, wires.pop(channel.get_id()))
    for wire in wires.values():
        wire.close()


def lead(channel: Channel, wire: socket.socket) -> None:
    """Carry bytes both ways between a channel and a socket."""

    def up() -> None:
        with suppress(OSError):
            while data := channel.recv(GULP):
                wire.sendall(data)
            wire.shutdown(socket.SHUT_WR)

    upward = start(up)
    with wire, suppress(OSError, EOFError):
        while data := wire.recv(GULP):
            channel.sendall(data)
        channel.shutdown_write()
        upward.join()
    with suppress(OSError, EOFError):
        channel.close()


class Files(paramiko.SFTPServerInterface):
    """The files of this machine, as sftp-server shows them."""

    def __init__(self, server: Any, home: Path) -> None:
        super().__init__(server)
        self.home = home

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> Any:
        del attr
        try:
            fileno = os.open(self.real(path), flags, 0o666)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = handle.writefile = os.fdopen(fileno, "r+b" if flags & os.O_RDWR else "wb")  # type: ignore[attr-defined]
        handle.chattr = lambda attr: self.chattr(path, attr)  # type: ignore[method-assign]
        return handle

    def chattr(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        if attr.st_mode is not None:
            self.real(path).chmod(attr.st_mode)
        return SFTP_OK

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return self._done(lambda: self.real(path).mkdir(attr.st_mode or 0o777))

    def rmdir(self, path: str) -> int:
        return self._done(lambda: self.real(path).rmdir())

    def remove(self, path: str) -> int:
        return self._done(lambda: self.real(path).unlink())

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._done(lambda: self.real(oldpath).replace(self.real(newpath)))

    def real(self, path: str) -> Path:
        return self.home / path

    def _done(self, act: Callable[[], object]) -> int:
        try:
            act()
        except OSError as error:
            return int(paramiko.SFTPServer.convert_errno(error.errno or 0))
        return SFTP_OK
