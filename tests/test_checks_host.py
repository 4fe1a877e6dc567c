"""The host as a machine: what it answers, what is made of it."""

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ops import checks_host, host_keys, readiness
from ops.checks import Finding, examine
from ops.host_keys import HostKey
from ops.hosts import LocalHost, Result
from ops.patient import Patient
from ops.settings import Settings
from tests import patients
from tests.conftest import FakeHost, docker_info
from tests.patients import AVAILABLE, GIB, INODES, NO_IMAGE, TABLE, TABLE_HEAD

Look = Callable[[Patient], Finding]
MIB = 1024**2
DENIED = Result(1, "", "permission denied while trying to connect to the Docker daemon socket")
OFF = Result(1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
NONE_OF_OURS = patients.containers(nginx={"state": {"Status": "exited"}})


def at(seconds: float) -> str:
    return f"{time.time() + seconds:.9f}"


def listens(address: str) -> str:
    return f"{TABLE_HEAD}   0: {address} 00000000:0000 0A 0\n"


CASES: list[tuple[Look, dict[str, Result | str], str, str, str]] = [
    (checks_host.access, {}, "ok", "ubuntu may use Docker", ""),
    (
        checks_host.access,
        {"docker version": Result(127, "", "docker: not found")},
        *("fail", "docker is not installed there", "https://docs.docker.com/engine/install/"),
    ),
    (
        checks_host.access,
        {"docker version": DENIED},
        *("fail", "ubuntu may not use Docker", "sudo usermod -aG docker ubuntu; then log in again"),
    ),
    (
        checks_host.access,
        {"docker version": OFF},
        *("fail", "no Docker Engine answers: Cannot", "sudo systemctl enable --now docker"),
    ),
    (checks_host.docker, {}, "ok", "28.2 with Compose 2.40", ""),
    (
        checks_host.docker,
        {"docker compose version": "v2.24.6+ds1-0ubuntu1\n"},
        *("ok", "28.2 with Compose 2.24", ""),
    ),
    (
        checks_host.docker,
        {"docker compose version": "2.23.3\n"},
        *("fail", "Compose 2.23; Compose 2.24 is needed", "docker-compose-plugin"),
    ),
    (
        checks_host.docker,
        {"docker compose version": Result(1, "", "docker: 'compose' is not a docker command")},
        *("fail", "28.2 without Compose v2", "docker-compose-plugin"),
    ),
    (
        checks_host.docker,
        {"docker info": docker_info("19.3.15")},
        *("fail", "19.3 with .* Engine 20.10 is needed", "a newer Docker Engine"),
    ),
    (checks_host.tools, {}, "ok", "tar, flock, bash, find", ""),
    (
        checks_host.tools,
        {"sh -c": "flock\nfind\n"},
        *("fail", "missing: flock, find", "apt-get install findutils util-linux"),
    ),
    (checks_host.disk, {}, "ok", r"50\.0 GiB free on /var/lib/docker, 0 B of images", ""),
    (
        checks_host.disk,
        {AVAILABLE: f"Avail\n{100 * 1024**2}\n"},
        *("fail", "100 MiB free", "docker system df"),
    ),
    (
        checks_host.disk,
        {AVAILABLE: f"Avail\n{GIB}\n"},
        *("warn", "no room for the release after that", "docker system df"),
    ),
    (
        checks_host.disk,
        {AVAILABLE: f"Avail\n{2 * GIB}\n", "docker image inspect": NO_IMAGE},
        *("fail", r"2\.0 GiB free .*, 4\.0 GiB of images to come", "make the disk larger"),
    ),
    (checks_host.inodes, {}, "ok", "90% free on /var/lib/docker", ""),
    (checks_host.inodes, {INODES: "IFree Inodes\n40 1000\n"}, "warn", "4% free", "small files"),
    (checks_host.inodes, {INODES: "IFree Inodes\n5 1000\n"}, "fail", "0% free", "small files"),
    (checks_host.inodes, {INODES: "IFree Inodes\n- -\n"}, "ok", "does not count them", ""),
    (checks_host.memory, {}, "ok", r"3\.8 GiB; system and stack may take 3\.8 GiB", ""),
    (checks_host.memory, {"docker info": docker_info(memory=1900 * MIB)}, "ok", "1.9 GiB", ""),
    (
        checks_host.memory,
        {"docker info": docker_info(memory=1300 * MIB)},
        *("warn", r"1\.3 GiB; system and stack may take 1\.4 GiB", "take a larger instance"),
    ),
    (
        checks_host.memory,
        {"docker info": docker_info(memory=800 * MIB)},
        *("fail", r"800 MiB; .* and take 836 MiB at rest", "take a larger instance"),
    ),
    (checks_host.port, {}, "ok", "5050 is this stack's", ""),
    (checks_host.port, {patients.INSPECT: NONE_OF_OURS}, "ok", "5050 is free", ""),
    (
        checks_host.port,
        {patients.INSPECT: NONE_OF_OURS, TABLE: listens("0100007F:13BA")},
        *("fail", "something else listens on port 5050", "ss -ltnp sport = :5050"),
    ),
    (
        checks_host.port,
        {patients.INSPECT: NONE_OF_OURS, TABLE: listens("0100007F:13BB")},
        *("ok", "5050 is free", ""),
    ),
]


@pytest.mark.parametrize(("look", "changed", "state", "found", "remedy"), CASES)
def test_an_answer_makes_a_finding(
    settings: Settings,
    *,
    look: Look,
    changed: dict[str, Result | str],
    state: str,
    found: str,
    remedy: str,
) -> None:
    made = patients.patient(settings, changed)
    made.local = FakeHost({"docker image inspect": NO_IMAGE})
    finding = look(made)

    assert state == finding.state, finding
    assert re.search(found, finding.found), finding
    assert remedy in finding.remedy
    assert bool(finding.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("seconds", "state", "found"),
    [
        (0.5, "ok", "0.5 s ahead of this machine"),
        (5.0, "warn", "5.0 s ahead of this machine"),
        (-5.0, "warn", "5.0 s behind this machine"),
        (-90.0, "fail", "90.0 s behind this machine"),
    ],
)
def test_a_clock_that_is_wrong_is_found(
    settings: Settings, seconds: float, state: str, found: str
) -> None:
    finding = checks_host.clock(patients.patient(settings, {"date": at(seconds)}))

    assert (state, found) == (finding.state, finding.found)
    assert ("timedatectl" in finding.remedy) == (state != "ok")


def test_half_of_the_way_is_not_taken_for_a_wrong_clock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes back 6 s after it was asked for, and was given half-way."""
    made = patients.patient(settings, {"date": "1003.000000000"})
    times = iter([1000.0, 1006.0])
    monkeypatch.setattr(time, "time", lambda: next(times))

    assert checks_host.clock(made).state == "ok"


@pytest.mark.parametrize(("here", "coming"), [(2 * GIB, "8.0 GiB"), (None, "4.0 GiB")])
def test_images_that_the_host_lacks_are_as_large_as_they_are_here(
    settings: Settings, here: int | None, coming: str
) -> None:
    made = patients.patient(settings, {"docker image inspect": NO_IMAGE})
    known = Result(127, "", "docker: not found") if here is None else patients.image(here)
    made.local = FakeHost({"docker image inspect": known})

    assert f"{coming} of images to come" in checks_host.disk(made).found


@pytest.mark.parametrize(
    ("given", "state", "found"),
    [
        ({"web_memory_limit": "1g", "db_memory_limit": "1g"}, "ok", "may take 3.4 GiB"),
        ({"web_memory_limit": "2g", "db_memory_limit": "1g"}, "warn", "may take 5.4 GiB"),
        ({"database_host": "db"}, "ok", "may take 3.8 GiB"),
        ({"web_memory_limit": "1g", "database_host": "db"}, "ok", "may take 2.4 GiB"),
    ],
)
def test_a_second_server_while_a_deploy_lasts_counts(
    settings: Settings, given: dict[str, str], state: str, found: str
) -> None:
    made = replace(settings, **given)  # type: ignore[arg-type]
    finding = checks_host.memory(patients.patient(made))

    assert state == finding.state
    assert found in finding.found


def test_settings_that_ask_for_more_than_there_is_are_named(settings: Settings) -> None:
    greedy = replace(settings, web_workers=20, job_execution=True)
    finding = checks_host.memory(patients.patient(greedy))

    assert "fail" == finding.state
    assert finding.remedy.endswith(", or take out of .env: WEB_WORKERS, JOB_EXECUTION")


def test_a_host_is_known_by_its_key_before_anybody_logs_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    made = patients.patient(settings)
    unknown = checks_host.host_key(made)
    key = HostKey("ecdsa-sha2-nistp256", b"a key")
    host_keys.pin(settings, "192.0.2.7", [key])
    known = checks_host.host_key(made)

    assert (unknown.state, unknown.remedy) == ("fail", "invoke trust --host ubuntu@192.0.2.7")
    assert known.found == f"ecdsa-sha2-nistp256 {key.fingerprint}"
    assert known.state == "ok"


def test_the_login_is_timed_and_a_command_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = patients.patient(settings)
    monkeypatch.setattr(Patient, "log_in", lambda _: None)
    finding = checks_host.ssh(made)

    assert re.fullmatch(r"logged in in 0\.0 s, \d+ ms for a command", finding.found)
    assert patients.lines(made) == ["true"] * 3


def test_the_programs_looked_for_are_looked_for_by_a_real_shell(settings: Settings) -> None:
    made = patients.patient(settings, {"sh -c": ""})
    checks_host.tools(made)
    (line,) = patients.lines(made)

    assert line.endswith("tools tar flock bash find")
    words = ("sh", "-c", readiness.MISSING, "tools", "sh", "no-such-program")
    assert LocalHost().run(words).out == "no-such-program\n"


def test_nothing_is_asked_of_a_host_that_is_not_known(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    found = dict(examine(checks_host.CHECKS, patients.patient(settings)))

    assert found.pop("host key").state == "fail"
    assert {finding.state for finding in found.values()} == {"skip"}
