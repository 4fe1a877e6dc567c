"""The rehearsal of an upgrade: on a restored copy, with the server of now and the one to come.

The server of now reads from the copy first. What the one to come answers after its migration is
compared with that: the live server would have gone on meanwhile.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ops import console, reading, restore
from ops.age_keys import Key
from ops.errors import OpsError
from ops.homes import Home
from ops.manifest import Table
from ops.scratch import Scratch

__all__ = ["Rehearsal", "rehearse", "require_alike"]

NAME = "CONCAT(table_schema, '.', table_name)"
OURS = "table_schema IN ('mlflow', 'mlflow_oidc') GROUP BY 1"
COLUMN = "column_name, column_type, is_nullable, column_default, collation_name, extra"
COLUMNS = f"GROUP_CONCAT(CONCAT_WS(' ', {COLUMN}) ORDER BY ordinal_position)"
INDEX = "index_name, seq_in_index, column_name"
INDEXES = f"GROUP_CONCAT(CONCAT_WS(' ', {INDEX}) ORDER BY index_name, seq_in_index)"
SHAPES = (
    # By default it cuts at 1,024 bytes.
    "SET SESSION group_concat_max_len = 1000000",
    *(
        f"SELECT {NAME}, SHA2({what}, 256) FROM information_schema.{table} WHERE {OURS}"  # noqa: S608
        for what, table in ((COLUMNS, "columns"), (INDEXES, "statistics"))
    ),
)

BOOKKEEPING = "alembic_"
"""How the names of tables begin that are the migrations' own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What was seen: seconds by step, rows of the tables that changed (before, after), answers."""

    mysql: str
    seconds: dict[str, float]
    touched: dict[str, tuple[int, int]]
    read: dict[str, int]
    differences: list[str]


def rehearse(made: Scratch, target: Home, key: Key, now: str, new: str) -> Rehearsal:
    """Restore, read by image `now`, migrate by image `new` and read by it; nothing of it is left.

    Raises what fails on the way: a backup that does not restore, a migration, a server.
    """
    begin = time.monotonic()
    with made.volumes(keep=False):
        restore.bring(made, key, target.images(), target.credentials())
        seconds = {"restored": round(time.monotonic() - begin, 1)}
        with made.server():
            before = reading.have(made, now, ("read",), "reading with the server of now")
            tables, shapes = made.way.backup.tables, shapes_of(made)
            migrated = reading.have(made, new, ("migrate",), "migrating the copy")
            with console.progress("comparing every table with what it was"):
                found, changed = made.census(tables), shapes_of(made)
            after = reading.have(made, new, ("read", "write"), "reading with the new server")
            [[version]] = made.sql("SELECT VERSION()")
    seconds["migration"] = migrated.seconds["migrate"]
    seconds["start"] = after.seconds["start"]
    reshaped = {name for name in shapes if shapes[name] != changed.get(name)}
    return Rehearsal(
        mysql=version,
        seconds=seconds,
        touched=touched(tables, found, reshaped),
        read=after.counts,
        differences=reading.differences(before, after),
    )


def shapes_of(made: Scratch) -> dict[str, list[str]]:
    """Return what tells a table from the same one with other columns or indexes, by its name."""
    shapes: dict[str, list[str]] = {}
    for name, digest in made.sql(*SHAPES):
        shapes.setdefault(name, []).append(digest)
    return shapes


def touched(
    before: Mapping[str, Table], after: Mapping[str, Table], reshaped: set[str]
) -> dict[str, tuple[int, int]]:
    """Return the tables whose columns, indexes or rows changed, with their rows then and now."""
    return {
        name: (table.rows, after[name].rows if name in after else 0)
        for name, table in before.items()
        if not name.partition(".")[2].startswith(BOOKKEEPING)
        and (name in reshaped or after.get(name) != table)
    }


def require_alike(found: Rehearsal) -> None:
    """Raise where the server to come does not answer what the one of now does."""
    if found.differences:
        lines = [*found.differences[:10]]
        more = len(found.differences) - len(lines)
        if more:
            lines.append(f"and {more} more")
        raise OpsError(
            "\n  ".join(["on the copy the new server does not answer as the old one:", *lines]),
            "stay with what runs, and report it with these lines; nothing was changed",
        )
