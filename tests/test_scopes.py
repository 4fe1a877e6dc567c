"""The statements of our policies."""

import re

from ops import scopes
from ops.permissions import CALLS
from ops.scopes import Scope

SCOPES = [each for each in vars(scopes).values() if isinstance(each, Scope)]


def test_every_statement_has_an_id_of_its_own_that_iam_takes() -> None:
    ids = [scope.sid for scope in SCOPES]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch("[A-Za-z0-9]+", each) for each in ids)


def test_every_statement_is_used_and_no_other_is() -> None:
    used = {scope.sid for call in CALLS.values() for scope in call.needs}

    assert {scope.sid for scope in SCOPES} == used


def test_what_is_ours_is_known_by_its_tag() -> None:
    for scope in (scopes.NEW_THINGS, scopes.OUR_THINGS, scopes.NEW_REPOSITORY):
        assert f"/{scopes.TAG}" in str(scope.condition)
