"""Where MySQL is, as it stands in an address."""

import re

from ops.settings import Settings

__all__ = ["address", "uri"]

PORT = 3306


def address(settings: Settings) -> str:
    """Return host and port: of the stack's own MySQL, or of another."""
    given = settings.database_host or "db"
    return given if re.search(r":[0-9]+$", given) else f"{given}:{PORT}"


def uri(settings: Settings) -> str:
    """Return the address that a process of the server image opens.

    User and password come from the option file, which is another one for the server than for the
    migration job: neither `ps` nor `docker inspect` shows them.
    """
    options = "charset=utf8mb4&read_default_file=/run/secrets/mysql_client"
    return f"mysql+pymysql://{address(settings)}/mlflow?{options}"
