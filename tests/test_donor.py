"""What MySQL is asked, and in which order. The real one answers in tests/e2e/test_backups.py."""

from datetime import datetime
from pathlib import Path
from typing import Any, Self

import pymysql
import pytest

from ops.donor import Donor, census
from ops.errors import OpsError
from ops.manifest import Table


class Asked:
    """A connection that writes down what it is asked, and can refuse a statement."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.refuses = ""
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.said = ""

    def connect(self, **given: Any) -> "Asked":
        assert "password" not in given
        assert given["read_default_file"] == "/run/secrets/backup_client"
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append("closed")

    def cursor(self) -> "Asked":
        return self

    def execute(self, text: str, values: tuple[Any, ...] = ()) -> None:
        self.said = text
        self.log.append(" ".join([text, *map(str, values)]))
        if self.refuses and text.startswith(self.refuses):
            raise pymysql.err.OperationalError(1205, "Lock wait timeout exceeded")

    def fetchall(self) -> list[tuple[Any, ...]]:
        return next((rows for start, rows in self.rows.items() if self.said.startswith(start)), [])

    def fetchone(self) -> tuple[Any, ...]:
        return self.fetchall()[0]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("pymysql.connect", made.connect)
    return made


def checkpointed(asked: Asked) -> Any:
    when = datetime(2026, 11, 25, 1, 2, 3)  # noqa: DTZ001 - as PyMySQL has it
    asked.rows = {
        "SELECT @@global.gtid_executed, UTC": [("a:1-5,\nb:1", when)],
        "SHOW BINARY LOG STATUS": [("binlog.000007", "123", "", "", "")],
    }
    with Donor("db").checkpoint() as (point, _):
        return point


def test_a_checkpoint_is_taken_while_nobody_writes_and_only_then(asked: Asked) -> None:
    point = checkpointed(asked)
    verbs = [line.split()[0] for line in asked.log]

    assert (point.gtids, point.file, point.position) == ("a:1-5,b:1", "binlog.000007", 123)
    assert point.as_of == "2026-11-25T01:02:03+00:00"
    assert verbs[:8] == ["SET", "SET", "FLUSH", "START", "SELECT", "SHOW", "UNLOCK", "ROLLBACK"]


@pytest.mark.parametrize("statement", ["START", "SELECT @@global", "SHOW"])
def test_whatever_fails_in_between_nobody_is_kept_waiting(asked: Asked, statement: str) -> None:
    asked.refuses = statement
    with pytest.raises(OpsError, match="Lock wait timeout"):
        checkpointed(asked)

    assert [line for line in asked.log if line != "closed"][-1] == "UNLOCK TABLES"


def test_nobody_waits_long_for_a_statement_that_does_not_end(asked: Asked) -> None:
    asked.refuses = "FLUSH"
    with pytest.raises(OpsError, match="MySQL says: Lock wait timeout exceeded"):
        checkpointed(asked)

    assert "SET SESSION lock_wait_timeout = 5" in asked.log


def test_a_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise pymysql.err.OperationalError(2003, "Can't connect to MySQL server on 'db'")

    monkeypatch.setattr("pymysql.connect", refuse)
    with pytest.raises(OpsError, match="Can't connect") as caught:
        Donor("db").server()

    assert caught.value.code == 1


def test_a_copy_goes_into_the_folder_that_is_named(asked: Asked) -> None:
    Donor("db").clone(Path("/var/lib/mysql-files/20261125T150342Z-1f3a9c"))

    [line] = [each for each in asked.log if "CLONE" in each]
    assert line.endswith("%s /var/lib/mysql-files/20261125T150342Z-1f3a9c")


def test_logs_are_rotated_listed_and_forgotten(asked: Asked) -> None:
    asked.rows = {
        "SHOW BINARY LOG STATUS": [("binlog.000008", 4)],
        "SHOW BINARY LOGS": [("binlog.000007", 1), ("binlog.000008", 2)],
    }
    donor = Donor("db")

    assert donor.rotate() == "binlog.000008"
    assert donor.logs() == ["binlog.000007", "binlog.000008"]
    donor.forget("binlog.000008")
    assert "PURGE BINARY LOGS TO %s binlog.000008" in asked.log


def test_a_database_without_mlflow_has_no_schema(asked: Asked) -> None:
    asked.refuses = "SELECT version_num"

    assert Donor("db").schema() == ""


def test_nor_has_one_whose_first_migration_was_cut_off(asked: Asked) -> None:
    assert Donor("db").schema() == ""

    asked.rows = {"SELECT version_num": [("abc123",)]}
    assert Donor("db").schema() == "abc123"


def test_a_cursor_of_a_checkpoint_is_closed_also_when_what_uses_it_fails(asked: Asked) -> None:
    when = datetime(2026, 11, 25, 1, 2, 3, 45)  # noqa: DTZ001 - as PyMySQL has it
    asked.rows = {
        "SELECT @@global.gtid_executed, UTC": [("", when)],
        "SHOW BINARY LOG STATUS": [("binlog.000001", 4, "", "", "")],
    }
    with pytest.raises(KeyboardInterrupt), Donor("db").checkpoint() as (point, _):
        raise KeyboardInterrupt

    assert (point.gtids, point.position) == ("", 4)
    assert point.as_of == "2026-11-25T01:02:03.000045+00:00"
    assert asked.log[-1] == "closed"
    assert "UNLOCK TABLES" in asked.log


def test_what_mysql_says_while_it_counts_is_an_error_in_our_words(asked: Asked) -> None:
    asked.rows = {
        "SELECT @@global.gtid_executed, UTC": [("", datetime(2026, 11, 25))],  # noqa: DTZ001
        "SHOW BINARY LOG STATUS": [("binlog.000001", 4, "", "", "")],
        "SELECT table_schema": [("mlflow", "runs")],
    }
    asked.refuses = "SELECT COUNT"
    with (
        pytest.raises(OpsError, match="MySQL says: Lock wait timeout"),
        Donor("db").checkpoint() as (_, cursor),
    ):
        census(cursor)

    assert asked.log[-1] == "closed"


def test_what_has_no_text_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise pymysql.err.InterfaceError

    monkeypatch.setattr("pymysql.connect", refuse)
    with pytest.raises(OpsError, match="MySQL says: InterfaceError"):
        Donor("db").executed()


def test_a_copy_that_would_lack_rows_is_told_by_the_engine(asked: Asked) -> None:
    asked.rows = {"SELECT CONCAT(table_schema": [("mlflow.old",)]}

    assert Donor("db").uncloned() == ["mlflow.old"]
    [question] = [line for line in asked.log if "engine" in line]
    assert "NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')" in question


def test_every_table_is_counted_and_summed_up(asked: Asked) -> None:
    asked.rows = {
        "SELECT table_schema": [("mlflow", "runs"), ("mlflow", "tags")],
        "SELECT COUNT": [(7,)],
        "CHECKSUM TABLE `mlflow`.`runs`": [("mlflow.runs", 42)],
        "CHECKSUM TABLE": [("mlflow.tags", None)],
    }

    assert census(asked) == {"mlflow.runs": Table(7, 42), "mlflow.tags": Table(7, 0)}
