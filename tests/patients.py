"""A host in good health as its programs answer, for the tests of `doctor` to spoil."""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from ops import stack
from ops.front_door import FrontDoor
from ops.hosts import Result
from ops.patient import Patient
from ops.release import Release
from ops.settings import Settings
from ops.site import Site
from tests.conftest import SIZE, FakeHost, docker_info

GIB = 1024**3
NAME = "ubuntu@192.0.2.7"
LIVE = Release(
    id="20261124T010203Z",
    origin="20261124T010203Z",
    made_by="ann@laptop",
    commit="abc",
    what="deploy",
    image="mlflow-compose/web:1",
    image_id="sha256:1",
    schema="s1",
    files={"compose/compose.yaml": "1"},
    variables=stack.sizes(SIZE),
)
NGINX, DB, WEB = ("f" * 64, "d" * 64, "e" * 64)

RELEASES = "find mlflow-compose/releases"
LINK = "readlink mlflow-compose/releases/live"
INSPECT = "docker inspect"
IN_DB = f"docker exec --interactive {DB}"
IN_WEB = f"docker exec --interactive {WEB}"
AUDIT = "cat mlflow-compose/audit.jsonl"
AVAILABLE = "df --block-size=1 --output=avail"
INODES = "df --block-size=1 --output=iavail,itotal"
TABLE = "cat /proc/net/tcp"
IDENTITY = "cat /sys/class/dmi/id/board_asset_tag"

TABLE_HEAD = "  sl  local_address rem_address   st tx_queue\n"
OPTIONS = {
    "log_bin_trust_function_creators": "ON",
    "gtid_mode": "ON",
    "collation_server": "utf8mb4_0900_bin",
    "wait_timeout": "28800",
    "max_connections": "1994",
}


def container(service: str, identity: str, **changed: Any) -> dict[str, Any]:
    """Return what `docker inspect` says of a container that is well, but for what is changed."""
    well = {"Status": "running", "ExitCode": 0, "StartedAt": "2026-11-01T00:00:00Z"}
    ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5050"}]}
    labels = {
        "com.docker.compose.service": service,
        "com.docker.compose.config-hash": "0",
        "mlflow-compose.release": LIVE.web if service == "web" else "",
    }
    return {
        "Id": identity,
        "Image": "sha256:1",
        "Config": {"Labels": labels},
        "State": {**well, "Health": {"Status": "healthy"}} | changed.pop("state", {}),
        "HostConfig": {"PortBindings": ports if service == "nginx" else {}},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
        "RestartCount": 0,
    } | changed


def containers(**changed: dict[str, Any]) -> str:
    """Return `docker inspect` of the three services; each may be changed by its name."""
    identities = {"db": DB, "web": WEB, "nginx": NGINX}
    return json.dumps(
        [container(name, each, **changed.get(name, {})) for name, each in identities.items()]
    )


def audit_lines(count: int) -> list[str]:
    """Return an unbroken record, in which all has ended well."""
    lines: list[str] = []
    before = "0" * 64
    for _ in range(count):
        lines.append(json.dumps({"release": LIVE.id, "result": "ok", "previous": before}))
        before = hashlib.sha256(lines[-1].encode()).hexdigest()
    return lines


def variables(**changed: str) -> str:
    """Return what MySQL answers to SHOW GLOBAL VARIABLES."""
    return "".join(f"{name}\t{value}\n" for name, value in (OPTIONS | changed).items())


def image(size: int = GIB) -> str:
    """Return what `docker image inspect` says."""
    facts = {"Created": "2026", "Architecture": "amd64", "Os": "linux", "RootFS": {"Layers": []}}
    return json.dumps({"Id": "sha256:1", "Size": size, "Config": {}, **facts})


def healthy() -> dict[str, Result | str]:
    """Return the answers of a host that is well."""
    return {
        "true": "",
        "date": f"{time.time():.9f}\n",
        "id -un": "ubuntu\n",
        "docker version": "28.2.2\n",
        "docker info": docker_info(),
        "docker compose version": "2.40.3\n",
        "sh -c": "",
        AVAILABLE: f"      Avail\n{50 * GIB}\n",
        INODES: "IFree Inodes\n900 1000\n",
        TABLE: TABLE_HEAD,
        "docker image inspect": image(),
        RELEASES: LIVE.as_json(),
        LINK: f"{LIVE.id}\n",
        "docker ps": "d e f\n",
        INSPECT: containers(),
        AUDIT: "\n".join(audit_lines(3)),
        IN_DB: variables(),
        IN_WEB: "",
        IDENTITY: Result(1, "", "cat: no such file"),
    }


def patient(
    settings: Settings, changed: Mapping[str, Result | str] | None = None, url: str = ""
) -> Patient:
    """Return a host somebody has logged in to, well but for the answers changed."""
    made = Patient(given=NAME, settings=settings, local=FakeHost({}), opened=ExitStack())
    made.site = Site(FakeHost(healthy() | dict(changed or {})), settings)
    made.door = FrontDoor(url or "http://127.0.0.1:9", {"Host": "localhost:5050"})
    return made


def lines(of: Patient) -> list[str]:
    """Return the command lines that a host was given."""
    assert isinstance(of.host, FakeHost)
    return of.host.lines


NO_IMAGE = Result(1, "", "Error: No such image: x")
