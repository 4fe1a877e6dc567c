"""Checks of this machine: what a build and a deploy start from."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ops import compose, console, engines, images, preflight, readiness, stack, states
from ops.checks import Check, Finding, NotChecked, fail, ok, warn
from ops.errors import OpsError
from ops.hosts import LocalHost
from ops.settings import ROOT, Settings

__all__ = ["CHECKS", "Here"]

NO_COMMIT = "releases will not say which commit they are"


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine, with its settings or the error that reading them raised."""

    host: LocalHost
    settings: Settings | OpsError


def settings(here: Here) -> Finding:
    """Report every problem that reading the settings found."""
    if isinstance(here.settings, OpsError):
        return fail(here.settings.cause, here.settings.remedy)
    if (here.settings.root / ".env").exists():
        return ok("read from .env and the environment")
    return ok("defaults; there is no .env yet")


def docker(here: Here) -> Finding:
    """Say whether the stack can be built here."""
    problem = engines.compose_problem(here.host)
    if problem and _embedded(here.settings):
        raise NotChecked("this stack runs on the embedded engine, which needs none")
    return fail(problem.cause, problem.remedy) if problem else readiness.versions(here.host)


def _embedded(settings: Settings | OpsError) -> bool:
    """Say whether Docker is asked for by nothing: neither a stack here nor a deploy."""
    if isinstance(settings, OpsError) or settings.deploy_host:
        return False
    return states.remembered(settings) == "embedded"


def git(here: Here) -> Finding:
    """Say which commit a release would name."""
    version = here.host.run(("git", "--version"))
    if version.code != 0:
        return warn(f"git is not installed: {NO_COMMIT}", "install git")
    root = ROOT if isinstance(here.settings, OpsError) else here.settings.root
    words = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12")
    commit = here.host.run(words).out.strip()
    if not commit:
        return warn(f"this folder is no clone: {NO_COMMIT}", "clone the repository with git")
    return ok(f"{version.out.strip().removeprefix('git version ')} at {commit}")


def disk(here: Here) -> Finding:
    """Compare the room on Docker's disk with what building the image takes."""
    assert isinstance(here.settings, Settings)
    root = Path(images.engine(here.host).root)
    built = images.image(here.host, stack.web_image(here.settings)) is not None
    needed = compose.RUNNING_SIZE if built else compose.IMAGES_SIZE
    preflight.disk_space(root, needed, "building the stack")
    while not root.exists():  # with Docker Desktop it is in a machine of its own
        root = root.parent
    return ok(f"{console.size(shutil.disk_usage(root).free)} free on {root}")


CHECKS: list[Check[Here]] = [
    Check("settings", settings),
    Check("docker", docker),
    Check("git", git),
    Check("disk", disk, needs=("settings", "docker")),
]
