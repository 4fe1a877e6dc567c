"""What `docker ps`, `inspect` and `stats` say of a stack."""

import pytest

from ops import containers
from ops.settings import Settings
from tests.conftest import FakeHost


def test_only_the_stack_s_own_containers_count(settings: Settings) -> None:
    host = FakeHost({"docker ps": ""})

    assert containers.containers(settings, host) == []
    assert host.ran(
        f"label=com.docker.compose.project={settings.stack_name}", "compose.oneoff=False"
    )


@pytest.mark.parametrize(
    ("text", "count"),
    [("0B", 0), ("14.11MiB", 14795407), ("1.5GiB", 1610612736), ("2TiB", 2 * 1024**4), ("--", 0)],
)
def test_memory_is_read_as_docker_writes_it(text: str, count: int) -> None:
    assert containers._bytes(text) == count
