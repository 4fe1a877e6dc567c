"""Moments as a person writes them."""

import re
from datetime import UTC, datetime, timedelta

from ops.errors import refusal

__all__ = ["moment", "since"]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(text: str, flag: str) -> datetime:
    """Return the moment that a person means; without an offset, it is in this machine's zone."""
    try:
        written = datetime.fromisoformat(text)
        found, other = (written.replace(fold=each).astimezone(UTC) for each in (0, 1))
    except (ValueError, OverflowError, OSError):
        raise refusal(
            f"{flag} {text[:60]!r} is no moment", 'write it as "2026-11-23 06:40", or with +00:00'
        ) from None
    if found != other:
        raise refusal(
            f"{flag} {text!r}: that hour is there twice, or not at all, where clocks are set then",
            f"write it with an offset, such as {min(found, other):%Y-%m-%dT%H:%M:%S}+00:00",
        )
    return found


def since(text: str, flag: str, now: datetime) -> datetime:
    """Return the moment that a person means, who may also say how long ago: 90m, 36h, 7d."""
    ago = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if ago is None:
        return moment(text, flag)
    try:
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    except OverflowError:
        raise refusal(f"{flag} {text!r} is before our time", "take a later one: 7d") from None
