"""A host under examination: the way in, and what is asked of it once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from ops import patient as module
from ops.checks import NotChecked
from ops.patient import Patient
from ops.settings import Settings
from tests import patients
from tests.conftest import FakeHost


class Tunnelled(FakeHost):
    """A host that says which of its ports was asked for."""

    asked: tuple[int, str] | None = None

    @contextmanager
    def forward(self, port: int, address: str) -> Iterator[int]:
        self.asked = port, address
        yield 45678


@pytest.mark.parametrize(
    ("bind", "address"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")],
)
def test_the_door_is_where_the_host_itself_finds_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, bind: str, address: str
) -> None:
    host, closed = Tunnelled({}), []

    @contextmanager
    def connect(given: str, _: Settings) -> Iterator[Tunnelled]:
        assert given == patients.NAME
        yield host
        closed.append(given)

    monkeypatch.setattr(module, "connect", connect)
    settings = replace(settings, bind_address=bind)
    with ExitStack() as opened:
        made = Patient(given=patients.NAME, settings=settings, local=FakeHost({}), opened=opened)
        made.log_in()

        assert host.asked == (5050, address)
        assert made.door.url == "http://127.0.0.1:45678"
        assert closed == []
    assert closed == [patients.NAME]


def test_the_facts_are_asked_for_once(settings: Settings) -> None:
    made = patients.patient(settings)

    assert made.running("web").identity == patients.WEB
    assert made.running("db").identity == patients.DB
    assert len([line for line in patients.lines(made) if line.startswith("docker ps")]) == 1


def test_a_container_that_does_not_run_is_nothing_to_look_into(settings: Settings) -> None:
    ended = patients.containers(db={"state": {"Status": "exited"}})
    made = patients.patient(settings, {patients.INSPECT: ended})

    with pytest.raises(NotChecked, match="db does not run"):
        made.running("db")
