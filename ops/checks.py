"""What a check is: a question, its answer with a way out, and the checks it rests on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ops.errors import OpsError
from ops.settings import Settings

__all__ = ["Check", "Finding", "NotChecked", "examine", "fail", "ok", "skip", "warn"]

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of a check; `state` is ok, warn, fail or skip. Warn and fail have a remedy."""

    state: str
    found: str
    remedy: str = ""


class NotChecked(Exception):  # noqa: N818 - not an error: there is nothing to look at
    """A check cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """A check, those that must not have failed before it, and the settings it is made for."""

    name: str
    look: Callable[[Subject], Finding]
    needs: tuple[str, ...] = ()
    when: Callable[[Settings], bool] = lambda _: True


def ok(found: str) -> Finding:
    """Return the finding that all is as it should be."""
    return Finding("ok", found)


def warn(found: str, remedy: str) -> Finding:
    """Return a finding that will bite, but not now."""
    return Finding("warn", found, remedy)


def fail(found: str, remedy: str) -> Finding:
    """Return a finding that has to be put right."""
    return Finding("fail", found, remedy)


def skip(why: str) -> Finding:
    """Return the finding of a check that was not made."""
    return Finding("skip", f"not checked: {why}")


def examine(
    checks: Iterable[Check[Subject]], subject: Subject, lacking: Iterable[str] = ()
) -> Iterator[tuple[str, Finding]]:
    """Make each check whose ground holds; yield its name and finding as they come.

    `lacking` names checks that were made elsewhere and failed.
    """
    broken = set(lacking)
    for check in checks:
        missing = [name for name in check.needs if name in broken]
        finding = skip(f"see {missing[0]}") if missing else _look(check, subject)
        if finding.state in ("fail", "skip"):
            broken.add(check.name)
        yield check.name, finding


def _look(check: Check[Subject], subject: Subject) -> Finding:
    try:
        return check.look(subject)
    except NotChecked as why:
        return skip(str(why))
    except OpsError as error:
        return fail(error.cause, error.remedy)
