"""The application of MLflow's OpenID plugin, which also tells the gate in NGINX who is asking.

NGINX sees a session and not whose it is. It asks the plugin, which says so in a body, and NGINX
reads headers only (nginx/templates/oidc/who.conf.template).
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

ASKED = "/api/2.0/mlflow/users/current"
"""What the gate asks for."""


def create() -> Application:
    """Return the application; each worker makes its own."""
    # Not above: the process that starts the workers imports this module, too, and serves nothing.
    from mlflow_oidc_auth.app import app as plugin
    from mlflow_oidc_auth.entities.auth_context import AUTH_CONTEXT_KEY

    async def served(scope: Message, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start" and AUTH_CONTEXT_KEY in scope:
                # Not as it is: one with a line break in it would be two headers.
                name = quote(scope[AUTH_CONTEXT_KEY].username, safe="@+._-")
                message["headers"] = [*message["headers"], (b"x-gate-user", name.encode())]
            await send(message)

        asked = scope["type"] == "http" and scope["path"] == ASKED
        await plugin(scope, receive, named if asked else send)

    return served
