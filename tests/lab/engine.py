"""Docker Engine: use the one that answers, or install and start one."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import apt
from .command import outcome, run, works
from .errors import LabError

LOG = logging.getLogger(__name__)
PID_FILE = Path("/run/mlflow-compose-lab-dockerd.pid")
LOG_FILE = Path("/var/log/mlflow-compose-lab-dockerd.log")
SUBNETS = "10.213.0.0/16"  # every lab network is cut from it; its registries speak plain HTTP
PATIENCE = 60  # seconds for an engine to start or to stop


def answers() -> bool:
    """Say whether a Docker Engine answers the client that comes first in the PATH."""
    return works("docker", "version", "--format", "{{.Server.Version}}")


def installed() -> bool:
    """Say whether an engine could be started here."""
    return shutil.which("dockerd") is not None and os.geteuid() == 0


def _pid() -> int | None:
    """Give the process number of the engine that a lab started, if it still runs."""
    try:
        pid = int(PID_FILE.read_text())
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if str(PID_FILE).encode() in line.split(b"\0") else None


def is_ours() -> bool:
    """Say whether a lab started the engine that runs now."""
    return _pid() is not None


def _spawn() -> None:
    """Start dockerd in a session of its own, where it outlives this process."""
    PID_FILE.unlink(missing_ok=True)  # dockerd refuses a stale one whose number is in use again
    words = ["dockerd", "--pidfile", str(PID_FILE), "--insecure-registry", SUBNETS]
    with LOG_FILE.open("ab") as log:
        LOG.info("starting dockerd, log in %s", LOG_FILE)
        detached = ["setsid", "--fork", *words]
        subprocess.run(detached, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)


def start() -> None:
    """Start the installed engine and wait until it answers."""
    if _pid() is None:
        _spawn()
    end = time.monotonic() + PATIENCE
    while not answers():
        if time.monotonic() > end:
            last = LOG_FILE.read_text(errors="replace").splitlines()[-5:]
            cause = "\n  ".join([f"dockerd does not answer after {PATIENCE} s", *last])
            raise LabError(cause, f"read {LOG_FILE}")
        time.sleep(0.3)


def stop() -> None:
    """Stop the engine that a lab started; leave any other alone."""
    pid = _pid()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while _pid() is not None:
            if time.monotonic() > end:
                raise LabError(f"dockerd (process {pid}) does not end", f"read {LOG_FILE}")
            time.sleep(0.2)
    for path in (PID_FILE, LOG_FILE):
        path.unlink(missing_ok=True)


def _plugins() -> None:
    """See that the client finds Compose and Buildx, and install them where it does not."""
    needed = {"compose": "docker-compose", "buildx": "docker-buildx"}
    missing = [
        package for plugin, package in needed.items() if not works("docker", plugin, "version")
    ]
    if missing:
        LOG.info("installing %s", ", ".join(missing))
        apt.install(*missing, suite="sid")
    for plugin in needed:
        if not works("docker", plugin, "version"):
            said = outcome(["docker", plugin, "version"]).stderr.strip()
            raise LabError(
                f"{shutil.which('docker')} does not find its plugin {plugin}: {said}",
                "remove that client, or link the plugin into ~/.docker/cli-plugins",
            )


def ensure() -> None:
    """Have a Docker Engine with Compose v2: the one that runs, untouched, or one of our own."""
    if not answers():
        apt.provide("dockerd", "docker.io", "iptables")
        apt.provide("docker", "docker-cli")  # newer Debians package the client apart
        if not answers():
            if not installed():
                raise LabError("no Docker Engine answers", "start Docker, then repeat")
            start()
    _plugins()


def docker(*words: str, remedy: str = "", seconds: float | None = None) -> str:
    """Run one docker command line and give what it prints."""
    remedy = remedy or "mend what docker reports, or start afresh: python -m tests.lab down"
    return run("docker", *words, remedy=remedy, seconds=seconds)
