"""dockerd's settings: ours are added, the host's own stay, what makes no sense is refused."""

import json

import pytest

from ops import daemon
from ops.daemon import Daemon
from ops.errors import OpsError
from ops.hosts import Result
from tests.conftest import FakeHost

READ, WRITE = "sudo -n sh -c 'test ", "sudo -n sh -c 'set -eu"
OURS = {
    "log-driver": "json-file",
    "log-opts": {"max-size": "10m", "max-file": "5"},
    "live-restore": True,
}
RUNNING = Daemon(running=True, live_restore=False)


def machine(text: str) -> FakeHost:
    return FakeHost({READ: text, WRITE: "", "sudo -n systemctl restart docker": ""})


def written(text: str, *, swarm: bool = False) -> dict[str, object]:
    host = machine(text)
    daemon.step(host, Daemon(swarm=swarm), systemd=True).act()
    found: dict[str, object] = json.loads(host.given[0])
    return found


@pytest.mark.parametrize("text", ["", "{}", " \n{ }\n"])
def test_a_host_without_settings_gets_ours(text: str) -> None:
    assert written(text) == OURS


def test_other_keys_stay_and_come_first() -> None:
    own = {"data-root": "/mnt/docker", "insecure-registries": ["r:5000"], "bip": "10.9.0.1/24"}

    assert list(written(json.dumps(own)).items()) == [*own.items(), *OURS.items()]


def test_a_log_driver_that_was_chosen_stays() -> None:
    own = {"log-driver": "awslogs", "log-opts": {"awslogs-group": "g"}}

    assert written(json.dumps(own)) == {**own, "live-restore": True}


def test_log_options_that_were_chosen_stay() -> None:
    assert written('{"log-opts": {"max-size": "1g", "tag": "x"}}')["log-opts"] == {
        "max-size": "1g",
        "max-file": "5",
        "tag": "x",
    }


def test_live_restore_is_left_out_in_a_swarm() -> None:
    assert "live-restore" not in written("", swarm=True)


def test_settings_that_are_there_already_are_not_written() -> None:
    step = daemon.step(machine(json.dumps(OURS)), RUNNING, systemd=True)

    assert step.state == "done already"
    assert "json-file, 5 files of 10m, live-restore" in step.found


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', "null", "{'a': 1}", '{"log-opts": []}', "\x00", "# none\n{}"]
)
def test_what_dockerd_would_not_read_is_refused_unshown(text: str) -> None:
    with pytest.raises(OpsError, match="mend it by hand") as caught:
        daemon.step(machine(text), Daemon(), systemd=True)

    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("found", "effect"),
    [
        (Daemon(), ""),
        (RUNNING, "; restarts dockerd and with it every container"),
        (Daemon(running=True, live_restore=True), "; restarts dockerd"),
    ],
)
def test_the_plan_says_what_a_restart_takes_along(found: Daemon, effect: str) -> None:
    host = machine("{}")
    step = daemon.step(host, found, systemd=True)
    step.act()

    assert step.todo == f"/etc/docker/daemon.json: json-file, 5 files of 10m, live-restore{effect}"
    assert host.ran("systemctl restart docker") == found.running


def test_without_systemd_a_running_dockerd_is_left_to_the_person(
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = machine("{}")
    daemon.step(host, RUNNING, systemd=False).act()

    assert not host.ran("systemctl")
    assert "restart dockerd yourself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Result(1, "", "sudo: docker: command not found"), Daemon()),
        (Result(1, "false \n", "Cannot connect"), Daemon()),
        (Result(0, "false \n", ""), Daemon()),
        (Result(0, "false inactive\n", ""), RUNNING),
        (Result(0, "true active\n", ""), Daemon(running=True, live_restore=True, swarm=True)),
    ],
)
def test_dockerd_is_asked_what_it_does(answer: Result, found: Daemon) -> None:
    assert daemon.look(FakeHost({"sudo -n docker info": answer})) == found
