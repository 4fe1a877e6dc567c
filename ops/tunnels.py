"""Ports of this machine that lead through an SSH connection."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paramiko import Transport
from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from ops import channels

__all__ = ["forward"]

OPENING = 10.0
PIECE = 32 * 1024


@contextmanager
def forward(transport: Transport, address: str, port: int, local: int = 0) -> Iterator[int]:
    """Yield a port of 127.0.0.1, a free one or `local`, that leads to one the host reaches."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            _carry(self.request, transport, (address, port))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Say nothing: whoever is connected sees that the connection ends."""

    with Server(("127.0.0.1", local), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _carry(near: socket.socket, transport: Transport, far: tuple[str, int]) -> None:
    """Carry bytes both ways until both sides have ended."""
    try:
        channel = transport.open_channel("direct-tcpip", far, near.getpeername(), timeout=OPENING)
    except (SSHException, OSError, EOFError):
        return  # who connected sees what it would see on the host: nobody is there
    try:
        back = threading.Thread(target=_down, args=(channel, near), daemon=True)
        back.start()
        _up(near, channel)
        back.join()
    finally:
        channels.close(channel)


def _up(near: socket.socket, channel: Channel) -> None:
    """Carry what comes from this side, its end included: the other may still have to answer."""
    try:
        while data := near.recv(PIECE):
            channel.sendall(data)
        channel.shutdown_write()
    except (OSError, EOFError, SSHException):  # one side is gone: nobody answers, nobody asks
        channels.close(channel)


def _down(channel: Channel, near: socket.socket) -> None:
    try:
        while data := channel.recv(channels.EVERYTHING):
            near.sendall(data)
        near.shutdown(socket.SHUT_WR)
    except OSError:  # this side is gone: what is still to come is for nobody
        channels.close(channel)
