"""What an MLflow makes of a database: migrates it, serves it, reads from it as clients do.

Runs in a container of a server image, of whichever release, beside a MySQL that nobody else
reaches (ops/reading.py); its text comes with the command, so that an image of long ago has it too.
On stdin is one JSON document: `stages`, what to do, in this order: `check` (refuse another schema
than this MLflow's), `migrate`, `read`, `write`; `client`, MySQL's option file; `passphrase`;
`auth` and `auth_config`, the login. On stdout is another: `seconds`, of each stage, and `answers`.

Exit codes: 0; 3 the migration job failed; 1 anything else.
"""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

MIGRATION_FAILED = 3

OPTION_FILE, LOG = Path("/tmp/client"), Path("/tmp/log")  # noqa: S108 - in a container of its own
LOGIN_FILE = Path("/run/secrets/auth_config")
DATABASE = (
    "mysql+mysqldb://127.0.0.1:3306/mlflow?charset=utf8mb4&ssl_mode=REQUIRED"
    f"&read_default_file={OPTION_FILE}"
)
BASE = "http://127.0.0.1:5000"
API = "/api/2.0/mlflow/"
START_SECONDS = 240
"""An MLflow that imports everything on one busy processor takes 30."""

EXPERIMENTS, RUNS, METRICS, POINTS, MODELS, TRACES = 100, 20, 3, 1000, 20, 20
"""How much is read: that many at the most, of runs at either end of time."""

JOB = (sys.executable, "-I", "/opt/migration.py")
JOBS = {"check": JOB, "migrate": (*JOB, "--existing")}

Json = Any
"""Whatever JSON can hold."""

Answers = dict[str, Json]
"""By what was asked."""


def main() -> None:
    """Do what stdin says."""
    given = json.load(sys.stdin)
    stages = given["stages"]
    environ = surroundings(given)
    seconds: dict[str, float] = {}
    answers: Answers = {}
    for stage, words in JOBS.items():
        if stage in stages:
            with timed(seconds, stage):
                run_job(words, environ)
    if "read" in stages or "write" in stages:
        with timed(seconds, "start"):
            server = started(environ)
        try:
            if "read" in stages:
                with timed(seconds, "read"):
                    read(answers)
            if "write" in stages:
                with timed(seconds, "write"):
                    write()
        finally:
            server.terminate()
            server.wait(60)
    print(json.dumps({"seconds": seconds, "answers": answers}))


def surroundings(given: dict[str, Json]) -> dict[str, str]:
    """Return the environment of the job and of the server; nothing secret is in Docker's."""
    OPTION_FILE.touch(0o600)
    OPTION_FILE.write_text(given["client"])
    if given["auth_config"]:
        LOGIN_FILE.touch(0o600)
        LOGIN_FILE.write_text(given["auth_config"])
    return {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": DATABASE,
        "MLFLOW_CRYPTO_KEK_PASSPHRASE": given["passphrase"],
        "MLFLOW_AUTH_CONFIG_PATH": str(LOGIN_FILE),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AUTH": given["auth"],
    }


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Keep how long something took."""
    begin = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - begin, 1)


def run_job(words: tuple[str, ...], environ: dict[str, str]) -> None:
    """Run the migration job; on failure end with what it says."""
    done = subprocess.run(words, env=environ, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        sys.exit(MIGRATION_FAILED)


def started(environ: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start MLflow and wait until it answers."""
    words = ("mlflow", "server", "--host=127.0.0.1", "--port=5000", "--workers=1")
    places = ("--serve-artifacts", "--artifacts-destination=/tmp/none")
    with LOG.open("wb") as stream:
        server = subprocess.Popen(
            (*words, *places), env=environ, stdout=subprocess.DEVNULL, stderr=stream
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urlopen(f"{BASE}/health", timeout=2).close()
        except (URLError, OSError):
            if server.poll() is not None:
                sys.exit(LOG.read_text()[-2000:])
            time.sleep(0.5)
        else:
            return server
    server.kill()
    sys.exit("MLflow does not answer")


def ask(path: str, body: Json = None, *, missing: bool = False) -> Json:
    """Ask MLflow; where it has no such path or thing, and that may be, the answer is None."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"{BASE}{path}", data, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        if missing and error.code in (404, 405):
            return None
        sys.exit(f"{path}: {error.code} {error.read().decode(errors='replace')[:500]}")


def read(answers: Answers) -> None:
    """Ask for a sample of all that there is, in the words of clients of any age."""

    def kept(what: str, path: str, body: Json = None, *, missing: bool = False) -> Json:
        answers[what] = ask(path, body, missing=missing)
        return answers[what] or {}

    found = kept("experiments", f"{API}experiments/search", {"max_results": EXPERIMENTS})
    ids = [each["experiment_id"] for each in found.get("experiments", [])]
    for order in ("DESC", "ASC"):
        body = {
            "experiment_ids": ids,
            "max_results": RUNS,
            "order_by": [f"attributes.start_time {order}"],
        }
        runs = kept(f"runs {order}", f"{API}runs/search", body).get("runs", [])
        for run in runs:
            read_run(kept, run)
    models = kept("models", f"{API}registered-models/search?max_results={EXPERIMENTS}")
    for model in models.get("registered_models", [])[:MODELS]:
        name = model["name"]
        kept(f"model {name}", f"{API}registered-models/get?name={quote(name)}")
    kept("versions", f"{API}model-versions/search?max_results={EXPERIMENTS}")
    for identity in ids[:5]:
        path = f"{API}traces?experiment_ids={identity}&max_results={TRACES}"
        kept(f"traces {identity}", path, missing=True)


def read_run(kept: Callable[..., Json], run: Json) -> None:
    """Ask for a run by its name, and for its metrics."""
    name = run["info"]["run_id"]
    again = kept(f"run {name}", f"{API}runs/get?run_id={name}")["run"]
    if again["data"] != run["data"]:
        sys.exit(f"a run read twice was two: {name}")
    for metric in run["data"].get("metrics", [])[:METRICS]:
        key = metric["key"]
        query = f"run_id={name}&metric_key={quote(key)}&max_results={POINTS}"
        kept(f"metric {name} {key}", f"{API}metrics/get-history?{query}")


def write() -> None:
    """Log something new, and read it back."""
    name = f"rehearsal-{uuid.uuid4()}"
    identity = ask(f"{API}experiments/create", {"name": name})["experiment_id"]
    run = ask(f"{API}runs/create", {"experiment_id": identity, "start_time": 1})["run"]
    run_id = run["info"]["run_id"]
    batch = {
        "run_id": run_id,
        "metrics": [{"key": "m", "value": 0.5, "timestamp": 1, "step": 2}],
        "params": [{"key": "p", "value": "v"}],
        "tags": [{"key": "t", "value": "w"}],
    }
    ask(f"{API}runs/log-batch", batch)
    data = ask(f"{API}runs/get?run_id={run_id}")["run"]["data"]
    wanted = (data["metrics"][0]["value"], data["params"][0]["value"])
    if wanted != (0.5, "v") or {"key": "t", "value": "w"} not in data["tags"]:
        sys.exit(f"what was logged is not what is read: {data}")
    ask(f"{API}registered-models/create", {"name": name})
    ask(f"{API}runs/delete", {"run_id": run_id})
    ask(f"{API}experiments/delete", {"experiment_id": identity})


if __name__ == "__main__":
    main()
