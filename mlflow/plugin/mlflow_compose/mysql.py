"""Statements on MySQL, with no more round trips than they need.

MLflow's sessions make four for each read: is the connection alive, the statement, a commit, and a
rollback on the way back to the pool. Here a read is one. A connection that MySQL has ended
meanwhile is noticed by the statement itself, which is then done again on another one.
https://docs.sqlalchemy.org/en/20/core/pooling.html#disconnect-handling-optimistic
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import sqlalchemy as sa
from mlflow.environment_variables import (
    MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW,
    MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE,
    MLFLOW_SQLALCHEMYSTORE_POOL_SIZE,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, TEMPORARILY_UNAVAILABLE
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

Row = tuple[Any, ...]

LOG = logging.getLogger(__name__)


class Database:
    """The database of MLflow's stores, over connections of our own; a process has one of a URL."""

    known: ClassVar[dict[sa.URL, sa.Engine]] = {}

    def __init__(self, engine: sa.Engine) -> None:
        # As MLflow makes it (mlflow/store/db/utils.py), but for what the head of this file says.
        sizes = {
            "pool_size": MLFLOW_SQLALCHEMYSTORE_POOL_SIZE.get(),
            "max_overflow": MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW.get(),
            "pool_recycle": MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE.get(),
        }
        if engine.url not in self.known:
            self.known[engine.url] = sa.create_engine(
                engine.url,
                creator=engine.pool._creator,
                isolation_level="AUTOCOMMIT",
                pool_reset_on_return=None,
                skip_autocommit_rollback=True,
                **{name: size for name, size in sizes.items() if size},
            )
        self.engine = self.known[engine.url]

    def read(self, statement: str, *values: object) -> Sequence[Row]:
        """Return the rows of one statement."""
        with as_mlflow_says():
            try:
                return self._read(statement, values)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read(statement, values)

    def _read(self, statement: str, values: tuple[object, ...]) -> Sequence[Row]:
        with self.engine.connect() as connection:
            return rows(connection.exec_driver_sql(statement, values))

    @contextmanager
    def reading(self) -> Iterator["Statements"]:
        """Show the database as it is now, for several statements."""
        with self._transaction("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY") as it:
            yield it

    @contextmanager
    def writing(self) -> Iterator["Statements"]:
        """Do all that is done meanwhile, or nothing of it."""
        with self._transaction("START TRANSACTION") as it:
            yield it

    @contextmanager
    def _transaction(self, begin: str) -> Iterator["Statements"]:
        with as_mlflow_says(), self._begun(begin) as connection:
            try:
                yield Statements(connection)
            except BaseException:
                try:
                    connection.exec_driver_sql("ROLLBACK")
                except DBAPIError:
                    # MySQL undoes what was not committed when the connection goes.
                    connection.invalidate()
                raise
            connection.exec_driver_sql("COMMIT")

    def _begun(self, begin: str) -> sa.Connection:
        """Return a connection on which a transaction has begun."""
        connection = self.engine.connect()
        try:
            connection.exec_driver_sql(begin)
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            connection = self.engine.connect()
            connection.exec_driver_sql(begin)
        return connection


class Statements:
    """What can be said in a transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def read(self, statement: str, *values: object) -> Sequence[Row]:
        """Return the rows of a statement."""
        return rows(self.connection.exec_driver_sql(statement, values))

    def write(self, statement: str, given: Sequence[Row]) -> None:
        """Write rows, by a statement in which {rows} stands for them."""
        text = statement.format(rows=", ".join([f"({marks(given[0])})"] * len(given)))
        self.connection.exec_driver_sql(text, tuple(value for row in given for value in row))


def rows(result: sa.CursorResult[Any]) -> Sequence[Row]:
    """Return the rows of a result: they are tuples, and more."""
    return cast("Sequence[Row]", result.all())


def marks(values: Sequence[object]) -> str:
    """Return a place for each value."""
    return ", ".join(["%s"] * len(values))


@contextmanager
def as_mlflow_says() -> Iterator[None]:
    """Raise what MLflow's sessions raise (mlflow/store/db/utils.py): a client tries again by it."""
    try:
        yield
    except OperationalError as error:
        LOG.exception("the database failed")
        raise MlflowException(message=error, error_code=TEMPORARILY_UNAVAILABLE) from error
    except SQLAlchemyError as error:
        raise MlflowException(message=error, error_code=BAD_REQUEST) from error
