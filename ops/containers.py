"""The containers of a stack as Docker shows them: state, health, memory."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.hosts import Host
from ops.settings import Settings

__all__ = ["Container", "age", "containers", "last_words", "memory"]

LOG_LINES = 10


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the stack, from `docker inspect`."""

    service: str
    state: str
    exit_code: int
    health: str
    started_at: str
    config_hash: str
    identity: str
    listens: tuple[str, ...]
    mounts: tuple[str, ...]
    image: str
    release: str
    restarts: int = 0
    networks: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Running and healthy; or, for the job, ended well."""
        if self.service == "migrate":
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health in ("healthy", "")

    @property
    def dead(self) -> bool:
        """Ended, or started again and again."""
        return self.state in ("exited", "dead", "restarting", "removing")


def containers(settings: Settings, host: Host) -> list[Container]:
    """Return the containers of the stack, one of each service; one-off runs are left out."""
    project = f"label=com.docker.compose.project={settings.stack_name}"
    service = "label=com.docker.compose.oneoff=False"
    remedy = "look at the Docker Engine: docker info"
    words = ("docker", "ps", "--all", "--quiet", "--filter", project, "--filter", service)
    ids = host.check(words, remedy).split()
    if not ids:
        return []
    return [
        _container(entry) for entry in json.loads(host.check(("docker", "inspect", *ids), remedy))
    ]


def _container(entry: dict[str, Any]) -> Container:
    labels, state = entry["Config"]["Labels"], entry["State"]
    return Container(
        service=labels["com.docker.compose.service"],
        state=state["Status"],
        exit_code=state["ExitCode"],
        health=(state.get("Health") or {}).get("Status", ""),
        started_at=state["StartedAt"],
        config_hash=labels["com.docker.compose.config-hash"],
        identity=entry["Id"],
        listens=tuple(
            f"{place['HostIp']}:{place['HostPort']}"
            for places in (entry["HostConfig"]["PortBindings"] or {}).values()
            for place in places
        ),
        mounts=tuple(mount["Source"] for mount in entry["Mounts"] if mount["Type"] == "bind"),
        image=entry["Image"],
        release=labels.get("mlflow-compose.release", ""),
        restarts=entry.get("RestartCount", 0),
        networks=tuple(entry["NetworkSettings"]["Networks"]),
    )


def last_words(host: Host, container: Container) -> list[str]:
    """Return how a container is and the last lines of its log."""
    log = host.run(("docker", "logs", "--tail", str(LOG_LINES), container.identity))
    head = f"{container.service} is {container.state} {container.health}".rstrip()
    return [f"{head}:", *(log.out + log.err).splitlines()]


def memory(host: Host, found: list[Container]) -> dict[str, int]:
    """Return the memory of containers in bytes, by id, counted as its limit is."""
    if not found:
        return {}
    words = ("docker", "stats", "--no-stream", "--no-trunc", "--format", "{{json .}}")
    lines = host.check((*words, *(c.identity for c in found)), "look at the Docker Engine")
    rows = [json.loads(line) for line in lines.splitlines()]
    return {row["ID"]: _bytes(row["MemUsage"].partition(" / ")[0]) for row in rows}


UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}


def _bytes(text: str) -> int:
    found = re.fullmatch(r"([\d.]+)([KMGT]?i?B)", text)
    return int(float(found[1]) * UNITS[found[2]]) if found else 0


def age(started_at: str) -> float:
    """Return seconds since a time as Docker writes it: nanoseconds, which Python does not read."""
    start = datetime.fromisoformat(re.sub(r"\.\d+", "", started_at))
    return (datetime.now(UTC) - start).total_seconds()
