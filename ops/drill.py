"""A restore that nobody needs, to prove that one would succeed, into a stack with no way out.

What comes back is alive: it would call webhooks and run jobs. So MySQL and MLflow have one loopback
device in common and no other network.
"""

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import (
    age_keys,
    artifacts,
    console,
    evidence,
    generations,
    manifest,
    restore,
    secret_files,
    vault,
)
from ops.age_keys import Key
from ops.errors import OpsError
from ops.homes import Home, home
from ops.restore import Asked
from ops.scratch import DRILL, Scratch
from ops.settings import Settings

__all__ = ["drill"]

KEPT = timedelta(days=generations.GENERATIONS["monthly"])
READ_SECONDS = 600.0

# Read by Python in the server image: one line of JSON with what is secret, then the reads.
BOOT = "import json, sys; given = json.loads(sys.stdin.readline()); exec(sys.stdin.read())"

READS = """
import json, os, pathlib, subprocess, sys, time
from urllib.error import URLError
from urllib.request import Request, urlopen

option_file = pathlib.Path("/tmp/client")
option_file.touch(0o600)
option_file.write_text(given["client"])
environ = {
    **os.environ,
    "MLFLOW_BACKEND_STORE_URI": "mysql+mysqldb://127.0.0.1:3306/mlflow?charset=utf8mb4"
    "&ssl_mode=REQUIRED&read_default_file=/tmp/client",
    "MLFLOW_CRYPTO_KEK_PASSPHRASE": given["passphrase"],
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
schema = subprocess.run(
    [sys.executable, "-I", "/opt/migration.py"], env=environ, capture_output=True, text=True
)
if schema.returncode:
    sys.exit(schema.stderr)
words = ["mlflow", "server", "--host=127.0.0.1", "--port=5000", "--workers=1"]
words += ["--serve-artifacts", "--artifacts-destination=/tmp/none"]
server = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
base = "http://127.0.0.1:5000"


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = Request(base + path, data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


for _ in range(240):
    try:
        urlopen(base + "/health", timeout=2)
        break
    except (URLError, OSError):
        if server.poll() is not None:
            sys.exit(server.stderr.read().decode()[-2000:])
        time.sleep(0.5)
else:
    sys.exit("MLflow does not answer")
api = "/api/2.0/mlflow/"
experiments = ask(api + "experiments/search", {"max_results": 100})["experiments"]
ids = [each["experiment_id"] for each in experiments]
body = {"experiment_ids": ids, "max_results": 20, "order_by": ["attributes.start_time DESC"]}
runs = ask(api + "runs/search", body).get("runs", [])
points = 0
for run in runs:
    again = ask(api + "runs/get?run_id=" + run["info"]["run_id"])["run"]
    if again["data"] != run["data"]:
        sys.exit("a run read twice was two: " + run["info"]["run_id"])
    for metric in run["data"].get("metrics", [])[:3]:
        query = "run_id=%s&metric_key=%s&max_results=1000" % (
            run["info"]["run_id"], __import__("urllib.parse").parse.quote(metric["key"]))
        points += len(ask(api + "metrics/get-history?" + query).get("metrics", []))
models = ask(api + "registered-models/search?max_results=100").get("registered_models", [])
for model in models[:20]:
    name = __import__("urllib.parse").parse.quote(model["name"])
    ask(api + "registered-models/get?name=" + name)
server.terminate()
server.wait(60)
print(json.dumps({"experiments": len(experiments), "runs": len(runs), "points": points,
                  "models": len(models)}))
"""


def drill(asked: Asked, hosts: str, *, as_json: bool) -> None:
    """Restore into a scratch stack, compare, read, leave signed evidence; exit 1 if it fails."""
    settings = Settings.load()
    key = age_keys.find(settings, asked.key)
    place = vault.reach(settings)
    way = restore.choose(place, asked)
    restore.check(way.backup, key)
    with home(settings, hosts) as target, target.drilling():
        settings = settings.with_secrets()
        made = Scratch(target.host, settings, way, DRILL)
        made.sweep(target.volume())
        made.check_room()
        begin = datetime.now(UTC)
        told: dict[str, Any] = {
            "backup": way.backup.id,
            "to": way.to or way.backup.as_of,
            "begun": begin.isoformat(),
            "where": target.host.name,
        }
        failure: OpsError | None = None
        try:
            told |= proven(made, target, key)
        except OpsError as error:
            failure = error
            told["error"] = error.cause
    told["finished"] = datetime.now(UTC).isoformat()
    told["result"] = "failed" if failure else "ok"
    name = evidence.name(begin.strftime(manifest.TIME), told["result"])
    try:
        place.put(name, evidence.signed(told, key), begin + KEPT)
        console.say(f"evidence: {place}/{name}")
    except OpsError as error:
        failure = failure or error
        console.say(f"note: no evidence of it: {error.cause}")
    if as_json:
        console.result_json(told)
    if failure:
        raise OpsError(f"the drill failed: {failure.cause}", failure.remedy)
    if not as_json:
        console.result(f"{way.backup.id} restores: {told['seconds']['all']} s to a serving MLflow")


def proven(made: Scratch, target: Home, key: Key) -> dict[str, Any]:
    """Restore, read, and return what was seen and how long it took; nothing of it is left."""
    begin = time.monotonic()
    seconds: dict[str, float] = {}
    image, credentials = target.images(), target.credentials()
    server = target.server_image()
    with made.volumes(keep=False):
        fetched = restore.bring(made, key, image, credentials)
        seconds["restored"] = round(time.monotonic() - begin, 1)
        with made.server():
            read = reads(made, server)
            seconds["all"] = round(time.monotonic() - begin, 1)
            looked = artifacts.look(made, made.settings)
    if looked and looked.missing:
        raise OpsError(
            f"artifacts that the database names are missing: {', '.join(looked.missing[:3])}",
            "bring them back from their versions: aws s3api list-object-versions",
        )
    tables = made.way.backup.tables
    return {
        "seconds": seconds,
        "tables": len(tables),
        "rows": sum(table.rows for table in tables.values()),
        "transactions": fetched.transactions,
        "last": fetched.last,
        "mlflow": read,
        "artifacts": asdict(looked) if looked else None,
    }


def reads(made: Scratch, image: str) -> dict[str, Any]:
    """Start MLflow on the restored database and read from it as a client does."""
    settings = made.settings
    password, passphrase = settings.mysql_password, settings.kek_passphrase
    assert passphrase is not None
    given = {
        "client": secret_files.option_file("mlflow", password),
        "passphrase": passphrase.reveal(),
    }
    words = (
        *("docker", "run", "--rm", "--interactive", f"--name={made.reader}"),
        f"--network=container:{made.container}",
        *(*made.labelled, "--entrypoint=python", "--tmpfs=/tmp:mode=1777"),
        *(image, "-c", BOOT),
    )
    text = f"{json.dumps(given)}\n{READS}"
    with console.progress("reading from MLflow on it"):
        done = made.host.run(words, stdin=text.encode(), deadline=READ_SECONDS)
    if done.code != 0:
        raise OpsError(
            f"MLflow does not read the restored database: {done.err.strip()[-1500:]}",
            "see whether this folder's MLflow fits that backup: invoke list-backups --json",
        )
    try:
        found: dict[str, Any] = json.loads(done.out.strip().rpartition("\n")[2])
    except ValueError:
        raise OpsError(
            f"MLflow's image did not say what it read: {done.out[-200:]!r}",
            "see whether it is of this version: invoke build",
        ) from None
    return found
