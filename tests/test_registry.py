"""Pushing and pulling. The engine is a double; moto stands for ECR, over HTTP."""

import base64
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from ops import registry
from ops.errors import OpsError
from ops.hosts import Result
from tests.aws import REGION, Aws
from tests.synthetic_images import INSPECT, NO_IMAGE, EngineDouble, Synthetic
from tests.test_ecr import MANIFEST

PLAIN = "registry.example.com:5000/team"
SERVER = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
ECR = f"{SERVER}/mlflow"
IMAGE = "mlflow-compose/web:0123456789ab"
THERE = f"{ECR}/web:0123456789ab"
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


def password(aws: Aws) -> bytes:
    """Ask moto for the password it gives."""
    data = aws.client("ecr").get_authorization_token()["authorizationData"][0]
    return base64.b64decode(data["authorizationToken"]).partition(b":")[2]


def in_ecr(aws: Aws) -> str:
    """Have an image in ECR and return its digest."""
    client = aws.client("ecr")
    client.create_repository(repositoryName="mlflow/web", imageTagMutability="IMMUTABLE")
    put = client.put_image(
        repositoryName="mlflow/web", imageManifest=MANIFEST, imageTag="0123456789ab"
    )
    digest: str = put["image"]["imageId"]["imageDigest"]
    return digest


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


@pytest.mark.usefixtures("zero_umask")
def test_the_password_of_ecr_goes_through_stdin_into_a_private_folder_that_is_removed(
    aws: Aws,
) -> None:
    local = Watched({})
    registry.push(local, ECR, IMAGE)
    (folder,) = local.folders

    assert local.received == password(aws) != b""
    assert not local.ran(local.received.decode())
    assert local.ran(f"docker --config {folder} login --username AWS --password-stdin {SERVER}")
    assert local.lines[-1] == f"docker --config {folder} image push {ECR}/web:0123456789ab"
    assert local.modes == [0o700]
    assert not folder.exists()


def test_a_host_logs_in_to_ecr_likewise_and_forgets_it_also_when_the_pull_fails(
    aws: Aws,
) -> None:
    folder = "/tmp/docker-abc"
    pulls = {f"docker --config {folder} image pull": Result(1, "", "manifest unknown")}
    host = Watched({"mktemp -d": f"{folder}\n", "rm -rf": "", **pulls})

    with pytest.raises(OpsError, match="manifest unknown") as caught:
        registry.pull(host, THERE)
    assert caught.value.remedy == "push it first: invoke push"
    assert host.received == password(aws)
    assert host.lines[-1] == f"rm -rf -- {folder}"


def test_a_host_pulls_by_the_name_in_the_registry() -> None:
    host = Watched({})

    registry.pull(host, f"{PLAIN}/web:0123456789ab")
    assert host.lines == [f"docker image pull {PLAIN}/web:0123456789ab"]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("where", "said", "remedy"),
    [
        (
            ECR,
            "name unknown: The repository with name 'mlflow/web' does not exist in the registry",
            "aws ecr create-repository --repository-name mlflow/web --region eu-west-2",
        ),
        (ECR, "denied: User is not authorized", "PutImage: statement Repository of"),
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


def test_without_aws_credentials_nothing_is_pushed(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    local = Watched({})

    with pytest.raises(OpsError, match="no AWS credentials") as caught:
        registry.push(local, ECR, IMAGE)
    assert caught.value.code == 2
    assert not local.ran("image tag")
    assert not aws.calls


def test_a_push_by_a_deploy_makes_no_repository(aws: Aws) -> None:
    registry.push(Watched({}), ECR, IMAGE)

    assert "CreateRepository" not in aws.operations


def test_what_ecr_has_by_this_name_is_not_pushed_again(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real ECR refuses even the same image; that it is not asked to is all that can be shown."""
    in_ecr(aws)
    local = Watched({})

    assert registry.push(local, ECR, IMAGE) == THERE
    assert not local.ran("push")
    assert f"{THERE} is there already" in capsys.readouterr().err


# --- What ECR has is everybody's ---


def test_a_registry_that_is_not_ecr_is_not_looked_into() -> None:
    local = Watched({})

    assert not registry.fetch(local, PLAIN, IMAGE)
    assert local.lines == []


def test_where_ecr_has_no_such_image_there_is_none_to_fetch(aws: Aws) -> None:
    local = Watched({})

    assert not registry.fetch(local, ECR, IMAGE)
    aws.client("ecr").create_repository(repositoryName="mlflow/web")
    assert not registry.fetch(local, ECR, IMAGE)
    assert local.lines == []


@pytest.fixture
def puller(aws: Aws) -> Watched:
    """An engine that gets from ECR what it has there."""
    in_ecr(aws)
    pulled = {f"{INSPECT} {THERE}": Synthetic((b"1",)).inspected()}
    return Watched({"mktemp -d": "/tmp/docker-abc\n", "rm -rf": "", **pulled})


@pytest.mark.parametrize(
    "here", [NO_IMAGE, f"sha256:{'0' * 64} [{ECR}/web@sha256:{'1' * 64}]\n"], ids=["none", "own"]
)
def test_an_image_of_ecr_s_takes_the_name_from_one_built_here(
    puller: Watched, here: Result | str
) -> None:
    puller.answers["docker image inspect --format '{{.Id}}"] = here

    assert registry.fetch(puller, ECR, IMAGE)
    assert puller.ran(f"image pull {THERE}")
    assert puller.lines[-1] == f"docker image tag {THERE} {IMAGE}"


def test_an_image_for_other_machines_is_refused_with_how_to_get_its_name_back(
    puller: Watched,
) -> None:
    puller.answers[f"{INSPECT} {THERE}"] = Synthetic((b"1",)).inspected(architecture="arm64")

    with pytest.raises(OpsError, match="is made for arm64, this machine is amd64") as caught:
        registry.fetch(puller, ECR, IMAGE)
    assert "batch-delete-image --repository-name mlflow/web" in caught.value.remedy
    assert "imageTag=0123456789ab" in caught.value.remedy
    assert not puller.ran("image tag")


def test_an_image_that_is_ecr_s_already_is_not_fetched(aws: Aws) -> None:
    digest = in_ecr(aws)
    local = Watched({"docker image inspect": f"sha256:{'0' * 64} [{ECR}/web@{digest}]\n"})

    assert registry.fetch(local, ECR, IMAGE)
    assert not local.ran("pull")
    assert not local.ran("image tag")
