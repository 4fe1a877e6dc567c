"""What a team had on a server of any age, in the words of a client of any age.

A program of its own, run by the Python of some MLflow: `olden.py fill POINTS` logs to the server in
MLFLOW_TRACKING_URI; `olden.py read` prints all that is there as one JSON document.
"""

import inspect
import json
import os
import sys
import warnings

import mlflow
from mlflow.entities import Metric, Param, RunTag, ViewType

RUNS, BATCH = 8, 1000
NAME = "größer als 数据 🚀"


def fill(points: int) -> None:
    """Log runs with so many metric rows in all, models with versions, and traces."""
    client = mlflow.MlflowClient()
    first = client.create_experiment(NAME, tags={"team": NAME})
    gone = client.create_experiment("deleted")
    client.delete_experiment(gone)
    each = points // (RUNS * BATCH)
    for number in range(RUNS):
        run = client.create_run(first, run_name=f"{NAME} {number}", tags={"number": str(number)})
        name = run.info.run_id
        params = [Param(f"p{i}", f"{NAME} {i}") for i in range(20)]
        tags = [RunTag(f"t{i}", NAME) for i in range(10)]
        client.log_batch(name, params=params, tags=tags)
        for batch in range(each):
            steps = range(batch * BATCH, (batch + 1) * BATCH)
            metrics = [Metric(f"m{step % 4}", step / 64, 1000 + step, step) for step in steps]
            client.log_batch(name, metrics=metrics)
        client.log_metric(name, "odd", float("nan"), 1, 1)
        client.log_metric(name, "odd", float("inf"), 2, 2)
        client.set_terminated(name, status="FAILED" if number % 3 else "FINISHED")
        if number == RUNS - 1:
            client.delete_run(name)
    for number in range(3):
        model = f"model {number} {NAME}"
        client.create_registered_model(model, tags={"of": NAME}, description=NAME)
        for version in range(3):
            source = f"s3://none/{number}/{version}"
            client.create_model_version(model, source, tags={"v": str(version)})
        client.set_registered_model_alias(model, "champion", "2")
    mlflow.set_experiment(NAME)
    for number in range(5):
        with mlflow.start_span(f"span {number}") as span:
            span.set_inputs({"question": NAME})
            span.set_outputs({"answer": number})
    if hasattr(mlflow, "flush_trace_async_logging"):
        mlflow.flush_trace_async_logging()


def read() -> dict[str, object]:
    """Return what is there, in an order that no version changes."""
    client = mlflow.MlflowClient()
    experiments = client.search_experiments(view_type=ViewType.ALL)
    ids = sorted(each.experiment_id for each in experiments)
    runs = client.search_runs(ids, run_view_type=ViewType.ALL, max_results=1000)
    histories = {}
    for run in runs:
        for key in sorted(run.data.metrics):
            found = client.get_metric_history(run.info.run_id, key)
            points = sorted((point.step, point.timestamp, repr(point.value)) for point in found)
            histories[f"{run.info.run_id} {key}"] = points
    models = client.search_registered_models()
    versions = client.search_model_versions("")
    return {
        "experiments": [
            (
                each.experiment_id,
                each.name,
                each.artifact_location,
                each.lifecycle_stage,
                dict(each.tags),
            )
            for each in sorted(experiments, key=lambda each: each.experiment_id)
        ],
        "runs": [
            (
                run.info.run_id,
                run.info.run_name,
                run.info.status,
                run.info.start_time,
                run.info.end_time,
                run.info.artifact_uri,
                run.info.lifecycle_stage,
                run.data.params,
                run.data.tags,
                {key: repr(value) for key, value in run.data.metrics.items()},
            )
            for run in sorted(runs, key=lambda run: run.info.run_id)
        ],
        "histories": histories,
        "models": [
            (each.name, each.description, dict(each.tags), dict(each.aliases))
            for each in sorted(models, key=lambda each: each.name)
        ],
        "versions": [
            (each.name, int(each.version), each.source, each.status, dict(each.tags))
            for each in sorted(versions, key=lambda each: (each.name, int(each.version)))
        ],
        "traces": sorted(
            getattr(each.info, "trace_id", None) or each.info.request_id
            for each in client.search_traces(ids, **without_spans(client))
        ),
    }


def without_spans(client: mlflow.MlflowClient) -> dict[str, bool]:
    """Return what keeps a newer client from fetching each trace's spans, which are artifacts."""
    known = inspect.signature(client.search_traces).parameters
    return {"include_spans": False} if "include_spans" in known else {}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]))
    else:
        json.dump(read(), sys.stdout)
