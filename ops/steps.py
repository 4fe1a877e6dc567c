"""A step of making a host ready, and the hands it works with: root's commands and files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops.hosts import Host

__all__ = ["AGAIN", "Step", "as_root", "lines", "nothing", "read", "write"]

AGAIN = "mend that, then: invoke prepare (it goes on where it stopped)"

READ = 'test ! -e "$1" || cat "$1"'
# Whole or not at all; a file that was closed to others stays so.
WRITE = """\
set -eu
umask 022
mkdir -p "$(dirname "$1")"
rm -f "$1.new"
if test -e "$1"; then install -m "$(stat -c %a "$1")" /dev/null "$1.new"; fi
cat >"$1.new"
mv -f "$1.new" "$1"
"""


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing a host needs: what there is of it, what is missing, and how to change that."""

    title: str
    found: str = ""
    todo: str = ""
    left_out: bool = False
    installs: bool = False
    """Whether packages have to be fetched for it."""

    act: Callable[[], None] = nothing

    @property
    def state(self) -> str:
        """What the plan says of it."""
        if self.left_out:
            return "left out"
        return "will do" if self.todo else "done already"


def as_root(*words: str) -> tuple[str, ...]:
    """Return a command as root runs it; it never asks for a password."""
    return ("sudo", "-n", *words)


def read(host: Host, path: str) -> str:
    """Return the text of a file, whoever may read it; "" where there is none."""
    return host.check(as_root("sh", "-c", READ, "sh", path), f"look at {path} on the host")


def write(host: Host, path: str, text: str) -> None:
    """Write a file of root's."""
    words = as_root("sh", "-c", WRITE, "sh", path)
    host.check(words, AGAIN, stdin=text.encode())


def lines(host: Host, words: Sequence[str]) -> list[str]:
    """Return what a question printed, in lines; none where it has no answer."""
    done = host.run(words)
    return [line.strip() for line in done.out.splitlines() if line.strip()] if not done.code else []
