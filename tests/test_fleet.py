"""Which hosts a command is for; connections are doubles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from ops import fleet
from ops.errors import OpsError
from ops.settings import Settings
from tests.conftest import FakeHost


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses connected to, then those let go of."""
    seen: list[str] = []

    @contextmanager
    def connect(address: str, _: Settings) -> Iterator[FakeHost]:
        seen.append(address)
        yield FakeHost({})
        seen.append(f"closed {address}")

    monkeypatch.setattr(fleet, "connect", connect)
    return seen


def test_the_flag_wins_over_the_setting(settings: Settings, opened: list[str]) -> None:
    own = replace(settings, deploy_host="one,two")
    with fleet.reach(own, "") as found:
        assert 2 == len(found)
        assert ["one", "two"] == opened
    with fleet.reach(own, "three") as found:
        assert 1 == len(found)

    assert ["closed two", "closed one", "three", "closed three"] == opened[2:]


@pytest.mark.parametrize(
    ("hosts", "cause"), [("", "no host is given"), ("a,b,a", "the host a is given twice")]
)
def test_no_host_and_one_twice_are_refused(
    settings: Settings, opened: list[str], hosts: str, cause: str
) -> None:
    with pytest.raises(OpsError, match=cause) as caught, fleet.reach(settings, hosts):
        pass

    assert 2 == caught.value.code
    assert [] == opened
