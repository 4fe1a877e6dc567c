"""How well a database is protected: what is old or unknown is a failure."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops import protection
from ops.hosts import Result
from ops.protection import Protection
from tests.conftest import FakeHost

AGES = {
    "shipped_to": timedelta(seconds=3),
    "last": timedelta(hours=3),
    "proven": timedelta(days=2),
}


def state(**ages: timedelta | None) -> dict[str, Any]:
    """Return what a service says that did each so long ago; None is never."""
    since = {
        key: None if age is None else (datetime.now(UTC) - age).isoformat()
        for key, age in {**AGES, **ages}.items()
    }
    return {**since, "last": {"as_of": since["last"]} if since["last"] else None}


def told(said: dict[str, Any]) -> Protection:
    host = FakeHost({"inside": json.dumps(said)})
    return protection.read(host, ("inside",))


def test_what_is_fresh_has_no_problem() -> None:
    assert told(state()).problems == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shipped_to": timedelta(seconds=90)}, "changes are stored 1 min 3"),
        ({"last": timedelta(hours=30)}, "the last backup is 1 d 6 h"),
        ({"proven": timedelta(days=9)}, "the last proven restore is 9 d 0 h ago"),
        ({"shipped_to": None}, "changes are stored missing"),
        ({"last": None}, "the last backup is missing"),
        ({"proven": None}, "the last proven restore is missing"),
    ],
)
def test_what_is_old_or_missing_is_a_problem(
    change: dict[str, timedelta | None], said: str
) -> None:
    [problem] = told(state(**change)).problems

    assert said in problem


def test_a_problem_says_why() -> None:
    said = state(shipped_to=timedelta(hours=1)) | {"error": "S3 does not answer"}
    [problem] = told(said).problems

    assert "S3 does not answer" in problem


@pytest.mark.parametrize("answer", [Result(1, "", "no such container"), Result(0, "x", ""), "{}"])
def test_a_service_that_says_nothing_is_three_problems(answer: Result | str) -> None:
    found = protection.read(FakeHost({"inside": answer}), ("inside",))

    assert len(found.problems) == 3


def test_a_person_reads_when_each_was() -> None:
    lines = list(told(state(proven=None)).lines())

    assert [line.split()[0] for line in lines] == ["stored", "last", "last"]
    assert lines[1].endswith("3 h 0 min ago")
    assert lines[2].endswith("never")
