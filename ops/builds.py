"""The server image: built on this machine, brought to a registry or to hosts."""

from ops import compose, console, engines, fleet, registry, stack, supply, transfer, values
from ops.errors import refusal
from ops.hosts import LocalHost
from ops.settings import Settings

__all__ = ["build", "push"]


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
    problem = engines.compose_problem(local)
    if problem:
        raise problem
    compose.build(settings, local)
    return stack.web_image(settings)


def push(hosts: str) -> None:
    """Bring the image to the registry, or to hosts where there is none; print its name there."""
    settings, local = Settings.load(), LocalHost()
    if settings.registry:
        console.result(registry.push(local, settings.registry, built(settings, local)))
        return
    with fleet.reach(settings, hosts) as found:
        name = built(settings, local)
        every = transfer.send_image(local, [site.host for site in found], name, settings.data)
    for sent in every:
        if not sent.layers_sent:
            console.say(f"{sent.host} has it already")
    console.result(supply.image_name(settings))
