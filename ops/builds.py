"""The server image: built on this machine, brought to a registry or to hosts."""

from ops import compose, console, ecr, engines, fleet, registry, stack, supply, transfer, values
from ops.errors import refusal
from ops.hosts import LocalHost
from ops.settings import Settings

__all__ = ["build", "push", "shared"]


def build(tag: str) -> None:
    """Build the image unless one of the same content is there; print its name."""
    settings, local = Settings.load(), LocalHost()
    name = built(settings, local)
    if tag:
        try:
            own = f"{name.rpartition(':')[0]}:{values.image_tag(tag)}"
        except ValueError as problem:
            raise refusal(f"--tag {tag!r} {problem}", "use letters, digits, _ . and -") from None
        local.check(("docker", "image", "tag", name, own), "look at the Docker Engine")
        console.say(f"also called {own}")
    console.result(name)


def built(settings: Settings, local: LocalHost) -> str:
    """Return the name of the image of these files, which is there afterwards."""
    _require_docker(local)
    compose.build(settings, local)
    return stack.web_image(settings)


def shared(settings: Settings, local: LocalHost) -> str:
    """Return the same for an image that hosts are to run: ECR's, if it has one of the name."""
    _require_docker(local)
    name = stack.web_image(settings)
    if not settings.registry or not registry.fetch(local, settings.registry, name):
        compose.build(settings, local)
    return name


def _require_docker(local: LocalHost) -> None:
    problem = engines.compose_problem(local)
    if problem:
        raise problem


def push(hosts: str) -> None:
    """Bring the image to the registry, or to hosts where there is none; print its name there."""
    settings, local = Settings.load(), LocalHost()
    if settings.registry:
        name = shared(settings, local)
        repository = ecr.find(supply.image_name(settings))
        if repository:
            ecr.make(repository, settings.stack_name)
        console.result(registry.push(local, settings.registry, name))
        return
    with fleet.reach(settings, hosts) as found:
        name = built(settings, local)
        every = transfer.send_image(local, [site.host for site in found], name, settings.data)
    for sent in every:
        if not sent.layers_sent:
            console.say(f"{sent.host} has it already")
    console.result(supply.image_name(settings))
