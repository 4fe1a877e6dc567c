"""The task for tokens: what is refused, what the job is told, and what is said."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ops import premises, tokens
from ops.errors import FAILED, REFUSED, OpsError
from ops.hosts import Result
from ops.premises import Place
from ops.settings import Settings
from tests.conftest import FakeHost, StandInServer
from tests.test_oidc import COMPANY

TOKEN = "mlf_0123abcd_a-token"
JOB = "compose run --rm --no-deps --no-TTY migrate python -I -c"


@pytest.fixture
def host() -> FakeHost:
    """A machine whose job makes a token."""
    return FakeHost({JOB: f"a word of the plugin's own\n{TOKEN}\n"})


@pytest.fixture
def company(
    settings: Settings, server: StandInServer, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A stack with a login by a provider, on a server and a machine that stand in for it."""
    made = replace(settings, **COMPANY)
    door = replace(made, tls="off", public_url="", http_port=server.port)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: door))

    class Stage:
        @contextmanager
        def reached(self) -> Iterator[Place]:
            yield Place(host, lambda *words: ("compose", *words), lambda _: pytest.fail("asked"))

    monkeypatch.setattr(premises, "premises", lambda *_: Stage())
    return door


def issue(name: str = "ci", *, label: str = "nightly", days: str = "90") -> None:
    tokens.issue(name, "", label=label, days=days)


@pytest.mark.usefixtures("company")
def test_a_token_is_the_result_and_nothing_else_is(
    host: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    issue("CI")
    said = capsys.readouterr()

    assert f"{TOKEN}\n" == said.out
    assert TOKEN not in said.err
    assert "it is not shown again" in said.err
    assert {"user": "ci", "label": "nightly", "days": 90} == json.loads(host.given[-1])


@pytest.mark.parametrize("label", ["", "a b", "-x", "änne", "a" * 101, "x\n"])
@pytest.mark.usefixtures("company")
def test_a_label_that_nobody_could_type_again_is_refused(host: FakeHost, label: str) -> None:
    with pytest.raises(OpsError, match="is not a label") as caught:
        issue(label=label)

    assert (REFUSED, []) == (caught.value.code, host.lines)


@pytest.mark.parametrize("days", ["0", "366", "-1", "ninety", "", "1.5", "9" * 5000])
@pytest.mark.usefixtures("company")
def test_days_are_a_number_of_a_year_s(host: FakeHost, days: str) -> None:
    with pytest.raises(OpsError, match="is not a number between 1 and 365") as caught:
        issue(days=days)

    assert (REFUSED, []) == (caught.value.code, host.lines)


@pytest.mark.parametrize("days", ["1", "365"])
@pytest.mark.usefixtures("company")
def test_a_day_and_a_year_are_enough(host: FakeHost, days: str) -> None:
    issue(days=days)

    assert int(days) == json.loads(host.given[-1])["days"]


@pytest.mark.parametrize("auth", ["basic", "none"])
def test_without_a_provider_there_are_no_tokens(
    company: Settings, host: FakeHost, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: replace(company, auth=auth)))
    said = f"there are no tokens with AUTH={auth}"
    with pytest.raises(OpsError, match=said) as caught:
        issue()
    with pytest.raises(OpsError, match=said):
        tokens.take_back("ci", "", label="nightly")

    assert REFUSED == caught.value.code
    assert [] == host.lines


@pytest.mark.parametrize("name", ["admin", "Admin"])
@pytest.mark.usefixtures("company")
def test_the_tasks_own_user_has_a_password_which_is_not_taken_back(
    host: FakeHost, server: StandInServer, name: str
) -> None:
    said = "admin logs in with ADMIN_PASSWORD"
    with pytest.raises(OpsError, match=said):
        issue(name)
    with pytest.raises(OpsError, match=said):
        tokens.take_back(name, "", label="ADMIN_PASSWORD")

    assert ([], []) == (host.lines, server.requests)


@pytest.mark.parametrize(
    ("done", "code"),
    [
        (Result(2, "", "error: it is there\n  try: another\n"), REFUSED),
        (Result(1, "", "Traceback …\nKeyError: 'x'\n"), FAILED),
    ],
)
@pytest.mark.usefixtures("company")
def test_a_job_that_fails_makes_no_token(
    host: FakeHost, capsys: pytest.CaptureFixture[str], done: Result, code: int
) -> None:
    host.answers[JOB] = done
    with pytest.raises(OpsError) as caught:
        issue()

    assert code == caught.value.code
    assert "" == capsys.readouterr().out


@pytest.fixture
def ci(server: StandInServer) -> StandInServer:
    """A server on which a program has a token, and no rights."""
    found = {"username": "ci", "is_admin": False, "is_service_account": True}
    server.broken["GET /users/details"] = (200, json.dumps([found]).encode())
    for kind in ("experiments", "registered-models", "prompts"):
        server.broken[f"GET /permissions/users/ci/{kind}"] = (200, b"[]")
    of_it = {"tokens": [{"id": 7, "name": "nightly"}]}
    server.broken["GET /users/ci/tokens"] = (200, json.dumps(of_it).encode())
    server.broken["DELETE /users/ci/tokens/7"] = (200, b'{"deleted": 1}')
    return server


@pytest.mark.usefixtures("company")
def test_a_token_is_taken_back_by_its_label(
    ci: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens.take_back("CI", "", label="nightly")

    assert "DELETE /users/ci/tokens/7" == ci.requests[-1]
    assert "the token 'nightly' of CI works for some seconds more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "label", "said"),
    [("ci", "weekly", "ci has no token 'weekly'"), ("ben", "nightly", "there is no user 'ben'")],
)
@pytest.mark.usefixtures("company")
def test_one_that_is_not_there_is_not_taken_back(
    ci: StandInServer, name: str, label: str, said: str
) -> None:
    with pytest.raises(OpsError, match=said) as caught:
        tokens.take_back(name, "", label=label)

    assert REFUSED == caught.value.code
    assert not [line for line in ci.requests if line.startswith("DELETE")]
