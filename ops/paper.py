"""A host on paper, for a dry run: it says what would be done there, and no connection is opened."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from ops import console
from ops.hosts import DEADLINE, Result, line

__all__ = ["PaperHost"]


class PaperHost:
    """What `SshHost` is, but for the host: each line printed is the one that would be run."""

    def __init__(self, name: str) -> None:
        self.name = name

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
        """Close nothing."""

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Print the command; it ends well and says nothing."""
        del deadline
        given = f" < {console.size(len(stdin))}" if isinstance(stdin, bytes) and stdin else ""
        console.result(f"{self.name}$ {line(words, env)}{given}")
        return Result(0, "", "")

    def check(
        self,
        words: Sequence[str],
        remedy: str,
        *,
        stdin: bytes | Iterable[bytes] = b"",
        deadline: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Print the command; it printed nothing."""
        del remedy
        return self.run(words, stdin=stdin, deadline=deadline, env=env).out

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        """Print the command; no line comes of it."""
        del on_line, stdin
        return self.run(words, env=env)

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float = 0,
        *,
        remedy: str = "",
    ) -> Result:
        """Print how much would be sent to the command."""
        del on_sent, remedy, deadline
        count = sum(len(chunk) for chunk in chunks)
        console.result(f"{self.name}: send {console.size(count)} to: {line(words)}")
        return Result(0, "", "")

    def put(self, path: str, content: bytes, mode: int) -> None:
        """Print which file would be written, but nothing of what is in it."""
        what = f"{console.size(len(content))}, {mode:04o}"
        console.result(f"{self.name}: put {line([path])} ({what})")

    @contextmanager
    def forward(self, port: int, address: str = "127.0.0.1") -> Iterator[int]:
        """Print where a port would lead; nobody listens at the one that is yielded."""
        console.result(f"{self.name}: forward to {address}:{port}")
        yield port

    def interact(self, words: Sequence[str]) -> int:
        """Print the command; it ends well."""
        return self.run(words).code
