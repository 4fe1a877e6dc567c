"""Looking at hosts: what is refused before anything is asked; the rest is in tests/e2e."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import remote as looking
from ops.errors import OpsError
from ops.settings import Settings
from ops.site import Facts, Site
from ops.ssh import SshHost
from tests.conftest import FakeHost, StandInServer, a_release


@pytest.fixture
def reached(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Site]:
    """The hosts that every command reaches."""
    found = [Site(FakeHost({}), settings)]

    @contextmanager
    def reach(*_: object) -> Iterator[list[Site]]:
        yield found

    monkeypatch.setattr("ops.fleet.reach", reach)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    return found


def test_releases_are_listed_newest_first_with_result_and_the_live_one_marked(
    reached: list[Site], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reached
    old, new = a_release(), a_release(id="20261125T000000Z", what="rollback to x")
    record = [json.dumps({"release": old.id, "result": "ok", "previous": "0" * 64})]
    facts = Facts(releases={each.id: each for each in (old, new)}, live=old, record=record)
    monkeypatch.setattr(Site, "facts", lambda _: facts)
    looking.show_releases("", as_json=True)
    rows = json.loads(capsys.readouterr().out)

    assert [(new.id, "unknown", False), (old.id, "ok", True)] == [
        (row["id"], row["result"], row["live"]) for row in rows
    ]
    looking.show_releases("", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert "rollback to x" in lines[0]
    assert " live " in lines[1]


def test_a_record_that_was_changed_is_warned_of(
    reached: list[Site], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reached
    monkeypatch.setattr(Site, "facts", lambda _: Facts(record=["{}"]))
    looking.show_releases("", as_json=True)

    assert "the audit record was changed at line 1" in capsys.readouterr().err


def test_a_service_that_is_not_there_is_refused(
    reached: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reached
    monkeypatch.setattr(Site, "facts", lambda _: Facts(live=a_release()))
    with pytest.raises(OpsError, match="there is no service 'x'") as caught:
        looking.logs("host", "x", follow=False)

    assert 2 == caught.value.code


def test_a_host_without_a_release_has_no_logs(
    reached: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reached
    monkeypatch.setattr(Site, "facts", lambda _: Facts())
    with pytest.raises(OpsError, match="no live release"):
        looking.logs("host", "web", follow=False)


@pytest.mark.parametrize("command", ["", "  "])
def test_no_command_is_refused(command: str) -> None:
    with pytest.raises(OpsError, match="no command is given"):
        looking.execute("host", command, dry=False)


def test_what_is_for_one_host_refuses_several(reached: list[Site]) -> None:
    reached.append(reached[0])
    with pytest.raises(OpsError, match="several hosts"):
        looking.execute("a,b", "true", dry=False)


def test_a_command_s_exit_code_is_ours() -> None:
    with pytest.raises(OpsError, match="exit code 7 from: docker ps") as caught:
        looking.ended(7, ("docker", "ps"))

    assert 7 == caught.value.code
    looking.ended(0, ("true",))


def test_without_a_host_it_is_this_machine(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    assert project
    monkeypatch.setattr("ops.server.show_status", lambda **_: asked.append("status"))
    monkeypatch.setattr("ops.server.logs", lambda *_, **__: asked.append("logs"))
    monkeypatch.setattr("ops.server.smoke_test", lambda url: asked.append(f"smoke {url}"))
    looking.show_status("", as_json=False)
    looking.logs("", "", follow=False)
    looking.smoke_test("", "")
    looking.smoke_test("host", "http://x")

    assert ["status", "logs", "smoke ", "smoke http://x"] == asked


def test_the_front_door_of_a_host_is_reached_through_ssh_under_the_public_name(
    reached: list[Site], remote: SshHost, server: StandInServer
) -> None:
    settings = Settings(http_port=server.port, public_url="https://x.example")
    reached[:] = [Site(remote, settings)]
    with looking.reached(settings, "host") as door:
        assert f":{server.port}" not in door.url
        door.answers()
    with looking.reached(settings, "") as door:
        assert door.url.endswith(f":{server.port}")

    assert ["x.example"] == server.hosts


def test_the_front_doors_of_several_hosts_are_refused(reached: list[Site]) -> None:
    reached.append(reached[0])
    with pytest.raises(OpsError, match="several hosts"), looking.reached(Settings(), "a,b"):
        pass
