"""The job in the database: SQLite, and keys of webhooks. MLflow itself and MySQL: tests/e2e."""

import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken

from ops import rekeying
from ops.rekeying import JobError
from tests.conftest import ROOT

KEYS = {each: Fernet.generate_key().decode() for each in ("old", "new", "other")}
# With the driver that is here; the server has another.
URL = sa.make_url("mysql+pymysql://mlflow@db.example.test/mlflow")


def locked(text: str, key: str) -> str:
    return Fernet(KEYS[key]).encrypt(text.encode()).decode()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with webhooks: two locked with the old key, one with the new, one with neither."""
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE webhooks (webhook_id TEXT PRIMARY KEY, secret TEXT)")
        rows = [
            ("1", locked("one", "old")),
            ("2", locked("two", "old")),
            ("3", locked("three", "new")),
            ("4", locked("four", "other")),
            ("5", None),
        ]
        connection.executemany("INSERT INTO webhooks VALUES (?, ?)", rows)
    connection.close()
    return file


def secrets(database: Path) -> dict[str, str]:
    with sqlite3.connect(database) as connection:
        rows = dict(connection.execute("SELECT webhook_id, secret FROM webhooks"))
    connection.close()
    return rows


def run(database: Path, **told: str) -> "subprocess.CompletedProcess[str]":
    """Run the job as it is run: its text is given to Python, what it is told is on stdin."""
    source = (ROOT / "ops" / "rekeying.py").read_text("utf-8")
    return subprocess.run(
        [sys.executable, "-I", "-c", source],
        input=json.dumps(told),
        env={"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{database}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def test_what_the_old_key_opens_is_locked_with_the_new_one_and_the_rest_stays(
    database: Path,
) -> None:
    before = secrets(database)
    done = run(database, do="webhooks", old=KEYS["old"], new=KEYS["new"])
    after = secrets(database)
    new = Fernet(KEYS["new"])

    assert 0 == done.returncode, done.stderr
    assert ["one", "two", "three"] == [new.decrypt(after[n]).decode() for n in "123"]
    assert {n: before[n] for n in "345"} == {n: after[n] for n in "345"}
    assert "note: 1 of webhooks were locked with yet another secret" in done.stdout
    assert not any(each in done.stdout + done.stderr for each in KEYS.values())

    run(database, do="webhooks", old=KEYS["old"], new=KEYS["new"])
    assert after == secrets(database)
    with pytest.raises(InvalidToken):
        Fernet(KEYS["old"]).decrypt(after["1"])


def test_it_is_taken_back_by_the_same_job(database: Path) -> None:
    run(database, do="webhooks", old=KEYS["old"], new=KEYS["new"])
    run(database, do="webhooks", old=KEYS["new"], new=KEYS["old"])

    assert b"one" == Fernet(KEYS["old"]).decrypt(secrets(database)["1"])


def test_a_database_without_such_a_table_has_nothing_to_lock(tmp_path: Path) -> None:
    done = run(tmp_path / "empty.db", do="webhooks", old=KEYS["old"], new=KEYS["new"])

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


# --- A password, on a model of MySQL's answers ---


class Server:
    """Which passwords are accepted, and what was asked."""

    def __init__(self, *accepted: str) -> None:
        self.accepted, self.asked = list(accepted), list[str]()

    def ask(self, _: sa.URL, password: str, sql: str) -> bool:
        if password not in self.accepted:
            return False
        self.asked.append(sql)
        if "IDENTIFIED BY" in sql:
            self.accepted = [sql.split("'")[1], password]
        if "DISCARD" in sql:
            self.accepted = self.accepted[:1]
        return True


def asked(monkeypatch: pytest.MonkeyPatch, server: Server, **told: str) -> tuple[int, str]:
    """Run the job here; return its exit code and what it says."""
    said = io.StringIO()
    monkeypatch.setattr(rekeying, "ask", server.ask)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", str(URL))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(told)))
    monkeypatch.setattr(sys, "stderr", said)
    return rekeying.main(), said.getvalue()


def test_a_password_is_given_once_and_the_old_one_goes_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server("old")
    for _ in range(2):
        assert (0, "") == asked(monkeypatch, server, do="admit", old="old", new="new")
        assert ["new", "old"] == server.accepted
    for _ in range(2):
        assert (0, "") == asked(monkeypatch, server, do="dismiss", old="old", new="new")
        assert ["new"] == server.accepted


@pytest.mark.parametrize(
    ("accepted", "what", "code", "words"),
    [
        ("else", "admit", 2, "the database refuses the password in .env"),
        ("old", "dismiss", 1, "the database refuses the new password"),
    ],
)
def test_a_password_that_is_refused_is_an_error(
    monkeypatch: pytest.MonkeyPatch, accepted: str, what: str, code: int, words: str
) -> None:
    found, said = asked(monkeypatch, Server(accepted), do=what, old="old", new="new")

    assert code == found
    assert f"error: {words}" in said
    assert "  try: " in said


@pytest.mark.parametrize(
    ("number", "expected"),
    [(1227, "may not have two passwords"), (2003, "the database does not do it")],
)
def test_an_error_of_mysql_never_shows_the_statement(
    monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise sa.exc.OperationalError(
            "ALTER USER … 'swordfish'", None, Exception(number, "what MySQL says")
        )

    monkeypatch.setattr(sa.Engine, "connect", fail)
    with pytest.raises(JobError, match=expected) as caught:
        rekeying.ask(URL, "swordfish", "ALTER USER USER() IDENTIFIED BY 'swordfish'")

    assert "swordfish" not in caught.value.cause + caught.value.remedy


def test_a_password_that_mysql_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise sa.exc.OperationalError("DO 0", None, Exception(1045, "Access denied"))

    monkeypatch.setattr(sa.Engine, "connect", fail)

    assert not rekeying.ask(URL, "x", "DO 0")
