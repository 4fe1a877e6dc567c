"""Backing up and restoring, side by side with `mysqldump | gzip` and `gunzip | mysql`.

Both on one machine, in turns, with the same rows of metrics in one database. Not a test:
`nox -s bench -- backup` runs it and prints a table; BENCH_ROWS=20000000 in the environment makes
the database larger than the four million rows of the goal.
"""

import json
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from ops import age_keys, console, manifest, secret_files, stack, vault
from ops.gtids import GtidSet
from ops.hosts import LocalHost
from ops.scratch import Scratch, Way
from ops.settings import Settings
from tests import lab
from tests.e2e.conftest import Project, output, s3_settings

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
ROWS = int(os.environ.get("BENCH_ROWS", "4000000"))
RUNS = 400
LOAD_SECONDS = 25
RESTORE_GOAL, BACKUP_GOAL, P99_GOAL, MEMORY_GOAL = 10, 1.0, 1.5, 200
LOGIN = 'export MYSQL_PWD="$(cat /run/secrets/mysql_root_password)"'
DUMP = "/var/lib/mysql-files/bench.sql.gz"

FILL = """
SET SESSION cte_max_recursion_depth = 100000, sql_log_bin = 1;
INSERT INTO runs (run_uuid, name, source_type, entry_point_name, user_id, status, start_time,
    source_version, lifecycle_stage, artifact_uri, experiment_id)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})
  SELECT LPAD(HEX(i), 32, 'a'), CONCAT('run ', i), 'LOCAL', '', 'bench', 'FINISHED',
    1760000000000 + i, '', 'active', CONCAT('mlflow-artifacts:/0/', i), 0 FROM n;
"""
SERIES = """
SET SESSION cte_max_recursion_depth = 1000000;
INSERT INTO metrics (`key`, value, timestamp, run_uuid, step, is_nan)
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps})
  SELECT CONCAT('metric_', i % 20), SIN(i) * RAND(), 1760000000000 + i * 1000,
    LPAD(HEX({run}), 32, 'a'), i, 0 FROM n;
"""


@pytest.fixture(scope="module")
def team(make_project: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack with backups and with rows."""
    project = make_project(
        "bench-backup",
        **s3_settings(the_lab, "s3://mlflow-artifacts/bench-backup"),
        BACKUPS_DESTINATION=f"s3://mlflow-artifacts/bench-stored-{time.time_ns()}",
        WEB_WORKERS="2",
        DB_MEMORY_LIMIT=os.environ.get("BENCH_DB_MEMORY", "2g"),
    )
    project.invoke("backup-key")
    project.invoke("up", "--engine", "compose")
    sql(project, FILL.format(runs=RUNS))
    for run in range(1, RUNS + 1):
        sql(project, SERIES.format(steps=ROWS // RUNS, run=run))
    time.sleep(30)
    return project


def sql(project: Project, text: str) -> str:
    """Have MySQL do something."""
    script = f"{LOGIN}; exec mysql --user=root mlflow"
    return output("docker", "exec", "-i", f"{project.name}-db-1", "sh", "-c", script, stdin=text)


class Memory(threading.Thread):
    """The most memory that a container has at a time, without what the kernel caches of files."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.name_of, self.peak, self.halt = name, 0.0, threading.Event()

    def run(self) -> None:
        form = ("--no-stream", "--format", "{{.MemUsage}}")
        while not self.halt.wait(0.2):
            used = output("docker", "stats", *form, self.name_of).partition("/")[0].strip()
            number = float(used.rstrip("KMGiB"))
            self.peak = max(self.peak, number * {"K": 1 / 1024, "M": 1, "G": 1024}[used[-3]])


@contextmanager
def watching(name: str) -> Iterator[Memory]:
    """Watch a container's memory meanwhile."""
    watch = Memory(name)
    watch.start()
    yield watch
    watch.halt.set()
    watch.join()


def seconds(action: Callable[[], object]) -> float:
    """Return how long something took."""
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def dump(project: Project) -> None:
    """Back up the common way, with the flags that make it whole."""
    line = f"{LOGIN}; mysqldump --user=root --single-transaction --quick "
    line += "--routines --events --triggers "
    line += f"--hex-blob --source-data=2 --databases mlflow | gzip > {DUMP}"
    output("docker", "exec", f"{project.name}-db-1", "bash", "-o", "pipefail", "-c", line)


def load(project: Project) -> float:
    """Restore the common way, into a MySQL of the same size that is there; return the seconds."""
    name = f"{project.name}-loaded"
    memory = output("docker", "inspect", "-f", "{{.HostConfig.Memory}}", f"{project.name}-db-1")
    pool = sql(project, "SELECT @@innodb_buffer_pool_size").splitlines()[-1]
    words = (
        *("docker", "run", "--detach", f"--memory={memory.strip()}", f"--name={name}"),
        *(f"--volume={project.name}_spool:/var/lib/mysql-files", stack.BASES[0]),
        *("--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
        *("--log-bin-trust-function-creators=ON", f"--innodb-buffer-pool-size={pool}"),
    )
    given = ("--env", "MYSQL_ROOT_PASSWORD=bench-bench-bench")
    output(*words[:3], *given, *words[3:])
    try:
        client = "MYSQL_PWD=bench-bench-bench mysql -uroot -h127.0.0.1"
        wait = f"until {client} -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.5; done"
        output("docker", "exec", name, "bash", "-c", wait)
        line = f"{client} -e 'RESET BINARY LOGS AND GTIDS'; gunzip < {DUMP} | {client}"
        return seconds(lambda: output("docker", "exec", name, "bash", "-o", "pipefail", "-c", line))
    finally:
        output("docker", "rm", "--force", "--volumes", name)


def bring(project: Project) -> dict[str, float]:
    """Restore our way into a new volume; return how long it took to a MySQL that serves."""
    settings = Settings.load(project.root, project.environ)
    place = vault.reach(settings)
    newest = max(manifest.known(place), key=lambda each: each[1])[1]
    way = Way(manifest.find(place, newest))
    key = age_keys.find(settings, str(key_file(project)))
    made = Scratch(LocalHost(), settings, way)
    spent: dict[str, float] = {}
    begin = time.monotonic()
    with made.volumes(keep=False):
        image, credentials = stack.backup_image(settings), secret_files.s3_credentials(settings)
        fetched = made.fetch(image, key.reveal(), credentials)
        spent["fetched"] = time.monotonic() - begin
        with made.mysql():
            made.replay("tail", fetched.tail)
            assert GtidSet.parse(made.executed()) == GtidSet.parse(way.backup.gtids)
            spent["serving"] = time.monotonic() - begin
            made.prove()
            spent["proven"] = time.monotonic() - begin
    return spent


def key_file(project: Project) -> str:
    """Return the file of the private key that the project has made."""
    home = project.environ["HOME"]
    return f"{home}/.config/mlflow-compose/{project.name}.agekey"


def latencies(project: Project, stop: Callable[[], bool]) -> list[float]:
    """Log batches of ten metrics, one client; return how long each took."""
    session = requests.Session()
    found: list[float] = []
    run = session.post(
        f"{project.url}/api/2.0/mlflow/runs/create",
        json={"experiment_id": "0", "start_time": int(time.time() * 1000)},
        timeout=60,
    ).json()["run"]["info"]["run_id"]
    number = 0
    while not stop():
        number += 1
        metrics = [
            {"key": f"m{i}", "value": number, "timestamp": number, "step": number}
            for i in range(10)
        ]
        begin = time.monotonic()
        session.post(
            f"{project.url}/api/2.0/mlflow/runs/log-batch",
            data=json.dumps({"run_id": run, "metrics": metrics}),
            headers={"Content-Type": "application/json"},
            timeout=60,
        ).raise_for_status()
        found.append(time.monotonic() - begin)
    return found


def p99(values: list[float]) -> float:
    """Return what 99 of 100 stayed below."""
    return sorted(values)[int(len(values) * 0.99)]


def under_load(project: Project) -> tuple[list[float], list[float], int]:
    """Return latencies without and with backups under way, and how many backups these were."""
    deadline = time.monotonic() + LOAD_SECONDS
    quiet = latencies(project, lambda: time.monotonic() > deadline)
    taken = 0
    halt = threading.Event()

    def again() -> None:
        nonlocal taken
        while not halt.is_set():
            project.invoke("backup")
            taken += 1

    worker = threading.Thread(target=again)
    worker.start()
    deadline = time.monotonic() + LOAD_SECONDS
    busy = latencies(project, lambda: time.monotonic() > deadline)
    halt.set()
    worker.join()
    return quiet, busy, taken


def shipped(project: Project) -> tuple[int, int]:
    """Return the bytes and the number of stored pieces of logs."""
    place = vault.reach(Settings.load(project.root, project.environ))
    every = list(place.list("logs/"))
    return sum(each.size for each in every), len(every)


def bench_backup(team: Project, measured: Callable[[str], None]) -> None:
    """Measure, and say what came out."""
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        with watching(f"{team.name}-backup-1") as watch:
            found["our backup"].append(seconds(lambda: team.invoke("backup")))
        found["memory of the service, MiB"].append(watch.peak)
        found["mysqldump | gzip"].append(seconds(lambda: dump(team)))
        for name, value in bring(team).items():
            found[f"our restore, {name}"].append(value)
        found["gunzip | mysql"].append(load(team))
        quiet, busy, taken = under_load(team)
        found["p99 of log-batch, ratio"].append(p99(busy) / p99(quiet))
        found["median of log-batch, ratio"].append(
            statistics.median(busy) / statistics.median(quiet)
        )
        found["backups meanwhile"].append(taken)
    time.sleep(15)
    before, pieces = shipped(team)
    deadline = time.monotonic() + 60
    batches = len(latencies(team, lambda: time.monotonic() > deadline))
    time.sleep(15)
    after, more = shipped(team)

    def ratio(theirs: str, ours: str) -> str:
        each = [a / b for a, b in zip(found[theirs], found[ours], strict=True)]
        return f"{min(each):.2f} to {max(each):.2f}"

    measured(f"{ROWS:,} rows of metrics, {ROUNDS} rounds in turns")
    for name, values in found.items():
        measured(f"{name}: {', '.join(f'{value:.2f}' for value in values)}")
    faster = ratio("gunzip | mysql", "our restore, serving")
    measured(f"restore to a serving MySQL: {faster} times faster; goal {RESTORE_GOAL}")
    measured(f"backup: {ratio('mysqldump | gzip', 'our backup')} times as fast; goal {BACKUP_GOAL}")
    measured(f"goals: p99 below {P99_GOAL}, memory below {MEMORY_GOAL} MiB")
    sent, count = after - before, more - pieces
    measured(
        f"logs: {batches} batches of ten in a minute: {console.size(sent)} in {count} pieces, "
        f"{sent / batches:.0f} bytes a batch, {console.size(sent * 1440)} a day at this rate"
    )
