"""A job in the database for a secret that is replaced: locks keys anew, or changes a password.

Runs beside MLflow, in the server image, as `python -c` with this text, and imports nothing of this
package. On stdin is one JSON object: what to `do`, the `old` secret and the `new` one. Whatever it
is asked a second time is done already.

Exit codes: 0 done; 1 tried and failed; 2 refused, nothing touched.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

ACCESS_DENIED = 1045
NO_RIGHT = 1227

Relock = Callable[[object], object]
"""Returns what is locked with the new secret; raises ValueError when neither opens it."""


class JobError(Exception):
    """Why the job stopped: cause, remedy and exit code."""

    def __init__(self, cause: str, remedy: str, code: int) -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.code = cause, remedy, code


def main() -> int:
    """Do what stdin says in the database of MLFLOW_BACKEND_STORE_URI."""
    told = json.load(sys.stdin)
    old, new = str(told["old"]), str(told["new"])
    url = sa.make_url(os.environ["MLFLOW_BACKEND_STORE_URI"])
    try:
        DO[told["do"]](url, old, new)
    except JobError as error:
        print(f"error: {error.cause}\n  try: {error.remedy}", file=sys.stderr)
        return error.code
    return 0


# --- What is locked ---


def gateway(url: sa.URL, old: str, new: str) -> None:
    """Lock the keys of the gateway with another passphrase.

    By MLflow's own functions (mlflow/utils/crypto.py, 3.17.2) but not by its command: that counts a
    version up, which the server would have to be told, and takes the new passphrase as an argument.
    """
    crypto = importlib.import_module("mlflow.utils.crypto")
    wrong_key = importlib.import_module("mlflow.exceptions").MlflowException
    keys = [crypto.KEKManager(passphrase=each).get_kek() for each in (old, new)]

    def relock(value: object) -> object:
        try:
            crypto.unwrap_dek(value, keys[1])
        except wrong_key:
            try:
                return crypto.wrap_dek(crypto.unwrap_dek(value, keys[0]), keys[1])
            except wrong_key:
                raise ValueError("neither passphrase opens it") from None
        return value

    relock_all(url, sa.table("secrets", sa.column("secret_id"), sa.column("wrapped_dek")), relock)


def webhooks(url: sa.URL, old: str, new: str) -> None:
    """Lock the secrets of webhooks with another key (EncryptedString in MLflow's dbmodels)."""
    first, either = Fernet(new), MultiFernet([Fernet(new), Fernet(old)])

    def relock(value: object) -> object:
        text = str(value).encode()
        try:
            first.decrypt(text)
        except InvalidToken:
            try:
                return either.rotate(text).decode()
            except InvalidToken:
                raise ValueError("neither key opens it") from None
        return value

    relock_all(url, sa.table("webhooks", sa.column("webhook_id"), sa.column("secret")), relock)


def relock_all(url: sa.URL, table: sa.TableClause, relock: Relock) -> None:
    """Lock all rows anew in one transaction, or none; what no key opens stays as it is."""
    identity, locked = table.c
    lost = 0
    with sa.create_engine(url).begin() as connection:
        if not sa.inspect(connection).has_table(table.name):
            return
        question = sa.select(identity, locked).where(locked.is_not(None)).with_for_update()
        for row in connection.execute(question).all():
            try:
                value = relock(row[1])
            except ValueError:
                lost += 1
                continue
            if value != row[1]:
                change = sa.update(table).where(identity == row[0]).values({locked: value})
                connection.execute(change)
    if lost:
        print(f"note: {lost} of {table.name} were locked with yet another secret, and stay so")


# --- A user's own password, where root is somebody else ---


def admit(url: sa.URL, old: str, new: str) -> None:
    """Have the new password accepted in addition to the old one."""
    if ask(url, new, "DO 0"):
        return
    if not ask(url, old, f"ALTER USER USER() IDENTIFIED BY '{new}' RETAIN CURRENT PASSWORD"):
        raise JobError(
            "the database refuses the password in .env",
            "put the MYSQL_PASSWORD that it has into .env",
            2,
        )


def dismiss(url: sa.URL, old: str, new: str) -> None:
    """Have the old password refused."""
    if not ask(url, new, "ALTER USER USER() DISCARD OLD PASSWORD"):
        raise JobError("the database refuses the new password", "run the same command again", 1)
    if ask(url, old, "DO 0"):
        raise JobError("the old MYSQL_PASSWORD is still accepted", "run the same command again", 1)


def ask(url: sa.URL, password: str, sql: str) -> bool:
    """Have the server's user do something; return False where the password is refused.

    The option file that the address names says who that is; its password counts less.
    """
    engine = sa.create_engine(url.set(password=password), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(sql)
    except sa.exc.DBAPIError as error:
        number = getattr(error.orig, "args", (None,))[0]
        if number == ACCESS_DENIED:
            return False
        if number == NO_RIGHT:
            raise JobError(
                "the user mlflow may not have two passwords there",
                "as the database's administrator: GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO "
                "mlflow; then run the same command again",
                2,
            ) from None
        # Not the whole error: SQLAlchemy adds the statement, and in that is the password.
        raise JobError(
            f"the database does not do it: {error.orig}", "see what it says", 1
        ) from None
    finally:
        engine.dispose()
    return True


DO = {"gateway": gateway, "webhooks": webhooks, "admit": admit, "dismiss": dismiss}

if __name__ == "__main__":
    sys.exit(main())
