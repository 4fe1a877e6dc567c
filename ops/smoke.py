"""Proof that a server works: the real protocol, through the front door, step by step."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ops import console
from ops.errors import OpsError
from ops.front_door import FrontDoor, RequestError
from ops.settings import Settings

__all__ = ["run"]

EXPERIMENT = "mlflow-compose smoke test"
"""One experiment for every test: MLflow's REST API can only hide an experiment, not remove it.

An experiment keeps its artifacts where the server kept them when it was made. So in direct mode
there is one for each destination, and a test looks at the place that is set now.
"""

ARTIFACT = "smoke.bin"
ARTIFACT_BYTES = 5 * 1024**2
METRICS = 100
PARAMS = 20


@dataclass
class Session:
    """What one test has made so far, and what undoes it."""

    door: FrontDoor
    settings: Settings
    run: dict[str, Any] = field(default_factory=dict)
    undo: list[tuple[str, Callable[[], object]]] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """Return the id of the test's run."""
        return str(self.run["info"]["run_id"])


def run(door: FrontDoor, settings: Settings) -> None:
    """Do what a client does; raise an error (code 1) that names the step and the likely cause."""
    session = Session(door, settings)
    try:
        for label, action in STEPS:
            with step(label, door):
                action(session)
    except BaseException:  # Ctrl-C leaves nothing behind either
        undo_all(session)  # what fails here matters less than what failed before
        raise
    failures = undo_all(session)
    if failures:
        raise failures[0]


def undo_all(session: Session) -> list[OpsError]:
    """Take back what the test made, last first, as far as it goes; return what failed."""
    failures = []
    for label, undo in reversed(session.undo):
        try:
            with step(label, session.door):
                undo()
        except OpsError as error:
            failures.append(error)
    return failures


@contextmanager
def step(label: str, door: FrontDoor) -> Iterator[None]:
    """Print a step with its time, or raise the error that names it."""
    begin = time.monotonic()
    try:
        yield
    except (RequestError, AssertionError, LookupError, TypeError) as error:
        cause, remedy = f"{label}: {error}", likely(error, door)
        raise OpsError(cause, remedy) from None
    console.result(f"ok  {label} ({console.duration(time.monotonic() - begin)})")


def likely(error: Exception, door: FrontDoor) -> str:
    """Return the remedy for the usual cause of an answer."""
    status = error.status if isinstance(error, RequestError) else None
    text = str(error)
    if status == 0:
        return "the server or NGINX is not up, or the address is wrong: invoke status"
    if status == 403 and "Host" in text:
        return f"set PUBLIC_URL in .env to the address clients use ({door.url}), then: invoke up"
    if status == 413:
        return "a proxy in front of NGINX limits the size of uploads: raise its limit"
    if status in (502, 503, 504):
        return (
            "the server is starting, overloaded or gone: invoke status, invoke logs --service web"
        )
    if status in (401, 403):
        return "the server or S3 refuses these credentials: look at the server's log (invoke logs)"
    return "look at the server's log: invoke logs --service web"


def create_experiment(session: Session) -> None:
    """Make the experiment, or bring the one of the last test back."""
    door, name = session.door, experiment_name(session.settings)
    try:
        found = door.call("GET", "/experiments/get-by-name", {"experiment_name": name})
        experiment = found["experiment"]
        identity = experiment["experiment_id"]
        if experiment["lifecycle_stage"] == "deleted":
            door.call("POST", "/experiments/restore", {"experiment_id": identity})
    except RequestError as error:
        if error.status != 404:
            raise
        identity = door.call("POST", "/experiments/create", {"name": name})["experiment_id"]
    session.undo.append(
        (
            "delete the experiment",
            lambda: door.call("POST", "/experiments/delete", {"experiment_id": identity}),
        )
    )
    body = {"experiment_id": identity, "start_time": _now(), "run_name": "smoke"}
    session.run = door.call("POST", "/runs/create", body)["run"]
    session.undo.append(
        ("delete the run", lambda: door.call("POST", "/runs/delete", {"run_id": session.run_id}))
    )


def experiment_name(settings: Settings) -> str:
    """Return the name of the experiment whose artifacts are where new ones are kept now."""
    if settings.artifact_access == "direct":
        return f"{EXPERIMENT} ({settings.artifacts_destination})"
    return EXPERIMENT


def log_batch(session: Session) -> None:
    """Log metrics and params in one batch and read them back."""
    metrics = [
        {"key": "loss", "value": 1 / (i + 1), "timestamp": _now(), "step": i}
        for i in range(METRICS)
    ]
    params = [{"key": f"param{i}", "value": str(i)} for i in range(PARAMS)]
    body = {"run_id": session.run_id, "metrics": metrics, "params": params}
    session.door.call("POST", "/runs/log-batch", body)
    query = {"run_id": session.run_id, "metric_key": "loss", "max_results": METRICS}
    history = session.door.call("GET", "/metrics/get-history", query)["metrics"]
    expect(METRICS, len(history), "metric values came back")
    data = session.door.call("GET", "/runs/get", {"run_id": session.run_id})["run"]["data"]
    expect(PARAMS, len(data["params"]), "params came back")


def set_tag(session: Session) -> None:
    """Set a tag with characters that a wrong character set would lose."""
    body = {"run_id": session.run_id, "key": "smoke", "value": "größer 数据 🚀"}
    session.door.call("POST", "/runs/set-tag", body)
    data = session.door.call("GET", "/runs/get", {"run_id": session.run_id})["run"]["data"]
    tags = {tag["key"]: tag["value"] for tag in data["tags"]}
    expect(body["value"], tags.get("smoke"), "as the tag came back")


def transfer_artifact(session: Session) -> None:
    """Send an artifact, fetch it, compare checksums: through the server, or S3 in direct mode."""
    content = os.urandom(ARTIFACT_BYTES)
    uri = urlsplit(str(session.run["info"]["artifact_uri"]))
    if uri.scheme == "s3":
        back = _through_s3(session, uri.netloc, f"{uri.path.lstrip('/')}/{ARTIFACT}", content)
    else:
        path = f"/api/2.0/mlflow-artifacts/artifacts{uri.path}/{ARTIFACT}"
        session.door.request("PUT", path, body=content)
        session.undo.append(("delete the artifact", lambda: session.door.request("DELETE", path)))
        back = session.door.request("GET", path)
    sent, got = (hashlib.sha256(data).hexdigest() for data in (content, back))
    expect(sent, got, "is the checksum of the artifact that came back")


def _through_s3(session: Session, bucket: str, key: str, content: bytes) -> bytes:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    settings = session.settings
    try:
        s3 = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url or None,
            region_name=settings.s3_region or None,
        )
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        session.undo.append(
            ("delete the artifact", lambda: s3.delete_object(Bucket=bucket, Key=key))
        )
        body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise RequestError(
            403, f"S3 from this machine, with its own credentials (ARTIFACT_ACCESS=direct): {error}"
        ) from None
    return body


def register_model(session: Session) -> None:
    """Register a model, with a version that points at the run."""
    door, name = session.door, f"mlflow-compose-smoke-{session.run_id[:8]}"
    door.call("POST", "/registered-models/create", {"name": name})
    session.undo.append(
        (
            "delete the model",
            lambda: door.call("DELETE", "/registered-models/delete", {"name": name}),
        )
    )
    source = f"{session.run['info']['artifact_uri']}/{ARTIFACT}"
    body = {"name": name, "source": source, "run_id": session.run_id}
    version = door.call("POST", "/model-versions/create", body)["model_version"]
    expect("1", version["version"], "is the first version's number")


def search(session: Session) -> None:
    """Find the run by a metric and a param."""
    experiment = session.run["info"]["experiment_id"]
    body = {
        "experiment_ids": [experiment],
        "filter": f"metrics.loss < 0.5 and params.param7 = '7' and run_id = '{session.run_id}'",
        "max_results": 5,
    }
    found = session.door.call("POST", "/runs/search", body).get("runs", [])
    expect([session.run_id], [run["info"]["run_id"] for run in found], "was found")


STEPS: list[tuple[str, Callable[[Session], None]]] = [
    ("server and database answer", lambda session: session.door.answers()),
    ("create an experiment and a run", create_experiment),
    (f"log {METRICS} metrics and {PARAMS} params in a batch", log_batch),
    ("set a tag", set_tag),
    ("send and fetch an artifact of 5 MB", transfer_artifact),
    ("register a model version", register_model),
    ("search runs", search),
]


def expect(wanted: object, got: object, what: str) -> None:
    """Raise AssertionError unless both are equal."""
    if wanted != got:
        raise AssertionError(f"{got!r} {what}, not {wanted!r}")


def _now() -> int:
    return int(time.time() * 1000)
