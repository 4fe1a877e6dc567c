"""The users of MySQL: what is sent to make them, and by which way. Real ones: tests/e2e."""

import os
import re
from pathlib import Path

import pytest

from ops import accounts
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.values import Secret
from tests.conftest import FakeHost

USERS = {"web": Secret("swordfish-swordfish"), "backup": Secret("herring-herring")}
ROOT = Secret("of-root-of-root-of-root")
INSIDE = ("docker", "exec", "db")
DENIED = Result(1, "", "ERROR 1045 (28000): Access denied for user")


def mysql(*known: str) -> FakeHost:
    """Return a machine whose MySQL lets root in, and these users with the passwords of today."""
    host = FakeHost({"docker exec": ""})
    run = host.run

    def asked(words: tuple[str, ...], **more: object) -> Result:
        done = run(words, **more)  # type: ignore[arg-type]
        return done if words[-1] in ("root", *known) else DENIED

    host.run = asked  # type: ignore[assignment,method-assign]
    return host


def provided(host: FakeHost, users: dict[str, Secret]) -> str:
    accounts.provide(host, INSIDE, ROOT, users)
    password, sql = host.given[-1].decode().split("\n", 1)
    assert ROOT.reveal() == password
    return sql


def granted(sql: str) -> dict[str, dict[str, set[str]]]:
    """Return what each user is granted, by where."""
    found: dict[str, dict[str, set[str]]] = {}
    for line in sql.splitlines():
        if line.startswith("GRANT "):
            [(rights, place, user)] = re.findall(r"^GRANT (.*) ON (\S+) TO '(\w+)'@'%';$", line)
            found.setdefault(user, {}).setdefault(place, set()).update(rights.split(", "))
    return found


def test_the_passwords_go_through_stdin_and_are_in_no_argument() -> None:
    host = mysql()
    sql = provided(host, USERS)

    for password in USERS.values():
        assert sql.count(f"'{password.reveal()}'") == 2
    for password in (ROOT, *USERS.values()):
        assert password.reveal() not in " ".join(host.lines)


def test_the_server_reads_and_writes_rows_and_changes_no_table() -> None:
    sql = provided(mysql(), USERS)

    rows = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert granted(sql)["web"] == {"mlflow.*": rows, "mlflow_oidc.*": rows}


def test_who_owns_the_tables_owns_those_of_who_signed_on_too_and_keeps_its_password() -> None:
    sql = provided(mysql(), USERS)

    assert granted(sql)["mlflow"] == {"mlflow_oidc.*": {"ALL"}}
    assert sql.count("'mlflow'") == 1


def test_the_backup_service_copies_and_reads_and_does_nothing_else() -> None:
    [(place, rights)] = granted(provided(mysql(), USERS))["backup"].items()

    assert place == "*.*"
    assert {"BACKUP_ADMIN", "SELECT"} < rights
    assert not rights & {
        *("ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"),
        *("SUPER", "FILE", "SHUTDOWN", "CREATE USER", "GRANT OPTION"),
    }


def test_only_the_users_that_are_given_are_made() -> None:
    sql = provided(mysql(), {"web": USERS["web"]})

    assert [*granted(sql)] == ["mlflow", "web"]
    assert "'backup'" not in sql


def test_the_password_before_is_good_while_the_old_server_still_has_it() -> None:
    sql = provided(mysql(), USERS)

    assert sql.count(" RETAIN CURRENT PASSWORD;") == len(USERS)
    assert "REVOKE" not in sql


def test_a_password_that_is_good_already_takes_no_other_one_s_place() -> None:
    sql = provided(mysql("web"), USERS)

    assert ["backup"] == re.findall(r"ALTER USER '(\w+)'", sql)
    assert ["mlflow", "web", "backup"] == [*granted(sql)]


def test_in_the_end_one_password_is_good_whichever_of_two_it_was() -> None:
    host = mysql()
    accounts.settle(host, INSIDE, ROOT, "web", USERS["web"])

    assert [
        "SET SESSION sql_log_bin = 0;",
        f"ALTER USER 'web'@'%' IDENTIFIED BY '{USERS['web'].reveal()}';",
        "ALTER USER 'web'@'%' DISCARD OLD PASSWORD;",
    ] == [line for line in host.given[0].decode().splitlines()[1:] if line]


def test_root_may_come_from_inside_the_container_only() -> None:
    assert "DROP USER IF EXISTS 'root'@'%';" in provided(mysql(), USERS)


def test_the_other_database_is_in_the_binary_log_as_its_tables_are_and_nothing_else_is() -> None:
    made, *rest = [line for line in provided(mysql(), USERS).splitlines() if line]

    assert made.startswith("CREATE DATABASE IF NOT EXISTS mlflow_oidc CHARACTER SET utf8mb4 ")
    assert rest[0] == "SET SESSION sql_log_bin = 0;"


def test_what_mysql_refuses_is_an_error() -> None:
    host = FakeHost({"docker exec": Result(1, "", "ERROR 1045: Access denied")})
    with pytest.raises(OpsError, match="Access denied"):
        provided(host, USERS)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `mysql` that says what it was given, and takes one password."""
    script = """#!/bin/sh
printf '%s\\n' "$@" "password $MYSQL_PWD"; cat
[ "$MYSQL_PWD" = 'p w$#"\\`' ] || { echo "ERROR 1045 (28000): Access denied" >&2; exit 1; }
"""
    program = tmp_path / "mysql"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


@pytest.mark.usefixtures("client")
def test_the_client_gets_the_password_whole_and_the_rest_is_for_mysql() -> None:
    password = Secret('p w$#"\\`')
    said = accounts.as_root(LocalHost(), (), password, "SELECT 1;\nSELECT 2;").splitlines()

    assert "--user=root" == said[0]
    assert [f"password {password.reveal()}", "SELECT 1;", "SELECT 2;"] == said[-3:]


@pytest.mark.usefixtures("client")
def test_a_password_is_accepted_or_refused() -> None:
    assert accounts.accepted(LocalHost(), (), "mlflow", Secret('p w$#"\\`'))
    assert not accounts.accepted(LocalHost(), (), "mlflow", Secret("another"))


def test_what_is_no_refusal_is_an_error() -> None:
    host = FakeHost({"sh": Result(1, "", "ERROR 2002 (HY000): Can't connect")})
    with pytest.raises(OpsError, match="MySQL does not answer mlflow: ERROR 2002"):
        accounts.accepted(host, (), "mlflow", ROOT)
