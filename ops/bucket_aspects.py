"""What an aspect of a bucket is: how it is, how it should be, and the step between the two."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ops.buckets import Bucket, Lacking

__all__ = ["DONE", "DRIFT", "FINE", "SKIPPED", "YOURS", "Aspect", "Step", "plan", "settle"]

FINE = "fine"
DRIFT = "drift"
DONE = "done"
SKIPPED = "skipped"
YOURS = "yours"
"""It is not as it should be, and not ours to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aspect:
    """One thing about a bucket; the value None is what a bucket has that is still to be made.

    `wanted` returns what it is given where that is good, and never anything weaker.
    """

    name: str
    read: Callable[[], Any]
    wanted: Callable[[Any], Any]
    show: Callable[[Any], str]
    apply: Callable[[Any], object] | None = None
    """None: it is not ours to change."""

    lacking: str = ""
    """Why there is no such thing, where that is known without asking."""

    grave: Callable[[Any], str] = lambda _: ""
    """What a person has to know before a value becomes true, because nothing takes it back."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was found of an aspect, and what it becomes; a skipped one has only the reason."""

    aspect: Aspect
    state: str
    now: str
    wanted: str = ""
    grave: str = ""


def plan(aspects: Iterable[Aspect]) -> list[Step]:
    """Return what there is to do, the bucket itself first; without it there is nothing to read."""
    steps: list[Step] = []
    for aspect in aspects:
        absent = bool(steps) and steps[0].state == DRIFT
        steps.append(_look(aspect, absent=absent))
    return steps


def _look(aspect: Aspect, *, absent: bool) -> Step:
    if aspect.lacking:
        return Step(aspect, SKIPPED, aspect.lacking)
    try:
        now = None if absent else aspect.read()
    except Lacking as lack:
        return Step(aspect, SKIPPED, str(lack))
    wanted = aspect.wanted(now)
    if now == wanted:
        return Step(aspect, FINE, aspect.show(now))
    state = DRIFT if aspect.apply else YOURS
    shown = "none" if absent else aspect.show(now)
    return Step(aspect, state, shown, aspect.show(wanted), aspect.grave(wanted))


def settle(bucket: Bucket, step: Step) -> Step:
    """Bring about one aspect and return how the step ended."""
    try:
        bucket.patiently(partial(_change, step.aspect))
    except Lacking as lack:
        return Step(step.aspect, SKIPPED, str(lack))
    return replace(step, state=DONE)


def _change(aspect: Aspect) -> None:
    """Change an aspect from what it is by now: somebody else may have changed it meanwhile."""
    now = aspect.read()
    wanted = aspect.wanted(now)
    if aspect.apply and now != wanted:
        aspect.apply(wanted)
