"""The tasks for people: what is refused before a server is asked, and what is said."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import people
from ops.errors import REFUSED, OpsError
from ops.resources import Resource
from ops.users import Grant, User
from tests.conftest import StandInServer

LIST = "GET /users/list"
ADMIN = {"username": "admin", "is_admin": True, "roles": []}
PASSWORD = "correct horse battery"


@pytest.fixture
def known(folder: Path, server: StandInServer) -> StandInServer:
    """A server that knows its admin only, and settings that are for it."""
    lines = f"AUTH='basic'\nADMIN_PASSWORD='a-password-of-the-admin'\nHTTP_PORT='{server.port}'\n"
    (folder / ".env").write_text(lines, "utf-8")
    server.broken[LIST] = (200, json.dumps({"users": [ADMIN]}).encode())
    return server


TASKS: dict[str, Callable[[], None]] = {
    "add": lambda: people.add("ana", "", admin=False, generate=True),
    "remove": lambda: people.remove("ana", "", confirm="ana"),
    "set": lambda: people.set_password("ana", "", generate=True),
    "grant": lambda: people.grant("ana", "experiment:*", "READ", ""),
    "revoke": lambda: people.revoke("ana", "experiment:*", ""),
    "show": lambda: people.show("", "", as_json=False),
}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_where_nobody_logs_in_there_are_no_users(task: Callable[[], None]) -> None:
    with pytest.raises(OpsError, match="AUTH is none") as caught:
        task()

    assert REFUSED == caught.value.code
    assert "set AUTH='basic' in .env" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "a b", "änne", "-ana", "a" * 256, "a\x00"])
def test_a_name_that_basic_auth_cannot_carry_is_refused(known: StandInServer, name: str) -> None:
    with pytest.raises(OpsError, match="is not a name to log in with") as caught:
        people.add(name, "", admin=False, generate=True)

    assert REFUSED == caught.value.code
    assert [] == known.requests


@pytest.mark.parametrize("name", ["ana", "ana.b@example.com", "7", "a" * 255])
def test_a_name_may_be_an_address(known: StandInServer, name: str) -> None:
    known.broken["POST /users/create"] = (200, b"{}")
    people.add(name, "", admin=False, generate=True)

    assert [LIST, "POST /users/create"] == known.requests


@pytest.mark.parametrize("name", ["admin", "ADMIN"])
def test_the_name_of_the_tasks_own_user_is_taken(known: StandInServer, name: str) -> None:
    with pytest.raises(OpsError, match="the tasks log in as it"):
        people.add(name, "", admin=False, generate=True)

    assert [] == known.requests


@pytest.mark.parametrize("given", ["", "short\n"])
def test_without_a_good_password_nothing_is_changed(
    known: StandInServer, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    with pytest.raises(OpsError, match="nothing was changed"):
        people.add("ana", "", admin=False, generate=False)

    assert [LIST] == known.requests


def test_a_made_password_is_seen_also_where_the_next_step_fails(
    known: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    known.broken["POST /users/create"] = (200, b"{}")
    known.broken["PATCH /users/update-admin"] = (500, b"boom")
    with pytest.raises(OpsError, match="boom"):
        people.add("ana", "", admin=True, generate=True)

    assert 25 == len(capsys.readouterr().out)


def a_user(*grants: tuple[str, str, str]) -> User:
    rows = [
        Grant(number, Resource.parse(resource), permission, role)
        for number, (resource, permission, role) in enumerate(grants)
    ]
    return User("ana", admin=False, grants=tuple(rows))


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (a_user(), "ana manages nothing; all they logged stays"),
        (
            a_user(("experiment:1", "EDIT", ""), ("experiment:2", "MANAGE", "owners")),
            "ana manages nothing; all they logged stays",
        ),
        (
            a_user(*((each, "MANAGE", "") for each in ("experiment:1", "experiment:2", "model:x"))),
            "ana manages 2 experiments, 1 model; all of it stays, and admins reach it",
        ),
    ],
)
def test_what_somebody_leaves_behind_is_said(user: User, said: str) -> None:
    assert said == people.left_behind(user)


def test_who_there_is_is_listed_by_name_with_the_number_of_grants(
    known: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"id": 1, "resource_type": "run", "resource_pattern": "*", "permission": "READ"}
    role = {"id": 1, "name": "__user_2__", "permissions": [row]}
    ana = {"username": "ana@example.com", "is_admin": False, "roles": [role]}
    known.broken[LIST] = (200, json.dumps({"users": [ana, ADMIN]}).encode())
    people.show("", "", as_json=False)
    assert [
        "admin            admin    0 grants",
        "ana@example.com  user     1 grant",
    ] == capsys.readouterr().out.splitlines()

    people.show("ana@example.com", "", as_json=False)
    assert "READ    run:*\n" == capsys.readouterr().out
    people.show("", "", as_json=True)
    assert [
        {"name": "admin", "admin": True, "kind": "admin", "grants": []},
        {
            "name": "ana@example.com",
            "admin": False,
            "kind": "user",
            "grants": [{"resource": "run:*", "permission": "READ", "role": ""}],
        },
    ] == json.loads(capsys.readouterr().out)


# --- Where people log in at an identity provider ---

MEMBERS = "GET /users/details"


@pytest.fixture
def company(folder: Path, server: StandInServer) -> StandInServer:
    """A server whose people log in at a provider: one did; and settings that are for it."""
    lines = {
        "AUTH": "oidc",
        "OIDC_ISSUER": "https://login.example.com",
        "OIDC_CLIENT_ID": "mlflow",
        "OIDC_CLIENT_SECRET": "of-the-client-of-the-provider",
        "ALLOW_INSECURE": "true",
        "ADMIN_PASSWORD": "a-password-of-the-admin",
        "HTTP_PORT": str(server.port),
    }
    text = "".join(f"{key}='{value}'\n" for key, value in lines.items())
    (folder / ".env").write_text(text, "utf-8")
    found = [
        {"username": name, "is_admin": name == "admin", "is_service_account": name != "ana"}
        for name in ("ci", "ana", "admin")
    ]
    server.broken[MEMBERS] = (200, json.dumps(found).encode())
    for name in ("ana", "admin"):
        for kind in ("experiments", "registered-models", "prompts"):
            server.broken[f"GET /permissions/users/{name}/{kind}"] = (200, b"[]")
    return server


def test_who_is_added_there_is_a_program(
    company: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    company.broken["POST /users"] = (200, b"{}")
    people.add("Nightly", "", admin=False, generate=False)
    said = capsys.readouterr()

    assert [MEMBERS, "POST /users"] == company.requests
    assert "nightly" == json.loads(company.bodies[-1])["username"]
    assert "a program may log in as nightly: invoke token nightly" in said.err
    assert "" == said.out


@pytest.mark.parametrize(
    ("name", "generate", "said"),
    [
        ("nightly", True, "a program has no password"),
        ("CI", False, "there is a user CI already"),
        ("Admin", False, "the tasks log in as it"),
    ],
)
def test_a_program_that_is_there_or_wants_a_password_is_refused(
    company: StandInServer, name: str, generate: bool, said: str
) -> None:
    with pytest.raises(OpsError, match=said) as caught:
        people.add(name, "", admin=False, generate=generate)

    assert REFUSED == caught.value.code
    assert "POST /users" not in company.requests


def test_nobody_there_is_given_a_password(company: StandInServer) -> None:
    with pytest.raises(OpsError, match="passwords are the identity provider's") as caught:
        people.set_password("ana", "", generate=True)

    assert (REFUSED, []) == (caught.value.code, company.requests)
    assert "invoke token ana" in caught.value.remedy


@pytest.mark.parametrize("name", ["admin", "Admin"])
def test_the_tasks_own_user_stays_however_it_is_written(company: StandInServer, name: str) -> None:
    with pytest.raises(OpsError, match="admin stays: the tasks log in as it") as caught:
        people.remove(name, "", confirm=name)

    assert REFUSED == caught.value.code
    assert "DELETE /users" not in company.requests


def test_somebody_is_removed_by_the_name_that_the_server_has(company: StandInServer) -> None:
    company.broken["DELETE /users"] = (200, b"{}")
    people.remove("Ana", "", confirm="Ana")

    assert {"username": "ana"} == json.loads(company.bodies[-1])


@pytest.mark.usefixtures("company")
def test_a_list_of_everybody_there_has_no_numbers_of_grants_that_nobody_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    people.show("", "", as_json=False)

    assert ["admin  admin", "ana    user", "ci     program"] == (
        capsys.readouterr().out.splitlines()
    )


# --- The admin's password ---


@pytest.mark.parametrize("character", " '\"\\")
def test_the_admin_s_password_has_to_fit_into_env(
    known: StandInServer, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"long-enough{character}and-more\n"))
    with pytest.raises(OpsError, match=r"the admin's password goes into \.env"):
        people.set_password("admin", "", generate=False)

    assert [LIST] == known.requests
