"""What a host has to have before anything is deployed to it: Docker, for this user, and tools."""

import re

from ops import images
from ops.checks import Finding, fail, ok
from ops.errors import refusal
from ops.hosts import Host
from ops.site import LOOK_AT_HOST

__all__ = ["access", "require", "tools", "versions"]

ENGINE = (20, 10)
COMPOSE = (2, 24)
INSTALL_ENGINE = "https://docs.docker.com/engine/install/"
INSTALL_COMPOSE = "https://docs.docker.com/compose/install/linux/"

PACKAGES = {"tar": "tar", "flock": "util-linux", "bash": "bash", "find": "findutils"}
"""The programs a deploy runs on the host, with the package that has each, for apt and dnf alike."""

MISSING = 'for name; do command -v "$name" >/dev/null || echo "$name"; done'


def require(host: Host) -> None:
    """Refuse a host that lacks any of it."""
    for look in (access, versions, tools):
        found = look(host)
        if found.state == "fail":
            raise refusal(f"{host.name}: {found.found}", found.remedy)


def access(host: Host) -> Finding:
    """Say whether an engine answers, and answers this user."""
    user = host.check(("id", "-un"), LOOK_AT_HOST).strip()
    asked = host.run(("docker", "version", "--format", "{{.Server.Version}}"))
    if asked.code == 127:
        return fail(
            "docker is not installed there",
            f"invoke prepare --host {host.name}, or install it yourself: {INSTALL_ENGINE}",
        )
    if "permission denied" in asked.err.lower():
        return fail(
            f"{user} may not use Docker",
            f"run there: sudo usermod -aG docker {user}; then log in again",
        )
    if asked.code != 0:
        said = asked.err.strip().splitlines() or ["no reason given"]
        return fail(
            f"no Docker Engine answers: {said[-1]}",
            "run there: sudo systemctl enable --now docker",
        )
    return ok(f"{user} may use Docker")


def versions(host: Host) -> Finding:
    """Compare the versions of Engine and Compose with those the stack needs."""
    engine = images.engine(host).version
    asked = host.run(("docker", "compose", "version", "--short"))
    number = re.search(r"(\d+)\.(\d+)", asked.out) if asked.code == 0 else None
    remedy = f"install the package docker-compose-plugin: {INSTALL_COMPOSE}"
    if number is None:
        return fail(f"{_dotted(engine)} without Compose v2", remedy)
    plugin = int(number[1]), int(number[2])
    found = f"{_dotted(engine)} with Compose {_dotted(plugin)}"
    if engine < ENGINE:
        remedy = f"install a newer Docker Engine: {INSTALL_ENGINE}"
        return fail(f"{found}; Engine {_dotted(ENGINE)} is needed", remedy)
    if plugin < COMPOSE:
        return fail(f"{found}; Compose {_dotted(COMPOSE)} is needed", remedy)
    return ok(found)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def tools(host: Host) -> Finding:
    """Look for the programs that a deploy runs."""
    words = ("sh", "-c", MISSING, "tools", *PACKAGES)
    missing = host.check(words, LOOK_AT_HOST).split()
    if missing:
        packages = " ".join(sorted({PACKAGES[name] for name in missing}))
        return fail(
            f"missing: {', '.join(missing)}",
            f"run there: sudo apt-get install {packages} (or: sudo dnf install {packages})",
        )
    return ok(", ".join(PACKAGES))
