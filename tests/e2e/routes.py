"""Prints every route of the MLflow that is installed, with its login: one `METHOD path` a line.

It stands alone: it runs inside the image of the server, which has none of this repository.
`docker exec --interactive WEB python - basic < tests/e2e/routes.py > tests/e2e/routes-basic.txt`
renews the list of known routes, after somebody has looked at what is new in it; so for `oidc`.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|{(\w+)(?::\w+)?}")
"""How Flask and Starlette write one."""

LOGIN = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/login.db
admin_username = admin
admin_password = nobody-logs-in-here
"""


def application(login: str, folder: str) -> Any:
    """Return the application of a kind of login, with tables of its own."""
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"  # else it is Flask's part alone
    logging.disable(logging.CRITICAL)
    if login == "oidc":
        os.environ["OIDC_USERS_DB_URI"] = f"sqlite:///{folder}/login.db"
        from mlflow_oidc_auth.app import app

        return app
    config = Path(folder, "login.ini")
    config.write_text(LOGIN.format(folder=folder), "utf-8")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(config)
    os.environ["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "nobody-signs-in-here"
    from mlflow.server.auth import create_app

    return create_app()


def routes(found: Sequence[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield method and path of each route, those of mounted applications included."""
    from fastapi.routing import iter_route_contexts

    for context in iter_route_contexts(found):
        path = prefix + (context.path or "")
        for method in context.methods or ():
            yield method, path
        if not context.methods:
            mounted = context.original_route
            if rules := flask_rules(mounted.app):
                yield from ((method, path + rule.rule) for rule in rules for method in rule.methods)
            else:
                yield from routes(mounted.routes, path)


def flask_rules(application: Any) -> list[Any]:
    """Return the rules of the Flask application inside a mounted one, if there is one."""
    while application is not None and not hasattr(application, "url_map"):
        inner = getattr(application, "app", None)
        application = inner or getattr(application, "flask_app", None)
    return list(application.url_map.iter_rules()) if application else []


def main() -> None:
    """Print the list, sorted; a parameter is written {name}, whatever its kind."""
    sys.stdout = sys.stderr  # what the server says while it starts
    with tempfile.TemporaryDirectory() as folder:
        found = set(routes(application(sys.argv[1], folder).routes))
    lines = {f"{method} " + PARAMETER.sub(r"{\1\2}", path) for method, path in found}
    print(*sorted(lines), sep="\n", file=sys.__stdout__)


if __name__ == "__main__":
    main()
