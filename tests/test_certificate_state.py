"""How a certificate stands: what is late, expired or unknown is a failure."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops import certificate_state
from ops.certificate_state import Certificate, finding
from ops.hosts import Result
from tests.conftest import FakeHost

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
ERROR = {"cause": "the CA refuses: rateLimited", "remedy": "wait"}


def state(days_left: float = 20, now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    """Return what a service says of a certificate that lives for 30 days."""
    end = now + timedelta(days=days_left)
    return {
        "mode": "acme",
        "names": ["mlflow.example.test"],
        "at": (now - timedelta(seconds=20)).isoformat(),
        "fits": True,
        "not_before": (end - timedelta(days=30)).isoformat(),
        "not_after": end.isoformat(),
        "renewal": (end - timedelta(days=10)).isoformat(),
        **changes,
    }


@pytest.mark.parametrize("days_left", [30, 10, 7.6])
def test_what_has_a_quarter_of_its_life_left_is_well(days_left: float) -> None:
    found = finding(state(days_left), NOW)

    assert found.state == "ok"
    assert f"valid for {int(days_left)} d" in found.found


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({}, "the certificate service says nothing"),
        (state(at=(NOW - timedelta(hours=3)).isoformat()), "has said nothing for 3 h"),
        (state(not_after=None, not_before=None), "there is no certificate"),
        (state(-2), "the certificate expired 2 d 0 h ago"),
        (state(0), "the certificate expired 0.0 s ago"),
        (state(31), "is not valid before 2026-11-26T12:00:00+00:00: see the machine's clock"),
        (state(7.4), "is valid for 7 d 9 h only, and was to be renewed"),
        (state(fits=False), "is an older one, and not for mlflow.example.test"),
    ],
)
def test_what_is_wrong_is_a_failure_with_a_remedy(said: dict[str, Any], text: str) -> None:
    found = finding(said, NOW)

    assert found.state == "fail"
    assert text in found.found
    assert found.remedy == "see why: invoke logs --service certificates"


@pytest.mark.parametrize("said", [state(-2), state(7.4), state(not_after=None), state(fits=False)])
def test_a_failure_says_why_and_what_to_do(said: dict[str, Any]) -> None:
    found = finding(said | {"error": ERROR}, NOW)

    assert found.state == "fail"
    assert found.found.endswith(f": {ERROR['cause']}")
    assert found.remedy == "wait"


def test_a_renewal_that_failed_in_good_time_is_a_warning() -> None:
    found = finding(state(9.5, error=ERROR), NOW)

    assert found.state == "warn"
    assert "valid for 9 d 12 h, and could not be renewed: the CA refuses" in found.found


# --- Asked in its container ---


def told(answer: Result | str) -> tuple[Certificate, list[str]]:
    host = FakeHost({"inside": answer})
    return certificate_state.read(host, ("inside",)), host.lines


def test_a_service_is_asked_for_its_state() -> None:
    found, lines = told(json.dumps(state(now=datetime.now(UTC))))

    assert lines == ["inside python -m ops.certifier state"]
    assert (found.mode, found.names, found.problems) == ("acme", ("mlflow.example.test",), ())


@pytest.mark.parametrize("answer", [Result(1, "", "no such container"), Result(0, "x", ""), "{}"])
def test_a_service_that_says_nothing_is_a_problem(answer: Result | str) -> None:
    found, _ = told(answer)

    assert found.problems == ("the certificate service says nothing",)
    assert [*found.lines()]


def test_a_person_reads_for_what_by_whom_and_for_how_long() -> None:
    found, _ = told(json.dumps(state(20.01, now=datetime.now(UTC))))

    assert [*found.lines()] == [
        "certificate          mlflow.example.test, by ACME",
        "valid for            20 d 0 h",
    ]
