"""Grandfather, father, son, by the calendar: months, ISO weeks, and what clocks do."""

from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.generations import DAYS, GENERATIONS, LOGS, generation, kept_until

Made = list[tuple[str, datetime]]

# 2020 to 2039.
MOMENTS = st.integers(1_577_836_800, 2_208_988_800).map(lambda at: datetime.fromtimestamp(at, UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def run(begin: datetime, days: int) -> Made:
    """Make a backup a day and return them all."""
    made: Made = []
    for number in range(days):
        now = begin + timedelta(days=number)
        made.append((generation(now, made), now))
    return made


def of_generation(made: Made, *names: str) -> list[datetime]:
    return [when for name, when in made if name in names]


def week(when: datetime) -> tuple[int, int]:
    return when.isocalendar()[:2]


def test_the_days_are_those_of_every_generation_and_of_the_logs() -> None:
    assert {"daily": 14, "weekly": 60, "monthly": 400} == GENERATIONS
    assert {**GENERATIONS, "logs": 15} == DAYS


def test_the_first_backup_of_all_is_the_month_s() -> None:
    assert "monthly" == generation(at("2026-11-25T15:00"), [])


def test_after_the_month_s_one_of_the_same_week_is_daily_and_the_next_week_s_first_is_weekly() -> (
    None
):
    made = run(at("2026-11-25T03:00"), 8)  # a Wednesday

    names = [name for name, _ in made]
    assert ["monthly", *["daily"] * 4, "weekly", "monthly", "daily"] == names  # 1 December


@pytest.mark.parametrize(
    ("now", "earlier", "wanted"),
    [
        # The turn of a year that ends within an ISO week: 2026-W53 goes to 3 January.
        ("2027-01-01T03:00", [("monthly", "2026-12-01")], "monthly"),
        ("2027-01-02T03:00", [("monthly", "2027-01-01")], "daily"),
        ("2027-01-03T23:59", [("monthly", "2027-01-01")], "daily"),
        ("2027-01-04T00:00", [("monthly", "2027-01-01")], "weekly"),
        ("2027-01-02T03:00", [("monthly", "2027-01-01"), ("weekly", "2026-12-28")], "daily"),
        # A year that begins in a week of the one before, and one that ends in a week of the next.
        ("2024-12-31T03:00", [("monthly", "2024-12-01"), ("weekly", "2024-12-30")], "daily"),
        ("2024-12-30T03:00", [("monthly", "2024-12-01"), ("weekly", "2024-01-01")], "weekly"),
        # Leap days.
        ("2028-02-29T03:00", [("monthly", "2028-02-01"), ("weekly", "2028-02-28")], "daily"),
        ("2028-03-01T03:00", [("monthly", "2028-02-29")], "monthly"),
        ("2029-02-28T03:00", [("monthly", "2028-02-29")], "monthly"),
        # Gaps: the first one after it makes up for what was missed, once.
        ("2026-11-25T03:00", [("monthly", "2025-11-25")], "monthly"),
        ("2026-11-25T03:00", [("monthly", "2026-11-01"), ("daily", "2026-11-24")], "weekly"),
        ("2026-11-25T03:00", [("daily", "2026-11-24"), ("weekly", "2026-11-23")], "monthly"),
        # Several a day.
        ("2026-11-25T03:00", [("monthly", "2026-11-01"), ("weekly", "2026-11-25")], "daily"),
    ],
)
def test_what_the_calendar_asks_for(now: str, earlier: list[tuple[str, str]], wanted: str) -> None:
    assert wanted == generation(at(now), [(name, at(when)) for name, when in earlier])


def test_a_backup_from_the_future_keeps_none_from_being_made() -> None:
    """As soon as its time has come it counts: by then, one of that day was made anyway."""
    now = at("2026-11-25T03:00")
    ahead: Made = [(name, now + timedelta(days=2)) for name in GENERATIONS]

    assert "monthly" == generation(now, ahead)
    assert "weekly" == generation(now, [*ahead, ("monthly", at("2026-11-01T03:00"))])
    assert "daily" == generation(now, [*ahead, ("monthly", now)])
    assert "daily" == generation(now + timedelta(days=2), ahead)


def test_months_and_weeks_are_those_of_utc_wherever_a_time_comes_from() -> None:
    """In Auckland it is December already, and in Honolulu still Sunday."""
    auckland, honolulu = timezone(timedelta(hours=13)), timezone(timedelta(hours=-10))
    made: Made = [("monthly", at("2026-11-01T03:00").astimezone(auckland))]

    now = at("2026-11-30T20:00").astimezone(auckland)
    assert (12, "weekly") == (now.month, generation(now, made))
    now = at("2026-11-30T01:00").astimezone(honolulu)
    assert (7, "weekly") == (now.isoweekday(), generation(now, [*made, ("weekly", made[0][1])]))


@given(MOMENTS, st.integers(1, 500))
def test_every_month_has_one_of_its_own_and_every_week_one_at_least(
    begin: datetime, days: int
) -> None:
    made = run(begin, days)
    months = [(when.year, when.month) for when in of_generation(made, "monthly")]
    weeks = [week(when) for when in of_generation(made, "weekly")]

    assert sorted({(when.year, when.month) for _, when in made}) == months
    assert len(set(weeks)) == len(weeks)
    assert {week(when) for when in of_generation(made, "weekly", "monthly")} == {
        week(when) for _, when in made
    }


@given(MOMENTS)
def test_what_is_kept_reaches_back_a_year_and_thins_out(begin: datetime) -> None:
    made = run(begin, 450)
    now = made[-1][1]
    kept = [when for name, when in made if kept_until(name, when) > now]

    assert {now - timedelta(days=number) for number in range(14)} <= {*kept}
    assert {week(now - timedelta(weeks=number)) for number in range(8)} <= {*map(week, kept)}
    months = {(when.year, when.month) for _, when in made if now - when < timedelta(days=365)}
    assert months <= {(when.year, when.month) for when in kept}
    assert len(kept) <= 14 + 9 + 14


@given(st.lists(st.tuples(st.sampled_from([*GENERATIONS]), MOMENTS)), MOMENTS, st.randoms())
def test_neither_the_order_nor_what_is_still_to_come_makes_a_difference(
    earlier: Made, now: datetime, random: Random
) -> None:
    past = [(name, when) for name, when in earlier if when <= now]
    shuffled = random.sample(earlier, len(earlier))

    assert generation(now, past) == generation(now, shuffled)
    assert generation(now, shuffled) in GENERATIONS


@pytest.mark.parametrize(
    ("folder", "now", "until"),
    [
        ("daily", "2026-12-25T03:00", "2027-01-08T03:00"),
        ("weekly", "2028-02-01T03:00", "2028-04-01T03:00"),
        ("monthly", "2027-02-28T03:00", "2028-04-03T03:00"),
        ("logs", "2028-02-29T23:59:59", "2028-03-15T23:59:59"),
    ],
)
def test_until_when_it_is_kept(folder: str, now: str, until: str) -> None:
    assert at(until) == kept_until(folder, at(now))
    assert UTC is kept_until(folder, at(now).astimezone(timezone(timedelta(hours=5)))).tzinfo


@given(MOMENTS, st.timedeltas(timedelta(), timedelta(days=1)))
def test_the_logs_that_a_daily_backup_begins_with_outlive_it(
    begin: datetime, takes: timedelta
) -> None:
    assert kept_until("logs", begin) >= kept_until("daily", begin + takes)
    assert LOGS == GENERATIONS["daily"] + 1
