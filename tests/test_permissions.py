"""The table of what our calls to AWS need."""

import re

from ops.permissions import CALLS, allowed_by


def test_an_action_is_written_as_iam_has_it() -> None:
    for call in CALLS.values():
        for actions in call.needs.values():
            for action in actions:
                assert re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", action)


def test_an_operation_that_is_not_ours_is_named_itself() -> None:
    assert "the call DeleteEverything" == allowed_by("DeleteEverything")
