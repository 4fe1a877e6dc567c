"""The terminal of this program, lent to a command on a host."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

__all__ = ["KIND", "Terminal", "attached"]

KIND = os.environ.get("TERM", "vt100")
GULP = 64 * 1024
LOOK = 0.2
"""Seconds between two looks at whether a command that reads nothing more has ended."""


class Terminal:
    """Standard input, output and error; `whole` where both ends are a terminal."""

    def __init__(self) -> None:
        self._in, self._out, self._err = (
            stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)
        )
        self.whole = os.isatty(self._in) and os.isatty(self._out)
        self._resized = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return os.get_terminal_size(self._out)

    def resized(self, *_: object) -> None:
        """Note that the size is another; the handler of a signal must do no more than that."""
        self._resized = True

    def out(self, data: bytes) -> None:
        """Pass on what the command wrote to stdout."""
        _write(self._out, data)

    def err(self, data: bytes) -> None:
        """Pass on what the command wrote to stderr."""
        _write(self._err, data)

    def typed(self, channel: Channel) -> Iterator[bytes]:
        """Yield input as it comes, until it ends or the command has ended."""
        while not channel.closed:
            if self._resized:
                self._resized = False
                with suppress(OSError, SSHException):  # it has just ended
                    channel.resize_pty(*self.size)
            ready, _, _ = select.select([self._in], [], [], LOOK)
            if not ready:
                continue
            data = os.read(self._in, GULP)
            if not data:
                return
            yield data


@contextmanager
def attached() -> Iterator[Terminal]:
    """Yield this program's terminal, in raw mode if it is one; it is as before afterwards."""
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = Terminal()
    if not terminal.whole:
        yield terminal
        return
    fileno = sys.stdin.fileno()
    mode = termios.tcgetattr(fileno)
    before = signal.signal(signal.SIGWINCH, terminal.resized)
    try:
        tty.setraw(fileno)
        yield terminal
    finally:
        termios.tcsetattr(fileno, termios.TCSADRAIN, mode)
        signal.signal(signal.SIGWINCH, before)


def _write(fileno: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fileno, view) :]
