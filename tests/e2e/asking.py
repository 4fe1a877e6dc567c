"""Requests at the guarded door as strangers and users send them: none repeated or corrected."""

import http.client
import json
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

API = "/api/2.0/mlflow"
JSON = {"Content-Type": "application/json"}

User = tuple[str, str]
"""A name and a password."""


class Stack(Protocol):
    """A stack with TLS and a login, up."""

    @property
    def url(self) -> str:
        """Return the address of its front door."""

    def login(self) -> Mapping[str, str]:
        """Return what a client's environment needs to get in."""

    def container(self, service: str) -> str:
        """Return the container of a service."""


@dataclass(frozen=True)
class Door:
    """The front door of such a stack, and who has the key."""

    port: int
    trust: ssl.SSLContext
    admin: User

    @classmethod
    def of(cls, stack: Stack) -> "Door":
        """Return the door of a stack."""
        login = stack.login()
        return cls(
            port=urlsplit(stack.url).port or 443,
            trust=ssl.create_default_context(cafile=login["MLFLOW_TRACKING_SERVER_CERT_PATH"]),
            admin=(login["MLFLOW_TRACKING_USERNAME"], login["MLFLOW_TRACKING_PASSWORD"]),
        )


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case, with every value each of them had."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes
    seconds: float

    def header(self, name: str) -> str:
        """Return the one value of a header; "" where there is none."""
        values = self.headers.get(name, [""])
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    @property
    def by_mlflow(self) -> bool:
        """Whether the request got as far as MLflow, which marks what it answers."""
        return "x-frame-options" in self.headers

    @property
    def json(self) -> Any:
        """Return the body, read as JSON."""
        return json.loads(self.body)


def basic(user: User) -> dict[str, str]:
    """Return the header that says who asks."""
    return {"Authorization": f"Basic {b64encode(':'.join(user).encode()).decode()}"}


@contextmanager
def connection(door: Door, seconds: float = 60) -> Iterator[http.client.HTTPSConnection]:
    """Open a connection that may carry several requests."""
    made = http.client.HTTPSConnection("localhost", door.port, timeout=seconds, context=door.trust)
    try:
        yield made
    finally:
        made.close()


def send(
    made: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a connection; the path goes out as it is."""
    begin = time.monotonic()
    made.request(method, path, body, dict(headers or {}))
    answer = made.getresponse()
    content = answer.read()
    found: dict[str, list[str]] = {}
    for name, value in answer.getheaders():
        found.setdefault(name.lower(), []).append(value)
    return Answer(answer.status, found, content, time.monotonic() - begin)


def ask(
    door: Door,
    user: User | None,
    method: str,
    path: str,
    body: bytes | Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a connection of its own, as a user or nobody; a mapping becomes JSON."""
    named = {**(basic(user) if user else {}), **(headers or {})}
    if isinstance(body, Mapping):
        body, named = json.dumps(body).encode(), {**JSON, **named}
    with connection(door) as made:
        return send(made, method, path, body, named)


def let_in(door: Door, user: User) -> None:
    """Wait until the door knows a user, as a client of MLflow would that is told to come later."""
    deadline = time.monotonic() + 120
    while (answer := ask(door, user, "GET", "/version")).status == 429:
        assert time.monotonic() < deadline, "still told to come later after two minutes"
        time.sleep(float(answer.header("retry-after")))
    assert 200 == answer.status, answer


@contextmanager
def wire(door: Door, seconds: float = 20) -> Iterator[ssl.SSLSocket]:
    """Open a connection that carries whatever bytes are written."""
    with (
        socket.create_connection(("127.0.0.1", door.port), seconds) as bare,
        door.trust.wrap_socket(bare, server_hostname="localhost") as made,
    ):
        yield made


def rest(made: ssl.SSLSocket) -> bytes:
    """Return everything that comes until the server closes the connection."""
    parts = []
    try:
        while part := made.recv(65536):
            parts.append(part)
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return b"".join(parts)


def raw(door: Door, request: bytes, seconds: float = 20) -> bytes:
    """Send bytes as they are; return everything that comes back before the connection closes."""
    with wire(door, seconds) as made:
        made.sendall(request)
        return rest(made)


def statuses(answers: bytes) -> list[int]:
    """Return the status of each answer on a connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3}) ", answers)]
