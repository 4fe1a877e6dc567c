"""How well a database is protected: stored up to when, backed up when, and proven to restore when.

What is not known is a failure: a backup that nobody has restored is a hope.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import console
from ops.checks import Finding, fail, ok
from ops.hosts import Host

__all__ = ["Protection", "findings", "read"]

STATE = ("python", "-m", "ops.keeper", "state")

SHIPPED = timedelta(seconds=60)
"""So old may be what is stored last: ten seconds are normal, and a new start takes some more."""

BACKED_UP = timedelta(hours=26)
PROVEN = timedelta(days=8)

LOOK = "see why: invoke logs --service backup"


@dataclass(frozen=True, slots=True)
class Protection:
    """What the backup service says of itself; times as ISO 8601 has them, None for never."""

    shipped_to: str | None = None
    last: str | None = None
    proven: str | None = None
    problems: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield it as a person reads it."""
        for label, since in (
            ("stored up to", self.shipped_to),
            ("last backup", self.last),
            ("last proven restore", self.proven),
        ):
            yield f"{label:<20} {_ago(since)}"


def read(host: Host, inside: Sequence[str]) -> Protection:
    """Ask the backup service; `inside` is how a command in its container begins."""
    done = host.run((*inside, *STATE))
    try:
        state: dict[str, Any] = json.loads(done.out) if done.code == 0 else {}
    except ValueError:
        state = {}
    found = Protection(
        state.get("shipped_to"), (state.get("last") or {}).get("as_of"), state.get("proven")
    )
    problems = [each.found for each in findings(found, state).values() if each.state != "ok"]
    return Protection(found.shipped_to, found.last, found.proven, tuple(problems))


def findings(found: Protection, state: dict[str, Any]) -> dict[str, Finding]:
    """Return what there is to say of each part, by its name."""
    error = state.get("error")
    why = f": {error}" if error else ""
    broken = state.get("base_error")
    because = f": {broken}" if broken else ""
    return {
        "stored": _fresh("changes are stored", found.shipped_to, SHIPPED, why, LOOK),
        "backup": _fresh(
            "the last backup is", found.last, BACKED_UP, because, "order one: invoke backup"
        ),
        "proven": _fresh(
            "the last proven restore is", found.proven, PROVEN, "", "prove one: invoke drill"
        ),
    }


def _fresh(what: str, since: str | None, most: timedelta, why: str, remedy: str) -> Finding:
    if since is None:
        return fail(f"{what} missing{why}", remedy)
    old = datetime.now(UTC) - datetime.fromisoformat(since)
    text = f"{what} {_ago(since)}"
    return fail(f"{text}{why}", remedy) if old > most else ok(text)


def _ago(since: str | None) -> str:
    if since is None:
        return "never"
    old = datetime.now(UTC) - datetime.fromisoformat(since)
    return f"{console.duration(max(old.total_seconds(), 0))} ago"
