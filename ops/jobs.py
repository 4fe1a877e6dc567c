"""Our own jobs, run beside the server: what they say to a person, and how they fail."""

from collections.abc import Mapping, Sequence

from ops import console
from ops.errors import from_output
from ops.hosts import Host

__all__ = ["migrate"]


def migrate(host: Host, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run the migration job (ops/migration.py); pass its notes on, raise the error it ends with."""
    with console.progress("checking the database schema") as detail:
        done = host.follow(words, detail, env)
    for line in done.err.splitlines():
        if line.startswith("note: "):
            console.say(line)
    if done.code != 0:
        raise from_output(done.code, done.err)
