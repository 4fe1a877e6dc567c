"""Pushing and pulling. The engine is a double and moto stands for AWS, for the token only."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from ops import registry
from ops.errors import OpsError
from ops.hosts import Result
from tests.synthetic_images import EngineDouble

PLAIN = "registry.example.com:5000/team"
SERVER = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ECR = f"{SERVER}/mlflow"
IMAGE = "mlflow-compose/web:0123456789ab"
HERE = {"docker image": "", "docker --config": ""}


class Watched(EngineDouble):
    """The double of an engine that looks at the folder it is told to keep its login in."""

    def __init__(self, answers: dict[str, Result | str]) -> None:
        super().__init__({**HERE, **answers})
        self.modes: list[int] = []
        self.folders: list[Path] = []

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float,
    ) -> Result:
        self.folders.append(Path(words[words.index("--config") + 1]))
        if self.folders[-1].exists():
            self.modes.append(stat.S_IMODE(self.folders[-1].stat().st_mode))
        return super().send(words, chunks, on_sent, deadline)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS as moto has it; the environment names nobody real."""
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield


def password() -> bytes:
    """Ask moto for the password it gives."""
    import base64

    client = boto3.client("ecr", region_name="eu-central-1")
    token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).partition(b":")[2]


def test_a_push_names_the_image_and_uses_the_person_s_own_login() -> None:
    local = Watched({})

    assert registry.push(local, PLAIN, IMAGE) == f"{PLAIN}/web:0123456789ab"
    assert local.lines[1:] == [
        f"docker image tag {IMAGE} {PLAIN}/web:0123456789ab",
        f"docker image push {PLAIN}/web:0123456789ab",
    ]
    assert local.received == b""


def test_an_image_that_is_not_here_is_refused() -> None:
    with pytest.raises(OpsError, match="there is no image") as caught:
        registry.push(EngineDouble({"docker image inspect": Result(1, "", "")}), PLAIN, IMAGE)
    assert caught.value.code == 2


@pytest.mark.usefixtures("aws", "zero_umask")
def test_the_password_of_ecr_goes_through_stdin_into_a_private_folder_that_is_removed() -> None:
    local = Watched({})
    registry.push(local, ECR, IMAGE)
    (folder,) = local.folders

    assert local.received == password() != b""
    assert not local.ran(local.received.decode())
    assert local.ran(f"docker --config {folder} login --username AWS --password-stdin {SERVER}")
    assert local.lines[-1] == f"docker --config {folder} image push {ECR}/web:0123456789ab"
    assert local.modes == [0o700]
    assert not folder.exists()


@pytest.mark.usefixtures("aws")
def test_a_host_logs_in_to_ecr_likewise_and_forgets_it_also_when_the_pull_fails() -> None:
    folder = "/tmp/docker-abc"
    pulls = {f"docker --config {folder} image pull": Result(1, "", "manifest unknown")}
    host = Watched({"mktemp -d": f"{folder}\n", "rm -rf": "", **pulls})

    with pytest.raises(OpsError, match="manifest unknown") as caught:
        registry.pull(host, ECR, IMAGE, "host")
    assert caught.value.remedy == "push it first: invoke push"
    assert host.received == password()
    assert host.lines[-1] == f"rm -rf -- {folder}"


def test_a_host_pulls_by_the_name_in_the_registry() -> None:
    host = Watched({})

    assert registry.pull(host, PLAIN, IMAGE, "host") == f"{PLAIN}/web:0123456789ab"
    assert host.lines == [f"docker image pull {PLAIN}/web:0123456789ab"]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("where", "said", "remedy"),
    [
        (
            ECR,
            "name unknown: The repository with name 'mlflow/web' does not exist in the registry",
            "aws ecr create-repository --repository-name mlflow/web --region eu-central-1",
        ),
        (ECR, "denied: User is not authorized", "give these AWS credentials the rights"),
        (PLAIN, "no basic auth credentials", "docker login registry.example.com:5000"),
        (PLAIN, "connection refused", "see whether registry.example.com:5000 answers"),
    ],
)
def test_what_a_registry_says_has_a_way_out(where: str, said: str, remedy: str) -> None:
    fails = Result(1, "", said)
    local = Watched({"docker image push": fails, "docker --config": fails})

    with pytest.raises(OpsError, match=said) as caught:
        registry.push(local, where, IMAGE)
    assert remedy in caught.value.remedy
    assert caught.value.code == 1


def test_without_aws_credentials_nothing_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    local = Watched({})

    with pytest.raises(OpsError, match="no AWS credentials") as caught:
        registry.push(local, ECR, IMAGE)
    assert caught.value.code == 2
    assert not local.ran("image tag")
