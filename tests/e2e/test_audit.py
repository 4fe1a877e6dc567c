"""`invoke audit`, on what NGINX really wrote and Docker really kept."""

import base64
import http.client
import json
import uuid
from typing import Any

import pytest

from tests.e2e.conftest import IN_A_VOLUME, Project, wait_for

HOSTILE = [
    b'"}\n{"user":"ann"',
    b"\\",
    b"\x1b]0;owned\x07",
    b"\xff\xfe",
    "\u202eäöü😀".encode(),
    bytes(range(1, 58)) + bytes(range(59, 256)),
]
"""Names that would write lines and fields of their own, or steer the terminal of who reads them."""


@pytest.fixture(scope="module")
def door(small: Project) -> Project:
    """The small stack, up, with artifacts in a volume."""
    small.set(**IN_A_VOLUME)
    small.invoke("up", "--engine", "compose")
    return small


def ask(project: Project, path: str, name: bytes) -> str:
    """Ask for a path under a name; return the id that the answer has."""
    made = http.client.HTTPConnection("127.0.0.1", project.port, timeout=60)
    login = base64.b64encode(name + b":wrong").decode()
    host = project.url.removeprefix("http://")
    made.request("GET", path, headers={"Authorization": f"Basic {login}", "Host": host})
    answer = made.getresponse()
    answer.read()
    made.close()
    return str(answer.getheader("X-Request-Id"))


def audit(project: Project, *words: str) -> list[dict[str, Any]]:
    done = project.invoke("audit", "--json", "--since", "1h", "--limit", "0", *words)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_one_field_of_one_line(door: Project, name: bytes) -> None:
    mark = uuid.uuid4().hex
    number = ask(door, f"/{mark}?secret=1", name)
    wait_for(lambda: audit(door, "--path", mark), 20, "the request in the log")
    [found] = audit(door, "--path", mark)

    claimed = name.partition(b":")[0]  # where the password begins, to whoever reads the header
    assert claimed.decode(errors="replace") == found["claims"]
    assert (number, "", f"/{mark}", "localhost") == (
        *(found["id"], found["user"], found["path"], found["host"]),
    )
    table = door.invoke("audit", "--path", mark).stdout
    assert table.rstrip("\n").isprintable()
    assert 1 == len(table.splitlines())


def test_the_log_outlives_the_container_that_wrote_it(door: Project) -> None:
    mark = uuid.uuid4().hex
    ask(door, f"/{mark}/before", b"ann")
    door.set(NGINX_MEMORY_LIMIT="130m")
    door.invoke("up", "--engine", "compose")
    ask(door, f"/{mark}/after", b"ann")
    wait_for(lambda: 2 == len(audit(door, "--path", mark)), 20, "both requests in the log")

    assert [f"/{mark}/before", f"/{mark}/after"] == [
        each["path"] for each in audit(door, "--path", mark, "--user", "ann")
    ]
    door.invoke("down")
    assert 2 == len(audit(door, "--path", mark))
    door.invoke("up", "--engine", "compose")
    assert [] == audit(door, "--path", mark, "--user", "bob")
