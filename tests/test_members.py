"""Members: what is made of the plugin's answers. The plugin is in tests/e2e/test_oidc.py."""

import json
from typing import Any

import pytest

from ops.errors import FAILED, REFUSED, OpsError
from ops.front_door import FrontDoor
from ops.members import Members
from ops.resources import Resource
from ops.users import Grant, User
from tests.conftest import StandInServer

LIST = "GET /users/details"
ANA = "/permissions/users/ana%40example.com"
KINDS = ("experiments", "registered-models", "prompts")


def answers(server: StandInServer, line: str, found: object) -> None:
    server.broken[line] = (200, json.dumps(found).encode())


def a_member(name: str, *, admin: bool = False, program: bool = False) -> dict[str, Any]:
    return {"username": name, "is_admin": admin, "is_service_account": program, "active": True}


@pytest.fixture
def members(server: StandInServer) -> Members:
    """The members of a server: its admin, a person with rights to this and that, and a program."""
    ana, ci = a_member("ana@example.com"), a_member("ci", program=True)
    answers(server, LIST, [ci, ana, a_member("admin", admin=True, program=True)])
    experiments = [
        {"id": "1", "name": "churn", "permission": "MANAGE", "kind": "user"},
        {"id": "2", "name": "secret", "permission": "NO_PERMISSIONS", "kind": "fallback"},
        {"id": "3", "name": "closed", "permission": "NO_PERMISSIONS", "kind": "user"},
        {"id": "4", "name": "shared", "permission": "READ", "kind": "group"},
    ]
    models = [{"name": "a/b", "permission": "EDIT", "kind": "user"}]
    for kind, rows in zip(KINDS, (experiments, models, []), strict=True):
        answers(server, f"GET {ANA}/{kind}", rows)
    return Members(FrontDoor(server.url))


MODEL = Resource("model", "a/b")
ANAS = User(
    "ana@example.com",
    admin=False,
    grants=(
        Grant(0, Resource("experiment", "1"), "MANAGE", ""),
        Grant(0, Resource("experiment", "3"), "DENY", ""),
        Grant(0, Resource("experiment", "4"), "READ", "group"),
        Grant(0, MODEL, "EDIT", ""),
    ),
)


def test_everybody_is_listed_by_name_and_nobody_s_rights_are_asked_for(
    members: Members, server: StandInServer
) -> None:
    found = [(user.name, user.kind, user.grants) for user in members.all()]

    assert [("admin", "admin", ()), ("ana@example.com", "user", ()), ("ci", "program", ())] == found
    assert [LIST] == server.requests


@pytest.mark.parametrize("name", ["ana@example.com", "Ana@Example.com"])
def test_somebody_is_found_in_any_case_with_all_that_is_open_to_them(
    members: Members, server: StandInServer, name: str
) -> None:
    assert ANAS == members.find(name)
    assert [LIST, *(f"GET {ANA}/{kind}" for kind in KINDS)] == server.requests


def test_who_never_logged_in_is_nobody(members: Members, server: StandInServer) -> None:
    with pytest.raises(OpsError, match="there is no user 'ben'"):
        members.find("ben")

    assert [LIST] == server.requests


@pytest.mark.parametrize("admin", [True, False])
def test_a_program_is_one_from_the_start(
    members: Members, server: StandInServer, admin: bool
) -> None:
    answers(server, "POST /users", {"message": "made"})
    members.add_program("nightly", admin=admin)
    made = json.loads(server.bodies[-1])

    assert ("nightly", admin, True) == (
        made["username"],
        made["is_admin"],
        made["is_service_account"],
    )


@pytest.mark.parametrize(
    ("resource", "line"),
    [
        (MODEL, f"PATCH {ANA}/registered-models/a%2Fb"),
        (Resource("prompt", "p"), f"POST {ANA}/prompts/p"),
        (Resource("experiment", "3"), f"PATCH {ANA}/experiments/3"),
        # A group's is not hers to change.
        (Resource("experiment", "4"), f"POST {ANA}/experiments/4"),
    ],
)
def test_what_is_there_is_changed_and_what_is_not_is_made(
    members: Members, server: StandInServer, resource: Resource, line: str
) -> None:
    answers(server, line, {})
    for permission in ("READ", "DENY"):
        members.grant(ANAS, resource, permission)

    assert [line, line] == server.requests
    assert ["READ", "NO_PERMISSIONS"] == [json.loads(body)["permission"] for body in server.bodies]


def test_a_right_is_taken_back_and_somebody_removed(
    members: Members, server: StandInServer
) -> None:
    lines = [f"DELETE {ANA}/registered-models/a%2Fb", "DELETE /users"]
    server.broken |= dict.fromkeys(lines, (200, b""))
    members.revoke(ANAS, MODEL)
    members.remove(ANAS.name)

    assert lines == server.requests
    assert {"username": ANAS.name} == json.loads(server.bodies[-1])


@pytest.mark.parametrize("text", ["experiment:*", "model:*", "run:*", "scorer:7/x"])
def test_what_no_task_grants_is_refused_with_the_page_that_does(
    members: Members, server: StandInServer, text: str
) -> None:
    said = "grants one experiment, model or prompt"
    with pytest.raises(OpsError, match=said) as caught:
        members.grant(ANAS, Resource.parse(text), "READ")
    with pytest.raises(OpsError, match=said):
        members.revoke(ANAS, Resource.parse(text))

    assert REFUSED == caught.value.code
    assert "/oidc/ui/" in caught.value.remedy
    assert [] == server.requests


def test_the_token_with_the_label_is_deleted_and_no_other(
    members: Members, server: StandInServer
) -> None:
    path = "/users/ana%40example.com/tokens"
    tokens = [{"id": number, "name": f"token-{number}"} for number in (7, 8, 9)]
    answers(server, f"GET {path}", {"tokens": tokens})
    answers(server, f"DELETE {path}/8", {"deleted": 1})

    assert members.take_back(ANAS.name, "token-8")
    assert [f"GET {path}", f"DELETE {path}/8"] == server.requests
    assert not members.take_back(ANAS.name, "token")
    assert 3 == len(server.requests)


@pytest.mark.parametrize(
    ("answer", "cause", "code"),
    [
        ((401, ""), "knows admin by another password than ADMIN_PASSWORD", REFUSED),
        ((404, "<html>Not Found"), "the server has no users", REFUSED),
        ((502, "Bad Gateway"), "the server does not answer: HTTP 502", FAILED),
        ((409, '{"detail": "it is there"}'), "the server says: HTTP 409: ", FAILED),
    ],
)
def test_an_error_of_the_server_is_one_line_with_a_way_out(
    members: Members, server: StandInServer, answer: tuple[int, str], cause: str, code: int
) -> None:
    server.broken[LIST] = (answer[0], answer[1].encode())
    with pytest.raises(OpsError) as caught:
        members.all()

    assert cause in caught.value.cause
    assert code == caught.value.code
    assert caught.value.remedy
