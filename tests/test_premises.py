"""Where a stack runs: what has to be true there before a secret is replaced. Docker is faked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ops import premises, stack, states
from ops.errors import OpsError
from ops.premises import Here, There
from ops.settings import Settings
from ops.site import Facts, Site
from tests.conftest import FakeHost, a_release


@pytest.fixture
def site(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The host that every command reaches."""
    found = Site(FakeHost({}), settings)

    @contextmanager
    def reach(*_: object) -> Iterator[list[Site]]:
        yield [found]

    monkeypatch.setattr("ops.fleet.reach", reach)
    monkeypatch.setattr(Site, "facts", lambda _: Facts(live=a_release()))
    return found


def test_a_host_or_this_machine(settings: Settings) -> None:
    assert isinstance(premises.premises(settings, ""), Here)
    assert isinstance(premises.premises(settings, "host"), There)


def test_here_a_command_goes_to_the_stack_of_this_machine(settings: Settings) -> None:
    with Here(settings).reached() as place:
        assert stack.compose(settings, "exec", "--no-TTY", "db") == place.database
        assert place.job("true")[-2:] == ("migrate", "true")


def test_there_it_goes_to_the_live_release_of_the_first_host(
    site: Site, settings: Settings
) -> None:
    with There(settings, "host").reached() as place:
        assert site.host is place.host
        assert site.compose(a_release(), "exec", "--no-TTY", "db") == place.database


def test_a_machine_without_a_stack_in_containers_is_refused(settings: Settings) -> None:
    states.remember(settings, "embedded")
    with pytest.raises(OpsError, match="no stack in containers runs here") as caught:
        Here(settings).require_current()

    assert 2 == caught.value.code


@pytest.mark.parametrize("current", [True, False])
def test_a_stack_that_does_not_run_as_described_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, current: bool
) -> None:
    states.remember(settings, "compose")
    monkeypatch.setattr("ops.images.engine", lambda _: type("E", (), {"machine": None}))
    monkeypatch.setattr("ops.sizing.size", lambda *_: None)
    monkeypatch.setattr(premises, "containers", lambda *_: [])
    monkeypatch.setattr("ops.compose.unchanged", lambda *_: current)
    if current:
        Here(settings).require_current()
        return
    with pytest.raises(OpsError, match="does not run as it is described") as caught:
        Here(settings).require_current()

    assert "first: invoke up" == caught.value.remedy


def test_hosts_on_which_a_deploy_would_change_more_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.deploys.pending", lambda _: ["setting: X 'a' -> 'b'"])
    with pytest.raises(OpsError, match="setting: X") as caught:
        There(settings, "a,b").require_current()

    assert (2, "first: invoke deploy --host a,b") == (caught.value.code, caught.value.remedy)


def test_it_is_said_that_another_stack_with_this_env_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ops.deploys.pending", lambda _: [])
    There(settings, "host").require_current()
    assert not capsys.readouterr().err
    states.remember(settings, "compose")
    There(settings, "host").require_current()

    assert "the stack on this machine keeps the old secret" in capsys.readouterr().err


def test_every_server_is_brought_to_what_env_says_by_the_usual_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    settings.keep({"STACK_NAME": "written-later"})
    monkeypatch.setattr("ops.compose.up", lambda found, _, **more: done.append((found, more)))
    monkeypatch.setattr("ops.deploys.bring", lambda hosts: done.append((hosts, {})))
    Here(settings).bring()
    There(settings, "a,b").bring()

    assert "written-later" == done[0][0].stack_name
    assert ("a,b", {}) == done[1]
