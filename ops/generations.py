"""Grandfather, father, son: to which generation a backup belongs, and how long each is kept."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

__all__ = ["DAYS", "GENERATIONS", "LOGS", "generation", "kept_until"]

DAILY, WEEKLY, MONTHLY = "daily", "weekly", "monthly"

GENERATIONS: Mapping[str, int] = {DAILY: 14, WEEKLY: 60, MONTHLY: 400}
"""For how many days a backup of each generation is kept."""

# A restore goes from a backup by the logs that came after it, up to any second. The first of them
# are written while the backup is still made, so they are older than it is: with the same number of
# days they would go before it. A backup takes less than the one day more.
LOGS = GENERATIONS[DAILY] + 1
"""For how many days logs are kept."""

DAYS: Mapping[str, int] = {**GENERATIONS, "logs": LOGS}
"""For how many days is kept what lies in each folder."""


def generation(now: datetime, earlier: Iterable[tuple[str, datetime]]) -> str:
    """Return the generation of a backup that begins now, given those of earlier ones.

    Each is a generation and when the backup began. It is decided once, so nothing ever has to be
    moved: the first backup of a month is the month's, the first of any other week is the week's.
    """
    now = now.astimezone(UTC)
    # One from the future, by a clock that was ahead, is no reason to make none.
    known = [(each, at) for each, when in earlier if (at := when.astimezone(UTC)) <= now]
    if _month(now) not in [_month(at) for each, at in known if each == MONTHLY]:
        return MONTHLY
    if _week(now) not in [_week(at) for each, at in known if each in (WEEKLY, MONTHLY)]:
        return WEEKLY
    return DAILY


def _month(at: datetime) -> tuple[int, int]:
    return at.year, at.month


def _week(at: datetime) -> tuple[int, int]:
    """Return the ISO week: at the turn of a year, the year is that of the week's Thursday."""
    year, week, _ = at.isocalendar()
    return year, week


def kept_until(folder: str, now: datetime) -> datetime:
    """Return until when nobody may delete what is written now; `folder` is a key of `DAYS`."""
    return now.astimezone(UTC) + timedelta(days=DAYS[folder])
