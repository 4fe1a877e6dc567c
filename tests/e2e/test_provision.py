"""A host on EC2 made while AWS fails: after every single call, with every answer lost, killed.

moto's server over HTTP stands for AWS, which cannot run here; nothing is patched.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from ops import ec2_hosts, provision
from ops.errors import FAILED, REFUSED, OpsError
from tests.aws import Aws, Call, Fault
from tests.e2e.conftest import Project, todays
from tests.ec2 import PRICES, asked, changing, held, ready

KINDS = {"roles", "profiles", "keys", "groups", "volumes", "machines", "addresses"}
TOLERATED = {"GetProducts", "GetConsoleOutput"}
"""Calls that a host can be made without."""


@pytest.fixture
def cloud(aws: Aws) -> Aws:
    """An empty account in which a host can be made."""
    return ready(aws)


def make(cloud: Aws) -> None:
    cloud.prices(*PRICES)
    provision.provision(asked(), yes=True)


def one_of_each(cloud: Aws) -> bool:
    """Say whether there is one whole host: two disks, and one of all else."""
    counts = {kind: len(names) for kind, names in held(cloud).items()}
    return counts == {**dict.fromkeys(KINDS, 1), "volumes": 2}


def calls_of_a_run(cloud: Aws) -> list[str]:
    """Make a host and end it; return the calls that making it took."""
    cloud.calls.clear()
    make(cloud)
    calls = list(cloud.operations)
    ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=True)
    assert {} == held(cloud)
    return calls


def number(wanted: int) -> Callable[[int, Call], bool]:
    return lambda count, _: count == wanted


@pytest.mark.parametrize("done", todays([False, True], 2))
@pytest.mark.usefixtures("folder")
def test_a_failure_after_any_call_leaves_nothing_behind(
    cloud: Aws, done: bool, measured: Callable[[str], None]
) -> None:
    calls = calls_of_a_run(cloud)
    changes = changing(calls)
    looked = calls.index("GetProducts")  # the plan; what comes after it is the making
    tried = 0
    for position, operation in enumerate(calls):
        if done and operation not in changes:
            continue  # to have read something and not to have is the same
        tried += 1
        fault = Fault(number(position), done=done)
        if operation in TOLERATED:
            with cloud.failing(fault):
                make(cloud)
            ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=True)
        else:
            with cloud.failing(fault), pytest.raises(OpsError) as caught:
                make(cloud)
            expected = REFUSED if position < looked else FAILED
            assert expected == caught.value.code, f"{operation}, call {position}"
        assert {} == held(cloud), f"{operation}, call {position}"

    measured(f"{tried} failures, each of one call; nothing left after any of them")


@pytest.mark.usefixtures("folder")
def test_an_answer_that_is_lost_makes_nothing_twice(cloud: Aws) -> None:
    for operation in dict.fromkeys(changing(calls_of_a_run(cloud))):
        lost = Fault(
            lambda _, call, wanted=operation: (  # type: ignore[misc]
                call.operation == wanted and cloud.operations.count(wanted) == 1
            ),
            code="InternalError",
            status=500,
            done=True,
        )
        with cloud.failing(lost):
            make(cloud)

        assert one_of_each(cloud), operation
        ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=True)
        assert {} == held(cloud), operation


@pytest.mark.parametrize("operation", ["CreateRole", "CreateVolume", "RunInstances"])
def test_a_run_that_is_killed_is_gone_on_with(
    cloud: Aws, make_project: Callable[..., Project], operation: str
) -> None:
    project = make_project(f"killed-{operation.lower()}")
    words = ["provision", "--ssh-from", "203.0.113.7", "--elastic-ip", "--yes"]
    started: list[subprocess.Popen[str]] = []
    killed = threading.Event()

    def kill(call: Call) -> bool:
        if call.operation == operation and not killed.is_set():
            killed.set()
            os.kill(started[0].pid, signal.SIGKILL)
        return False

    killing = Fault(lambda _, call: kill(call))
    with cloud.failing(killing):
        run = project.start(*words, environ=cloud.environ)
        started.append(run)
        run.communicate(timeout=120)

    assert -signal.SIGKILL == run.returncode
    cloud.prices(*PRICES)
    project.invoke(*words, environ=cloud.environ)

    assert one_of_each(cloud)
    project.invoke(
        "terminate", "--name=mlflow", "--confirm=mlflow", "--with-data", environ=cloud.environ
    )
    assert {} == held(cloud)


def test_ctrl_c_takes_back_what_was_made(cloud: Aws, make_project: Callable[..., Project]) -> None:
    project = make_project("interrupted")
    words = ["provision", "--ssh-from", "203.0.113.7", "--yes"]
    started: list[subprocess.Popen[str]] = []

    def press(call: Call) -> bool:
        if call.operation == "RunInstances":
            started[0].send_signal(signal.SIGINT)
        return False

    with cloud.failing(Fault(lambda _, call: press(call))):
        started.append(project.start(*words, environ=cloud.environ))
        _, said = started[0].communicate(timeout=120)

    assert started[0].returncode != 0
    assert "undoing: " in said
    assert {} == held(cloud)
