"""Asks the whole application and the shorter way into it the same, and says where they differ.

Runs alone inside the container of the server (`python - USER:PASSWORD`), with its settings. Prints
one difference a line, and at last how much was compared.
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from mlflow_compose import application, serving

del serving  # has said where the stores are
USER = sys.argv[1]
ORIGIN = os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"].split(",")[0]
HOST = urlsplit(ORIGIN).hostname or ""

CHANGES_EACH_TIME = ("run_id", "run_uuid", "run_name", "experiment_id", "artifact_uri", "end_time")
"""In what is made by the request itself."""


def login(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


async def asked(app: Any, request: tuple[str, str, str, bytes], headers: Any) -> Any:
    """Return status, headers and body of an answer, as a server that speaks ASGI gets it."""
    method, path, query, body = request
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": headers, "client": ("10.0.0.9", 1234),
        "server": ("10.0.0.1", 5000), "state": {},
    }  # fmt: skip
    said: list[Any] = []
    whole = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return whole.pop() if whole else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    text = b"".join(m.get("body", b"") for m in said[1:])
    # A server sends no body to HEAD, whatever the application says.
    return (
        said[0]["status"],
        sorted(map(tuple, said[0]["headers"])),
        b"" if method == "HEAD" else text,
    )


def comparable(answer: Any, *, makes: bool) -> Any:
    """Return an answer without what differs from one request to the next."""
    status, headers, text = answer
    # White space differs, and FastAPI's part says again what Flask's has said of Origin.
    kept = [
        (name, b"Origin" if value == b"Origin, Origin" else value)
        for name, value in headers
        if name != b"content-length"
    ]
    try:
        found = json.loads(text)
    except ValueError:
        found = text.decode(errors="replace")
    if makes:
        found = without(found)
    return status, kept, found


def without(found: Any) -> Any:
    if isinstance(found, str):
        # SQLAlchemy shows the values that a statement had, with those that were just made.
        return found.partition("[parameters:")[0]
    if isinstance(found, dict):
        return {k: without(v) for k, v in found.items() if k not in CHANGES_EACH_TIME}
    if isinstance(found, list):
        # What a run is called is also one of its tags.
        return [without(item) for item in found if not is_name(item)]
    return found


def is_name(item: Any) -> bool:
    return isinstance(item, dict) and item.get("key") == "mlflow.runName"


def requests(experiment: str, run: str) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield right and wrong requests for each path that has a shorter way."""
    given = {
        "experiment_id": experiment, "experiment_ids": [experiment], "run_id": run, "key": "k",
        "run_uuid": run, "value": "1", "max_results": 3, "metric_key": "k", "step": 1,
        "timestamp": 1, "experiment_name": "no such", "name": "no such", "version": "1",
        "metrics": [{"key": "k", "value": "NaN", "timestamp": 5, "step": 1}],
    }  # fmt: skip
    for path in sorted(application.SHORT):
        if path.endswith("experiments/create"):
            yield "POST", path, "", b'{"name": ""}'
            continue
        body = dict(given, value=1.5) if path.endswith("log-metric") else given
        for method in ("GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"):
            query = "&".join(f"{k}={v}" for k, v in given.items() if isinstance(v, str | int))
            yield method, path, query, b""
            yield method, path, "", json.dumps(body).encode()
        for wrong in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'"x"',
            b'{"run_id": 5}',
            b"\xff",
            b'{"a": 1e999}',
        ):
            yield "POST", path, "", wrong
        yield "GET", path, "experiment_id=%00&run_id=%FF&filter=%E2%98%83", b""
        yield (
            "POST",
            path,
            "",
            json.dumps({**body, "run_id": "f" * 32, "experiment_id": "9"}).encode(),
        )


async def main() -> None:
    short = application.create()
    closure = dict(zip(short.__code__.co_freevars, short.__closure__ or (), strict=True))
    whole = closure["whole"].cell_contents
    plain = [(b"host", HOST.encode()), (b"authorization", login(USER))]
    json_too = [*plain, (b"content-type", b"application/json")]
    kinds = {
        "right": json_too,
        "no type": plain,
        "nobody": [json_too[0], json_too[2]],
        "wrong": [json_too[0], (b"authorization", login("nobody:wrong-password")), json_too[2]],
        "no login": [json_too[0], (b"authorization", b"Bearer x"), json_too[2]],
        "elsewhere": [(b"host", b"elsewhere.example"), *json_too[1:]],
        "foreign": [*json_too, (b"origin", b"https://elsewhere.example")],
        "own": [*json_too, (b"origin", ORIGIN.encode())],
        "twice": [*json_too, (b"x-a", b"1"), (b"x-a", b"2")],
        "workspace": [*json_too, (b"x-mlflow-workspace", b"x")],
    }
    from mlflow.server.handlers import _get_tracking_store

    store = _get_tracking_store()
    experiment = store.create_experiment(f"ways {os.urandom(6).hex()}")
    compared = different = 0
    for kind, headers in kinds.items():
        run = store.create_run(experiment, "u", 1, [], "a name").info.run_id
        other = store.create_run(experiment, "u", 1, [], "a name").info.run_id
        pairs = zip(requests(experiment, run), requests(experiment, other), strict=True)
        for number, (one, two) in enumerate(pairs):
            if kind not in {"right", "nobody"} and number % 9:
                continue
            own = [(b"content-length", str(len(one[3])).encode())] if one[3] else []
            makes = "/runs/" in one[1] or "history" in one[1]
            answers = []
            for app, request in ((whole, one), (short, two)):
                got = await asked(app, request, [*headers, *own])
                got = (
                    got[0],
                    got[1],
                    got[2].replace(run.encode(), b"RUN").replace(other.encode(), b"RUN"),
                )
                if got[0] == 403 and kind in {"elsewhere", "foreign"}:
                    got = (403, [], got[2])  # refused all the same, with fewer headers
                answers.append(comparable(got, makes=makes))
            compared += 1
            if answers[0] != answers[1]:
                different += 1
                print(f"{kind} {one[0]} {one[1]} {one[2]} {one[3]!r:.200}")
                for name, answer in zip(("whole", "short"), answers, strict=True):
                    print(f"  {name} {answer!r:.1500}")
    print(f"{compared} compared, {different} different")


asyncio.run(main())
