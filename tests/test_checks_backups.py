"""The checks of a host's backups, on a host that is a double."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ops import checks_backups
from ops.checks import examine
from ops.hosts import Result
from ops.settings import Settings
from tests.test_protection import state


class Doubled:
    """A patient whose backup service says this."""

    def __init__(self, said: Result) -> None:
        self.said = said

    def inside(self, service: str, words: Any, stdin: str) -> Result:
        assert (service, words[-1], stdin) == ("backup", "state", "")
        return self.said


def findings(said: Result) -> dict[str, str]:
    found = examine(checks_backups.CHECKS, Doubled(said))  # type: ignore[misc]
    return {name: f"{each.state}: {each.found}" for name, each in found}


def test_a_host_that_is_backed_up_and_was_drilled_is_well() -> None:
    found = findings(Result(0, json.dumps(state()), ""))

    assert {name: text.partition(":")[0] for name, text in found.items()} == {
        "changes": "ok",
        "backup": "ok",
        "drill": "ok",
    }


def test_a_drill_that_never_was_fails_and_names_the_way_out() -> None:
    found = dict(
        examine(
            checks_backups.CHECKS,
            Doubled(Result(0, json.dumps(state(proven=None)), "")),  # type: ignore[misc]
        )
    )["drill"]

    assert (found.state, found.remedy) == ("fail", "prove one: invoke drill")


def test_changes_that_are_not_stored_fail() -> None:
    found = findings(Result(0, json.dumps(state(shipped_to=timedelta(minutes=5))), ""))

    assert found["changes"].startswith("fail: changes are stored 5 min")


def test_a_service_that_does_not_answer_is_not_checked() -> None:
    assert set(findings(Result(1, "", ""))) == {"changes", "backup", "drill"}
    assert "does not answer" in findings(Result(1, "", ""))["backup"]


@pytest.mark.parametrize(("place", "made"), [("", False), ("s3://backups", True)])
def test_they_are_made_where_there_are_backups(settings: Settings, place: str, made: bool) -> None:
    known = replace(settings, backups_destination=place)

    assert [check.when(known) for check in checks_backups.CHECKS] == [made] * 3
