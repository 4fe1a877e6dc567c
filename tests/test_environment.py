"""The embedded engine's environment; venv and pip are stand-ins."""

import sys

import pytest

from ops import environment
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from tests.conftest import FAILS, FakeHost, host_makes, installed


def test_the_environment_is_named_by_python_and_requirements(settings: Settings) -> None:
    before = environment.path(settings)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with (settings.root / "mlflow" / "requirements.txt").open("a") as file:
        file.write("# newer\n")

    assert before.name.startswith(f"environment-{version}-")
    assert environment.path(settings) != before


def test_an_installation_is_made_once_from_the_locked_requirements(settings: Settings) -> None:
    target = environment.path(settings)
    old = target.with_name("environment-3.1-old")
    old.mkdir(parents=True)
    host = FakeHost({"": ""})
    host_makes(host, target)
    environment.install(settings, host)
    environment.install(settings, host)

    assert host.lines == [
        f"{sys.executable} -m venv {target}",
        (
            f"{target}/bin/python -m pip install --require-hashes --disable-pip-version-check "
            f"--only-binary=:all: --no-deps --requirement {settings.root}/mlflow/requirements.txt"
        ),
    ]
    assert environment.complete(settings)
    assert not old.exists()


def test_an_installation_that_fails_is_begun_anew_next_time(settings: Settings) -> None:
    target = environment.path(settings)
    host = FakeHost({"": "", f"{target}/bin/python": Result(1, "", "ERROR: no matching hash\n")})
    host_makes(host, target)
    with pytest.raises(OpsError, match="no matching hash") as caught:
        environment.install(settings, host)

    assert caught.value.code == 1
    assert not target.exists()
    assert not environment.complete(settings)


def test_a_python_without_venv_is_told_the_package_to_install(settings: Settings) -> None:
    with pytest.raises(OpsError) as caught:
        environment.install(settings, FakeHost({sys.executable: FAILS}))

    assert caught.value.remedy == "install venv for your Python: apt install python3-venv"


def test_an_environment_whose_python_has_gone_is_not_complete(settings: Settings) -> None:
    installed(settings)
    assert environment.complete(settings)

    python = environment.path(settings) / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python")
    assert not environment.complete(settings)
