"""How the certificate of a front door stands, from what the certificate service writes down."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import console
from ops.checks import Finding, fail, ok, warn
from ops.hosts import Host

__all__ = ["Certificate", "finding", "read"]

STATE = ("python", "-m", "ops.certifier", "state")

SILENT = timedelta(minutes=10)
"""After which a service that writes every half minute is not there."""

LATE = 4
"""Renewal begins with the last third of a life; with the last quarter it is late."""

LOOK = "see why: invoke logs --service certificates"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the service says of itself; times as ISO 8601 has them, None for never."""

    mode: str = ""
    names: tuple[str, ...] = ()
    not_after: str | None = None
    renewal: str | None = None
    problems: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Yield it as a person reads it."""
        by = {"private-ca": "the stack's own CA", "acme": "ACME"}.get(self.mode, "nobody yet")
        yield f"{'certificate':<20} {', '.join(self.names) or 'for no name yet'}, by {by}"
        yield f"{'valid for':<20} {_left(self.not_after)}"


def read(host: Host, inside: Sequence[str]) -> Certificate:
    """Ask the certificate service; `inside` is how a command in its container begins."""
    done = host.run((*inside, *STATE))
    try:
        state = json.loads(done.out) if done.code == 0 else {}
    except ValueError:
        state = {}
    found = finding(state, datetime.now(UTC))
    return Certificate(
        state.get("mode", ""),
        tuple(state.get("names", ())),
        state.get("not_after"),
        state.get("renewal"),
        () if found.state == "ok" else (found.found,),
    )


def finding(state: Mapping[str, Any], now: datetime) -> Finding:
    """Return what there is to say of a state, at a time."""
    if not state.get("at"):
        return fail("the certificate service says nothing", LOOK)
    silent = now - _time(state["at"])
    if silent > SILENT:
        text = console.duration(silent.total_seconds())
        return fail(f"the certificate service has said nothing for {text}", LOOK)
    error: Mapping[str, str] = state.get("error") or {}
    why = f": {error['cause']}" if error else ""
    remedy = error.get("remedy", LOOK)
    wrong = _wrong(state, now)
    if wrong:
        return fail(f"{wrong}{why}", remedy)
    text = f"the certificate is valid for {_left(state['not_after'], now)}"
    return warn(f"{text}, and could not be renewed{why}", remedy) if error else ok(text)


def _wrong(state: Mapping[str, Any], now: datetime) -> str:
    """Return what is wrong with a certificate, apart from why."""
    if not state.get("not_after"):
        return "there is no certificate"
    begin, end = _time(state["not_before"]), _time(state["not_after"])
    left = _left(state["not_after"], now)
    if now >= end:
        return f"the certificate expired {left}"
    if now < begin:
        return f"the certificate is not valid before {begin.isoformat()}: see the machine's clock"
    if not state.get("fits"):
        return f"the certificate is an older one, and not for {', '.join(state['names'])}"
    if end - now < (end - begin) / LATE:
        return f"the certificate is valid for {left} only, and was to be renewed"
    return ""


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _left(end: str | None, now: datetime | None = None) -> str:
    """Return how long there is until a time, or since when there is nothing left."""
    if end is None:
        return "no time: there is none"
    seconds = (_time(end) - (now or datetime.now(UTC))).total_seconds()
    text = console.duration(abs(seconds))
    return text if seconds > 0 else f"{text} ago"
