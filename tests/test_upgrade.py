"""An upgrade: planned, backed up, rehearsed, agreed to, and only then carried out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops import consent, deploys, manifest, rehearsal, restore, revisions, server, upgrade, vault
from ops.errors import OpsError
from ops.hosts import Result
from ops.rehearsal import Rehearsal
from ops.scratch import Scratch
from ops.settings import Settings
from tests.conftest import a_container
from tests.restored import MADE, SECRETS, Docker, FakeHome, at_home, prepared

OLD, NEW = "sha256:old", "sha256:new"
STEPS = [{"revision": "bbb2", "what": "add traces"}]


class Stack(Docker):
    """A machine with a running stack, whose MySQL and images say which versions they are."""

    def __init__(self) -> None:
        super().__init__()
        self.new, self.steps = f"{NEW}\n", STEPS
        self.tables = ["mlflow.alembic_version"]
        self.plan: Result | None = None

    def do_image(self, *_: Any) -> Result:
        return Result(0, self.new, "")

    def do_run(self, words: list[str], stdin: bytes) -> Result:
        if "--plan" in words:
            head = {"name": "schema", "from": "aaa1", "to": "bbb2", "migrations": self.steps}
            return self.plan or Result(0, json.dumps({"mlflow": "3.17.2", "schemas": [head]}), "")
        if upgrade.VERSION in words:
            return Result(0, "3.14.0\n", "")
        return super().do_run(words, stdin)

    def do_exec(self, words: list[str], stdin: bytes) -> Result:
        question = stdin.decode().partition("\n")[2]
        if "information_schema" in question:
            return Result(0, "".join(f"{name}\n" for name in self.tables), "")
        if "version_num" in question:
            return Result(0, "aaa1\n", "")
        if "VERSION()" in question:
            return Result(0, "8.4.6\n", "")
        return super().do_exec(words, stdin)


def seen(**changed: Any) -> Rehearsal:
    return Rehearsal(
        **{
            "mysql": "9.7.4",
            "seconds": {"restored": 1.0, "migration": 2.0, "start": 3.0},
            "touched": {"mlflow.runs": (1000, 1000)},
            "read": {"runs": 2},
            "differences": [],
            **changed,
        }
    )


class World:
    """A stack on this machine, and what an upgrade had done to it."""

    def __init__(self, settings: Settings, patch: pytest.MonkeyPatch) -> None:
        self.host, self.done = Stack(), list[str]()
        self.home = FakeHome(settings, self.host)
        self.home.local.answers.pop("docker exec live-db")
        self.running = [a_container("web", image=OLD), a_container("db")]
        self.found: Rehearsal | OpsError = seen()
        self.cut_off = False
        self.way: Any = None
        at_home(patch, upgrade, self.home)
        patch.setattr(vault, "reach", lambda _: "the-place")
        patch.setattr(upgrade, "containers", lambda *_: self.running)
        patch.setattr(manifest, "find", lambda *_: MADE)
        patch.setattr(restore, "order", self.order)
        patch.setattr(rehearsal, "rehearse", self.rehearse)
        patch.setattr(upgrade, "take_back", lambda *_: self.cut_off)
        patch.setattr(server, "up", lambda engine, *, migrate: self.say(f"up {engine} {migrate}"))
        patch.setattr(deploys, "bring", self.bring)

    def say(self, what: str) -> None:
        assert "drilling no more" == self.home.locked[-1]
        self.done.append(what)

    def bring(self, hosts: str, *, migrate: bool, way_back: Any) -> None:
        self.say(f"deploy {hosts} {migrate}")
        self.way = way_back

    def order(self, *_: object) -> str:
        self.done.append("backup")
        return MADE.id

    def rehearse(self, made: Scratch, _home: object, _key: object, now: str, new: str) -> Rehearsal:
        self.done.append(f"rehearsal {now} {new} {made.purpose}")
        if isinstance(self.found, OpsError):
            raise self.found
        return self.found

    def run(self, hosts: str = "", **given: Any) -> None:
        told: dict[str, Any] = {"key": "", "rehearse_only": False, "yes": True, "as_json": False}
        upgrade.upgrade(hosts, **(told | given))


REHEARSED = ["backup", f"rehearsal {OLD} {NEW} upgrade"]


@pytest.fixture
def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(prepared(folder, monkeypatch), monkeypatch)


def test_it_is_planned_backed_up_rehearsed_and_then_carried_out(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.run()
    out, err = capsys.readouterr()

    assert [*REHEARSED, "up compose True"] == world.done
    assert "MLflow 3.14.0 -> 3.17.2\n" in err
    assert "MySQL 8.4.6 -> " in err
    assert "schema: aaa1 -> bbb2, 1 migrations\n  bbb2 add traces\n" in err
    assert f"backed up: {MADE.id}\n" in err
    assert f"should it fail: check out what ran before, then invoke restore --id {MADE.id}\n" in err
    assert err.endswith(f"the database as it was before: invoke restore --id {MADE.id}\n")
    assert (
        "rehearsed: restored in 1.0 s, migrated in 2.0 s, the new server answered after 3.0 s\n"
        "  changes mlflow.runs: 1,000 rows\n"
        "read: 2 runs; the same as what the server of now reads\n"
    ) == out
    for secret in SECRETS:
        assert secret not in "".join(world.host.lines) + out + err


def test_a_host_is_deployed_to(world: World) -> None:
    world.run("a.example")

    assert [*REHEARSED, "deploy a.example True"] == world.done
    assert world.way is not None
    assert 13 == world.way.retry_seconds  # a fifth of twice 2 s, 1 s and a minute


def test_where_no_schema_changes_no_write_has_to_wait(world: World) -> None:
    world.host.steps = []
    world.run("a.example")

    assert "deploy a.example True" == world.done[-1]
    assert world.way is None


def test_of_a_host_the_way_back_is_named_too(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.run("a.example")

    assert capsys.readouterr().err.endswith(f"invoke restore --host a.example --id {MADE.id}\n")


def test_a_document_is_of_a_rehearsal_alone(world: World) -> None:
    with pytest.raises(OpsError, match="is for a rehearsal") as caught:
        world.run(as_json=True)

    assert (2, []) == (caught.value.code, world.done)


def test_what_was_cut_off_is_taken_back_and_no_more(world: World) -> None:
    world.cut_off = True
    world.run("a.example")

    assert [] == world.done


def test_only_a_rehearsal_changes_nothing(world: World) -> None:
    world.run(rehearse_only=True)

    assert REHEARSED == world.done


def test_scripts_get_all_of_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.run(rehearse_only=True, as_json=True)
    told = json.loads(capsys.readouterr().out)

    assert MADE.id == told["backup"]
    assert ["3.14.0", "3.17.2"] == told["plan"]["mlflow"]
    assert [1000, 1000] == told["rehearsal"]["touched"]["mlflow.runs"]


@pytest.mark.parametrize(
    "found",
    [OpsError("the migration failed: x", "read"), seen(differences=["run a: .x is 2, was 1"])],
)
def test_a_rehearsal_that_goes_wrong_is_the_end(world: World, found: Rehearsal | OpsError) -> None:
    world.found = found
    with pytest.raises(OpsError) as caught:
        world.run()

    assert 1 == caught.value.code
    assert REHEARSED == world.done


def test_a_migration_is_agreed_to(world: World, answer: Callable[[str], None]) -> None:
    answer("no")
    with pytest.raises(OpsError, match="not confirmed"):
        world.run(yes=False)
    assert REHEARSED == world.done

    answer("yes")
    world.run(yes=False)
    assert "up compose True" == world.done[-1]


def test_where_no_schema_changes_nobody_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.host.steps = []
    monkeypatch.setattr(consent, "ask", lambda *_, **__: pytest.fail("asked"))
    world.run(yes=False)

    assert "up compose True" == world.done[-1]
    assert "the database as it was before" not in capsys.readouterr().err


def test_the_same_image_is_nothing_to_rehearse(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.host.new = f"{OLD}\n"
    world.run()

    assert [] == world.done
    assert "nothing to rehearse" in capsys.readouterr().err


def test_revisions_of_every_schema_are_asked_about(world: World) -> None:
    world.host.tables = [*revisions.SCHEMAS, "mlflow.alembic_migration_journal"]
    world.run()
    [line] = [each for each in world.host.lines if "--plan" in each]

    for name in ("schema=aaa1", "login", "sign-on"):
        assert name in line
    assert "FROM mlflow.alembic_migration_journal" not in "".join(map(str, world.host.given))


# --- What is refused, before anything is done ---


def test_a_database_of_a_newer_mlflow(world: World) -> None:
    world.host.plan = Result(2, "", "error: the database is at revision zz\n  try: go back\n")
    with pytest.raises(OpsError, match="at revision zz") as caught:
        world.run()

    error = caught.value
    assert ("the database is at revision zz", "go back", 2) == (
        error.cause,
        error.remedy,
        error.code,
    )
    assert [] == world.done


def test_a_database_without_a_revision(world: World) -> None:
    world.host.tables = []
    with pytest.raises(OpsError, match="names no schema revision"):
        world.run()

    assert [] == world.done


@pytest.mark.parametrize("running", [[], ["db"]])
def test_a_stack_that_does_not_run(world: World, running: list[str]) -> None:
    world.running = [a_container(name) for name in running]
    with pytest.raises(OpsError, match="no stack runs on the-host") as caught:
        world.run()

    assert 2 == caught.value.code
    assert [] == world.done


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"BACKUPS_DESTINATION": ""}, "begins with a backup"),
        (
            {
                "DATABASE_HOST": "db.example",
                "DATABASE_CA_FILE": __file__,
                "BACKUPS_DESTINATION": "",
            },
            "there is no copy to rehearse on",
        ),
    ],
)
def test_a_database_of_which_there_is_no_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], cause: str
) -> None:
    world = World(prepared(folder, monkeypatch, **given), monkeypatch)
    with pytest.raises(OpsError, match=cause) as caught:
        world.run()

    assert 2 == caught.value.code
    assert [] == world.done + world.host.lines


def test_a_disk_without_room_for_a_table_written_anew(world: World) -> None:
    world.host.free = 1024
    with pytest.raises(OpsError, match="are free") as caught:
        world.run()

    assert 2 == caught.value.code
    assert ["backup"] == world.done
