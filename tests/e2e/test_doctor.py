"""`invoke doctor` on a host that a stack was deployed to: well at first, then broken for real."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.front_door import through
from ops.settings import Settings
from ops.ssh import connect
from tests import lab
from tests.e2e.conftest import Project, output, s3_client, s3_settings, wait_for
from tests.e2e.machines import known, several, sweep, team_settings

SERVER = {"front door", "host rule", "cors rule", "100 MB"}
KILL = "pid=$(docker inspect --format '{{.State.Pid}}' $1); kill -KILL $pid; echo $pid"

LOOK = """
cd /home/ubuntu && find . -type f -printf '%p %s %T@\\n' | sort
docker ps --all --no-trunc --format '{{.ID}} {{.Names}}' | sort
docker image ls --all --quiet --no-trunc | sort; docker volume ls | sort
find /var/lib/docker/volumes -path '*_artifacts/*' | sort
"""
"""What a host holds, but for the logs of its containers."""


@dataclass(frozen=True)
class Deployed:
    """A project with a host that runs it."""

    project: Project
    host: lab.Host
    s3: lab.S3

    @property
    def address(self) -> str:
        return f"{self.host.user}@{self.host.address}"

    def there(self, script: str, *words: str) -> str:
        """Run a script on the host as root, past SSH."""
        return output("docker", "exec", self.host.name, "bash", "-euc", script, "there", *words)

    def container(self, service: str) -> str:
        labels = [
            *("--filter", f"label=com.docker.compose.project={self.project.name}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
        ]
        return output(
            *("docker", "exec", self.host.name, "docker", "ps", "--all", "--quiet", *labels)
        )

    def healthy(self, service: str) -> bool:
        form = "{{.State.Health.Status}}"
        words = ("docker", "inspect", "--format", form, self.container(service))
        return output("docker", "exec", self.host.name, *words) == "healthy"

    def doctor(self, expect: int, *words: str) -> dict[str, dict[str, Any]]:
        """Return what doctor finds on the host, by the names of the checks."""
        done = self.project.invoke("doctor", "--json", *words, expect=expect, timeout=120)
        rows = json.loads(done.stdout)
        assert done.stderr == "" or expect == 1
        return {row["check"]: row for row in rows if row["host"] == self.address}


@pytest.fixture(scope="module")
def deployed(make_project: Callable[..., Project], the_lab: lab.Lab) -> Iterator[Deployed]:
    """A stack with its artifacts in S3 on a host of the lab, deployed from a clone."""
    [host] = several(1)
    project = make_project(
        "doctor",
        **team_settings(host),
        **s3_settings(the_lab, "s3://mlflow-artifacts/doctor"),
    )
    known(project, host)
    project.shell(
        "git init --quiet && git add --all && "
        "git -c user.name=t -c user.email=t@t.test commit --quiet --message=all"
    )
    made = Deployed(project, host, the_lab.s3)
    sweep(project, host)
    project.invoke("deploy")
    yield made
    sweep(project, host)


def states(found: dict[str, dict[str, Any]], state: str) -> set[str]:
    return {name for name, row in found.items() if row["state"] == state}


def keys(s3: lab.S3) -> list[str]:
    """Return what is in the bucket."""
    client = s3_client(s3)
    listed = client.list_objects_v2(Bucket="mlflow-artifacts").get("Contents", [])
    return sorted(entry["Key"] for entry in listed)


def test_all_is_well_and_nothing_is_changed(
    deployed: Deployed, measured: Callable[[str], None]
) -> None:
    before = deployed.there(LOOK), keys(deployed.s3)
    done = deployed.project.invoke("doctor")
    lines = done.stdout.splitlines()

    assert done.stderr == ""
    assert lines[0] == "this machine:"
    assert f"{deployed.address}:" in lines
    assert [line for line in lines if not line.startswith("ok  ") and line[-1] != ":"] == []
    assert len(lines) == 2 + 4 + 22
    assert (deployed.there(LOOK), keys(deployed.s3)) == before
    measured(next(line for line in lines if "100 MB" in line))


def test_a_page_of_the_public_name_may_read_answers(deployed: Deployed) -> None:
    """Else the check that a foreign one may not would prove nothing."""
    settings = Settings.load(deployed.project.root, {})
    with (
        connect(deployed.address, settings) as host,
        host.forward(settings.http_port) as port,
    ):
        door = through(settings, port)

        assert door.allowed_origin(settings.url) == settings.url
        assert door.allowed_origin("https://doctor.invalid") == ""


def test_a_stopped_nginx_is_found_and_what_rests_on_it_is_not_checked(deployed: Deployed) -> None:
    nginx = deployed.container("nginx")
    deployed.there(f"docker stop {nginx}")
    try:
        found = deployed.doctor(1)
    finally:
        deployed.there(f"docker start {nginx}")
    wait_for(lambda: deployed.healthy("nginx"), 60, "NGINX is back")

    assert states(found, "fail") == {"services", "front door"}
    assert states(found, "skip") == SERVER - {"front door"}
    assert "nginx exited" in found["services"]["found"]
    assert f"docker logs --tail=50 {nginx}" in found["services"]["remedy"]
    assert (
        f"nginx does not run: invoke deploy --host {deployed.address}"
        in found["front door"]["remedy"]
    )
    assert "is free" in found["port"]["found"]


def test_a_stopped_database_is_found_and_not_looked_into(deployed: Deployed) -> None:
    db = deployed.container("db")
    deployed.there(f"docker stop {db}")
    try:
        found = deployed.doctor(1)
    finally:
        deployed.there(f"docker start {db}")
    wait_for(lambda: deployed.healthy("db"), 120, "MySQL is back")

    assert found["mysql"]["found"] == "not checked: db does not run"
    assert found["connections"]["found"] == "not checked: db does not run"
    assert found["s3"]["state"] == "ok"
    assert {"services", "front door"} <= states(found, "fail")


def test_a_login_without_docker_is_told_the_line_that_helps(deployed: Deployed) -> None:
    deployed.there("gpasswd --delete ubuntu docker")
    try:
        found = deployed.doctor(1)
        remedy = found["docker access"]["remedy"]
    finally:
        deployed.there("usermod -aG docker ubuntu")

    assert found["docker access"]["found"] == "ubuntu may not use Docker"
    assert remedy == "run there: sudo usermod -aG docker ubuntu; then log in again"
    assert states(found, "fail") == {"docker access"}
    assert states(found, "ok") == {"host key", "ssh", "clock", "tools"}


def test_an_option_of_mysql_that_somebody_changed_is_found(deployed: Deployed) -> None:
    db = deployed.container("db")
    script = (
        f"docker exec {db} sh -c 'MYSQL_PWD=$(cat /run/secrets/mysql_root_password) "
        'exec mysql --user=root --execute="$0"\' "$1"'
    )
    deployed.there(script, "SET GLOBAL wait_timeout = 600; SET GLOBAL max_connections = 20")
    try:
        found = deployed.doctor(1)
        remedy = found["mysql"]["remedy"]
    finally:
        deployed.there(f"docker restart {db}")
    wait_for(lambda: deployed.healthy("db"), 120, "MySQL is back")

    assert found["mysql"]["found"] == "wait_timeout is 600 s, not above the pool's 3600 s"
    assert found["connections"]["found"] == "20; 2 workers may open 246"
    assert states(found, "fail") == {"mysql", "connections"}
    assert remedy.startswith(f"run there: docker restart {db} ")
    assert deployed.doctor(0)["mysql"]["state"] == "ok"


def test_a_record_that_somebody_changed_is_found(deployed: Deployed) -> None:
    record = f"/home/ubuntu/{deployed.project.name}/audit.jsonl"
    deployed.there(f"cp --preserve {record} /tmp/record; sed -i '1s/deploy/harmless/' {record}")
    try:
        found = deployed.doctor(1)
    finally:
        deployed.there(f"mv /tmp/record {record}")

    assert states(found, "fail") == {"audit record"}
    assert found["audit record"]["found"] == "changed at line 2 of 2"


def test_a_crash_loop_is_found_though_the_service_is_healthy_between(deployed: Deployed) -> None:
    nginx = deployed.container("nginx")
    killed = {0}  # what Docker shows between two processes

    def another() -> bool:
        return (
            int(deployed.there(f"docker inspect --format '{{{{.State.Pid}}}}' {nginx}"))
            not in killed
        )

    try:
        for _ in range(3):
            wait_for(another, 30, "Docker starts it again")
            killed.add(int(deployed.there(KILL, nginx)))
        wait_for(another, 30, "Docker starts it again")
        wait_for(lambda: deployed.healthy("nginx"), 60, "NGINX is back")
        found = deployed.doctor(1)
    finally:
        deployed.there(f"docker restart {nginx}")
    wait_for(lambda: deployed.healthy("nginx"), 60, "NGINX is back")

    assert states(found, "fail") == {"restarts"}
    assert found["restarts"]["found"] == "nginx 3 times, again and again"
    assert deployed.doctor(0)["restarts"]["found"] == "none"


def test_a_host_that_is_not_known_is_not_logged_in_to(deployed: Deployed, tmp_path: Path) -> None:
    known = deployed.project.root / "data" / "known_hosts"
    shutil.move(known, tmp_path)
    try:
        found = deployed.doctor(1)
    finally:
        shutil.move(tmp_path / known.name, known)

    assert states(found, "fail") == {"host key"}
    assert states(found, "skip") == {*found} - {"host key"}
    assert found["host key"]["remedy"] == f"invoke trust --host {deployed.address}"


def test_a_machine_that_is_not_there_is_one_failed_check(deployed: Deployed) -> None:
    """Beside it the good host is looked at as ever."""
    known = deployed.project.root / "data" / "known_hosts"
    before = known.read_text("utf-8")
    key = before.split(maxsplit=1)[1]
    known.write_text(f"{before}[127.0.0.9]:9 {key}", "utf-8")
    try:
        done = deployed.project.invoke(
            "doctor", "--json", "--host", f"127.0.0.9:9,{deployed.address}", expect=1
        )
    finally:
        known.write_text(before, "utf-8")
    rows = json.loads(done.stdout)

    assert {row["state"] for row in rows if row["host"] == deployed.address} == {"ok"}
    gone = {row["check"]: row for row in rows if row["host"] == "127.0.0.9:9"}
    assert states(gone, "fail") == {"ssh"}
    assert states(gone, "skip") == {*gone} - {"ssh", "host key"}
    assert done.stderr.startswith("error: 1 check failed\n")


def test_once_all_is_put_right_all_is_well_again(deployed: Deployed) -> None:
    found = deployed.doctor(0)

    assert states(found, "ok") == {*found}
