"""What a host has to have: each thing that lacks is a refusal with the way to it."""

import pytest

from ops import readiness
from ops.errors import OpsError
from ops.hosts import Result
from tests.conftest import FakeHost, docker_info

READY: dict[str, Result | str] = {
    "id -un": "ubuntu\n",
    "docker version": "28.2.2\n",
    "docker info": docker_info(),
    "docker compose version": "2.40.3\n",
    "sh -c": "",
}
DENIED = "permission denied while trying to connect to the Docker daemon socket"
LACKS: list[tuple[dict[str, Result | str], str, str]] = [
    ({"docker version": Result(127, "", "not found")}, "docker is not installed", "invoke prepare"),
    ({"docker version": Result(1, "", DENIED)}, "ubuntu may not use Docker", "usermod -aG docker"),
    ({"docker version": Result(1, "", "no daemon")}, "no Docker Engine answers", "enable --now"),
    ({"docker compose version": Result(125, "", "")}, "without Compose v2", "compose-plugin"),
    ({"docker compose version": "2.17.3"}, "Compose 2.24 is needed", "compose-plugin"),
    ({"docker info": docker_info("19.3.1")}, "Engine 20.10 is needed", "newer Docker"),
    ({"sh -c": "flock\n"}, "missing: flock", "apt-get install util-linux"),
]


def test_a_host_that_has_all_is_let_through() -> None:
    readiness.require(FakeHost(READY))


@pytest.mark.parametrize(("lacks", "cause", "remedy"), LACKS, ids=lambda each: str(each)[:40])
def test_a_host_that_lacks_something_is_refused_with_the_way_to_it(
    lacks: dict[str, Result | str], cause: str, remedy: str
) -> None:
    with pytest.raises(OpsError, match=cause) as caught:
        readiness.require(FakeHost(READY | lacks))

    assert 2 == caught.value.code
    assert remedy in caught.value.remedy
