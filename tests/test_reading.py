"""An MLflow started on a restored database: what it is given, and what is made of its answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import reader, reading
from ops.errors import OpsError
from ops.hosts import Result
from ops.reading import Reading, differences
from ops.scratch import Scratch, Way
from ops.settings import Settings
from tests.restored import MADE, SAID, Docker, prepared


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack with a login, whose secrets there are."""
    given = prepared(folder, monkeypatch, AUTH="basic", ADMIN_PASSWORD="admin-password-1")
    return given.with_secrets()


@pytest.fixture
def host() -> Docker:
    return Docker()


@pytest.fixture
def made(settings: Settings, host: Docker) -> Scratch:
    return Scratch(host, settings, Way(MADE))


def test_its_secrets_come_on_stdin_and_its_program_with_the_command(
    made: Scratch, host: Docker
) -> None:
    reading.have(made, "web:1", ("check", "read"), "reading")
    [line], [given] = host.lines, host.given

    told = json.loads(given)
    assert ["check", "read"] == told["stages"]
    assert '[client]\nuser = mlflow\npassword = "mysql-password-1"\n' == told["client"]
    assert ("kek-passphrase-1", "basic") == (told["passphrase"], told["auth"])
    assert "admin-password-1" in told["auth_config"]
    for secret in ("mysql-password-1", "kek-passphrase-1", "admin-password-1"):
        assert secret not in line
    assert f"--network=container:{made.container}" in line
    assert "--publish" not in line
    assert reader.__doc__ is not None
    assert reader.__doc__.splitlines()[0] in line


def test_both_files_mean_the_same_by_an_exit_code() -> None:
    assert reader.MIGRATION_FAILED == reading.MIGRATION_FAILED


def test_it_counts_what_was_read() -> None:
    assert {"experiments": 1, "runs": 2, "points": 3, "models": 0} == Reading({}, SAID).counts


def test_a_migration_that_fails_says_what_the_job_said(made: Scratch, host: Docker) -> None:
    said = Result(3, "", "Running upgrade\nerror: the migration failed: x\n  try: read the lines\n")
    host.breaks = lambda *_: said
    with pytest.raises(OpsError, match="the migration failed: x") as caught:
        reading.have(made, "web:1", ("migrate",), "reading")

    error = caught.value
    assert ("the migration failed: x", "read the lines", 1) == (
        error.cause,
        error.remedy,
        error.code,
    )


def test_an_mlflow_that_fails_says_its_last_words(made: Scratch, host: Docker) -> None:
    host.breaks = lambda *_: Result(1, "", f"{'x' * 3000}\nno such table\n")
    with pytest.raises(OpsError, match="no such table") as caught:
        reading.have(made, "web:1", ("read",), "reading")

    assert 2000 > len(caught.value.cause)


def told(answers: dict[str, Any]) -> Reading:
    return Reading({}, answers)


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": {"x": 1}}, {"a": {"x": 1, "new": 2}, "b": {}}, []),
        ({"a": {"x": 1}}, {"a": {"x": 2}}, ["a: .x is 2, was 1"]),
        ({"a": {"x": 1}}, {"a": {}}, ["a: .x is gone, was 1"]),
        ({"a": {"x": [1, 2]}}, {"a": {"x": [1]}}, ["a: .x has 1 entries, had 2"]),
        ({"a": {"x": [{"y": 1}]}}, {"a": {"x": [{"y": 2}]}}, ["a: .x[0].y is 2, was 1"]),
        ({"a": {"x": 1}}, {}, ["a: not answered any more"]),
        ({"a": {"x": 1}}, {"a": None}, ["a: not answered any more"]),
        ({"a": None}, {"a": {"x": 1}}, []),
        ({"a": {"x": 1}}, {"a": {"x": "1"}}, ['a: .x is "1", was 1']),
        ({"a": {"x": True}}, {"a": {"x": False}}, ["a: .x is false, was true"]),
    ],
)
def test_what_is_answered_otherwise_is_a_difference_and_what_is_new_is_none(
    before: dict[str, Any], after: dict[str, Any], lines: list[str]
) -> None:
    assert lines == differences(told(before), told(after))


def test_the_order_of_tags_metrics_and_inputs_makes_none() -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    points = [{"key": "m", "step": step, "value": step} for step in range(12)]
    for values in (tags, points):
        assert [] == differences(told({"r": {"x": values}}), told({"r": {"x": values[::-1]}}))
    inputs = [{"dataset": {"digest": digest}, "tags": []} for digest in "abc"]
    newer = [{**each, "id": number} for number, each in enumerate(reversed(inputs))]
    assert [] == differences(told({"r": {"x": inputs}}), told({"r": {"x": newer}}))
    assert 1 == len(differences(told({"r": {"x": ["a", "b"]}}), told({"r": {"x": ["b", "c"]}})))
    assert 1 == len(differences(told({"r": {"x": ["a", "a"]}}), told({"r": {"x": ["a", "b"]}})))


def test_a_long_value_is_cut() -> None:
    [line] = differences(told({"a": {"x": "y" * 500}}), told({"a": {"x": ""}}))

    assert 200 > len(line)
