"""Users: what is made of MLflow's answers. What MLflow does is in tests/e2e/test_users.py."""

import json
from typing import Any

import pytest

from ops.errors import FAILED, REFUSED, OpsError
from ops.front_door import FrontDoor, RequestError
from ops.resources import Resource
from ops.users import Grant, User, Users, in_our_words
from ops.values import Secret
from tests.conftest import StandInServer

LIST = "GET /users/list"
V3 = "/api/3.0/mlflow"


def a_role(name: str, *grants: tuple[str, str, str]) -> dict[str, Any]:
    rows = [
        {"id": number, "resource_type": kind, "resource_pattern": pattern, "permission": permission}
        for number, (kind, pattern, permission) in enumerate(grants, 1)
    ]
    return {"id": 5, "name": name, "permissions": rows}


@pytest.fixture
def users(server: StandInServer) -> Users:
    """The users of a server: an admin, and one with a grant of their own and one by a role."""
    found = [
        {
            "username": "ben",
            "is_admin": False,
            "roles": [
                a_role("__user_7__", ("registered_model", "churn", "MANAGE")),
                a_role("readers", ("experiment", "*", "READ")),
            ],
        },
        {"username": "admin", "is_admin": True, "roles": []},
    ]
    server.broken[LIST] = (200, json.dumps({"users": found}).encode())
    return Users(FrontDoor(server.url))


MODEL = Resource("model", "churn")
BEN = User(
    "ben",
    admin=False,
    grants=(
        Grant(1, MODEL, "MANAGE", ""),
        Grant(1, Resource("experiment", "*"), "READ", "readers"),
    ),
)


def test_everybody_is_read_with_what_is_theirs_and_what_a_role_s(users: Users) -> None:
    assert [User("admin", admin=True, grants=()), BEN] == users.all()
    assert BEN == users.find("ben")
    assert {MODEL: BEN.grants[0]} == BEN.own
    with pytest.raises(OpsError, match="there is no user 'Ben'"):
        users.find("Ben")


def test_what_is_there_is_changed_in_one_request_and_what_is_not_is_made(
    users: Users, server: StandInServer
) -> None:
    change, make = f"PATCH {V3}/roles/permissions/update", f"POST {V3}/users/permissions/grant"
    server.broken |= dict.fromkeys((change, make), (200, b"{}"))
    users.grant(BEN, MODEL, "READ")
    users.grant(BEN, Resource("experiment", "*"), "EDIT")  # the role's is not Ben's to change

    assert [change, make] == server.requests


def test_nothing_is_looked_for_where_all_of_a_kind_is_meant(
    users: Users, server: StandInServer
) -> None:
    for text in ("experiment:*", "model:*", "run:*", "scorer:7/x"):
        assert text == str(users.locate(Resource.parse(text)))
        assert text == users.title(Resource.parse(text)) or "7" in text

    assert [] == server.requests


CONFLICT = json.dumps(
    {
        "error_code": "RESOURCE_ALREADY_EXISTS",
        "message": "User (username=ben) already exists. [parameters: ('ben', 'scrypt:32', 0)]",
    }
)


@pytest.mark.parametrize(
    ("answer", "cause", "code"),
    [
        ((401, "You are"), "knows admin by another password than ADMIN_PASSWORD", REFUSED),
        ((403, "Permission denied"), "admin is no admin on the server any more", REFUSED),
        ((403, "Invalid Host header"), "the server says: HTTP 403: Invalid Host header", FAILED),
        ((404, "<html>Not Found"), "the server has no users", REFUSED),
        ((400, CONFLICT), "somebody else changed the same just now", REFUSED),
        ((502, "Bad Gateway"), "the server does not answer: HTTP 502", FAILED),
        ((500, "boom"), "the server says: HTTP 500: boom", FAILED),
    ],
)
def test_an_error_of_the_server_is_one_line_with_a_way_out(
    users: Users, server: StandInServer, answer: tuple[int, str], cause: str, code: int
) -> None:
    server.broken["POST /users/create"] = (answer[0], answer[1].encode())
    with pytest.raises(OpsError) as caught:
        users.add("ben", Secret("correct horse battery"))

    assert cause in caught.value.cause
    assert code == caught.value.code
    assert caught.value.remedy
    assert "scrypt" not in str(caught.value)
    assert "correct horse" not in str(caught.value)


def test_a_server_that_is_not_there_is_tried_and_failed() -> None:
    error = in_our_words(RequestError(0, "no answer from http://x"))

    assert (FAILED, "see: invoke status") == (error.code, error.remedy)


def test_a_look_that_fails_is_no_absence(users: Users, server: StandInServer) -> None:
    server.broken["GET /experiments/get-by-name"] = (500, b"boom")
    with pytest.raises(OpsError, match="boom"):
        users.locate(Resource("experiment", "churn"))
