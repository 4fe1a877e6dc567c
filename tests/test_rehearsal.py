"""The rehearsal of an upgrade: in which order, what is compared, and that nothing of it is left."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ops import rehearsal
from ops.age_keys import parse
from ops.errors import OpsError
from ops.hosts import Result
from ops.manifest import Table
from ops.rehearsal import Rehearsal
from ops.scratch import UPGRADE, Scratch, Way
from ops.settings import Settings
from tests.restored import LIVE, MADE, MANNERS, SAID, Caught, Docker, FakeHome, prepared
from tests.stored import PRIVATE

KEY = parse(PRIVATE, "key")
RUNS = next(iter(MADE.tables))


class Rehearsed(Docker):
    """A machine on which a migration changes what a test says."""

    def __init__(self) -> None:
        super().__init__(found={"tail": ["binlog.000002"], "gtids": MADE.gtids})
        self.shapes = {RUNS: "a"}
        self.migrates: Callable[[], object] = lambda: None
        self.stages: list[tuple[str, list[str]]] = []

    def do_read(self, words: list[str], stages: list[str]) -> Result:
        self.stages.append((words[words.index("-c") - 1], stages))
        if "migrate" in stages:
            self.migrates()
        return super().do_read(words, stages)

    def answer(self, question: str) -> str:
        if "SHA2" in question:
            return "".join(f"{name}\t{shape}\n" for name, shape in self.shapes.items())
        if question == "SELECT VERSION()":
            return "9.7.4\n"
        return super().answer(question)


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(FakeHome, "credentials", lambda _: "")
    return prepared(folder, monkeypatch)


def run(settings: Settings, host: Docker) -> Rehearsal:
    made = Scratch(host, settings, Way(MADE), UPGRADE)
    return rehearsal.rehearse(made, FakeHome(settings, host), KEY, "old:1", "new:1")


def test_the_old_server_reads_then_the_new_one_migrates_reads_and_writes(
    settings: Settings,
) -> None:
    host = Rehearsed()
    found = run(settings, host)

    assert [
        ("old:1", ["read"]),
        ("new:1", ["migrate"]),
        ("new:1", ["read", "write"]),
    ] == host.stages
    assert ("9.7.4", {}, []) == (found.mysql, found.touched, found.differences)
    assert {"restored", "migration", "start"} == set(found.seconds)
    assert [LIVE] == list(host.volumes)
    assert ["live-db"] == list(host.containers)
    rehearsal.require_alike(found)


def test_tables_that_change_are_named_with_their_rows(settings: Settings) -> None:
    host = Rehearsed()
    host.migrates = lambda: host.rows.update({RUNS: [9, 1]})

    assert {RUNS: (MADE.tables[RUNS].rows, 9)} == run(settings, host).touched


def test_a_table_that_only_gets_an_index_has_changed(settings: Settings) -> None:
    host = Rehearsed()
    host.migrates = lambda: host.shapes.update({RUNS: "b"})

    assert [RUNS] == list(run(settings, host).touched)


def test_a_table_that_is_gone_has_no_rows_and_bookkeeping_is_none() -> None:
    before = {"mlflow.runs": Table(3, 1), "mlflow.alembic_version": Table(1, 1)}
    after = {"mlflow.alembic_version": Table(1, 2)}

    assert {"mlflow.runs": (3, 0)} == rehearsal.touched(before, after, set())


def test_other_answers_are_told_and_stop_it(settings: Settings) -> None:
    host = Rehearsed()

    def migrate() -> None:
        host.said = {**SAID, "experiments": {"experiments": []}}

    host.migrates = migrate
    found = run(settings, host)
    with pytest.raises(OpsError, match="does not answer as the old one") as caught:
        rehearsal.require_alike(found)

    assert "experiments: .experiments has 0 entries, had 1" in caught.value.cause
    assert 1 == caught.value.code


def test_of_many_differences_ten_are_told() -> None:
    found = Rehearsal(
        mysql="", seconds={}, touched={}, read={}, differences=[str(n) for n in range(25)]
    )
    with pytest.raises(OpsError, match="and 15 more"):
        rehearsal.require_alike(found)


def broken(number: int, act: Callable[[int, str], Result]) -> Callable[[int, str], Result | None]:
    """Do something in the place of the command of this number."""
    return lambda at, line: act(at, line) if at == number else None


@pytest.mark.parametrize("manner", MANNERS)
def test_whatever_fails_leaves_nothing(settings: Settings, manner: str) -> None:
    first = Rehearsed()
    run(settings, first)
    for number, line in enumerate(first.lines, 1):
        host = Rehearsed()
        host.breaks = broken(number, MANNERS[manner])
        with suppress(*Caught):
            run(settings, host)
        if "docker rm" not in line and "volume rm" not in line:
            assert [] == host.left, line
        assert LIVE in host.volumes, line
        assert "live-db" in host.containers, line
