"""Images by way of a registry: pushed from this machine, pulled by hosts."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ops import console, ecr, images
from ops.errors import refusal
from ops.hosts import Host, LocalHost, failure
from ops.permissions import allowed_by
from ops.values import Secret

__all__ = ["fetch", "image_name", "pull", "push"]

LOGIN_SECONDS = 60.0
DOCKER = ("docker",)
LOOK = "look at: docker image ls"


def image_name(registry: str, image: str) -> str:
    """Return an image's name in the registry: `mlflow-compose/web:1` is `REGISTRY/web:1`."""
    return f"{registry}/{image.rpartition('/')[2]}"


def push(local: LocalHost, registry: str, image: str) -> str:
    """Push an image of this machine to the registry and return its name there."""
    name = image_name(registry, image)
    if local.run(("docker", "image", "inspect", image)).code != 0:
        raise refusal(f"there is no image {image} on this machine", "build it first: invoke build")
    if _digest(name):
        # ECR refuses a tag it has, also with the same image: aws/containers-roadmap#2179
        console.say(f"{name} is there already")
        return name
    password = _password(name)
    with tempfile.TemporaryDirectory(prefix="docker-") as folder:  # made with mode 0700
        docker = _login(local, name, password, folder)
        local.check(("docker", "image", "tag", image, name), LOOK)
        _follow(local, (*docker, "image", "push", name), f"pushing {name}")
    return name


def fetch(local: LocalHost, registry: str, image: str) -> bool:
    """Have on this machine what ECR has by this name; False where it has none, or is not ECR.

    Two machines that build an image get two of one name. The first that reaches ECR is everybody's
    (docs/decisions/0016-one-image-of-a-name-in-ecr.md).
    """
    name = image_name(registry, image)
    digest = _digest(name)
    if not digest:
        return False
    form = ("--format", "{{.Id}} {{.RepoDigests}}")
    if digest not in local.run(("docker", "image", "inspect", *form, image)).out:
        pull(local, name)
        _fits(local, name)
        local.check(("docker", "image", "tag", name, image), LOOK)
    return True


def _fits(local: LocalHost, name: str) -> None:
    """Refuse an image of another architecture, whose name is taken there for good."""
    found, here = images.image(local, name), images.engine(local).architecture
    repository = ecr.find(name)
    if found and repository and found.architecture != here:
        where = f"--repository-name {repository.name} --region {repository.region}"
        words = f"aws ecr batch-delete-image {where} --image-ids imageTag={name.rpartition(':')[2]}"
        raise refusal(
            f"{name} is made for {found.architecture}, this machine is {here}",
            f"work from a machine like the hosts; if none of them is {found.architecture}: {words}",
        )


def pull(host: Host, name: str) -> None:
    """Let a host pull an image by its name in the registry.

    A host whose layers came by `docker load` fetches all of them again (moby/moby#46664): for one
    host, stay with one way.
    """
    password = _password(name)
    with _folder(host) if password else _nothing() as folder:
        docker = _login(host, name, password, folder)
        _follow(host, (*docker, "image", "pull", name), f"{host.name} pulls {name}")


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


def _login(host: Host, name: str, password: Secret | None, folder: str) -> tuple[str, ...]:
    """Return how to call Docker: for ECR logged in, in a folder of our own, not in ~/.docker.

    The password goes through stdin. Other registries: as the person has logged in with Docker.
    """
    if password is None:
        return DOCKER
    docker = ("docker", "--config", folder)
    words = (*docker, "login", "--username", "AWS", "--password-stdin", _server(name))
    host.send(words, [password.reveal().encode()], lambda _: None, LOGIN_SECONDS)
    return docker


def _follow(host: Host, words: tuple[str, ...], label: str) -> None:
    with console.progress(label) as detail:
        done = host.follow(words, detail)
        if done.code != 0:
            raise failure(words, done.code, done.err, _remedy(words[-2], words[-1], done.err))


def _remedy(verb: str, name: str, output: str) -> str:
    """Return the way out of what the registry said."""
    repository = ecr.find(name)
    if repository and "name unknown" in output:
        words = f"--repository-name {repository.name} --region {repository.region}"
        return f"invoke push makes it; in another account: aws ecr create-repository {words}"
    if re.search("denied|unauthorized|no basic auth|authentication required", output):
        if repository:
            needed = allowed_by(f"docker image {verb}")
            return f"let whom `invoke whoami` shows do {needed}"
        return f"log in: docker login {_server(name)}"
    if "manifest unknown" in output or "not found" in output:
        return "push it first: invoke push"
    return f"see whether {_server(name)} answers, then try again"


def _server(name: str) -> str:
    return name.partition("/")[0]


def _digest(name: str) -> str:
    """Return the digest by which ECR has an image; "" where it has none, or is not ECR."""
    repository = ecr.find(name)
    return ecr.digest(repository, name.rpartition(":")[2]) if repository else ""


def _password(name: str) -> Secret | None:
    repository = ecr.find(name)
    return ecr.password(repository) if repository else None
