"""A line of NGINX's access log (nginx/nginx.conf writes it), and which lines somebody asks for."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

__all__ = ["Asked", "Request", "narrowing", "parse", "printable", "what"]

READS = ("GET", "HEAD", "OPTIONS")

# MLflow has endpoints that are asked by POST because the question is long (3.17.2).
QUESTION = re.compile(
    r"/(search|search-datasets|get-latest-versions|batchGetInfos|traces/metrics"
    r"|calculate-filter-correlation|presigned-download-url|graphql)$"
)

API = re.compile(r"^/(ajax-)?api/[0-9.]+/mlflow/")
ARTIFACT = re.compile(r"^/(ajax-)?api/2\.0/mlflow-artifacts/artifacts/")
WIDTH = 48

# As NGINX writes a text: `escape=json` of ngx_http_log_module (src/core/ngx_string.c, 1.30).
ESCAPES = {code: f"\\u{code:04X}" for code in range(32)} | {
    ord(char): rf"\{letter}" for char, letter in zip('\b\t\n\f\r"\\', 'btnfr"\\', strict=True)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a line says. `claims` is a name that the gate did not let in, or did not look at."""

    time: datetime
    client: str
    user: str
    claims: str
    method: str
    path: str
    status: int
    bytes_in: int
    bytes_out: int
    seconds: float
    entry: Mapping[str, Any] = field(repr=False)
    """All that the line says."""

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.method not in READS and not (
            self.method == "POST" and QUESTION.search(self.path)
        )

    @property
    def failed(self) -> bool:
        """Whether it was refused or went wrong."""
        return self.status >= 400

    @property
    def refused_login(self) -> bool:
        """Whether a name and a password came with it, and they were not the right ones.

        Without a name, 401 is how a browser learns that it has to ask for one.
        """
        return self.status == 401 and bool(self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which requests are asked for; an empty text stands for any."""

    since: datetime
    until: datetime | None = None
    user: str = ""
    method: str = ""
    path: str = ""
    writes: bool = False
    failed: bool = False

    def about(self, request: Request) -> bool:
        """Say whether a request is one of them."""
        return (
            self.since <= request.time
            and (self.until is None or request.time < self.until)
            and self.user in ("", request.user, request.claims)
            and self.method in ("", request.method)
            and self.path in unquote(request.path)
            and (not self.writes or request.writes)
            and (not self.failed or request.failed)
        )


def parse(line: str) -> Request | None:
    """Return what a line says; None for a line that is no request.

    Who sends requests chooses what is in the texts, and may cut a line off with a very long one.
    """
    try:
        entry = json.loads(line)
        return Request(
            time=datetime.fromisoformat(entry["time"]).astimezone(UTC),
            client=str(entry["client"]),
            user=str(entry["user"]),
            claims=str(entry["claims"]),
            method=str(entry["method"]),
            path=str(entry["path"]),
            status=int(entry["status"]),
            bytes_in=int(entry["bytes_in"]),
            bytes_out=int(entry["bytes_out"]),
            seconds=float(entry["seconds"]),
            entry=entry,
        )
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def narrowing(asked: Asked) -> list[str]:
    """Return texts of which every line asked for holds at least one, as NGINX writes it.

    A host leaves out the lines without, so they need not be sent. A text between quotes can be in
    no other place of a line, as quotes within a text are escaped.
    """
    if asked.user:
        name = asked.user.translate(ESCAPES)
        return [f'"{field}":"{name}"' for field in ("user", "claims")]
    if asked.method:
        return [f'"method":"{asked.method.translate(ESCAPES)}"']
    if asked.failed:
        return ['"status":4', '"status":5']
    return [""]


def what(request: Request) -> str:
    """Return what was asked for, as short as a person reads it."""
    path = API.sub("", request.path, count=1)
    path = ARTIFACT.sub("artifact ", path, count=1)
    path = printable(unquote(path))
    if len(path) > WIDTH:  # an artifact is best known by its run and by its name
        path = f"{path[: WIDTH // 2]}…{path[-WIDTH // 2 + 1 :]}"
    return f"{printable(request.method)} {path}"


def printable(text: str) -> str:
    """Return a text of a stranger without what steers a terminal or turns its writing around."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
