"""What MLflow itself has locked is opened by MLflow with another secret; needs no Docker."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

# A key of the gateway and a webhook, made or read with the secrets in the environment.
USE = """
import os, sys
from mlflow.entities.webhook import WebhookEvent
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.dbmodels.models import SqlGatewaySecret
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
from mlflow.utils.crypto import KEKManager, _decrypt_secret

uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
tracking, registry = Tracking(uri, "artifacts"), Registry(uri)
if sys.argv[1] == "make":
    tracking.create_gateway_secret(
        secret_name="k", secret_value={"api_key": "of-the-gateway"}, provider="openai"
    )
    events = [WebhookEvent.from_str("registered_model.created")]
    registry.create_webhook(name="w", url="https://93.184.216.34/", events=events, secret="of-it")
try:
    with tracking.ManagedSessionMaker() as session:
        found = session.query(SqlGatewaySecret).one()
        given = (found.encrypted_value, found.wrapped_dek, KEKManager())
        print(_decrypt_secret(*given, found.secret_id, found.secret_name)["api_key"])
except MlflowException:
    print("locked")
try:
    print(*(each.secret for each in registry.list_webhooks()))
except Exception:
    print("locked")
"""


def fernet(secret: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()).decode()


class Database:
    """A database of MLflow's in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, said: str = "", kek: str = "", webhook: str = "") -> str:
        environ = {
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{self.folder}/mlflow.db",
            "MLFLOW_CRYPTO_KEK_PASSPHRASE": kek,
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": fernet(webhook),
        }
        done = subprocess.run(
            [sys.executable, "-I", "-c", *words],
            input=said,
            env=os.environ | environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def seen(self, what: str, kek: str, webhook: str) -> list[str]:
        return self.run(USE, what, kek=kek, webhook=webhook).splitlines()

    def rekey(self, lock: str, old: str, new: str) -> str:
        source = (ROOT / "ops" / "rekeying.py").read_text("utf-8")
        return self.run(source, said=json.dumps({"do": lock, "old": old, "new": new}))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A database with both, locked with old-kek and old-webhook."""
    made = Database(tmp_path_factory.mktemp("rekeying"))
    assert ["of-the-gateway", "of-it"] == made.seen("make", "old-kek", "old-webhook")
    return made


def test_mlflow_opens_with_the_new_secrets_what_it_locked_with_the_old_ones(
    database: Database,
) -> None:
    for _ in range(2):  # who was cut off does it again
        assert "" == database.rekey("gateway", "old-kek", "new-kek")
        assert "" == database.rekey("webhooks", fernet("old-webhook"), fernet("new-webhook"))

    assert ["of-the-gateway", "of-it"] == database.seen("see", "new-kek", "new-webhook")
    assert ["locked", "locked"] == database.seen("see", "old-kek", "old-webhook")

    assert "1 of secrets were locked with yet another" in database.rekey("gateway", "a", "b")
    assert ["of-the-gateway", "of-it"] == database.seen("see", "new-kek", "new-webhook")
