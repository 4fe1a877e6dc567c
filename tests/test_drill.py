"""A drill: a restore that nobody needs, of which nothing is left but signed evidence."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import artifacts, drill, evidence, manifest, restore, vault
from ops.age_keys import parse
from ops.artifacts import Looked
from ops.errors import OpsError
from ops.homes import LocalHome
from ops.hosts import Result
from ops.restore import Asked
from ops.scratch import Way
from ops.settings import Settings
from tests.restored import (
    LIVE,
    MADE,
    MANNERS,
    SECRETS,
    STACK,
    Caught,
    Docker,
    FakeHome,
    at_home,
    interrupt,
    prepared,
)
from tests.stored import PRIVATE

KEY = parse(PRIVATE, "key")


class Place:
    """A place for backups that takes evidence, and nothing else."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[bytes, datetime]] = {}
        self.away = False

    def put(self, name: str, data: bytes, until: datetime) -> None:
        if self.away:
            raise OpsError("S3 is away", "wait")
        self.stored[name] = data, until

    def __str__(self) -> str:
        return "s3://the-backups/stack"

    @property
    def told(self) -> dict[str, Any]:
        """What the one piece of evidence says, which is genuine."""
        [(name, (data, _))] = self.stored.items()
        document: dict[str, Any] = json.loads(data)
        assert evidence.genuine(data, KEY)
        found = manifest.DRILL.fullmatch(name)
        assert found is not None
        assert document["result"] == found["result"]
        return document


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack with backups, and the key at hand."""
    return prepared(folder, monkeypatch)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place with one backup that is asked for nothing more."""
    found = Place()
    monkeypatch.setattr(vault, "reach", lambda _: found)
    monkeypatch.setattr(restore, "choose", lambda *_: Way(MADE, "last", logs=100))
    monkeypatch.setattr(FakeHome, "credentials", lambda _: "")
    return found


@pytest.fixture
def home_of(
    settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeHome]:
    """The home of a stack that runs; a drill leaves it alone."""
    assert place
    home = FakeHome(settings, Docker())
    at_home(monkeypatch, drill, home)
    yield home
    assert home.locked in ([], ["drilling", "drilling no more"])
    assert home.live == LIVE
    assert not [line for line in home.local.lines if line.startswith("take")]


def run(*, as_json: bool = False, **asked: Any) -> None:
    drill.drill(Asked(**asked), "", as_json=as_json)


# --- What goes well ---


STEPS = [
    *("docker ps", "docker volume ls", "df -Pk", "images", "images web", "volume create"),
    *("ops.keeper fetch", "--skip-grant-tables", "/restore/logs/tail/", "gtid_executed"),
    *("CHECKSUM TABLE", "information_schema.triggers", "/restore/logs/after/", "gtid_executed"),
    *("docker stop", "docker rm", "--detach", "--entrypoint=python", "docker stop", "docker rm"),
    *("docker volume rm", "docker volume rm"),
]


def test_the_order_is_leftovers_room_images_volumes_fetch_proof_replay_and_mlflow(
    home_of: FakeHome,
) -> None:
    run()
    lines = iter(home_of.local.lines)
    for step in STEPS:
        assert any(step in line for line in lines), step

    assert [LIVE] == list(home_of.local.volumes)
    assert ["live-db"] == list(home_of.local.containers)


def test_what_comes_back_has_no_way_out(home_of: FakeHome) -> None:
    run()
    started = [line for line in home_of.local.lines if line.startswith("docker run")]
    fetching, proving, serving, reading = started

    assert "ops.keeper fetch" in fetching
    for each in (proving, serving):
        assert "--network=none" in each
    container = next(word for word in serving.split() if word.startswith("--name="))
    assert f"--network=container:{container.partition('=')[2]}" in reading
    assert "--publish" not in "".join(started)
    assert "web:1 -c" in reading


def test_the_evidence_says_what_was_seen_and_is_kept_as_long_as_the_longest_backup(
    home_of: FakeHome, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    told = place.told
    out, err = capsys.readouterr()

    assert (MADE.id, "last", "the-host", "ok") == (
        *(told["backup"], told["to"], told["where"], told["result"]),
    )
    assert {"experiments": 1, "runs": 2, "points": 3, "models": 0} == told["mlflow"]
    assert (1, 7, 4) == (told["tables"], told["rows"], told["transactions"])
    assert told["begun"] <= told["finished"]
    assert 0 <= told["seconds"]["restored"] <= told["seconds"]["all"]
    [(name, (_, until))] = place.stored.items()
    begun = datetime.fromisoformat(told["begun"])
    assert timedelta(days=400) == until - begun
    assert f"drills/{begun:%Y%m%dT%H%M%SZ}-ok.json" == name
    assert f"{MADE.id} restores: {told['seconds']['all']} s to a serving MLflow\n" == out
    assert f"evidence: {place}/{name}\n" in err
    assert home_of


def test_scripts_get_the_evidence(
    home_of: FakeHome, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run(as_json=True)
    told = place.told
    del told["signature"]

    assert told == json.loads(capsys.readouterr().out)
    assert home_of


def test_no_secret_is_in_a_command_or_on_the_screen_or_in_the_evidence(
    home_of: FakeHome, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    out, err = capsys.readouterr()
    host = home_of.local
    [(stored, _)] = place.stored.values()
    for secret in SECRETS:
        assert secret not in "".join(host.lines) + out + err + stored.decode()


# --- What fails ---


def tried() -> BaseException | None:
    """Try a drill; return what it ended with."""
    try:
        run()
    except Caught as error:
        return error
    return None


LEFT_OUT = ("docker rm", "volume rm", "df -Pk")
"""Commands without which a drill can be."""


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("manner", MANNERS)
def test_whatever_fails_leaves_evidence_of_it_and_nothing_else(
    settings: Settings, place: Place, monkeypatch: pytest.MonkeyPatch, manner: str, *, late: bool
) -> None:
    first = Docker()
    at_home(monkeypatch, drill, FakeHome(settings, first))
    assert tried() is None
    begun = next(at for at, line in enumerate(first.lines, 1) if line == "images")
    for number in range(1, len(first.lines) + 1):
        place.stored.clear()
        host = Docker()
        host.breaks, host.late = at(number, MANNERS[manner]), late
        home = FakeHome(settings, host)
        at_home(monkeypatch, drill, home)
        error = tried()
        line = host.lines[number - 1]

        assert ["drilling", "drilling no more"] == home.locked, line
        assert LIVE in host.volumes, line
        assert "live-db" in host.containers, line
        if manner == "interrupt":
            assert isinstance(error, KeyboardInterrupt), line
            assert {} == place.stored, line
        elif error is None:
            assert any(each in line for each in LEFT_OUT), line
            assert "ok" == place.told["result"]
        else:
            assert isinstance(error, OpsError)
            assert 1 == error.code, line
            assert error.remedy
            check_told(place, error, line, begun=number >= begun)
        check_nothing_left(host, line)


def at(number: int, act: Callable[[int, str], Result]) -> Callable[[int, str], Result | None]:
    """Do something in the place of the command of this number."""
    return lambda at, line: act(at, line) if at == number else None


def check_told(place: Place, error: OpsError, line: str, *, begun: bool) -> None:
    """What was tried and failed is told; before that there is nothing to tell."""
    if not begun:
        assert {} == place.stored, line
        return
    told = place.told
    assert "failed" == told["result"], line
    assert f"the drill failed: {told['error']}" == error.cause


def check_nothing_left(host: Docker, line: str) -> None:
    """What is left, if cleaning up was what failed, is removed by the next drill."""
    if " rm --force " not in line:
        assert [] == host.left, line
    host.breaks = lambda *_: None
    assert tried() is None
    assert [LIVE] == list(host.volumes), line
    assert ["live-db"] == list(host.containers), line


def test_a_row_too_few_fails_it(home_of: FakeHome, place: Place) -> None:
    home_of.local.rows = {"mlflow.runs": [6, 42]}
    with pytest.raises(OpsError, match="the drill failed: the restored data is not what") as caught:
        run()

    assert 1 == caught.value.code
    assert "6 rows" in place.told["error"]


def test_an_mlflow_that_does_not_read_it_fails_it_with_its_last_words(
    home_of: FakeHome, place: Place
) -> None:
    said = Result(1, "", f"{'x' * 3000}\na run read twice was two: 7\n")
    home_of.local.breaks = lambda _, line: said if "--entrypoint=python" in line else None
    with pytest.raises(OpsError, match="does not read the restored database"):
        run()

    assert place.told["error"].endswith("a run read twice was two: 7")
    assert 2000 > len(place.told["error"])


@pytest.mark.parametrize("said", ["", "{", "not JSON\n"])
def test_an_mlflow_that_says_nothing_fails_it(home_of: FakeHome, place: Place, said: str) -> None:
    answer = Result(0, said, "")
    home_of.local.breaks = lambda _, line: answer if "--entrypoint=python" in line else None
    with pytest.raises(OpsError, match="did not say what it read"):
        run()

    assert "failed" == place.told["result"]


def test_artifacts_that_are_missing_fail_it(
    home_of: FakeHome, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(9, [f"s3://team/{number}" for number in range(5)], [], {})
    monkeypatch.setattr(artifacts, "look", lambda *_: looked)
    with pytest.raises(OpsError, match="artifacts that the database names are missing") as caught:
        run()

    assert "list-object-versions" in caught.value.remedy
    assert place.told["error"].endswith("s3://team/0, s3://team/1, s3://team/2")
    assert [] == home_of.local.left


def test_artifacts_that_are_there_are_told_of(
    home_of: FakeHome, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "look", lambda *_: Looked(9, [], [], {}))
    run()

    assert {"places": 9, "missing": [], "deleted": [], "unseen": {}} == place.told["artifacts"]
    assert home_of


def test_a_drill_without_evidence_has_failed_but_says_first_what_else_did(
    home_of: FakeHome, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.away = True
    with pytest.raises(OpsError, match="the drill failed: S3 is away"):
        run()
    assert "note: no evidence of it: S3 is away\n" in capsys.readouterr().err

    home_of.locked.clear()
    home_of.local.rows = {}
    with pytest.raises(OpsError, match="the drill failed: the restored data"):
        run()


def test_ctrl_c_while_mlflow_reads_ends_mlflow_too(home_of: FakeHome) -> None:
    host = home_of.local
    host.late = True
    host.breaks = lambda _, line: interrupt() if "--entrypoint=python" in line else None
    with pytest.raises(KeyboardInterrupt):
        run()

    assert [] == host.left


# --- What is refused ---


def test_a_disk_that_is_too_small_is_refused_and_no_evidence_of_anything(
    home_of: FakeHome, place: Place
) -> None:
    home_of.local.free = 1024
    with pytest.raises(OpsError, match="are free") as caught:
        run()

    assert 2 == caught.value.code
    assert {} == place.stored
    assert not home_of.local.ran("volume create")


def test_an_empty_id_is_refused_and_a_moment_is_no_choice(
    home_of: FakeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Asked] = []

    def choose(_: Place, asked: Asked) -> Way:
        given.append(asked)
        return Way(MADE)

    monkeypatch.setattr(restore, "choose", choose)
    run(identity=MADE.id)
    run()

    assert [Asked(MADE.id), Asked()] == given
    home_of.locked.clear()


def test_a_second_drill_is_refused_and_a_change_of_the_stack_is_not(settings: Settings) -> None:
    with LocalHome(settings).drilling():
        with (
            pytest.raises(OpsError, match="process") as caught,
            LocalHome(settings).drilling(),
        ):
            raise AssertionError
        with LocalHome(settings).kept():
            pass

    assert 2 == caught.value.code
    assert 0o700 == settings.data.stat().st_mode & 0o777
    with LocalHome(settings).drilling():
        assert datetime.now(UTC)
    assert STACK == settings.stack_name
