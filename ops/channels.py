"""What a running command reads and writes, all at once, until it has ended."""

import codecs
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

__all__ = ["EVERYTHING", "GULP", "Lines", "Sink", "close", "exchange"]

PIECE = 32 * 1024
"""What sshd takes in one packet; paramiko copies all that is left of a longer piece each time."""
GULP = 1024 * 1024
EVERYTHING = 1 << 30
"""What is read at a time: paramiko moves all that is left in its buffer, however much that is."""

Sink = Callable[[bytes], object]


def exchange(
    channel: Channel, chunks: Iterable[bytes], sinks: tuple[Sink, Sink], deadline: float | None
) -> tuple[int, bool]:
    """Write a command's input and take its outputs until it has ended, or raise TimeoutError.

    Returns its exit code, negative where it has none, and whether it took all of its input. Both
    outputs are read while input is written, each on a thread of its own: else a full window on one
    stops the others.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        close(channel)

    with _alarm(deadline, give_up):
        readers = [_Reader(channel, channel.recv, sinks[0])]
        readers += [_Reader(channel, channel.recv_stderr, sinks[1])]
        whole = _feed(channel, chunks)
        for reader in readers:
            reader.finish()
        code = channel.recv_exit_status()
    if late.is_set():
        raise TimeoutError
    return code, whole


def close(channel: Channel) -> None:
    """Close a channel, also of a connection that is broken."""
    with suppress(OSError, EOFError, SSHException):
        channel.close()


class _Reader:
    """A thread that hands on what one of a command's outputs brings."""

    def __init__(self, channel: Channel, read: Callable[[int], bytes], sink: Sink) -> None:
        self._channel = channel
        self._read = read
        self._sink = sink
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while data := self._read(EVERYTHING):
                self._sink(data)
        except BaseException as error:  # noqa: BLE001 - it is raised again by finish()
            self._error = error
            close(self._channel)

    def finish(self) -> None:
        """Wait for the end of the output; raise what the sink raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error


class Lines:
    """Bytes as they come, turned into the lines that `LocalHost.follow` makes of them."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = ""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take the next bytes; hand on each line that is whole."""
        text = self._rest + self._decoder.decode(data, final)
        *whole, self._rest = text.split("\n")
        for each in whole:
            self._on_line(f"{each}\n")

    def end(self) -> None:
        """Hand on what is left, a line without an end."""
        self.feed(b"", final=True)
        if self._rest:
            self._on_line(self._rest)


@contextmanager
def _alarm(seconds: float | None, act: Callable[[], object]) -> Iterator[None]:
    """Act once the time is up."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _feed(channel: Channel, chunks: Iterable[bytes]) -> bool:
    """Write chunks to a command and end its input; False where it did not take them all."""
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), PIECE):
            try:
                channel.sendall(bytes(view[start : start + PIECE]))
            except OSError:  # the command has ended, or nobody waits for it any more
                return False
    try:
        channel.shutdown_write()
    except (OSError, EOFError, SSHException):
        return False
    return True
