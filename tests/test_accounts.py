"""The users of MySQL: what is sent to make them, and by which way. Real ones: tests/e2e."""

import pytest

from ops import accounts
from ops.errors import OpsError
from ops.hosts import Result
from ops.values import Secret
from tests.conftest import FakeHost

PASSWORD = "swordfish-swordfish-swordfish"
INSIDE = ("docker", "exec", "db")


def provided(host: FakeHost) -> str:
    accounts.provide(host, INSIDE, Secret(PASSWORD))
    return host.given[0].decode()


def test_the_password_goes_through_stdin_and_is_in_no_argument() -> None:
    host = FakeHost({"docker exec db mysql": ""})
    sql = provided(host)

    assert sql.count(f"'{PASSWORD}'") == 2
    assert PASSWORD not in " ".join(host.lines)


def test_the_user_may_copy_and_read_and_nothing_else() -> None:
    sql = provided(FakeHost({"docker exec": ""}))

    assert "ALL PRIVILEGES ON" not in sql
    for right in ("INSERT", "UPDATE", "DELETE", "SUPER", "FILE", "SHUTDOWN", "GRANT OPTION ON"):
        assert right not in sql.partition("GRANT BACKUP_ADMIN")[2]
    assert sql.index("REVOKE") < sql.index("GRANT BACKUP_ADMIN")


def test_root_may_come_from_inside_the_container_only() -> None:
    assert "DROP USER IF EXISTS 'root'@'%';" in provided(FakeHost({"docker exec": ""}))


def test_none_of_it_is_in_the_binary_log() -> None:
    sql = provided(FakeHost({"docker exec": ""}))

    assert sql.strip().startswith("SET SESSION sql_log_bin = 0;")


def test_what_mysql_refuses_is_an_error() -> None:
    host = FakeHost({"docker exec": Result(1, "", "ERROR 1045: Access denied")})
    with pytest.raises(OpsError, match="Access denied"):
        provided(host)
