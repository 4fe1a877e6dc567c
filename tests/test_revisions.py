"""At which revisions the live database is, as MySQL answers."""

from pathlib import Path
from typing import Any

import pytest

from ops import revisions
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from tests.restored import Docker, FakeHome, prepared


class MySQL(Docker):
    """A machine whose MySQL has these tables, with a revision in each."""

    def __init__(self, **tables: str) -> None:
        super().__init__()
        self.answers.pop("docker exec live-db")
        self.tables = {name.replace("__", "."): text for name, text in tables.items()}

    def do_exec(self, _: list[str], stdin: bytes) -> Result:
        question = stdin.decode().partition("\n")[2].strip()
        if question == revisions.TABLES:
            return Result(0, "".join(f"{name}\n" for name in self.tables), "")
        return Result(0, f"{self.tables[question.rpartition(' ')[2]]}\n", "")


@pytest.fixture
def settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return prepared(folder, monkeypatch)


def at(settings: Settings, **tables: str) -> tuple[Any, Settings]:
    return FakeHome(settings, MySQL(**tables)), settings


def test_each_schema_that_is_there_has_its_revision(settings: Settings) -> None:
    one = at(settings, mlflow__alembic_version="a1")
    both = at(settings, mlflow__alembic_version="a1", mlflow__alembic_version_auth="b2")
    other = at(settings, mlflow__alembic_version="a1", mlflow_oidc__alembic_version="c3")

    assert {"schema": "a1"} == revisions.revisions(*one)
    assert {"schema": "a1", "login's schema": "b2"} == revisions.revisions(*both)
    assert {"schema": "a1", "sign-on's schema": "c3"} == revisions.revisions(*other)


def test_a_database_without_one_is_an_error(settings: Settings) -> None:
    with pytest.raises(OpsError, match="names no schema revision"):
        revisions.revisions(*at(settings))


@pytest.mark.parametrize(
    ("table", "interrupted"),
    [("alembic_migration_journal", True), ("alembic_login_journal", True), ("alembic_x", False)],
)
def test_a_journal_is_of_a_migration_that_was_interrupted(
    settings: Settings, table: str, interrupted: bool
) -> None:
    found = at(settings, mlflow__alembic_version="a1", **{f"mlflow__{table}": ""})

    assert interrupted == revisions.interrupted(*found)
