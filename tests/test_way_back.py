"""The way back of a database: what is noted before, and what the next command makes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import hold, protection, restore, revisions, vault, way_back
from ops.age_keys import parse
from ops.errors import OpsError
from ops.homes import SiteHome
from ops.hosts import Result
from ops.protection import Protection
from ops.restore import Asked
from ops.scratch import Way
from ops.settings import Settings
from ops.site import Facts, Site
from ops.way_back import WayBack, take_back
from tests.conftest import a_release
from tests.restored import MADE, Docker, FakeHome, prepared
from tests.stored import PRIVATE

KEY = parse(PRIVATE, "key")
NOW = datetime(2026, 11, 30, 8, 0, 0, 123456, UTC)
BEFORE = NOW.isoformat()
OLD = a_release()
REVISIONS = {"schema": "aaa1"}


class World:
    """A host with a live release, a database, and what was done to them."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.stored = [NOW - timedelta(seconds=3), NOW + timedelta(seconds=2)]
        self.revisions, self.interrupted = dict(REVISIONS), False
        self.noted: dict[str, Any] | None = None
        self.settings = settings
        home = FakeHome(settings, Docker())
        site = Site(home.host, settings)
        facts = Facts(live=OLD)

        class There(SiteHome):
            """A home on a host of which nothing is asked."""

            def __init__(self) -> None:
                self.site, self.live = site, OLD

            def inside(self, service: str) -> tuple[str, ...]:
                return ("docker", "exec", f"live-{service}")

            def volume(self) -> str:
                return "live"

            @contextmanager
            def kept(self) -> Iterator[None]:
                yield

        self.home = There()

        @contextmanager
        def found(*_: object) -> Iterator[SiteHome]:
            yield self.home

        patch.setattr(way_back, "home", found)
        patch.setattr(revisions, "asked", lambda *_: ["2026-11-30 08:00:00.123456"])
        patch.setattr(revisions, "revisions", lambda *_: self.revisions)
        patch.setattr(revisions, "interrupted", lambda *_: self.interrupted)
        patch.setattr(way_back, "recover", lambda *_: self.done.append("recover"))
        patch.setattr(Site, "facts", lambda _: facts)
        patch.setattr(vault, "reach", lambda _: "place")
        patch.setattr(protection, "read", self.read)
        patch.setattr(restore, "choose", self.choose)
        patch.setattr(restore, "put_in_place", lambda *_: self.done.append("put in place"))
        patch.setattr(hold, "found", lambda _: self.noted)
        patch.setattr(hold, "end", lambda *_: self.done.append("let go"))
        patch.setattr("time.sleep", lambda _: None)
        patch.setattr(Docker, "do_volume_ls", lambda *_: Result(0, "", ""))
        self.host: Any = home.host
        self.jobs = ""
        patch.setattr(Docker, "do_ps", lambda *_: Result(0, self.jobs, ""))

    def read(self, *_: object) -> Protection:
        now = self.stored.pop(0) if len(self.stored) > 1 else self.stored[0]
        return Protection(now.isoformat(), None, None, ("S3 is away",))

    def choose(self, _: object, asked: Asked) -> Way:
        self.done.append(f"to {asked.at}")
        return Way(MADE)

    @property
    def way(self) -> WayBack:
        return WayBack(self.settings, "a.example", KEY, 5)

    def take_back(self) -> bool:
        return take_back(self.home, self.settings, KEY)


@pytest.fixture
def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(prepared(folder, monkeypatch), monkeypatch)


def test_a_moment_is_marked_once_all_before_it_is_stored(world: World) -> None:
    assert {"before": BEFORE, "revisions": REVISIONS} == world.way.mark()
    assert 1 == len(world.stored)


def test_changes_that_are_not_stored_are_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_back, "STORED_SECONDS", 0)
    world.stored = [NOW]
    with pytest.raises(OpsError, match="are not stored after 0 s: S3 is away"):
        world.way.mark()


def test_the_database_of_that_moment_is_put_in_place(world: World) -> None:
    world.way.go({"before": BEFORE})

    assert [f"to {BEFORE}", "put in place"] == world.done


# --- An upgrade that was cut off ---


def test_nothing_that_waits_is_nothing_to_take_back(world: World) -> None:
    assert not world.take_back()
    assert not take_back(FakeHome(world.settings, Docker()), world.settings, KEY)
    assert [] == world.done


NOTED = {"release": "20991231T000000Z-000000", "before": BEFORE, "revisions": REVISIONS}


@pytest.mark.parametrize(
    ("noted", "revision", "interrupted", "back"),
    [
        ({}, "aaa1", False, False),  # before anything was noted, so before the migration
        (NOTED, "aaa1", False, False),
        (NOTED, "bbb2", False, True),
        (NOTED, "aaa1", True, True),
        ({**NOTED, "release": OLD.id}, "bbb2", False, False),  # after the switch: it serves
    ],
)
def test_the_database_is_brought_back_only_where_it_was_touched_and_nobody_serves_from_it(
    world: World, noted: dict[str, Any], revision: str, interrupted: bool, back: bool
) -> None:
    world.noted, world.interrupted = noted, interrupted
    world.revisions = {"schema": revision}

    assert world.take_back()
    brought = [f"to {BEFORE}", "put in place"] if back else []
    assert ["recover", *brought, "let go"] == world.done


@pytest.mark.parametrize("noted", [{}, NOTED])
def test_a_migration_that_goes_on_by_itself_is_ended_before_anything_is_looked_at(
    world: World, noted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.noted, world.jobs = noted, "abc\n"

    def look(*_: object) -> dict[str, str]:
        assert "docker rm --force --volumes abc" in world.host.lines
        return {"schema": "aaa1"}

    monkeypatch.setattr(revisions, "revisions", look)
    assert world.take_back()
    assert "docker rm --force --volumes abc" in world.host.lines
    world.host.lines.clear()
    world.way.go({"before": BEFORE})
    assert "docker rm --force --volumes abc" in world.host.lines


def test_a_database_that_does_not_answer_is_brought_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> bool:
        raise OpsError("MySQL does not answer", "look")

    world.noted = NOTED
    monkeypatch.setattr(revisions, "interrupted", down)
    assert world.take_back()
    assert "put in place" in world.done


def test_writes_go_on_waiting_where_it_cannot_be_brought_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.noted, world.interrupted = NOTED, True

    def away(*_: object) -> bool:
        raise OpsError("S3 is away", "wait")

    monkeypatch.setattr(restore, "put_in_place", away)
    with pytest.raises(OpsError, match="S3 is away"):
        world.take_back()

    assert "let go" not in world.done
