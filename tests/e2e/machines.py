"""Hosts of the lab as the end-to-end tests use them: ready to deploy to, looked into past SSH."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ops import stack
from tests import lab
from tests.e2e.conftest import Project, output


def several(count: int) -> list[lab.Host]:
    """Return hosts with Docker and the official images, as they could pull them."""
    found = list(lab.up(hosts=count).hosts[:count])
    for machine in found:
        for name in stack.BASES:
            lab.load_image(machine, name)
    return found


def team_settings(*machines: lab.Host) -> dict[str, str]:
    """Return the settings of a folder that deploys to hosts."""
    return {
        "DEPLOY_HOST": ",".join(f"{each.user}@{each.address}" for each in machines),
        "DEPLOY_KEY": machines[0].key,
    }


@contextmanager
def operator(
    make_project: Callable[..., Project], machine: lab.Host, name: str, settings: dict[str, str]
) -> Iterator[Project]:
    """Have an operator's folder, for a stack that a host serves to its network; nothing is left."""
    project = make_project(name, **team_settings(machine), BIND_ADDRESS="0.0.0.0", **settings)
    plain = settings.get("TLS") == "off"
    scheme, port = ("http", project.port) if plain else ("https", project.tls_port)
    project.set(PUBLIC_URL=f"{scheme}://{machine.address}:{port}")
    known(project, machine)
    sweep(project, machine)  # of a run that was killed
    yield project
    sweep(project, machine)


def known(project: Project, machine: lab.Host) -> None:
    """Let the project know the hosts, as `invoke trust` would."""
    (project.root / "data").mkdir(mode=0o700, exist_ok=True)
    text = Path(machine.known_hosts).read_text("utf-8")
    (project.root / "data" / "known_hosts").write_text(text, "utf-8")


def sweep(project: Project, machine: lab.Host) -> None:
    """Remove the stack from the host."""
    for kind, words in (("container", ["--all"]), ("volume", []), ("network", [])):
        ls = ["docker", kind, "ls", "--quiet", *words, "--filter", f"name={project.name}"]
        found = on(machine, *ls).split()
        if found:
            on(machine, "docker", kind, "rm", *(["--force"] if kind != "network" else []), *found)
    on(machine, "rm", "-rf", f"/home/{machine.user}/{project.name}")


def on(machine: lab.Host, *words: str) -> str:
    """Run a command on the host, past SSH."""
    return output("docker", "exec", machine.name, *words)


def url(project: Project, machine: lab.Host) -> str:
    """Return the address of the server's front door on the host."""
    return project.address(machine.address)
