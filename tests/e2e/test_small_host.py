"""A stack as a host of 2 GiB has it: all that a team does, and the kernel ends nobody for memory.

The machine of the tests has more, so the limits are those that such a host computes, said in
`.env`; with what is left for the system they come to 2 GiB.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops import sizing
from ops.sizing import MIB, Machine
from tests import lab
from tests.e2e.conftest import Project, output, s3_settings
from tests.e2e.load import Load
from tests.e2e.workload import Workload

MEMORY = 2 * 1024 * MIB

pytestmark = pytest.mark.usefixtures("logged_in")


@pytest.fixture(scope="module")
def team(make_project: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack with TLS, a login and backups, in so much memory."""
    project = make_project(
        "small-host",
        **s3_settings(the_lab, "s3://mlflow-artifacts/small-host"),
        BACKUPS_DESTINATION="s3://mlflow-artifacts/small-host-stored",
        TLS="private-ca",
        AUTH="basic",
    )
    made = sizing.size(project.settings, [Machine(2, MEMORY)])
    assert sizing.wanted(project.settings, made) <= MEMORY
    project.set(
        WEB_WORKERS=str(made.web_workers),
        WEB_MEMORY_LIMIT=f"{made.web_memory}m",
        DB_MEMORY_LIMIT=f"{made.db_memory}m",
    )
    project.invoke("backup-key")
    project.invoke("up", "--engine", "compose")
    return project


def inspected(project: Project) -> list[dict[str, Any]]:
    label = f"label=com.docker.compose.project={project.name}"
    ids = output("docker", "ps", "--quiet", "--filter", label).split()
    found: list[dict[str, Any]] = json.loads(output("docker", "inspect", *ids))
    return found


def test_a_host_of_two_gib_carries_a_team_and_ends_nobody_for_memory(
    team: Project, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    environ = {**team.environ, **team.login(), "MLFLOW_TRACKING_URI": team.url}
    workload = Workload(environ, tmp_path / "record.json")
    workload.log(megabytes=200)
    load = Load(team.url, writers=4, readers=4, seconds=60)
    with load.running():
        team.invoke("backup")
        team.invoke("bench", "--url", team.url, "--seconds", "3", environ=team.login())
    workload.verify()
    load.verify()
    team.smoke()
    measured(load.report())

    for container in inspected(team):
        name, limit = container["Name"].strip("/"), container["HostConfig"]["Memory"]
        assert limit > 0, name
        assert not container["State"]["OOMKilled"], name
        assert 0 == container["RestartCount"], name
        kernel = "/sys/fs/cgroup/memory/memory.oom_control"
        said = output(
            "docker",
            "exec",
            name,
            "sh",
            "-c",
            f"cat {kernel} /sys/fs/cgroup/memory.events 2>/dev/null; true",
        )
        ended = [line for line in said.splitlines() if line.startswith("oom_kill ")]
        assert ended, name
        assert {"oom_kill 0"} == {*ended}, name
