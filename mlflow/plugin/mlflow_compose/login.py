"""MLflow's login, with what each request asks of it in one statement each.

tests/e2e/test_roles.py asks it for each role what that may do.
"""

import hmac
import secrets
import threading
from collections.abc import Collection
from typing import Any

from cachetools import LRUCache
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.server import auth
from mlflow.server.auth import sqlalchemy_store as parent
from mlflow.server.auth.entities import User
from mlflow.server.auth.permissions import RESOURCE_TYPE_WORKSPACE, _validate_resource_type
from mlflow.server.handlers import _get_tracking_store
from werkzeug.security import check_password_hash

from mlflow_compose.mysql import Database, marks

# Names are compared exactly: the collation of the database is by code point.
USER = "SELECT id, username, password_hash, is_admin FROM users WHERE username = %s"

GRANTS = """
SELECT p.resource_type, p.resource_pattern, p.permission
FROM user_role_assignments a
JOIN roles r ON r.id = a.role_id
JOIN role_permissions p ON p.role_id = r.id
WHERE a.user_id = %s AND r.workspace = %s AND p.resource_type IN ({types})
"""


PROVEN = 10_000
"""Passwords that a worker knows to be right, at most; what it keeps of one are 32 bytes."""


class Store(parent.SqlAlchemyStore):  # type: ignore[misc]  # MLflow's, which has no types here
    """MLflow's store of users and their rights."""

    def init_db(self, *given: Any, **named: Any) -> None:
        """Connect to the database."""
        super().init_db(*given, **named)
        self.database = Database(self.engine)
        self._key = secrets.token_bytes(32)
        self._proven: LRUCache[bytes, bool] = LRUCache(PROVEN)
        self._lock = threading.Lock()

    def authenticate_user(self, username: str, password: str, *, use_primary: bool = False) -> bool:
        """Say whether it is the user's password; one that was right is not computed again.

        Which takes 0.2 s of a core, and MLflow would spend it every half minute, in each worker,
        for everybody (measured beside somebody who guesses passwords, on a busy machine: the
        longest wait was 1.1 s, and is 0.4). What is kept is good for one hash in the database,
        which is another one after a change.
        """
        del use_primary  # reads are all from there
        try:
            stored = self.get_user(username).password_hash
        except MlflowException:
            return False
        mark = hmac.digest(self._key, f"{stored} {password}".encode(), "sha256")
        with self._lock:
            if self._proven.get(mark):  # asked for, it is the last to be forgotten
                return True
        if not check_password_hash(stored, password):
            return False
        with self._lock:
            self._proven[mark] = True
        return True

    def get_user(self, username: str) -> User:
        """Return a user."""
        rows = self.database.read(USER, username)
        if not rows:
            raise MlflowException(
                f"User with username={username} not found", RESOURCE_DOES_NOT_EXIST
            )
        number, name, password, is_admin = rows[0]
        return User(id_=number, username=name, password_hash=password, is_admin=bool(is_admin))

    def list_grants(
        self, user_id: int, workspace: str, resource_types: Collection[str]
    ) -> list[parent.RoleGrantRow]:
        """Return what a user's roles grant for these types, and for all of the workspace."""
        for resource_type in resource_types:
            _validate_resource_type(resource_type)
        types = sorted({*resource_types, RESOURCE_TYPE_WORKSPACE})
        rows = self.database.read(GRANTS.format(types=marks(types)), user_id, workspace, *types)
        return [parent.RoleGrantRow(*row) for row in rows]


class Glance:
    """The store of what is tracked as the login asks it: of a run it wants the experiment only."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def get_run(self, run_id: str) -> Any:
        """Return a run without what was logged to it."""
        return Informed(self._store.info(run_id))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Informed:
    """A run of which one knows what it is, and nothing else: who asks for more gets an error."""

    def __init__(self, info: Any) -> None:
        self.info = info


def install() -> None:
    """Have MLflow's login use these."""
    auth.store = Store()
    auth._get_tracking_store = lambda: Glance(_get_tracking_store())
