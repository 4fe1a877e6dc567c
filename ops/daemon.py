"""How dockerd is set up on a host: logs that end, containers that outlive a restart of it."""

import json
from dataclasses import dataclass
from typing import Any

from ops import console
from ops.errors import refusal
from ops.hosts import Host
from ops.steps import AGAIN, Step, as_root, lines, read, write

__all__ = ["FILE", "ROOT", "Daemon", "configuration", "look", "step"]

FILE = "/etc/docker/daemon.json"
ROOT = "/var/lib/docker"
DRIVER = "json-file"
LOG_OPTIONS = {"max-size": "10m", "max-file": "5"}
INFO = "{{.LiveRestoreEnabled}} {{.Swarm.LocalNodeState}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What dockerd does now."""

    running: bool = False
    live_restore: bool = False
    swarm: bool = False


def look(host: Host) -> Daemon:
    """Ask dockerd."""
    said = lines(host, as_root("docker", "info", "--format", INFO))
    live, _, swarm = said[-1].partition(" ") if said else ("", "", "")
    if not swarm:
        return Daemon()
    return Daemon(running=True, live_restore=live == "true", swarm=swarm != "inactive")


def configuration(text: str) -> dict[str, Any]:
    """Return what the file says; raises a refusal for what dockerd would not read."""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise _unreadable(f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise _unreadable("holds no JSON object")
    if not isinstance(found.get("log-opts", {}), dict):
        raise _unreadable('has "log-opts" that are no object')
    return found


def _unreadable(why: str) -> Exception:
    return refusal(f"{FILE} on the host {why}", "mend it by hand: dockerd does not read it either")


def wanted(found: dict[str, Any], *, swarm: bool) -> dict[str, Any]:
    """Return the configuration with what is missing added; what was chosen stays chosen."""
    merged = {**found, "log-driver": found.get("log-driver", DRIVER)}
    if merged["log-driver"] == DRIVER:
        merged["log-opts"] = {**LOG_OPTIONS, **found.get("log-opts", {})}
    if not swarm:  # the two exclude one another: dockerd would not start
        merged["live-restore"] = True
    return merged


def step(host: Host, daemon: Daemon, *, systemd: bool) -> Step:
    """Return the step that bounds the logs."""
    found = configuration(read(host, FILE))
    merged = wanted(found, swarm=daemon.swarm)
    title = "log rotation"
    if merged == found:
        return Step(title=title, found=f"{FILE}: {_logs(found)}")
    effect = ""
    if daemon.running and systemd:
        effect = "; restarts dockerd"
        effect += "" if daemon.live_restore else " and with it every container"

    def act() -> None:
        write(host, FILE, json.dumps(merged, indent=2) + "\n")
        if not daemon.running:
            return
        if not systemd:
            console.say(f"{host.name}: restart dockerd yourself: it has not read {FILE} yet")
            return
        host.check(as_root("systemctl", "restart", "docker"), f"sudo journalctl -u docker; {AGAIN}")

    return Step(title=title, todo=f"{FILE}: {_logs(merged)}{effect}", act=act)


def _logs(found: dict[str, Any]) -> str:
    """Return the log settings as a person reads them."""
    driver = str(found["log-driver"])
    if driver == DRIVER:
        options = found["log-opts"]
        driver += f", {options['max-file']} files of {options['max-size']}"
    return driver + (", live-restore" if found.get("live-restore") else "")
