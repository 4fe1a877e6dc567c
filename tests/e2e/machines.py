"""Hosts of the lab as the end-to-end tests use them: ready to deploy to, looked into past SSH."""

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
