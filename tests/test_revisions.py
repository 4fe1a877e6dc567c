"""At which revisions the live database is, as MySQL answers."""

import pytest

from ops import revisions
from ops.errors import OpsError
from ops.hosts import Result
from ops.values import Secret
from tests.restored import Docker


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


def at(**tables: str) -> tuple[MySQL, tuple[str, ...], Secret]:
    return MySQL(**tables), ("docker", "exec", "live-db"), Secret("mysql-root-password-1")


def test_each_schema_that_is_there_has_its_revision() -> None:
    one = at(mlflow__alembic_version="a1")
    both = at(mlflow__alembic_version="a1", mlflow__alembic_version_auth="b2")
    other = at(mlflow__alembic_version="a1", mlflow_oidc__alembic_version="c3")

    assert {"schema": "a1"} == revisions.revisions(*one)
    assert {"schema": "a1", "login's schema": "b2"} == revisions.revisions(*both)
    assert {"schema": "a1", "sign-on's schema": "c3"} == revisions.revisions(*other)


def test_a_database_without_one_is_an_error() -> None:
    with pytest.raises(OpsError, match="names no schema revision"):
        revisions.revisions(*at())


@pytest.mark.parametrize(
    ("table", "interrupted"),
    [("alembic_migration_journal", True), ("alembic_login_journal", True), ("alembic_x", False)],
)
def test_a_journal_is_of_a_migration_that_was_interrupted(table: str, interrupted: bool) -> None:
    found = at(mlflow__alembic_version="a1", **{f"mlflow__{table}": ""})

    assert interrupted == revisions.interrupted(*found)
