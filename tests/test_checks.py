"""Checks follow one another, and what rests on a failed one is not made."""

from ops.checks import Check, Finding, NotChecked, examine, fail, ok, skip, warn
from ops.errors import OpsError

SUBJECT = "the subject"


def well(subject: str) -> Finding:
    assert subject == SUBJECT
    return ok("well")


def ill(_: str) -> Finding:
    return fail("ill", "mend it")


def odd(_: str) -> Finding:
    return warn("odd", "look at it")


def raises(_: str) -> Finding:
    raise OpsError("it broke", "mend it")


def nothing(_: str) -> Finding:
    raise NotChecked("nothing is there")


def made(*checks: Check[str], lacking: tuple[str, ...] = ()) -> dict[str, Finding]:
    return dict(examine(checks, SUBJECT, lacking))


def test_a_check_is_not_made_when_one_it_needs_failed_or_was_not_made() -> None:
    found = made(
        Check("a", ill), Check("b", well, ("a",)), Check("c", well, ("b",)), Check("d", well)
    )

    assert found == {
        "a": Finding("fail", "ill", "mend it"),
        "b": Finding("skip", "not checked: see a"),
        "c": Finding("skip", "not checked: see b"),
        "d": Finding("ok", "well"),
    }


def test_a_check_is_made_after_a_warning() -> None:
    found = made(Check("a", odd), Check("b", well, ("a",)))

    assert (found["a"].state, found["b"].state) == ("warn", "ok")


def test_an_error_is_a_finding_with_its_cause_and_remedy() -> None:
    found = made(Check("a", raises), Check("b", well, ("a",)))

    assert found["a"] == fail("it broke", "mend it")
    assert found["b"] == skip("see a")


def test_a_check_may_find_nothing_to_look_at() -> None:
    found = made(Check("a", nothing), Check("b", well, ("a",)))

    assert found["a"] == skip("nothing is there")
    assert found["b"] == skip("see a")


def test_what_failed_elsewhere_counts_and_what_nobody_made_does_not() -> None:
    checks = (Check("a", well, ("settings",)), Check("b", well, ("never made",)))

    assert made(*checks, lacking=("settings",))["a"].state == "skip"
    assert made(*checks)["b"].state == "ok"
