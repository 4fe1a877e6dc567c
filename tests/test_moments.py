"""Moments as people write them."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ops.errors import OpsError
from ops.moments import moment, since

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put this machine into a time zone."""

    def put_into(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield put_into
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23 06:40", "2026-11-23T05:40:00+00:00"),
        ("2026-07-23 06:40", "2026-07-23T04:40:00+00:00"),
        ("2026-11-23", "2026-11-22T23:00:00+00:00"),
        ("2026-11-23 06:40:07.25", "2026-11-23T05:40:07.250000+00:00"),
        ("2026-11-23T06:40Z", "2026-11-23T06:40:00+00:00"),
        ("2026-11-23 06:40-05:00", "2026-11-23T11:40:00+00:00"),
        ("2026-10-25 02:30+02:00", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25 02:30+01:00", "2026-10-25T01:30:00+00:00"),
    ],
)
def test_a_moment_without_an_offset_is_in_the_zone_of_this_machine(
    zone: Callable[[str], None], text: str, expected: str
) -> None:
    zone("Europe/Berlin")

    assert expected == moment(text, "--at").isoformat()


@pytest.mark.parametrize("text", ["2026-10-25 02:30", "2026-03-29 02:30"])
def test_an_hour_that_is_there_twice_or_not_at_all_is_refused(
    zone: Callable[[str], None], text: str
) -> None:
    zone("Europe/Berlin")
    with pytest.raises(OpsError, match="twice, or not at all") as caught:
        moment(text, "--at")

    assert 2 == caught.value.code
    assert caught.value.remedy.endswith("T00:30:00+00:00")
    zone("UTC")
    assert moment(text, "--at")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "06:40", "2026-13-01", "23.11.2026", "1795619356", "x" * 10_000),
        *("0001-01-01", "9999-12-31T23:59:59", "2026-11-23 06:40 UTC", "2026-11-23 25:00"),
    ],
)
def test_what_is_no_moment_is_refused(zone: Callable[[str], None], text: str) -> None:
    zone("Europe/Berlin" if text.startswith("0") else "America/New_York")
    with pytest.raises(OpsError, match="is no moment") as caught:
        moment(text, "--at")

    assert 2 == caught.value.code
    assert 200 > len(str(caught.value.message))


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("0s", timedelta(0)),
        ("2026-11-24T12:00Z", timedelta(days=1)),
    ],
)
def test_one_may_also_say_how_long_ago(text: str, ago: timedelta) -> None:
    assert NOW - ago == since(text, "--since", NOW)


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "1d2h", "1 d", "7D", "\u0661d"])
def test_what_is_neither_a_moment_nor_a_while_is_refused(text: str) -> None:
    with pytest.raises(OpsError, match=r"--since .* is no moment") as caught:
        since(text, "--since", NOW)

    assert 2 == caught.value.code


def test_a_while_longer_than_there_are_years_is_refused() -> None:
    with pytest.raises(OpsError, match="is before our time"):
        since("999999w", "--since", NOW)
