"""What an aspect is: looked at, planned, and changed only where it has to be."""

from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from ops.bucket_aspects import DONE, DRIFT, FINE, SKIPPED, YOURS, Aspect, Step, plan, settle
from ops.buckets import Bucket, Lacking

BUCKET = Bucket(s3=boto3.client("s3", "eu-west-2"), name="team", region="eu-west-2")


@dataclass
class Thing:
    """Something about a bucket that can be read and written."""

    value: Any = None
    read: int = 0
    written: list[Any] = field(default_factory=list)

    def look(self) -> Any:
        self.read += 1
        return self.value

    def aspect(self, name: str = "colour", **more: Any) -> Aspect:
        given: dict[str, Any] = {
            "read": self.look,
            "wanted": lambda now: max(now or 0, 5),
            "show": str,
            "apply": self.written.append,
        }
        return Aspect(name=name, **(given | more))


def lacks() -> None:
    raise Lacking("the server has no such thing")


def states(steps: list[Step]) -> list[str]:
    return [step.state for step in steps]


@pytest.mark.parametrize(
    ("value", "more", "step"),
    [
        (5, {}, (FINE, "5", "")),
        (7, {}, (FINE, "7", "")),
        (3, {}, (DRIFT, "3", "5")),
        (3, {"apply": None}, (YOURS, "3", "5")),
        (3, {"read": lacks}, (SKIPPED, "the server has no such thing", "")),
        (3, {"lacking": "it cannot be"}, (SKIPPED, "it cannot be", "")),
    ],
)
def test_a_plan_says_what_is_and_what_becomes_of_it(
    value: int, more: dict[str, Any], step: tuple[str, str, str]
) -> None:
    thing = Thing(value)
    (planned,) = plan([thing.aspect(**more)])

    assert step == (planned.state, planned.now, planned.wanted)
    assert [] == thing.written


def test_without_the_bucket_nothing_about_it_is_read() -> None:
    bucket, thing = Thing(3), Thing(3)
    steps = plan([bucket.aspect("bucket"), thing.aspect(), thing.aspect(apply=None)])

    assert [DRIFT, DRIFT, YOURS] == states(steps)
    assert ["none", "none"] == [step.now for step in steps[1:]]
    assert 0 == thing.read


def test_what_nothing_takes_back_is_told_beforehand() -> None:
    (step,) = plan([Thing(3).aspect(grave=lambda wanted: f"{wanted} for good")])

    assert "5 for good" == step.grave


@pytest.mark.parametrize("found", [3, 4])
def test_an_aspect_is_changed_from_what_it_is_by_then(found: int) -> None:
    thing = Thing(3)
    (step,) = plan([thing.aspect(wanted=lambda now: now + 10)])
    thing.value = found

    assert (DONE, "3") == (settle(BUCKET, step).state, step.now)
    assert [found + 10] == thing.written


def test_an_aspect_that_somebody_else_put_right_is_not_changed() -> None:
    thing = Thing(3)
    (step,) = plan([thing.aspect()])
    thing.value = 6

    assert DONE == settle(BUCKET, step).state
    assert [] == thing.written


@pytest.mark.parametrize("more", [{"read": lacks}, {"apply": lambda _: lacks()}])
def test_what_a_server_turns_out_not_to_have_is_skipped(
    more: dict[str, Any],
) -> None:
    step = settle(BUCKET, Step(Thing(3).aspect(**more), DRIFT, "none", "5"))

    assert (SKIPPED, "the server has no such thing", "") == (step.state, step.now, step.wanted)
