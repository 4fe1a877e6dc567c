"""Where MySQL is, as it stands in an address."""

import re

from ops.settings import Settings

__all__ = ["SIGN_ON", "TRACKING", "address", "uri"]

TRACKING = "mlflow"
"""The database of MLflow."""

SIGN_ON = "mlflow_oidc"
"""The one of who signed on (AUTH=oidc): tables of both kinds of login have the same names."""

PORT = 3306


def address(settings: Settings) -> str:
    """Return host and port: of the stack's own MySQL, or of another."""
    given = settings.database_host or "db"
    return given if re.search(r":[0-9]+$", given) else f"{given}:{PORT}"


def uri(settings: Settings, name: str = TRACKING) -> str:
    """Return the address of a database that a process of the server image opens.

    User and password come from the option file, which is another one for the server than for the
    migration job: neither `ps` nor `docker inspect` shows them. There is no connection without TLS;
    another's MySQL has to prove its name too, by the CA in the option file.
    """
    mode = "VERIFY_IDENTITY" if settings.database_host else "REQUIRED"
    options = f"charset=utf8mb4&connect_timeout=10&ssl_mode={mode}"
    file = "read_default_file=/run/secrets/mysql_client"
    return f"mysql+mysqldb://{address(settings)}/{name}?{options}&{file}"
