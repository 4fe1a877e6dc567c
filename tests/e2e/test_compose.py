"""The compose stack under a team's load, with each part killed, stopped, replaced and inspected."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dotenv import dotenv_values

from ops import egress, images, sizing
from ops.hosts import LocalHost
from ops.sizing import MIB
from tests import lab
from tests.e2e.conftest import (
    IN_A_VOLUME,
    PUBLIC_URL,
    SMOKE_STEPS,
    Project,
    output,
    s3_client,
    s3_settings,
    todays,
    wait_for,
)
from tests.e2e.load import Load
from tests.e2e.workload import UNICODE, Workload

Measured = Callable[[str], None]

pytestmark = pytest.mark.usefixtures("impatient")

RUNNING = ("db", "egress", "web", "nginx")
SERVICES = (*RUNNING, "migrate")
SECRETS = (
    *("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "MYSQL_WEB_PASSWORD"),
    *("KEK_PASSPHRASE", "S3_SECRET_ACCESS_KEY"),
)

READ_UNCOMPILED = """
import os, sys
import mlflow.server.fastapi_app, mlflow.store.tracking.sqlalchemy_store
files = [getattr(module, "__cached__", None) for module in list(sys.modules.values())]
print([file for file in files if file and not os.path.exists(file)])
"""
READ_SIZES = """
import os, sqlalchemy as sa
from mlflow.store.db.utils import create_sqlalchemy_engine
engine = create_sqlalchemy_engine(os.environ["MLFLOW_BACKEND_STORE_URI"])
with engine.connect() as connection:
    names = "@@innodb_buffer_pool_size, @@max_connections, @@performance_schema"
    print(*connection.execute(sa.text(f"SELECT {names}")).one(), engine.pool.size())
    print(engine.pool._max_overflow)
"""
READ_REVISION = """
import os, sqlalchemy as sa
with sa.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]).connect() as connection:
    print(*connection.scalars(sa.text("SELECT version_num FROM alembic_version")))
    print(*connection.scalars(sa.text("SHOW TABLES LIKE 'alembic%'")))
"""

SEND = """
import hashlib, os, sys, mlflow
content = os.urandom(20 * 1024**2)
open("größe.bin", "wb").write(content)
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_artifact("größe.bin", "a folder")
print(run.info.run_id, run.info.artifact_uri, hashlib.sha256(content).hexdigest())
"""

FETCH = """
import hashlib, sys, mlflow
[file] = mlflow.artifacts.list_artifacts(run_id=sys.argv[1], artifact_path="a folder")
path = mlflow.artifacts.download_artifacts(run_id=sys.argv[1], artifact_path=file.path)
print(hashlib.sha256(open(path, "rb").read()).hexdigest())
"""


@pytest.fixture(scope="module")
def workload(stack: Project, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    """The training script, run once; the tests read back what it logged."""
    work = Workload(stack.client_environ(), tmp_path_factory.mktemp("record") / "record.json")
    work.log()
    return work


def inspect(project: Project, service: str) -> dict[str, Any]:
    [found] = json.loads(output("docker", "inspect", project.container(service)))
    assert isinstance(found, dict)
    return found


def identities(project: Project) -> dict[str, tuple[str, str]]:
    """Return the id and the start time of each service's container."""
    found = {service: inspect(project, service) for service in SERVICES}
    return {name: (entry["Id"], entry["State"]["StartedAt"]) for name, entry in found.items()}


def healthy(project: Project, service: str) -> bool:
    state = inspect(project, service)["State"]
    return bool(state["Status"] == "running" and state["Health"]["Status"] == "healthy")


def status(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(project.invoke("status", "--json").stdout)
    return found


def in_container(project: Project, service: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", "exec", project.container(service), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(environ: dict[str, str], folder: Path, script: str, *words: str) -> str:
    """Run a client's script in a folder of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def secrets_of(project: Project) -> dict[str, str]:
    """Return every secret of the stack by its key."""
    values = dotenv_values(project.root / ".env", interpolate=False)
    found = {key: values[key] or "" for key in SECRETS}
    assert all(len(value) >= 16 for value in found.values())
    return found


@contextmanager
def every_argument() -> Iterator[set[str]]:
    """Collect the command lines of all processes of this machine, containers' included."""
    seen: set[str] = set()
    halt = threading.Event()

    def watch() -> None:
        while not halt.wait(0.01):
            for process in Path("/proc").iterdir():
                try:
                    seen.add((process / "cmdline").read_text("utf-8", "replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        halt.set()
        thread.join()


def test_the_first_start_on_an_empty_mysql_ends_at_the_newest_schema(stack: Project) -> None:
    from alembic.script import ScriptDirectory
    from mlflow import store

    migrations = Path(next(iter(store.__path__))) / "db_migrations"
    state = inspect(stack, "migrate")["State"]
    assert ("exited", 0) == (state["Status"], state["ExitCode"])
    found = in_container(stack, "web", "python", "-c", READ_REVISION)
    head = ScriptDirectory(str(migrations)).get_current_head()
    assert f"{head}\nalembic_version\n" == found.stdout, found.stderr


def test_everything_a_training_script_logs_is_read_back_equal(
    workload: Workload, measured: Measured
) -> None:
    said = workload.verify()
    assert "equal: 32 models" in said
    measured(said.splitlines()[-1])


def test_artifacts_are_in_s3_and_the_client_had_no_key_to_it(
    stack: Project, workload: Workload, the_lab: lab.Lab
) -> None:
    assert not {key for key in workload.environ if key.startswith(("AWS_ACC", "AWS_SEC"))}
    assert "MLFLOW_S3_ENDPOINT_URL" not in workload.environ
    client = s3_client(the_lab.s3)
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="mlflow-artifacts", Prefix="stack/"
    )
    found = {entry["Key"] for page in pages for entry in page.get("Contents", [])}
    sent = json.loads(workload.record.read_text("utf-8"))["files"]
    assert set() == {f"stack/{path}" for path in sent} - found
    volume = in_container(stack, "web", "find", "/var/lib/mlflow/artifacts", "-type", "f")
    assert (0, "") == (volume.returncode, volume.stdout)


def test_a_second_up_changes_nothing(stack: Project) -> None:
    files = [stack.root / ".env", *(stack.root / "data" / "compose").rglob("*")]
    before = (identities(stack), [(file, file.stat().st_mtime_ns) for file in files])
    done = stack.invoke("up")
    assert before == (identities(stack), [(file, file.stat().st_mtime_ns) for file in files])
    assert f"{stack.url}\n" == done.stdout
    assert "nothing changed" in done.stderr


def test_status_tells_a_script_what_runs(stack: Project) -> None:
    found = status(stack)
    services = {service["name"]: service for service in found["services"]}
    assert ("compose", stack.url, True) == (found["engine"], found["url"], found["healthy"])
    assert set(SERVICES) == set(services)
    for name in RUNNING:
        assert "running healthy" == services[name]["state"]
        assert services[name]["uptime_seconds"] > 0
        assert services[name]["memory_bytes"] > 1024**2
    assert ("exited", True) == (services["migrate"]["state"], services["migrate"]["healthy"])


def test_the_smoke_test_passes(stack: Project) -> None:
    lines = stack.invoke("smoke").stdout.splitlines()
    assert SMOKE_STEPS == len(lines)
    assert all(line.startswith("ok  ") for line in lines)


def test_logs_shows_one_service_or_all(stack: Project) -> None:
    every = stack.invoke("logs").stdout
    assert all(f"{name}-1" in every for name in SERVICES)
    one = stack.invoke("logs", "--service", "db").stdout
    assert "ready for connections" in one
    assert "web-1" not in one
    assert "no service 'nope'" in stack.invoke("logs", "--service", "nope", expect=2).stderr


def test_nginx_alone_can_be_reached_from_outside(stack: Project) -> None:
    published = {
        name: inspect(stack, name)["HostConfig"]["PortBindings"] or {} for name in SERVICES
    }
    door = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    assert {name: door if name == "nginx" else {} for name in SERVICES} == published


def test_only_web_is_on_both_inner_networks_and_neither_it_nor_the_database_has_a_way_out(
    stack: Project, the_lab: lab.Lab
) -> None:
    ours = [f"{stack.name}_{each}" for each in ("frontend", "server", "database")]
    frontend, server, inner = ours
    networks = {name: inspect(stack, name)["NetworkSettings"]["Networks"] for name in RUNNING}
    assert {
        "db": {inner},
        "web": {server, inner},
        "nginx": {frontend, server},
        "egress": {frontend, server},
    } == {name: set(found) for name, found in networks.items()}
    internal = [
        output("docker", "network", "inspect", "--format", "{{.Internal}}", name) for name in ours
    ]
    assert ["false", "true", "true"] == internal

    database = networks["db"][inner]["IPAddress"]
    outside = urlsplit(the_lab.s3.endpoint)
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 4)"
    here = (str(outside.hostname), str(outside.port))
    assert 0 != in_container(stack, "web", "python", "-c", reach, *here).returncode
    for host, port in ((database, 3306), ("db", 3306)):
        found = in_container(stack, "web", "python", "-c", reach, str(host), str(port))
        assert 0 == found.returncode, found.stderr

    tcp = 'exec timeout 4 bash -c "exec 3<>/dev/tcp/$0/$1"'
    loopback = in_container(stack, "db", "bash", "-c", tcp, "127.0.0.1", "3306")
    assert 0 == loopback.returncode, loopback.stderr
    leak = in_container(stack, "db", "bash", "-c", tcp, str(outside.hostname), str(outside.port))
    assert 0 != leak.returncode

    curl = ("curl", "--silent", "--connect-timeout", "4", "--max-time", "5", "--output", "-")
    web = in_container(stack, "nginx", *curl, "http://web:5000/health")
    assert "OK" == web.stdout
    for host in ("db", database):
        found = in_container(stack, "nginx", *curl, f"telnet://{host}:3306")
        assert found.returncode in {6, 7, 28}, found.stdout
        assert "" == found.stdout


def test_no_secret_is_shown_by_docker_the_logs_or_the_image(stack: Project) -> None:
    secrets = secrets_of(stack)
    label = f"label=com.docker.compose.project={stack.name}"
    containers = output("docker", "ps", "--all", "--quiet", "--filter", label).split()
    image = inspect(stack, "web")["Image"]
    shown = {
        "inspect": output("docker", "inspect", *containers),
        "config": output(*stack.compose("config")),
        "logs": output(*stack.compose("logs", "--no-color")),
        "image": output("docker", "image", "inspect", image),
        "history": output("docker", "history", "--no-trunc", image),
        "compose.env": (stack.root / "data/compose/compose.env").read_text("utf-8"),
    }
    assert stack.name in shown["inspect"]
    assert stack.name in shown["config"]
    assert "ready for connections" in shown["logs"]
    assert "/opt/entrypoint.sh" in shown["history"]
    found = [
        (key, where) for key, value in secrets.items() for where in shown if value in shown[where]
    ]
    assert [] == found


def test_secret_files_are_for_one_person_only(stack: Project) -> None:
    assert 0o600 == (stack.root / ".env").stat().st_mode & 0o777
    assert 0o700 == (stack.root / "data").stat().st_mode & 0o777


def test_the_server_does_not_run_as_root_and_neither_does_the_database(stack: Project) -> None:
    def users(name: str) -> set[str]:
        """Return who runs the main process and its children; health checks are neither."""
        main = output("docker", "inspect", "-f", "{{.State.Pid}}", stack.container(name))
        return set(output("ps", "-o", "uid=", "--pid", main, "--ppid", main).split())

    assert {"10001"} == users("web")
    assert {"999"} == users("db")
    assert "0" != in_container(stack, "web", "id", "-u").stdout.strip()
    denied = in_container(stack, "web", "sh", "-c", "echo x > /opt/entrypoint.sh")
    assert 0 != denied.returncode


def test_the_server_compiles_nothing_at_its_start(stack: Project) -> None:
    found = in_container(stack, "web", "python", "-W", "ignore", "-c", READ_UNCOMPILED)
    assert "[]\n" == found.stdout, found.stderr


def test_the_server_image_has_less_than_half_of_a_plain_one(
    stack: Project, measured: Measured
) -> None:
    """`pip install mlflow[auth] pymysql cryptography boto3` makes 977 MB of the same base."""
    image = inspect(stack, "web")["Image"]
    size = int(output("docker", "image", "inspect", "--format={{.Size}}", image))
    measured(f"the server image has {size / 1e6:.0f} MB")

    assert size < 977e6 / 2


def test_every_container_has_a_memory_limit_and_rotates_its_log(stack: Project) -> None:
    size = sizing.size(stack.settings, [images.engine(LocalHost()).machine])
    server = size.web_memory * MIB
    limits = {"db": size.db_memory * MIB, "web": server, "migrate": server, "nginx": 128 * MIB}
    limits["egress"] = egress.LIMIT * MIB
    found = {name: inspect(stack, name)["HostConfig"] for name in SERVICES}
    assert limits == {name: host["Memory"] for name, host in found.items()}
    rotation = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "5"}}
    access = {"max-size": "50m", "max-file": "50", "compress": "true"}  # `invoke audit` reads it
    rotations = dict.fromkeys(SERVICES, rotation) | {"nginx": {**rotation, "Config": access}}
    assert rotations == {name: host["LogConfig"] for name, host in found.items()}
    policies = {name: host["RestartPolicy"]["Name"] for name, host in found.items()}
    assert {**dict.fromkeys(RUNNING, "unless-stopped"), "migrate": "no"} == policies


def test_mysql_and_the_server_have_what_was_computed_for_this_machine(stack: Project) -> None:
    size = sizing.size(stack.settings, [images.engine(LocalHost()).machine])
    told = [size.buffer_pool * MIB, size.max_connections, 1, size.pool_size, size.max_overflow]
    found = in_container(stack, "web", "python", "-c", READ_SIZES)
    assert [str(each) for each in told] == found.stdout.split(), found.stderr


@pytest.mark.parametrize("service", RUNNING)
def test_killing_one_container_loses_no_acknowledged_write_and_heals_by_itself(
    stack: Project, service: str, measured: Measured
) -> None:
    before = inspect(stack, service)["State"]
    with Load(stack.url).running() as load:
        wait_for(lambda: load.writes > 100 and load.reads > 10, 60, "load before the kill")
        failed = len(load.failures)
        os.kill(before["Pid"], signal.SIGKILL)  # `docker kill` would switch its restart off

        def restarted() -> bool:
            return bool(inspect(stack, service)["State"]["StartedAt"] != before["StartedAt"])

        seconds = wait_for(restarted, 60, f"{service} started again")
        seconds += wait_for(lambda: healthy(stack, service), 120, f"{service} healthy again")
        reached, read = load.writes, load.reads
        wait_for(lambda: load.writes > reached + 100, 60, "writes after the kill")
        wait_for(lambda: load.reads > read + 10, 60, "reads after the kill")
    assert 0 == failed
    load.verify()
    assert status(stack)["healthy"]
    measured(f"{load.report()}; healthy after {seconds:.1f} s")


@pytest.mark.parametrize("seed", todays([2, 5], 2))
def test_after_a_reboot_in_any_order_everything_is_there(
    stack: Project, seed: int, measured: Measured
) -> None:
    chance = random.Random(seed)
    with Load(stack.url, limit=10).running() as load:
        wait_for(lambda: load.writes == 30 and load.reads == 20, 60, "a load of 30 batches")
    stopped, started = (chance.sample(RUNNING, len(RUNNING)) for _ in range(2))
    for service in stopped:
        output("docker", "stop", stack.container(service))
    for service in started:
        output("docker", "start", stack.container(service))
    seconds = wait_for(
        lambda: all(healthy(stack, service) for service in RUNNING), 120, "all healthy again"
    )
    assert status(stack)["healthy"]
    load.verify()
    measured(f"stopped {stopped}, started {started}: healthy after {seconds:.1f} s")


def test_a_changed_setting_replaces_the_server_alone(stack: Project) -> None:
    before = identities(stack)
    stack.set(WEB_WORKERS="3")
    stack.invoke("up")
    after = identities(stack)
    assert before["web"][0] != after["web"][0]
    assert "WEB_WORKERS=3" in inspect(stack, "web")["Config"]["Env"]
    assert (before["db"], before["nginx"]) == (after["db"], after["nginx"])


def test_down_and_up_keep_everything_and_show_no_secret_to_other_users(
    stack: Project, workload: Workload
) -> None:
    with every_argument() as seen:
        assert "its data is kept" in stack.invoke("down").stderr
        label = f"label=com.docker.compose.project={stack.name}"
        assert "" == output("docker", "ps", "--all", "--quiet", "--filter", label)
        assert "" == output("docker", "network", "ls", "--quiet", "--filter", label)
        stack.invoke("status", expect=1)
        assert "was not running" in stack.invoke("down").stderr
        stack.invoke("up")
        stack.invoke("smoke")
    for program in ("mysqld", "invoke", "mlflow", "migration.py", "nginx"):
        assert any(program in line for line in seen)
    found = [key for key, value in secrets_of(stack).items() if any(value in line for line in seen)]
    assert [] == found
    assert "equal: 32 models" in workload.verify()


def test_with_direct_access_the_client_writes_to_s3_with_its_own_credentials(
    small: Project, the_lab: lab.Lab, tmp_path: Path
) -> None:
    given = s3_settings(the_lab, "s3://mlflow-direct/team")
    small.set(**given, ARTIFACT_ACCESS="direct")
    small.invoke("up", "--engine", "compose")
    own = {
        "AWS_ACCESS_KEY_ID": the_lab.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": the_lab.s3.secret_key,
    }
    nothing = {"AWS_EC2_METADATA_DISABLED": "true"}  # not even the machine's role
    environ = small.client_environ()
    assert PUBLIC_URL == environ["MLFLOW_TRACKING_URI"]
    assert the_lab.s3.endpoint == environ["MLFLOW_S3_ENDPOINT_URL"]
    environ |= {"MLFLOW_TRACKING_URI": small.url, **nothing}
    run, uri, sent = python(environ | own, tmp_path, SEND, "direct").split()
    assert uri.startswith("s3://mlflow-direct/team/")
    assert sent == python(environ | own, tmp_path, FETCH, run)
    with pytest.raises(AssertionError, match="NoCredentialsError"):
        python(environ, tmp_path, FETCH, run)

    lines = small.invoke("smoke", environ=own).stdout.splitlines()
    assert SMOKE_STEPS == len(lines)
    refused = small.invoke("smoke", expect=1, environ=nothing)
    assert "send and fetch an artifact" in refused.stderr
    assert "with its own credentials (ARTIFACT_ACCESS=direct)" in refused.stderr


def test_artifacts_in_the_default_volume_survive_down_and_up(
    small: Project, tmp_path: Path
) -> None:
    small.set(**IN_A_VOLUME)
    small.invoke("up", "--engine", "compose")
    environ = small.client_environ() | {"MLFLOW_TRACKING_URI": small.url}
    assert "MLFLOW_S3_ENDPOINT_URL" not in environ
    run, uri, sent = python(environ, tmp_path, SEND, f"volume {UNICODE[:20]}").split()
    assert uri.startswith("mlflow-artifacts:/")
    small.invoke("down")
    small.invoke("up")
    assert sent == python(environ, tmp_path, FETCH, run)
    small.invoke("smoke")
