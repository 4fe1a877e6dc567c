"""Images by way of a registry: pushed from this machine, pulled by hosts."""

import base64
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ops import console
from ops.errors import OpsError, refusal
from ops.hosts import Host, LocalHost, failure
from ops.values import Secret

__all__ = ["image_name", "pull", "push"]

LOGIN_SECONDS = 60.0
DOCKER = ("docker",)
WHO = "log in to AWS: aws configure, or aws sso login; then see: aws sts get-caller-identity"
RIGHT = "grant ecr:GetAuthorizationToken to whom AWS takes you for: aws sts get-caller-identity"

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
ECR = re.compile(r"[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")


def image_name(registry: str, image: str) -> str:
    """Return an image's name in the registry: `mlflow-compose/web:1` is `REGISTRY/web:1`."""
    return f"{registry}/{image.rpartition('/')[2]}"


def push(local: LocalHost, registry: str, image: str) -> str:
    """Push an image of this machine to the registry and return its name there."""
    name = image_name(registry, image)
    if local.run(("docker", "image", "inspect", image)).code != 0:
        raise refusal(f"there is no image {image} on this machine", "build it first: invoke build")
    password = _ecr_password(registry)
    with tempfile.TemporaryDirectory(prefix="docker-") as folder:  # made with mode 0700
        docker = _login(local, registry, password, folder)
        local.check(("docker", "image", "tag", image, name), "look at: docker image ls")
        _follow(local, (*docker, "image", "push", name), registry, f"pushing {name}")
    return name


def pull(host: Host, registry: str, image: str, label: str) -> str:
    """Let a host pull an image from the registry and return its name; `label` says which host.

    A host whose layers came by `docker load` fetches all of them again (moby/moby#46664): for one
    host, stay with one way.
    """
    name = image_name(registry, image)
    password = _ecr_password(registry)
    with _folder(host) if password else _nothing() as folder:
        docker = _login(host, registry, password, folder)
        _follow(host, (*docker, "image", "pull", name), registry, f"{label} pulls {name}")
    return name


@contextmanager
def _folder(host: Host) -> Iterator[str]:
    """Make a folder on the host that only this user can read, gone afterwards."""
    remedy = "look at the disk there: df /tmp"
    folder = host.check(("mktemp", "-d", "-t", "docker-XXXXXXXXXX"), remedy).strip()
    try:
        yield folder
    finally:
        host.run(("rm", "-rf", "--", folder))


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


def _login(host: Host, registry: str, password: Secret | None, folder: str) -> tuple[str, ...]:
    """Return how to call Docker: for ECR logged in, in a folder of our own, not in ~/.docker.

    The password goes through stdin. Other registries: as the person has logged in with Docker.
    """
    if password is None:
        return DOCKER
    docker = ("docker", "--config", folder)
    words = (*docker, "login", "--username", "AWS", "--password-stdin", _server(registry))
    host.send(words, [password.reveal().encode()], lambda _: None, LOGIN_SECONDS)
    return docker


def _follow(host: Host, words: tuple[str, ...], registry: str, label: str) -> None:
    with console.progress(label) as detail:
        done = host.follow(words, detail)
        if done.code != 0:
            raise failure(words, done.code, done.err, _remedy(registry, words[-1], done.err))


def _remedy(registry: str, name: str, output: str) -> str:
    """Return the way out of what the registry said."""
    ecr = ECR.fullmatch(_server(registry))
    if ecr and "name unknown" in output:
        repository = name.removeprefix(f"{_server(registry)}/").rpartition(":")[0]
        words = f"aws ecr create-repository --repository-name {repository} --region {ecr[1]}"
        return f"make the repository: {words}"
    if re.search("denied|unauthorized|no basic auth|authentication required", output):
        if ecr:
            return "give these AWS credentials the rights to pull from and push to the repository"
        return f"log in: docker login {_server(registry)}"
    if "manifest unknown" in output or "not found" in output:
        return "push it first: invoke push"
    return f"see whether {_server(registry)} answers, then try again"


def _server(registry: str) -> str:
    return registry.partition("/")[0]


def _ecr_password(registry: str) -> Secret | None:
    """Ask AWS for a password of its registry, good for twelve hours; None for other registries."""
    found = ECR.fullmatch(_server(registry))
    if found is None:
        return None
    import boto3
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
    )

    try:
        client = boto3.client("ecr", region_name=found[1])
        token = client.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise refusal(
            f"there are no AWS credentials for {_server(registry)}: {error}", WHO
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise OpsError(f"AWS gives no password for {_server(registry)}: {error}", RIGHT) from None
    return Secret(base64.b64decode(token).decode().partition(":")[2])
