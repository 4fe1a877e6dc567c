"""The application in the server that names who is asking, around a stand-in for the plugin's."""

import asyncio
import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow_compose import gate
from mlflow_compose.application import SHORT

from tests.conftest import ROOT

KEY = "of the plugin's context"
OWN = (b"content-type", b"application/json")


async def plugin(scope: dict[str, Any], receive: gate.Receive, send: gate.Send) -> None:
    """Let somebody in or not, and answer; a server's start has no answer."""
    assert await receive() == {"type": "asked"}
    if scope["type"] != "http":
        await send({"type": f"{scope['type']}.startup.complete"})
        return
    if "who" in scope:
        scope[KEY] = SimpleNamespace(username=scope["who"])
    status = 200 if "who" in scope else 401
    await send({"type": "http.response.start", "status": status, "headers": [OWN]})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture(scope="module")
def application() -> gate.Application:
    """The application, made where the plugin's modules are these."""
    modules: dict[str, dict[str, Any]] = {
        "mlflow_oidc_auth": {},
        "mlflow_oidc_auth.app": {"app": plugin},
        "mlflow_oidc_auth.entities": {},
        "mlflow_oidc_auth.entities.auth_context": {"AUTH_CONTEXT_KEY": KEY},
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, fields in modules.items():
            made = ModuleType(name)
            vars(made).update(fields)
            patch.setitem(sys.modules, name, made)
        return gate.create()


def answer(application: gate.Application, **request: Any) -> list[gate.Message]:
    """Return all that is sent to whoever makes a request: for who they are, unless told."""
    return sent({"type": "http", "path": gate.ASKED, **request}, application)


def sent(scope: dict[str, Any], application: gate.Application) -> list[gate.Message]:
    """Return all that is sent."""
    found: list[gate.Message] = []

    async def receive() -> gate.Message:
        return {"type": "asked"}

    async def send(message: gate.Message) -> None:
        found.append(message)

    async def ask() -> None:
        await application(scope, receive, send)

    asyncio.run(ask())
    return found


def test_the_gate_hears_who_is_asking_and_the_answer_is_the_plugin_s(
    application: gate.Application,
) -> None:
    start, body = answer(application, who="ana@example.com")

    assert 200 == start["status"]
    assert [OWN, (b"x-gate-user", b"ana@example.com")] == start["headers"]
    assert {"type": "http.response.body", "body": b"{}"} == body


# Each example takes an event loop: how long, depends on what else the machine does.
@settings(deadline=None)
@given(name=st.text())
@example(name="ana\r\nX-Gate-In: yes")
@example(name="änne müller")
@example(name="50%41")
def test_a_name_is_one_header_and_can_be_read_back(
    application: gate.Application, name: str
) -> None:
    start, _ = answer(application, who=name)
    [(_, said)] = [each for each in start["headers"] if each != OWN]

    assert said.isascii()
    assert not set(said) & set(b'\r\n\0 "\\,;')
    assert name == unquote(said.decode())


def test_nobody_has_no_name(application: gate.Application) -> None:
    start, _ = answer(application)

    assert (401, [OWN]) == (start["status"], start["headers"])


@pytest.mark.parametrize("path", ["/", f"{gate.ASKED}/", "/api/2.0/mlflow/users/details"])
def test_whoever_asks_for_something_else_is_not_named(
    application: gate.Application, path: str
) -> None:
    start, _ = answer(application, path=path, who="ana@example.com")

    assert [OWN] == start["headers"]


def test_a_start_of_the_server_goes_to_the_plugin_as_it_is(application: gate.Application) -> None:
    found = sent({"type": "lifespan"}, application)

    assert [{"type": "lifespan.startup.complete"}] == found


def test_what_the_gate_asks_for_is_where_the_name_is() -> None:
    template = ROOT / "nginx" / "templates" / "login" / "gate.conf.template"

    assert f"proxy_pass http://web{gate.ASKED};" in template.read_text("utf-8")


def test_mlflow_finds_the_application_by_the_name_that_the_server_is_started_with() -> None:
    [found] = metadata.distributions(path=[str(ROOT / "mlflow" / "plugin")])
    [told] = found.entry_points.select(group="mlflow.app")
    entrypoint = (ROOT / "mlflow" / "entrypoint.sh").read_text("utf-8")

    assert gate.create == told.load()
    assert f'oidc) set -- "$@" --app-name={told.name} ;;' in entrypoint


def test_what_nginx_asks_takes_the_shorter_way() -> None:
    template = (ROOT / "nginx/templates/login/gate.conf.template").read_text("utf-8")

    assert f"proxy_pass http://web{gate.ASKED};" in template
    assert gate.ASKED in SHORT
