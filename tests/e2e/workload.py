"""What a team does with a server: a training script that logs, a reader that compares.

Both are programs of their own, as a person's are:
`python -m tests.e2e.workload log RECORD` logs to the server in MLFLOW_TRACKING_URI and writes down
what it sent and the server acknowledged; `... verify RECORD` reads all of it back through a new
client and ends with exit code 1 at the first difference.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024**2
UPLOADS = "/api/2.0/mlflow-artifacts/artifacts/"
EXPERIMENT = "Prüfung 数据 🚀"
UNICODE = "größer als 数据, 'zitiert' \"zwei\" \\ $HOME # 100 % 🚀\n\tzweite Zeile"
POINTS = 1000
"""Metrics in a batch: the most that the server takes."""


@dataclass(frozen=True)
class Workload:
    """The training script, run against one server, and what it wrote down."""

    environ: Mapping[str, str]
    record: Path

    def log(self, megabytes: int = 500) -> str:
        """Log everything; return what the script said."""
        return self._run("log", "--megabytes", str(megabytes))

    def verify(self) -> str:
        """Read everything back and compare; return what the script said."""
        return self._run("verify")

    def _run(self, verb: str, *options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.workload", verb, str(self.record), *options],
            cwd=ROOT,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{verb}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout


@dataclass
class Journal:
    """Every write that a client sent and the server acknowledged."""

    params: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    tags: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    metrics: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Write down what passes through the HTTP library meanwhile, from whatever thread."""
        import requests

        send = requests.Session.request

        def request(session: Any, method: str, url: str, **options: Any) -> requests.Response:
            writes = method in {"POST", "PUT"}
            try:
                answer = send(session, method, url, **options)
            except requests.RequestException as error:
                if writes:
                    self.refused.append(f"{method} {url}: {error}")
                raise
            if writes and answer.ok:
                self._note(urlsplit(url).path, options, answer)
            elif writes:
                self.refused.append(f"{method} {url}: {answer.status_code} {answer.text[:300]}")
            return answer

        with mock.patch.object(requests.Session, "request", request):
            yield

    def _note(self, path: str, options: Mapping[str, Any], answer: Any) -> None:
        if path.startswith(UPLOADS):
            self.files[unquote(path.removeprefix(UPLOADS))] = checksum_of(options["data"])
            return
        body, verb = options.get("json") or {}, path.rpartition("/mlflow/runs/")[2]
        if verb == "create":
            info = answer.json()["run"]["info"]
            self._note_tags(info["run_id"], body.get("tags", []))
            self.tags[info["run_id"]]["mlflow.runName"] = info[
                "run_name"
            ]  # the server makes one up
        elif verb == "log-batch":
            run = body["run_id"]
            self.params[run] |= {p["key"]: p["value"] for p in body.get("params", [])}
            self._note_tags(run, body.get("tags", []))
            for m in body.get("metrics", []):
                self.metrics[run].append([m["key"], float(m["value"]), m["timestamp"], m["step"]])
        elif verb == "set-tag":
            self._note_tags(body["run_id"], [body])
        elif verb == "log-parameter":
            self.params[body["run_id"]][body["key"]] = body["value"]
        elif verb == "log-metric":
            entry = [body["key"], float(body["value"]), int(body["timestamp"]), int(body["step"])]
            self.metrics[body["run_id"]].append(entry)
        elif verb == "update":
            self.statuses[body["run_id"]] = body["status"]

    def _note_tags(self, run: str, tags: list[dict[str, str]]) -> None:
        self.tags[run] |= {tag["key"]: tag["value"] for tag in tags}


def checksum_of(stream: Any) -> str:
    """Return the SHA-256 of an open file that was just sent, or of bytes."""
    if isinstance(stream, bytes):
        return hashlib.sha256(stream).hexdigest()
    with Path(stream.name).open("rb") as again:
        return hashlib.file_digest(again, "sha256").hexdigest()


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def families() -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Return the data set and the models of each family: 32 models in 8 families."""
    from sklearn import datasets
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import ElasticNet, LogisticRegression, Ridge
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR
    from sklearn.tree import DecisionTreeRegressor

    steps = (0.01, 0.1, 1.0, 10.0)
    depths = (2, 3, 4, 5)
    return {
        "logistic": (
            datasets.load_iris,
            [LogisticRegression(C=step, max_iter=500) for step in steps],
        ),
        "neighbours": (
            datasets.load_wine,
            [KNeighborsClassifier(n_neighbors=depth) for depth in depths],
        ),
        "forest": (
            datasets.load_breast_cancer,
            [RandomForestClassifier(10, max_depth=depth, random_state=1) for depth in depths],
        ),
        "digits": (
            datasets.load_digits,
            [KNeighborsRegressor(n_neighbors=depth) for depth in depths],
        ),
        "ridge": (datasets.load_diabetes, [Ridge(alpha=step) for step in steps]),
        "elastic": (datasets.load_diabetes, [ElasticNet(alpha=step) for step in steps]),
        "boosting": (
            datasets.load_diabetes,
            [GradientBoostingRegressor(n_estimators=20, max_depth=depth) for depth in depths[:2]]
            + [DecisionTreeRegressor(max_depth=depth, random_state=1) for depth in depths[2:]],
        ),
        "pipeline": (
            datasets.load_diabetes,
            [make_pipeline(StandardScaler(), SVR(C=step)) for step in steps],
        ),
    }


def log(record: Path, megabytes: int) -> None:
    """Do what training scripts do, and write down what was acknowledged."""
    import mlflow

    journal = Journal()
    with journal.keep():
        mlflow.set_experiment(EXPERIMENT)
        with timed("32 models, autologged"):
            models, versions = train()
        with timed(f"{5 * POINTS} metrics in batches, params and tags"):
            log_metrics()
        with timed("a trace"):
            trace = log_trace()
        with timed(f"an artifact of {megabytes} MB, sent"):
            log_artifact(megabytes)
    same([], journal.refused, "refused writes; autolog would hide them")
    text = {
        **vars(journal),
        "models": models,
        "versions": versions,
        "trace": trace,
    }
    record.write_text(json.dumps(text), "utf-8")


def train() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train every family as runs below one parent; register the best model of each."""
    import mlflow
    import mlflow.sklearn

    mlflow.sklearn.autolog(log_input_examples=False)
    guess = mlflow.models.infer_pip_requirements
    guessed: list[Any] = []

    def guess_once(*args: Any, **options: Any) -> Any:
        """MLflow starts a Python for each model to see what it imports: 6 s each."""
        if not guessed:
            guessed.append(guess(*args, **options))
        return guessed[0]

    models, versions = [], []
    with mock.patch("mlflow.models.infer_pip_requirements", guess_once):
        for name, (load, estimators) in families().items():
            rows, wanted = load(return_X_y=True)
            with mlflow.start_run(run_name=name):
                made = [fit(estimator, rows, wanted) for estimator in estimators]
            for model in made:
                model["data"] = load.__name__
            models += made
            versions.append(register(name, max(made, key=lambda model: model["score"])))
    mlflow.sklearn.autolog(disable=True)
    return models, versions


def fit(estimator: Any, rows: Any, wanted: Any) -> dict[str, Any]:
    """Train one model in a run below the active one; return what a reader must find."""
    import mlflow

    with mlflow.start_run(nested=True) as run:
        estimator.fit(rows, wanted)
    logged = mlflow.last_logged_model()
    assert logged is not None
    assert run.info.run_id == logged.source_run_id
    return {
        "model": logged.model_id,
        "run": run.info.run_id,
        "params": {key: str(value) for key, value in estimator.get_params(deep=True).items()},
        "score": float(estimator.score(rows, wanted)),
        "predictions": estimator.predict(rows[:50]).tolist(),
    }


def register(family: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """Register a model under its family's name, with a version tag and an alias."""
    import mlflow

    client = mlflow.MlflowClient()
    name = f"e2e-{family}-{model['model'][-8:]}"
    client.create_registered_model(name, tags={"family": UNICODE}, description=UNICODE)
    source = f"models:/{model['model']}"
    version = client.create_model_version(
        name, source, run_id=model["run"], model_id=model["model"], description=UNICODE
    )
    client.set_model_version_tag(name, version.version, "checked", UNICODE)
    client.set_registered_model_alias(name, "best", version.version)
    return {"name": name, "version": version.version, "run": model["run"], "model": model["model"]}


def log_metrics() -> None:
    """Log histories of thousands of points, keys that differ in case only, awkward values."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    with mlflow.start_run(run_name="curves") as run:
        now = int(time.time() * 1000)
        for batch in range(5):
            steps = range(batch * POINTS, (batch + 1) * POINTS)
            metrics = [Metric(f"loss {s % 4}", 1 / (s + 1), now + s, s) for s in steps]
            client.log_batch(run.info.run_id, metrics=metrics)
        extremes = [1e308, -1e308, 5e-324, 0.1 + 0.2, -0.0, float(2**53)]
        awkward = [Metric("extreme/value", value, now, i) for i, value in enumerate(extremes)]
        awkward += [Metric("Rate", 1.0, now, 0), Metric("rate", 2.0, now, 0)]
        params = [Param(f"param {i}", f"{i} {UNICODE}") for i in range(94)]
        params += [Param("C", "upper"), Param("c", "lower"), Param("long", "ü" * 6000)]
        params += [Param("größe", "accent"), Param("grosse", "none")]
        tags = [RunTag("note", UNICODE), RunTag("Note", "upper"), RunTag("long", "数" * 5000)]
        client.log_batch(run.info.run_id, metrics=awkward, params=params, tags=tags)


def log_trace() -> dict[str, Any]:
    """Log a trace of four spans, two of them below a third; return what a reader must find."""
    import mlflow

    with mlflow.start_span("question", span_type="CHAIN") as root:
        root.set_inputs({"text": UNICODE})
        for name in ("retrieve 数据", "rank"):
            with mlflow.start_span(name, span_type="RETRIEVER") as span:
                span.set_inputs({"query": name})
                span.set_attribute("top", 5)
                with mlflow.start_span(f"{name} inner", span_type="TOOL") as inner:
                    inner.set_outputs({"rows": [1, 2.5, None, UNICODE]})
        root.set_outputs({"answer": [UNICODE]})
    mlflow.flush_trace_async_logging()
    spans = [
        ["question", None, "CHAIN", {"text": UNICODE}, {"answer": [UNICODE]}, None],
        *(
            row
            for name in ("retrieve 数据", "rank")
            for row in (
                [name, "question", "RETRIEVER", {"query": name}, None, 5],
                [f"{name} inner", name, "TOOL", None, {"rows": [1, 2.5, None, UNICODE]}, None],
            )
        ),
    ]
    return {"id": root.trace_id, "spans": sorted(spans, key=str)}


def log_artifact(megabytes: int) -> None:
    """Send one large file, from disk."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights größe 数.bin"
        with file.open("wb") as stream:
            for _ in range(megabytes):
                stream.write(os.urandom(MIB))
        with mlflow.start_run(run_name="weights"):
            mlflow.log_artifact(str(file), "checkpoints/last one")


def verify(record: Path) -> None:
    """Read everything back and compare it with what was acknowledged."""
    kept = json.loads(record.read_text("utf-8"))
    with ThreadPoolExecutor(4) as pool, timed("runs, compared"):
        list(pool.map(lambda run: verify_run(run, kept), kept["statuses"]))
    with timed("experiment, registry and trace, compared"):
        verify_search(kept)
        for version in kept["versions"]:
            verify_version(version)
            trained = {model["model"]: model for model in kept["models"]}[version["model"]]
            verify_model(trained, f"models:/{version['name']}@best")
        verify_trace(kept["trace"])
    with timed("models, loaded again"):
        for model in kept["models"]:
            verify_model(model, f"models:/{model['model']}")
            params = kept["params"][model["run"]]
            sent = {key: params.get(key) for key in model["params"]}
            same(model["params"], sent, f"params that autolog sent of {model}")
    with timed(f"{len(kept['files'])} artifacts, fetched"):
        verify_files(kept["files"])
    points = sum(map(len, kept["metrics"].values()))
    say(
        f"equal: {len(kept['models'])} models, {len(kept['statuses'])} runs, {points} metrics, "
        f"{sum(map(len, kept['params'].values()))} params, "
        f"{sum(map(len, kept['tags'].values()))} tags, {len(kept['files'])} artifacts"
    )


def verify_run(run: str, kept: Mapping[str, Any]) -> None:
    """Compare a run's status, params, tags and the whole history of each metric."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.get_run(run)
    same(kept["statuses"][run], found.info.status, f"status of run {run}")
    same(kept["params"].get(run, {}), dict(found.data.params), f"params of run {run}")
    same(kept["tags"][run], dict(found.data.tags), f"tags of run {run}")
    wanted = kept["metrics"].get(run, [])
    names = {entry[0] for entry in wanted}
    same(names, set(found.data.metrics), f"metric names of run {run}")
    got = [
        [entry.key, entry.value, entry.timestamp, entry.step]
        for name in names
        for entry in client.get_metric_history(run, name)
    ]
    same(sorted(wanted), sorted(got), f"metric histories of run {run}")


def verify_search(kept: Mapping[str, Any]) -> None:
    """Compare what a search finds: every run, and the children of each parent."""
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    missing = set(kept["statuses"]) - {run.info.run_id for run in found}
    same(set(), missing, "runs that a search does not find")
    below = Counter(run.data.tags.get("mlflow.parentRunId") for run in found)
    parents = {kept["tags"][model["run"]]["mlflow.parentRunId"] for model in kept["models"]}
    same(dict.fromkeys(parents, 4), {run: below[run] for run in parents}, "runs below each parent")


def verify_version(wanted: Mapping[str, str]) -> None:
    """Compare a registered model: what it points at, alias, tags, descriptions."""
    import mlflow

    client = mlflow.MlflowClient()
    model = client.get_registered_model(wanted["name"])
    same({"family": UNICODE}, dict(model.tags), f"tags of {wanted['name']}")
    same(UNICODE, model.description, f"description of {wanted['name']}")
    found = client.get_model_version_by_alias(wanted["name"], "best")
    same(str(wanted["version"]), str(found.version), f"version of {wanted['name']}")
    same(wanted["run"], found.run_id, f"run of {wanted['name']}")
    same(f"models:/{wanted['model']}", found.source, f"source of {wanted['name']}")
    same({"checked": UNICODE}, dict(found.tags), f"version tags of {wanted['name']}")
    same(UNICODE, found.description, f"version description of {wanted['name']}")


def verify_trace(wanted: Mapping[str, Any]) -> None:
    """Compare a trace, span by span."""
    import mlflow

    trace = mlflow.MlflowClient().get_trace(wanted["id"])
    names = {span.span_id: span.name for span in trace.data.spans}
    found = [
        [
            span.name,
            names.get(span.parent_id or ""),
            span.span_type,
            span.inputs,
            span.outputs,
            span.get_attribute("top"),
        ]
        for span in trace.data.spans
    ]
    same(wanted["spans"], sorted(found, key=str), f"spans of trace {wanted['id']}")


def verify_model(wanted: Mapping[str, Any], uri: str) -> None:
    """Load a model and let it predict again."""
    import mlflow
    import mlflow.sklearn
    from sklearn import datasets

    rows, targets = getattr(datasets, wanted["data"])(return_X_y=True)
    model = mlflow.sklearn.load_model(uri)
    same(wanted["predictions"], model.predict(rows[:50]).tolist(), f"predictions of {wanted}")
    same(wanted["score"], float(model.score(rows, targets)), f"score of {wanted}")


def verify_files(files: Mapping[str, str]) -> None:
    """Fetch every artifact to disk; compare names and checksums with what was sent."""
    import mlflow

    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for path, digest in files.items():
        folder, _, name = path.partition("/artifacts/")
        folders[folder][name] = digest

    def fetch(folder: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as target:
            uri = f"mlflow-artifacts:/{folder}/artifacts"
            top = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=target))
            found = [file for file in top.rglob("*") if file.is_file()]
            return {file.relative_to(top).as_posix(): checksum(file) for file in found}

    with ThreadPoolExecutor(4) as pool:
        for (folder, wanted), found in zip(folders.items(), pool.map(fetch, folders), strict=True):
            same(wanted, found, f"artifacts of {folder}")


def same(wanted: object, got: object, what: str) -> None:
    """Stop at the first difference."""
    if wanted != got:
        raise AssertionError(f"{what}: {shorten(got)} came back, not {shorten(wanted)}")


def shorten(value: object) -> str:
    """Return a value as text that fits into a report."""
    text = repr(value)
    return text if len(text) < 600 else f"{text[:300]} … {text[-300:]}"


@contextmanager
def timed(label: str) -> Iterator[None]:
    """Say how long something took."""
    begin = time.monotonic()
    yield
    say(f"{label}: {time.monotonic() - begin:.1f} s")


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the training script, or the reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["log", "verify"])
    parser.add_argument("record", type=Path)
    parser.add_argument("--megabytes", type=int, default=500)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if options.verb == "log":
        log(options.record, options.megabytes)
    else:
        verify(options.record)


if __name__ == "__main__":
    main()
