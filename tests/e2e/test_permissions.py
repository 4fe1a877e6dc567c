"""The policy of a host's role, held against what a real MLflow server asks of S3.

moto stands for AWS, over HTTP. The server runs as on a host: its artifacts are in S3, and `.env`
tells of no endpoint and no keys.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops import policies
from ops.front_door import FrontDoor, RequestError
from ops.permissions import CALLS
from ops.scopes import INSTANCE
from ops.settings import Settings
from tests.aws import Aws, Call, Fault
from tests.e2e.conftest import Project
from tests.iam import allows

PLACE = "s3://team-artifacts/mlflow"
MEGABYTES = 20
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CHECKED_BY_DOCTOR = {"DeleteObject"}
"""What `doctor` asks for inside the server's container, and MLflow does not."""

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def calls(aws: Aws, make_project: Callable[..., Project], tmp_path: Path) -> list[Call]:
    """What the server asked for: in a smoke test, a large artifact up and down, one that breaks."""
    aws.client("s3", "us-east-1").create_bucket(Bucket="team-artifacts")
    project = make_project("role", ARTIFACTS_DESTINATION=PLACE, WEB_WORKERS="1")
    project.environ.update(aws.environ)
    project.invoke("up", "--engine", "embedded")
    try:
        aws.calls.clear()
        project.invoke("smoke")
        run = there_and_back(project, tmp_path)
        door = FrontDoor(project.url)
        door.request("DELETE", f"{ARTIFACTS}{run}/large.bin")
        asked = [*aws.calls]
        with aws.failing(Fault(lambda _, call: call.operation == "UploadPart")):
            with pytest.raises(RequestError):
                door.request("PUT", f"{ARTIFACTS}{run}/broken.bin", body=bytes(MEGABYTES << 20))
            asked += aws.calls
        return asked
    finally:
        project.invoke("down")


def there_and_back(project: Project, folder: Path) -> str:
    """Log a large artifact with MLflow's own client, fetch it; return where the run keeps them."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(project.url)
    run = client.create_run(client.create_experiment("role")).info
    (folder / "large.bin").write_bytes(os.urandom(MEGABYTES << 20))
    client.log_artifact(run.run_id, str(folder / "large.bin"))
    assert ["large.bin"] == [each.path for each in client.list_artifacts(run.run_id)]
    (folder / "back").mkdir()
    back = Path(client.download_artifacts(run.run_id, "large.bin", str(folder / "back")))
    assert checksum(folder / "large.bin") == checksum(back)
    where: str = run.artifact_uri
    return where.removeprefix("mlflow-artifacts:")


def checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_server_asks_s3_for_nothing_but_what_its_role_may_and_for_all_of_that(
    calls: list[Call],
) -> None:
    document = policies.instance(Settings(artifacts_destination=PLACE), "aws")
    assert document is not None
    asked: set[str] = set()
    for call in calls:
        assert call.operation in CALLS, call
        assert "server" in CALLS[call.operation].tasks, call
        for action in actions(call.operation):
            arn = f"arn:aws:s3:::{call.fields['path'].strip('/')}"
            if call.operation == "DeleteObjects":  # the keys are in the body
                arn += "/mlflow/any"
            context = {"s3:prefix": call.fields["prefix"]} if "prefix" in call.fields else {}
            assert allows(document, action, arn, context), call
            asked.add(action)

    assert {action for each in document["Statement"] for action in each["Action"]} == asked
    rows = {name for name, call in CALLS.items() if "server" in call.tasks}
    assert rows - CHECKED_BY_DOCTOR == {call.operation for call in calls}


def actions(operation: str) -> set[str]:
    """Return the actions of S3 that a host without backups needs for an operation."""
    return {
        action
        for scope, needed in CALLS[operation].needs.items()
        if INSTANCE in scope.policies and not scope.sid.startswith("Backups")
        for action in needed
        if action.startswith("s3:")
    }
