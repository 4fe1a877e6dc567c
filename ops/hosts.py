"""Where commands run: what every host can do, and this machine."""

import io
import os
import shlex
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ops.errors import OpsError, last_lines

__all__ = ["Host", "LocalHost", "Result", "failure", "line", "overdue", "text"]

KEPT_LINES = 2000
BLOCK = 1024**2
DEADLINE = 120.0
"""Seconds a command may take, unless its caller knows that it takes longer."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Host(Protocol):
    """A machine that runs commands: this one, one over SSH, or one on paper."""

    @property
    def name(self) -> str:
        """What a person calls it."""

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command to its end, whatever its exit code; 127 where there is no such program."""

    def check(
        self,
        words: Sequence[str],
        remedy: str,
        *,
        stdin: bytes = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that has to succeed; return what it printed on stdout."""

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        """Run a command, handing each line of its output on as it comes."""

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float,
    ) -> Result:
        """Run a command that has to succeed within `deadline` seconds, with bytes on its stdin."""


class LocalHost:
    """This machine. Commands are words; no shell reads them."""

    name = "this machine"

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command to its end, whatever its exit code; 127 where there is no such program."""
        try:
            done = subprocess.run(
                words,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=deadline,
                env={**os.environ, **(env or {})},
            )
        except OSError as error:
            return _not_run(words, error)
        except subprocess.TimeoutExpired:
            raise overdue(words, deadline, self.name) from None
        return Result(done.returncode, text(done.stdout), text(done.stderr))

    def check(
        self,
        words: Sequence[str],
        remedy: str,
        *,
        stdin: bytes = b"",
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

        The result holds the last lines of stdout and stderr together in `err`.
        """
        kept: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )
        except OSError as error:
            return _not_run(words, error)
        pipe, process.stdin = process.stdin, None  # the thread's to close
        feeder = (pipe, stdin, lambda _: None)
        threading.Thread(target=_feed, args=feeder, daemon=True).start()
        with process:
            assert process.stdout is not None
            for raw in process.stdout:
                told = text(raw)
                kept.append(told.rstrip())
                on_line(told)
        return Result(process.returncode, "", "\n".join(kept))

    @contextmanager
    def reading(self, words: Sequence[str], remedy: str) -> Iterator[IO[bytes]]:
        """Run a command that has to succeed; yield its stdout as it comes."""
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
                )
            except OSError as error:
                raise failure(words, 127, _not_run(words, error).err, remedy) from None
            with _ended(process):
                assert process.stdout is not None
                try:
                    yield process.stdout
                except OpsError:
                    _rest(process.stdout)
                    if process.wait() == 0:  # else what the command says explains more
                        raise
                else:
                    _rest(process.stdout)
            if process.returncode != 0:
                said.seek(0)
                output = text(said.read())
                raise failure(words, process.returncode, output, remedy)

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float,
    ) -> Result:
        """Run a command that has to succeed within `deadline` seconds, with bytes on its stdin."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=err)
            except OSError as error:
                raise failure(words, 127, _not_run(words, error).err, "install it") from None
            clock = threading.Timer(deadline, process.kill)
            clock.start()
            try:
                with _ended(process):
                    pipe, process.stdin = process.stdin, None
                    assert pipe is not None
                    _feed(pipe, chunks, on_sent)
            finally:
                clock.cancel()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(text(file.read()))
            if process.returncode != 0:
                raise failure(words, process.returncode, said[1] or said[0], "try again")
            return Result(0, said[0], said[1])

    def replace(self, words: Sequence[str]) -> None:
        """Become the command: its output and its exit code are this program's."""
        os.execvp(words[0], list(words))

    def wire(self, words: Sequence[str], stack: ExitStack) -> socket.socket:
        """Start a program that carries a connection; what ends it is put on `stack`."""
        ours, its = socket.socketpair()
        stack.callback(ours.close)
        with its:
            end = its.fileno()
            process = subprocess.Popen(words, stdin=end, stdout=end, start_new_session=True)
        stack.callback(_end, process)
        return ours

    def start(
        self, words: Sequence[str], env: Mapping[str, str], log: Path, folder: Path
    ) -> "subprocess.Popen[bytes]":
        """Start a program that outlives this one, in a session of its own."""
        with log.open("ab") as output:
            return subprocess.Popen(
                words,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a program and take its exit code, so that nothing is left of it."""
    process.terminate()
    process.wait()


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Wait for the process; where the work with it failed, end it."""
    with process:
        try:
            yield
        except BaseException:
            process.kill()
            raise


def _rest(stream: IO[bytes]) -> None:
    """Read a stream to its end, so that who writes it is not cut off."""
    while stream.read(BLOCK):
        pass


def _feed(pipe: IO[bytes], chunks: Iterable[bytes], on_sent: Callable[[int], None]) -> None:
    """Write to a process until the end of the bytes or of the process."""
    try:
        with pipe:
            for chunk in chunks:
                pipe.write(chunk)
                pipe.flush()
                on_sent(len(chunk))
    except BrokenPipeError:
        pass  # it ended early: its exit code tells why


def _not_run(words: Sequence[str], error: OSError) -> Result:
    """Return what a shell says of a program that is not there, or may not be run."""
    return Result(127, "", f"{words[0]}: {error.strerror}")


def text(output: bytes) -> str:
    """Return output as text, with the line ends of Python."""
    return io.TextIOWrapper(io.BytesIO(output), "utf-8", "replace").read()


def line(words: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return the line a shell takes for these words: the one place where words are joined.

    The environment goes in front by way of `env`: sshd refuses variables it was not told of.
    """
    every = list(words)
    if env:
        every = ["env", *(f"{key}={value}" for key, value in env.items()), *every]
    for word in every:
        if not isinstance(word, str):
            raise TypeError(f"a word of a command is a str, not {type(word).__name__}")
        if "\0" in word:
            raise ValueError(f"no command can hold a NUL character: {word!r}")
    return shlex.join(every)


def overdue(words: Sequence[str], deadline: float, where: str) -> OpsError:
    """Return the error for a command that was given up."""
    cause = f"not done after {deadline:g} s on {where}: {shlex.join(words)}"
    return OpsError(cause, "see what the machine is busy with, then try again")


def failure(
    words: Sequence[str], code: int, output: str, remedy: str, more: Iterable[str] = ()
) -> OpsError:
    """Return the error for a command that failed: the line that was run and what it said last.

    `more` are lines that explain it; they are shown whole, below.
    """
    cause = f"exit code {code} from: {shlex.join(words)}"
    return OpsError("\n  ".join([cause, *last_lines(output), *more]), remedy)
