"""The embedded engine's MLflow: installed once into an environment of its own."""

import shutil
import sys
from pathlib import Path

from ops import console, digests, preflight
from ops.hosts import LocalHost, failure
from ops.settings import Settings

__all__ = ["check", "install", "path"]

SIZE = 1024**3
"""Disk the environment and pip's work on it take: 0.5 GiB and the downloaded wheels."""


def check(settings: Settings) -> None:
    """Refuse when there is no room for an environment that is not there yet."""
    if not complete(settings):
        preflight.disk_space(settings.data, SIZE, "the server's environment")


def path(settings: Settings) -> Path:
    """Return the server's virtual environment, named by the requirements and this Python."""
    digest = digests.files(settings.root, ["mlflow/requirements.txt"])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return settings.data / "embedded" / f"environment-{python}-{digest}"


def complete(settings: Settings) -> bool:
    """Say whether the environment was installed to its end and its Python is still there."""
    target = path(settings)
    return (target / "complete").exists() and (target / "bin" / "python").exists()


def install(settings: Settings, host: LocalHost) -> None:
    """Install MLflow into its environment, if that has not been done."""
    target = path(settings)
    if complete(settings):
        return
    shutil.rmtree(target, ignore_errors=True)
    with console.progress("installing MLflow (once, about 450 MB)") as detail:
        create = (sys.executable, "-m", "venv", str(target))
        done = host.follow(create, detail)
        if done.code != 0:
            raise failure(
                create,
                done.code,
                done.err,
                "install venv for your Python: apt install python3-venv",
            )
        words = (
            *(str(target / "bin" / "python"), "-m", "pip", "install", "--require-hashes"),
            *("--disable-pip-version-check", "--only-binary=:all:"),
            "--no-deps",  # of its own accord: some are left out (mlflow/excludes.txt)
            *("--requirement", str(settings.root / "mlflow" / "requirements.txt")),
        )
        done = host.follow(words, detail)
        if done.code != 0:
            shutil.rmtree(target, ignore_errors=True)
            raise failure(
                words, done.code, done.err, "check the network and pip's index, then again"
            )
    (target / "complete").touch()
    for old in target.parent.glob("environment-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)
