"""This machine: what it answers, what is made of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ops import checks_local, states
from ops.checks import examine
from ops.checks_local import Here
from ops.errors import OpsError, refusal
from ops.hosts import Result
from ops.settings import ROOT, Settings
from tests import patients
from tests.conftest import FakeHost, docker_info
from tests.patients import NO_IMAGE

MISSING = Result(127, "", "no such program")


def here(settings: Settings | OpsError, **changed: Result | str) -> Here:
    answers: dict[str, Result | str] = {
        "docker version": "28.2.2",
        "docker info": docker_info(),
        "docker compose version": "2.40.3\n",
        "docker image inspect": patients.image(),
        "git --version": "git version 2.47.3\n",
        "git -C": "0123456789ab-dirty\n",
    }
    answers |= {key.replace("_", " "): answer for key, answer in changed.items()}
    return Here(host=FakeHost(answers), settings=settings)


def test_a_machine_in_order(settings: Settings) -> None:
    found = dict(examine(checks_local.CHECKS, here(settings)))

    assert [finding.state for finding in found.values()] == ["ok"] * 4
    assert found["settings"].found == "defaults; there is no .env yet"
    assert found["docker"].found == "28.2 with Compose 2.40"
    assert found["git"].found == "2.47.3 at 0123456789ab-dirty"
    assert (
        found["disk"].found.endswith("GiB free on /var/lib/docker")
        or not Path("/var/lib/docker").exists()
    )


def test_settings_of_a_file_are_said_to_be_of_it(settings: Settings) -> None:
    (settings.root / ".env").touch()

    assert checks_local.settings(here(settings)).found == "read from .env and the environment"


def test_every_problem_of_the_settings_is_there_and_the_rest_is_looked_at() -> None:
    problems = refusal("2 problems in the settings\n  .env: A\n  .env: B", "correct .env")
    subject = here(problems)
    found = dict(examine(checks_local.CHECKS, subject))

    assert found["settings"].found.splitlines() == [
        *("2 problems in the settings", "  .env: A", "  .env: B")
    ]
    assert found["settings"].remedy == "correct .env"
    assert [found[name].state for name in ("docker", "git", "disk")] == ["ok", "ok", "skip"]
    assert isinstance(subject.host, FakeHost)
    assert subject.host.ran(f"git -C {ROOT}")


@pytest.mark.parametrize(
    ("changed", "found", "remedy"),
    [
        ({"docker_version": MISSING}, "docker is not installed", "install Docker Engine"),
        ({"docker_compose_version": "2.20.1"}, "Compose 2.24 is needed", "docker-compose-plugin"),
    ],
)
def test_without_docker_the_disk_is_not_looked_at(
    settings: Settings, changed: dict[str, Result | str], found: str, remedy: str
) -> None:
    made = dict(examine(checks_local.CHECKS, here(settings, **changed)))

    assert made["docker"].state == "fail"
    assert found in made["docker"].found
    assert remedy in made["docker"].remedy
    assert made["disk"].found == "not checked: see docker"


def test_docker_is_not_asked_of_somebody_who_needs_none(settings: Settings) -> None:
    states.remember(settings, "embedded")
    made = dict(examine(checks_local.CHECKS, here(settings, docker_version=MISSING)))
    assert made["docker"].state == "skip"

    deploys = replace(settings, deploy_host="ec2")
    made = dict(examine(checks_local.CHECKS, here(deploys, docker_version=MISSING)))
    assert made["docker"].state == "fail"

    states.remember(settings, "compose")
    made = dict(examine(checks_local.CHECKS, here(settings, docker_version=MISSING)))
    assert made["docker"].state == "fail"


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"git_--version": MISSING}, "git is not installed"),
        ({"git_-C": Result(128, "", "fatal: not a git repository")}, "this folder is no clone"),
    ],
)
def test_releases_without_a_commit_are_warned_of(
    settings: Settings, changed: dict[str, Result | str], found: str
) -> None:
    finding = checks_local.git(here(settings, **changed))

    assert finding.state == "warn"
    assert finding.found == f"{found}: releases will not say which commit they are"
    assert finding.remedy


def test_a_full_disk_is_found_and_the_image_that_is_there_needs_none(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1024**3
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    made = dict(examine(checks_local.CHECKS, here(settings, docker_image_inspect=NO_IMAGE)))

    assert made["disk"].state == "fail"
    assert "building the stack needs 4.0 GiB" in made["disk"].found
    assert checks_local.disk(here(settings)).state == "ok"
