"""The users of MySQL: what is sent to make them, and by which way. Real ones: tests/e2e."""

import re

import pytest

from ops import accounts
from ops.errors import OpsError
from ops.hosts import Result
from ops.values import Secret
from tests.conftest import FakeHost

USERS = {"web": Secret("swordfish-swordfish"), "backup": Secret("herring-herring")}
INSIDE = ("docker", "exec", "db")


def provided(host: FakeHost, users: dict[str, Secret]) -> str:
    accounts.provide(host, INSIDE, users)
    return host.given[0].decode()


def granted(sql: str) -> dict[str, tuple[set[str], str]]:
    """Return what each user is granted, and on what."""
    found = re.findall(r"^GRANT (.*) ON (\S+) TO '(\w+)'@'%';$", sql, re.MULTILINE)
    return {user: (set(rights.split(", ")), place) for rights, place, user in found}


def test_the_passwords_go_through_stdin_and_are_in_no_argument() -> None:
    host = FakeHost({"docker exec db mysql": ""})
    sql = provided(host, USERS)

    for password in USERS.values():
        assert sql.count(f"'{password.reveal()}'") == 2
        assert password.reveal() not in " ".join(host.lines)


def test_the_server_reads_and_writes_rows_and_changes_no_table() -> None:
    sql = provided(FakeHost({"docker exec": ""}), USERS)

    assert granted(sql)["web"] == ({"SELECT", "INSERT", "UPDATE", "DELETE"}, "mlflow.*")


def test_the_backup_service_copies_and_reads_and_does_nothing_else() -> None:
    rights, place = granted(provided(FakeHost({"docker exec": ""}), USERS))["backup"]

    assert place == "*.*"
    assert {"BACKUP_ADMIN", "SELECT"} < rights
    assert not rights & {
        *("ALL PRIVILEGES", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER"),
        *("SUPER", "FILE", "SHUTDOWN", "CREATE USER", "GRANT OPTION"),
    }


def test_only_the_users_that_are_given_are_made() -> None:
    sql = provided(FakeHost({"docker exec": ""}), {"web": USERS["web"]})

    assert [*granted(sql)] == ["web"]
    assert "'backup'" not in sql


def test_the_password_before_is_good_while_the_old_server_still_has_it() -> None:
    sql = provided(FakeHost({"docker exec": ""}), USERS)

    assert sql.count(" RETAIN CURRENT PASSWORD;") == len(USERS)
    assert "REVOKE" not in sql


def test_root_may_come_from_inside_the_container_only() -> None:
    assert "DROP USER IF EXISTS 'root'@'%';" in provided(FakeHost({"docker exec": ""}), USERS)


def test_none_of_it_is_in_the_binary_log() -> None:
    sql = provided(FakeHost({"docker exec": ""}), USERS)

    assert sql.strip().startswith("SET SESSION sql_log_bin = 0;")


def test_what_mysql_refuses_is_an_error() -> None:
    host = FakeHost({"docker exec": Result(1, "", "ERROR 1045: Access denied")})
    with pytest.raises(OpsError, match="Access denied"):
        provided(host, USERS)
