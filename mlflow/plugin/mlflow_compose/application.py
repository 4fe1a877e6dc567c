"""The application: MLflow's own, with a shorter way to the routes that are asked most.

MLflow's is two frameworks, one in the other: each request goes through FastAPI's part, and most go
on to Flask's, which does all of the work. Here the routes of a list go there at once: half of the
processor's time of a read was spent on the way (measured, 3.17.2). What FastAPI's part does for
them there, Flask's does for itself: the Host header, the login.
tests/e2e/test_plugin.py asks both the same.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow_compose import gate, proven
from mlflow_compose.gate import Application, Message, Receive, Send

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SHORT = frozenset(
    f"/{prefix}/2.0/mlflow/{name}"
    for prefix in ("api", "ajax-api")
    for name in (
        "experiments/create",
        "experiments/get",
        "experiments/get-by-name",
        "experiments/search",
        "experiments/set-experiment-tag",
        "metrics/get-history",
        "model-versions/get",
        "model-versions/search",
        "registered-models/get",
        "registered-models/search",
        "runs/create",
        "runs/delete",
        "runs/get",
        "runs/log-batch",
        "runs/log-metric",
        "runs/log-parameter",
        "runs/search",
        "runs/set-tag",
        "runs/update",
    )
) | {gate.ASKED}
"""Paths; all of them are Flask's, answer by one piece of JSON, and are asked with one.

What the gate asks, it asks for everybody, and must not wait for slow downloads.
"""

THREADS = 16
"""Requests that a worker answers at once on the shorter way; others wait for their turn.

More would only take the processor from one another: most of a request is Python.
"""

ONLY_WHOLE = {b"origin", b"x-mlflow-workspace"}
"""Headers that FastAPI's part has more to say to: those of pages, and of who wants a workspace."""


def create() -> Application:
    """Return the application that a worker serves, for the login in AUTH."""
    if os.environ.get("AUTH") == "oidc":
        # Its login is in FastAPI's part: there is no shorter way.
        return gate.create()

    from mlflow.server import app as flask

    if proven.holds():
        replace()
    if os.environ.get("AUTH") == "basic":
        from mlflow.server import auth

        whole: Application = auth.create_app(flask)
    else:
        from mlflow.server.fastapi_app import app

        whole = app
    return shortened(whole, flask) if proven.holds() else whole


def replace() -> None:
    """Have MLflow use our parts in the place of its own."""
    from mlflow.server import handlers

    from mlflow_compose import rendering

    modules = [handlers]
    if os.environ.get("AUTH") == "basic":
        from mlflow.server import auth

        from mlflow_compose import login

        login.install()
        modules.append(auth)
    for module in modules:
        module.message_to_json = rendering.message_to_json


def shortened(whole: Application, classic: Wsgi) -> Application:
    """Return an application that has some paths answered by the part that does their work."""
    threads = ThreadPoolExecutor(THREADS, "request")

    async def served(scope: Message, receive: Receive, send: Send) -> None:
        short = scope["type"] == "http" and scope["path"] in SHORT
        if not short or any(name in ONLY_WHOLE for name, _ in scope["headers"]):
            await whole(scope, receive, send)
            return
        body = await received(receive)
        loop = asyncio.get_running_loop()
        status, headers, answer = await loop.run_in_executor(
            threads, answered, classic, scope, body
        )
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return served


async def received(receive: Receive) -> bytes:
    """Return the body of a request."""
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def answered(
    classic: Wsgi, scope: Message, body: bytes
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return status, headers and body of what a WSGI application says."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        started[:] = [(status, headers)]

    # Not above: MLflow imports it in any case, and here it is imported once all is set.
    from starlette.middleware.wsgi import build_environ

    parts = classic(build_environ(scope, body), start)
    try:
        answer = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    [(status, headers)] = started
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return int(status[:3]), encoded, answer
