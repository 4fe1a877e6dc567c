"""Which engine is taken and why. Docker's answers come from the fake host."""

from pathlib import Path

import pytest

from ops import compose, embedded, engines, states
from ops.engines import Choice
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from tests.conftest import FakeHost

WORKS: dict[str, Result | str] = {
    "docker version": "28.2.2\n",
    "docker compose version": "2.40.3\n",
}
ABSENT: dict[str, Result | str] = {"docker version": Result(127, "", "docker: not found")}
DENIED = {"docker version": Result(1, "", "permission denied while trying to connect to …")}
SILENT = {"docker version": Result(1, "", "Cannot connect to the Docker daemon. Is it running?\n")}
NO_COMPOSE = {**WORKS, "docker compose version": Result(125, "", "unknown flag: --short")}


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path)


@pytest.mark.parametrize(
    ("wanted", "answers", "choice"),
    [
        ("auto", WORKS, Choice("compose", "a Docker Engine with Compose v2 answers")),
        ("auto", ABSENT, Choice("embedded", "docker is not installed")),
        ("auto", DENIED, Choice("embedded", "no permission to use Docker")),
        (
            "auto",
            SILENT,
            Choice(
                "embedded",
                "no Docker Engine answers: Cannot connect to the Docker daemon. Is it running?",
            ),
        ),
        ("compose", WORKS, Choice("compose", "asked for")),
        ("embedded", {}, Choice("embedded", "asked for")),
    ],
)
def test_the_engine_of_a_fresh_stack(
    fresh: Settings, wanted: str, answers: dict[str, Result | str], choice: Choice
) -> None:
    assert engines.choose(wanted, fresh, FakeHost(answers)) == choice


@pytest.mark.parametrize("name", ["compose", "embedded"])
def test_a_stack_stays_on_its_engine(fresh: Settings, name: str) -> None:
    states.remember(fresh, name)
    choice = engines.choose("auto", fresh, FakeHost(WORKS))

    assert choice == Choice(name, "this stack already runs on it")
    assert engines.current(fresh) is engines.ENGINES[name]


def test_a_stack_changes_its_engine_only_when_asked_to(fresh: Settings) -> None:
    states.remember(fresh, "compose")
    assert engines.choose("embedded", fresh, FakeHost(ABSENT)) == Choice("embedded", "asked for")

    states.remember(fresh, "embedded")
    assert engines.choose("compose", fresh, FakeHost(WORKS)) == Choice("compose", "asked for")


@pytest.mark.parametrize("answers", [ABSENT, DENIED, SILENT, NO_COMPOSE])
@pytest.mark.parametrize("wanted", ["compose", "auto"])
def test_a_compose_stack_is_never_replaced_by_an_empty_embedded_one(
    fresh: Settings, wanted: str, answers: dict[str, Result | str]
) -> None:
    states.remember(fresh, "compose")
    with pytest.raises(OpsError) as caught:
        engines.choose(wanted, fresh, FakeHost(answers))

    assert caught.value.code == 2


def test_an_unknown_engine_is_refused(fresh: Settings) -> None:
    with pytest.raises(OpsError, match="there is no engine 'swarm'"):
        engines.choose("swarm", fresh, FakeHost({}))


def test_before_the_first_up_there_is_no_engine(fresh: Settings) -> None:
    assert engines.current(fresh) is None
    assert not fresh.data.exists()


def test_the_engines_are_the_two_modules() -> None:
    assert engines.ENGINES == {"compose": compose, "embedded": embedded}


def test_compose_v1_is_told_from_no_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = engines.compose_problem(FakeHost(NO_COMPOSE))
    assert problem is not None
    assert problem.cause == "docker has no Compose; Compose v2 is needed"

    (tmp_path / "docker-compose").touch(mode=0o755)
    problem = engines.compose_problem(FakeHost(NO_COMPOSE))
    assert problem is not None
    assert problem.cause == "docker has only Compose v1; Compose v2 is needed"


def test_an_engine_that_gives_no_reason_is_said_so() -> None:
    problem = engines.compose_problem(FakeHost({"docker version": Result(1, "\n", "")}))

    assert problem is not None
    assert problem.cause == "no Docker Engine answers: no reason given"
