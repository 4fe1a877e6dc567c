"""One script of MLflow's own client, for any side: what it logs, it reads back the same."""

import hashlib
import operator
import os
import tempfile
import uuid
from pathlib import Path

import pytest

from tests.e2e.side import Side

PARAMS = {"depth": "3", "note": "größer als 数据 🚀", "long": "x" * 5000}
TAGS = {"team": "churn", "note": "'zitiert' \"zwei\" \\ %"}
POINTS = [("loss", 1 / (step + 1), 1_760_000_000_000 + step, step) for step in range(1000)]


def prove(side: Side) -> None:
    """Log and read back; fail unless what came back is what was sent."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        for name, value in side.environ.items():
            patch.setenv(name, value)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        _log_and_read(side.url, Path(folder))


def _log_and_read(url: str, folder: Path) -> None:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient(tracking_uri=url)
    experiment = client.create_experiment(f"proven {uuid.uuid4().hex}")
    run = client.create_run(experiment).info.run_id
    client.log_batch(
        run,
        metrics=[Metric(*point) for point in POINTS],
        params=[Param(*item) for item in PARAMS.items()],
        tags=[RunTag(*item) for item in TAGS.items()],
    )
    file = folder / "weights.bin"
    file.write_bytes(os.urandom(5_000_000))
    client.log_artifact(run, str(file), "model")
    client.set_terminated(run)

    [found] = client.search_runs([experiment], f"params.depth = '{PARAMS['depth']}'")
    history = client.get_metric_history(run, "loss")
    back = Path(client.download_artifacts(run, "model/weights.bin", str(folder / "back")))
    points = [(each.key, each.value, each.timestamp, each.step) for each in history]
    came = {
        "status": found.info.status,
        "params": dict(found.data.params),
        "tags": {key: found.data.tags.get(key) for key in TAGS},
        "points": sorted(points, key=operator.itemgetter(3)),
        "artifact": _digest(back),
    }
    sent = {"status": "FINISHED", "params": PARAMS, "tags": TAGS, "points": POINTS}
    assert sent | {"artifact": _digest(file)} == came


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()
