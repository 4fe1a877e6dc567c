"""Asks our store of logins and MLflow's whose password is right, and counts what is computed.

Runs alone inside the container of the server, with its settings. Prints one difference a line, and
at last how much was compared.
"""

import secrets
from collections.abc import Iterator
from typing import Any

from mlflow.server import auth
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow_compose import login, serving

del serving  # has said where the stores are

NAME = f"passwords-{secrets.token_hex(4)}"
FIRST, SECOND = "the first password", "the second password"

Step = tuple[str, object, object]
"""What was asked, what came, and what should have."""


def steps(store: login.Store) -> Iterator[Step]:
    computed = []
    module: Any = login
    compute = module.check_password_hash

    def counted(stored: str, password: str) -> bool:
        computed.append(password)
        return bool(compute(stored, password))

    module.check_password_hash = counted

    def asked(password: str) -> Iterator[Step]:
        ours = store.authenticate_user(NAME, password)
        yield password, ours, SqlAlchemyStore.authenticate_user(store, NAME, password)

    yield from asked(FIRST)  # nobody has that name yet
    yield "computed for nobody", len(computed), 0
    store.create_user(NAME, FIRST)
    for _ in range(3):
        yield from asked(FIRST)
    yield "computed for one that is right", len(computed), 1
    for _ in range(3):
        yield from asked(SECOND)
    yield "computed for one that is wrong", len(computed), 4
    store.update_user(NAME, password=SECOND)
    for password in (FIRST, SECOND, SECOND):
        yield from asked(password)
    yield "computed after a change", len(computed), 6
    store.delete_user(NAME)
    yield from asked(SECOND)
    yield "computed for somebody who is gone", len(computed), 6


def main() -> None:
    store = login.Store()
    store.init_db(auth.auth_config.database_uri)
    compared = different = 0
    for what, came, wanted in steps(store):
        compared += 1
        if came != wanted:
            different += 1
            print(f"{what}: {came}, not {wanted}")
    print(f"{compared} compared, {different} different")


main()
