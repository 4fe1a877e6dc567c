"""Ports that lead through a connection: real sockets at both ends."""

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ops.ssh import SshHost

MIB = 1024 * 1024


class Echo(socketserver.BaseRequestHandler):
    """Reads until the other side has ended, and only then answers: a half-closed connection."""

    def handle(self) -> None:
        got = bytearray()
        while data := self.request.recv(MIB):
            got += data
        self.request.sendall(got)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


@pytest.fixture
def far() -> Iterator[int]:
    """A port on which somebody answers."""
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()


def exchanged(port: int, data: bytes) -> bytes:
    """Send everything, end, and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        wire.sendall(data)
        wire.shutdown(socket.SHUT_WR)
        got = bytearray()
        while piece := wire.recv(MIB):
            got += piece
    return bytes(got)


def test_much_goes_both_ways_and_a_half_closed_connection_still_answers(
    remote: SshHost, far: int
) -> None:
    data = os.urandom(MIB) * 50
    with remote.forward(far) as port:
        assert exchanged(port, data) == data


def test_twenty_connections_at_once_keep_apart(remote: SshHost, far: int) -> None:
    given = [os.urandom(100_000) for _ in range(20)]
    with remote.forward(far) as port, ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda data: exchanged(port, data), given)) == given


def test_commands_run_beside_a_forwarded_port(remote: SshHost, far: int) -> None:
    with remote.forward(far) as port:
        assert remote.run(["echo", "on"]).out == "on\n"
        assert exchanged(port, b"x") == b"x"


def test_only_this_machine_reaches_the_port(remote: SshHost, far: int) -> None:
    with remote.forward(far) as port:
        others = [f"127.0.0.{n}" for n in (2, 3)]  # 0.0.0.0 would answer there too
        for address in others:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=5)


def test_where_nobody_listens_the_connection_just_ends(remote: SshHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = int(listener.getsockname()[1])
    with remote.forward(closed) as port:
        assert exchanged_or_reset(port) == b""
        assert remote.run(["echo", "on"]).out == "on\n"


def exchanged_or_reset(port: int) -> bytes:
    try:
        return exchanged(port, b"")
    except ConnectionResetError:
        return b""


def test_afterwards_nobody_listens_any_more(remote: SshHost, far: int) -> None:
    with remote.forward(far) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        exchanged(port, b"x")


def test_a_client_that_goes_away_takes_only_its_own_connection_along(
    remote: SshHost, far: int
) -> None:
    with remote.forward(far) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            wire.sendall(bytes(100_000))
        assert exchanged(port, b"x") == b"x"
