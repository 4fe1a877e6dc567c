"""A host over SSH: commands, files and ports through one connection."""

import io
import logging
import posixpath
import secrets
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

from paramiko import SFTPClient, Transport
from paramiko.channel import Channel
from paramiko.ssh_exception import SSHException

from ops import channels, hosts, logins, routes, terminals, tunnels
from ops.channels import Lines, Sink
from ops.errors import OpsError
from ops.hosts import DEADLINE, KEPT_LINES, Result, failure, line
from ops.settings import Settings

__all__ = ["SshHost", "connect"]

# Without a handler Python prints paramiko's warnings to stderr; what matters is raised anyway.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

OPENING = 30.0
"""Seconds for a channel to open on a host that is busy."""
LONG = 3600.0
"""Seconds for a transfer: an image of 1 GB over 3 Mbit/s."""
ENDED_BY_SIGNAL = 255
"""What the program ssh makes of it; paramiko does not say which signal it was."""
NOBODY_READS = 128 + signal.SIGPIPE


def connect(address: str, settings: Settings) -> "SshHost":
    """Log in to `[user@]name[:port]`; use the result in a `with`, or close it."""
    with ExitStack() as stack:
        route = routes.find(address, settings)
        transport = logins.log_in(route, settings, stack)
        return SshHost(address, transport, stack.pop_all())
    raise AssertionError  # an ExitStack of ours swallows nothing


class SshHost:
    """A host somebody is logged in to. Commands are words, joined once for the host's shell."""

    def __init__(self, name: str, transport: Transport, stack: ExitStack) -> None:
        self.name = name
        self._transport = transport
        self._stack = stack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, and those it goes through."""
        self._stack.close()

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command to its end, whatever its exit code; 127 where there is no such program.

        A command that is given up may go on running on the host.
        """
        out, err = io.BytesIO(), io.BytesIO()
        chunks = [stdin] if isinstance(stdin, bytes) else stdin
        with self._started(line(words, env)) as channel:
            code, _ = self._exchange(channel, chunks, (out.write, err.write), words, deadline)
        return Result(code, hosts.text(out.getvalue()), hosts.text(err.getvalue()))

    def check(
        self,
        words: Sequence[str],
        remedy: str,
        *,
        stdin: bytes | Iterable[bytes] = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that has to succeed; return what it printed on stdout."""
        done = self.run(words, stdin=stdin, deadline=deadline, env=env)
        if done.code != 0:
            raise failure(words, done.code, done.err or done.out, remedy)
        return done.out

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        """Run a command, handing each line of its output on as it comes.

        The result holds the last lines of stdout and stderr together in `err`, in the order in
        which they came: sshd reads them from two pipes.
        """
        kept: deque[str] = deque(maxlen=KEPT_LINES)

        def take(text: str) -> None:
            kept.append(text.rstrip())
            on_line(text)

        lines = Lines(take)
        with self._started(line(words, env), together=True) as channel:
            code, _ = self._exchange(channel, stdin, (lines.feed, lines.feed), words, None)
        lines.end()
        return Result(code, "", "\n".join(kept))

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float = LONG,
        *,
        remedy: str = "look at the lines above, then repeat: nothing is half done",
    ) -> Result:
        """Stream chunks to a command that has to take them all; tell how many bytes are sent."""
        out, err = io.BytesIO(), io.BytesIO()
        with self._started(line(words)) as channel:
            counted = _counted(chunks, on_sent)
            code, whole = self._exchange(channel, counted, (out.write, err.write), words, deadline)
        done = Result(code, hosts.text(out.getvalue()), hosts.text(err.getvalue()))
        if code != 0 or not whole:
            early = "" if whole else "it ended before everything was sent\n"
            raise failure(words, code, early + (done.err or done.out), remedy)
        return done

    def put(self, path: str, content: bytes, mode: int) -> None:
        """Write a file whole or not at all, for nobody but who `mode` names from its first byte."""
        folder = posixpath.dirname(path) or "."
        self.check(["mkdir", "-p", "--", folder], f"make room for {path} on {self.name}")
        # A file is made with the mode that the host's umask leaves, and only then is it changed: in
        # a folder of our own nobody opens it in between.
        draft = posixpath.join(folder, f".{posixpath.basename(path)}.{secrets.token_hex(8)}")
        try:
            with ExitStack() as stack:
                sftp = stack.enter_context(self._sftp())
                sftp.mkdir(draft, 0o700)
                stack.callback(sftp.rmdir, draft)
                file = posixpath.join(draft, "file")
                with sftp.open(file, "wx") as stream:
                    stack.callback(_remove, sftp, file)
                    stream.chmod(mode)
                    stream.write(content)
                sftp.posix_rename(file, path)
        except (SSHException, EOFError, OSError) as error:
            raise OpsError(
                f"cannot write {path} on {self.name}: {error}",
                "check the folder's owner and the free space on the host, then repeat",
            ) from None

    def forward(
        self, port: int, address: str = "127.0.0.1", *, local: int = 0
    ) -> AbstractContextManager[int]:
        """Lead a port of this machine, which is yielded, to one that the host reaches.

        Any free port is taken unless `local` names one.
        """
        return tunnels.forward(self._transport, address, port, local)

    def wait_closed(self) -> None:
        """Wait until the connection ends."""
        self._transport.join()

    def interact(self, words: Sequence[str]) -> int:
        """Run a command with this program's own input and output; return its exit code."""
        with terminals.attached() as terminal:
            size = terminal.size if terminal.whole else None
            with self._started(line(words), size=size) as channel:
                sinks, typed = (terminal.out, terminal.err), terminal.typed(channel)
                try:
                    return self._exchange(channel, typed, sinks, words, None)[0]
                except BrokenPipeError:  # as in: … | head
                    return NOBODY_READS

    @contextmanager
    def _sftp(self) -> Iterator[SFTPClient]:
        sftp = self._transport.open_sftp_client()
        if sftp is None:
            raise SSHException("no SFTP on this host")
        with sftp:
            yield sftp

    @contextmanager
    def _started(
        self, text: str, *, together: bool = False, size: tuple[int, int] | None = None
    ) -> Iterator[Channel]:
        """Yield the channel of a command that was started, with a terminal if it has a size."""
        try:
            channel = self._transport.open_session(timeout=OPENING)
        except (SSHException, EOFError, OSError) as error:
            raise self._broken(text, error) from None
        try:
            channel.set_combine_stderr(together)
            if size:
                channel.get_pty(terminals.KIND, *size)
            channel.exec_command(text)
        except (SSHException, EOFError, OSError) as error:
            channels.close(channel)
            raise self._broken(text, error) from None
        try:
            yield channel
        finally:
            channels.close(channel)

    def _exchange(
        self,
        channel: Channel,
        chunks: Iterable[bytes],
        sinks: tuple[Sink, Sink],
        words: Sequence[str],
        deadline: float | None,
    ) -> tuple[int, bool]:
        """Write and read until a command has ended; return its exit code and if it took it all."""
        try:
            code, whole = channels.exchange(channel, chunks, sinks, deadline)
        except TimeoutError:
            raise hosts.overdue(words, deadline or 0, self.name) from None
        if code >= 0:
            return code, whole
        # It ended without an exit code: by a signal, or nobody knows.
        if channel.eof_received and self._transport.is_active():
            return ENDED_BY_SIGNAL, whole
        raise self._broken(line(words), None)

    def _broken(self, text: str, error: Exception | None) -> OpsError:
        """Return the error for a command whose end nobody knows."""
        if error is not None and self._transport.is_active():
            return OpsError(
                f"{self.name} starts no command: {error}; it was: {text}",
                "raise MaxSessions in the host's sshd_config, or do fewer things at a time",
            )
        return OpsError(
            f"the connection to {self.name} broke during: {text}",
            "check that the host is up, then repeat: the command may have gone on there",
        )


def _counted(chunks: Iterable[bytes], on_sent: Callable[[int], None]) -> Iterator[bytes]:
    """Yield chunks in pieces; once the next is asked for, the last is sent."""
    sent = 0
    for chunk in chunks:
        for start in range(0, len(chunk), channels.GULP):
            piece = chunk[start : start + channels.GULP]
            yield piece
            sent += len(piece)
            on_sent(sent)


def _remove(sftp: SFTPClient, file: str) -> None:
    """Remove a draft that is still there."""
    with suppress(OSError):
        sftp.remove(file)
