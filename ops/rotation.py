"""A secret replaced by a new one: in which order, so that nobody is kept out meanwhile.

The new one is let in beside the old, then kept in `.env`, then taken into use, and at last the old
one is refused. Before any of it, both are written to a file of the data folder, which is
removed at the end. Each step may be repeated. So whatever cuts it off, the same command goes on
with the same secrets, and none of them is lost.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ops import console, envfile, preflight
from ops.errors import refusal
from ops.settings import Settings
from ops.values import Secret

__all__ = ["Change", "Steps", "begun", "carry_out", "remind"]

FOLDER, FILE = "rotation", "unfinished.json"


@dataclass(frozen=True, slots=True)
class Change:
    """A secret by its key in `.env`, as it was and as it is to be; on hosts, or here without."""

    key: str
    old: Secret
    new: Secret
    hosts: str = ""

    @property
    def back(self) -> "Change":
        """The same the other way round."""
        return replace(self, old=self.new, new=self.old)

    @property
    def command(self) -> str:
        """The command that makes it, and goes on with it."""
        where = f" --host {self.hosts}" if self.hosts else ""
        return f"invoke rotate-secret {self.key}{where}"


class Steps(Protocol):
    """What is done for a secret of one kind; each step may have been done before."""

    def admit(self, change: Change) -> None:
        """Have the new one accepted; those who come with the old one are not kept out."""

    def take(self, change: Change) -> None:
        """Have everything run with what is in `.env`, which has the new one by now."""

    def dismiss(self, change: Change) -> None:
        """Have the old one refused, and see that it is."""


@contextmanager
def begun(settings: Settings, key: str, hosts: str) -> Iterator[tuple[Change, bool]]:
    """Yield a change and whether it was begun before; who leaves in order has ended it."""
    folder = settings.data / FOLDER
    with preflight.only_one(folder):
        file = folder / FILE
        before = _read(file)
        if before is not None and (before.key, before.hosts) != (key, hosts):
            raise refusal(
                f"the rotation of {before.key} is not finished", f"first: {before.command}"
            )
        new = Secret(secrets.token_urlsafe(24))
        change = before or Change(key, _current(settings, key), new, hosts)
        yield change, before is not None
        file.unlink(missing_ok=True)


def carry_out(settings: Settings, change: Change, steps: Steps) -> None:
    """Take every step; what is there already of an attempt that was cut off stays as it is."""
    _write(settings.data / FOLDER / FILE, change)
    with console.progress(f"letting the new {change.key} in"):
        steps.admit(change)
    if _current(settings, change.key) != change.new:
        settings.keep({change.key: change.new.reveal()})
    steps.take(change)
    with console.progress(f"keeping the old {change.key} out"):
        steps.dismiss(change)


def remind(settings: Settings) -> None:
    """Say that a rotation was cut off; refuse while one is at work.

    No more than say it: whatever it had done, `up` and `deploy` do no harm, and one of them may be
    what brings the stack up on which it can go on.
    """
    folder = settings.data / FOLDER
    if not os.access(folder, os.W_OK | os.X_OK):
        return  # there is none, or not for this user: that is said where it matters
    with preflight.only_one(folder):
        before = _read(folder / FILE)
    if before is not None:
        console.say(
            f"warning: the rotation of {before.key} was cut off: the old one may still be good; "
            f"then go on with it: {before.command}"
        )


def _current(settings: Settings, key: str) -> Secret:
    found = getattr(Settings.load(settings.root), key.lower())
    assert isinstance(found, Secret)
    return found


def _write(file: Path, change: Change) -> None:
    named = {"key": change.key, "old": change.old.reveal(), "new": change.new.reveal()}
    envfile.write_private(file, json.dumps({**named, "hosts": change.hosts}) + "\n")


def _read(file: Path) -> Change | None:
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text("utf-8"))
        old, new = Secret(str(found["old"])), Secret(str(found["new"]))
        return Change(str(found["key"]), old, new, str(found["hosts"]))
    except (ValueError, LookupError, TypeError):
        raise refusal(
            f"{file} makes no sense", "see which secrets are in it, and move it away"
        ) from None
