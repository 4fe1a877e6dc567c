"""At which revisions the schemas of a database are, as its own root sees them.

`inside` is how a command in MySQL's container begins.
"""

from collections.abc import Mapping, Sequence

from ops import accounts
from ops.errors import OpsError
from ops.hosts import Host
from ops.values import Secret

__all__ = ["asked", "interrupted", "revisions"]

SCHEMAS: Mapping[str, str] = {
    "mlflow.alembic_version": "schema",
    "mlflow.alembic_version_auth": "login's schema",
    "mlflow_oidc.alembic_version": "sign-on's schema",
}
"""What the migration job calls them (ops/migration.py), by the table that has the revision."""

JOURNAL = "_journal"
"""How the names of the tables end that are there while a migration is under way."""

TABLES = (
    "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables "
    "WHERE table_schema IN ('mlflow', 'mlflow_oidc') AND table_name LIKE 'alembic%'"
)


def revisions(host: Host, inside: Sequence[str], root: Secret) -> dict[str, str]:
    """Return the revision of each schema that is there, by its name."""
    there = asked(host, inside, root, TABLES)
    found = {
        name: revision
        for table, name in SCHEMAS.items()
        if table in there
        for revision in asked(host, inside, root, f"SELECT version_num FROM {table}")  # noqa: S608
    }
    if "schema" not in found:
        raise OpsError(
            "the database names no schema revision", "see docs/runbook.md, 'half-migrated'"
        )
    return found


def interrupted(host: Host, inside: Sequence[str], root: Secret) -> bool:
    """Say whether a migration was begun and not finished."""
    return any(name.endswith(JOURNAL) for name in asked(host, inside, root, TABLES))


def asked(host: Host, inside: Sequence[str], root: Secret, question: str) -> list[str]:
    """Return the lines with which MySQL answers."""
    return accounts.as_root(host, inside, root, question).splitlines()
