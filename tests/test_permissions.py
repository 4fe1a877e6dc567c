"""The list of what our calls to AWS need."""

import re

from ops.permissions import CALLS, actions


def test_an_action_is_written_as_iam_has_it() -> None:
    for needed in CALLS.values():
        for action in needed:
            assert re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", action)


def test_an_operation_that_is_not_ours_needs_nothing_we_know_of() -> None:
    assert () == actions("DeleteEverything")
