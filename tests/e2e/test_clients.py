"""Real clients of both ends of MLflow's history, through TLS and login, by environment alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from tests.e2e.tools import environment

SCRIPT = """
import hashlib, os, pathlib, sys, time, uuid
import mlflow
from mlflow import MlflowClient

assert mlflow.__version__.startswith(sys.argv[1]), mlflow.__version__
client, mark = MlflowClient(), uuid.uuid4().hex[:8]
experiment = client.create_experiment(f"client {mark}")
run = client.create_run(experiment).info.run_id
metrics = [mlflow.entities.Metric("loss", 1 / (i + 1), 1760000000000 + i, i) for i in range(100)]
params = [mlflow.entities.Param(f"param{i}", str(i)) for i in range(20)]
client.log_batch(run, metrics=metrics, params=params)
assert len(client.get_metric_history(run, "loss")) == 100
client.set_tag(run, "smoke", "gr\\u00f6\\u00dfer \\u6570\\u636e")
assert client.get_run(run).data.tags["smoke"] == "gr\\u00f6\\u00dfer \\u6570\\u636e"
file = pathlib.Path(sys.argv[2], "smoke.bin")
file.write_bytes(os.urandom(5 * 1024**2))
client.log_artifact(run, str(file))
assert [each.path for each in client.list_artifacts(run)] == ["smoke.bin"]
back = client.download_artifacts(run, "smoke.bin", sys.argv[2] + "/back")
sums = [hashlib.sha256(pathlib.Path(each).read_bytes()).hexdigest() for each in (file, back)]
assert sums[0] == sums[1]
client.create_registered_model(f"model-{mark}")
source = client.get_run(run).info.artifact_uri + "/smoke.bin"
assert str(client.create_model_version(f"model-{mark}", source, run).version) == "1"
found = client.search_runs([experiment], "metrics.loss < 0.5 and params.param7 = '7'")
assert [each.info.run_id for each in found] == [run]
client.delete_registered_model(f"model-{mark}")
client.delete_run(run)
client.delete_experiment(experiment)
print("done")
"""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The client of MLflow 2.22 in an environment of its own."""
    return str(environment("old-client", tmp_path_factory.mktemp("clients")) / "python")


def run(
    python: str, version: str, project: Project, folder: Path, **changed: str | None
) -> "subprocess.CompletedProcess[str]":
    (folder / "back").mkdir()
    impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
    wanted = project.client_environ() | impatient | changed
    return subprocess.run(
        [python, "-c", SCRIPT, version, str(folder)],
        env={name: value for name, value in wanted.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("version", ["2.22", "3.17"])
def test_a_client_does_all_of_the_smoke_test_with_user_password_and_ca(
    version: str, guarded: Project, old: str, tmp_path: Path
) -> None:
    python = {"2.22": old, "3.17": sys.executable}[version]
    done = run(python, version, guarded, tmp_path)

    assert done.returncode == 0, done.stderr[-2000:]
    assert "done" in done.stdout


@pytest.mark.parametrize("version", ["2.22", "3.17"])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MLFLOW_TRACKING_PASSWORD": "not-the-password"}, "no such user name and password"),
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": None}, "CERTIFICATE_VERIFY_FAILED"),
    ],
    ids=["wrong password", "no CA"],
)
def test_a_client_says_why_it_is_not_let_in(
    version: str,
    changed: dict[str, str | None],
    said: str,
    *,
    guarded: Project,
    old: str,
    tmp_path: Path,
) -> None:
    python = {"2.22": old, "3.17": sys.executable}[version]
    done = run(python, version, guarded, tmp_path, **changed)

    assert done.returncode != 0
    assert said in done.stderr
