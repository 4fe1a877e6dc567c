"""MySQL as the backup service asks it: copies of itself, positions, counts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.errors import OpsError
from ops.manifest import Table

__all__ = ["Checkpoint", "Donor", "Server"]

CLIENT = "/run/secrets/backup_client"
"""The option file with user and password."""

LOCK_SECONDS = 5
"""How long others may wait at a checkpoint, at most, for a statement that does not end."""

SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


@dataclass(frozen=True, slots=True)
class Server:
    """Which MySQL it is."""

    uuid: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A state of the database: the transactions in it, and where the binary log was."""

    gtids: str
    file: str
    position: int
    as_of: str


class Donor:
    """A MySQL of which backups are made; each question has a connection of its own."""

    def __init__(self, host: str) -> None:
        self.host = host

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Yield a cursor; what MySQL says is an `OpsError`."""
        import pymysql

        try:
            connected = pymysql.connect(
                host=self.host,
                read_default_file=CLIENT,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=10,
            )
            with connected, connected.cursor() as cursor:
                cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
                yield cursor
        except pymysql.MySQLError as error:
            said = error.args[-1] if error.args else type(error).__name__
            raise OpsError(
                f"MySQL says: {said}", "see whether it runs: invoke status; invoke logs"
            ) from error

    def one(self, question: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        """Return the one row that answers a question."""
        with self.connection() as cursor:
            cursor.execute(question, values)
            row: tuple[Any, ...] = cursor.fetchone()
            return row

    def column(self, question: str) -> list[str]:
        """Return the first column of what answers a question."""
        with self.connection() as cursor:
            cursor.execute(question)
            return [str(row[0]) for row in cursor.fetchall()]

    def server(self) -> Server:
        """Say which MySQL it is."""
        return Server(*self.one("SELECT @@server_uuid, VERSION()"))

    def executed(self) -> str:
        """Return the transactions that are committed, as a set of GTIDs."""
        return str(self.one("SELECT @@global.gtid_executed")[0])

    def rotate(self) -> str:
        """Begin a new binary log; return its name."""
        with self.connection() as cursor:
            cursor.execute("FLUSH BINARY LOGS")
            cursor.execute("SHOW BINARY LOG STATUS")
            return str(cursor.fetchone()[0])

    def logs(self) -> list[str]:
        """Return the names of the binary logs that are there, the oldest first."""
        return self.column("SHOW BINARY LOGS")

    def forget(self, log: str) -> None:
        """Have MySQL delete the binary logs before this one."""
        with self.connection() as cursor:
            cursor.execute("PURGE BINARY LOGS TO %s", (log,))

    def clone(self, folder: Path) -> None:
        """Have MySQL write a copy of itself into a folder, as it was at one moment.

        https://dev.mysql.com/doc/refman/9.7/en/clone-plugin-local.html
        """
        with self.connection() as cursor:
            cursor.execute("CLONE LOCAL DATA DIRECTORY = %s", (str(folder),))

    def uncloned(self) -> list[str]:
        """Return the tables that a copy would lack: those of another engine come out empty."""
        quoted = ", ".join(f"'{name}'" for name in SYSTEM)
        return self.column(
            "SELECT CONCAT(table_schema, '.', table_name) "  # noqa: S608 - our own names
            "FROM information_schema.tables "
            f"WHERE engine <> 'InnoDB' AND table_schema NOT IN ({quoted})"
        )

    def accounts(self) -> list[str]:
        """Return the users, as user@host."""
        return self.column("SELECT CONCAT(user, '@', host) FROM mysql.user ORDER BY 1")

    def triggers(self) -> list[str]:
        """Return the names of the triggers."""
        return self.column(
            "SELECT CONCAT(trigger_schema, '.', trigger_name) FROM information_schema.triggers "
            "WHERE trigger_schema <> 'sys' ORDER BY 1"
        )

    def schema(self) -> str:
        """Return the revision of MLflow's schema; "" where MLflow has not been yet."""
        with suppress(OpsError):
            return "".join(self.column("SELECT version_num FROM mlflow.alembic_version"))
        return ""

    @contextmanager
    def checkpoint(
        self, meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Checkpoint, Any]]:
        """Yield a state of the database, and a cursor that sees it and no later one.

        Nobody writes for the moment it takes to begin, in which `meanwhile` is called; where a long
        statement would make others wait for more than LOCK_SECONDS, it gives up.
        """
        with self.connection() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("FLUSH TABLES WITH READ LOCK")
            try:
                cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                cursor.execute("SELECT @@global.gtid_executed, UTC_TIMESTAMP(6)")
                gtids, now = cursor.fetchone()
                cursor.execute("SHOW BINARY LOG STATUS")
                file, position = cursor.fetchone()[:2]
                meanwhile()
            finally:
                cursor.execute("UNLOCK TABLES")
            made = Checkpoint(
                gtids=str(gtids).replace("\n", ""),
                file=str(file),
                position=int(position),
                as_of=f"{now.isoformat()}+00:00",
            )
            yield made, cursor
            cursor.execute("ROLLBACK")


def census(cursor: Any) -> dict[str, Table]:  # noqa: ANN401 - a cursor of PyMySQL's
    """Count and sum up every table, as the cursor sees them."""
    quoted = ", ".join(f"'{name}'" for name in SYSTEM)
    cursor.execute(
        "SELECT table_schema, table_name FROM information_schema.tables "  # noqa: S608 - as above
        f"WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ({quoted}) ORDER BY 1, 2"
    )
    found = {}
    for schema, table in cursor.fetchall():
        name = f"`{schema}`.`{table}`"
        cursor.execute(f"SELECT COUNT(*) FROM {name}")  # noqa: S608 - names from the server itself
        rows = int(cursor.fetchone()[0])
        cursor.execute(f"CHECKSUM TABLE {name}")
        found[f"{schema}.{table}"] = Table(rows, int(cursor.fetchone()[1] or 0))
    return found
