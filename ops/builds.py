"""Our images: built on this machine, brought to a registry or to hosts."""

from ops import compose, console, ecr, engines, fleet, registry, stack, supply, transfer, values
from ops.errors import refusal
from ops.hosts import LocalHost
from ops.settings import Settings

__all__ = ["build", "identities", "push", "shared"]


def build(tag: str) -> None:
    """Build our images unless those of the same content are there; print the server's name."""
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
    """Return the name of the server image of these files; it and the others are there then."""
    _require_docker(local)
    compose.build(settings, local)
    return stack.web_image(settings)


def shared(settings: Settings, local: LocalHost) -> str:
    """Return the same where hosts are to run the images: ECR's, if it has one of the name."""
    _require_docker(local)
    for name in stack.own_images(settings):
        if not settings.registry or not registry.fetch(local, settings.registry, name):
            compose.build(settings, local, name)
    return stack.web_image(settings)


def identities(settings: Settings, local: LocalHost) -> dict[str, str]:
    """Return our images, which are there afterwards, with their ids."""
    shared(settings, local)
    form = ("docker", "image", "inspect", "--format", "{{.Id}}")
    remedy = "look at the Docker Engine"
    return {name: local.check((*form, name), remedy).strip() for name in stack.own_images(settings)}


def _require_docker(local: LocalHost) -> None:
    problem = engines.compose_problem(local)
    if problem:
        raise problem


def push(hosts: str) -> None:
    """Bring our images to the registry, or to hosts where there is none; print their names."""
    settings, local = Settings.load(), LocalHost()
    if settings.registry:
        shared(settings, local)
        for name, there in supply.image_names(settings).items():
            repository = ecr.find(there)
            if repository:
                ecr.make(repository, settings.stack_name)
            console.result(registry.push(local, settings.registry, name))
        return
    with fleet.reach(settings, hosts) as found:
        built(settings, local)
        hosts_found = [site.host for site in found]
        for name in stack.own_images(settings):
            for sent in transfer.send_image(local, hosts_found, name, settings.data):
                if not sent.layers_sent:
                    console.say(f"{sent.host} has it already")
            console.result(name)
