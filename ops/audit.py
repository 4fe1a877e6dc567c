"""The record of what was done to a host: one line a step, each bound to the line before it.

A line holds the SHA-256 of the line before it. Whoever changes, removes or inserts one breaks the
chain from there on, which `broken` tells. The last line can be cut off unseen; the same record on
every host, and in backups, is what speaks against that.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from ops.errors import OpsError
from ops.hosts import Host

__all__ = ["append", "broken", "outcomes", "read"]

FILE = "audit.jsonl"
FIRST = "0" * 64


def append(host: Host, folder: str, entry: dict[str, Any]) -> None:
    """Add a line to the record in a stack's folder; the caller holds the lock."""
    file = f"{folder}/{FILE}"
    last = host.run(("tail", "--lines=1", file)).out.strip()
    line = {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        **entry,
        "previous": _digest(last) if last else FIRST,
    }
    text = json.dumps(line, sort_keys=True) + "\n"
    done = host.run(("tee", "--append", file), stdin=text.encode())
    if done.code != 0:
        raise OpsError(
            f"cannot write the audit record on {host.name}: {done.err.strip()}",
            "see whether its disk is full: invoke doctor --host",
        )


def read(host: Host, folder: str) -> list[str]:
    """Return the lines, oldest first."""
    return host.run(("cat", f"{folder}/{FILE}")).out.splitlines()


def broken(lines: list[str]) -> int:
    """Return the number of the first line that does not follow from the one before it; 0 if none.

    Lines count from 1.
    """
    before = FIRST
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)["previous"]
        except (ValueError, LookupError, TypeError):
            return number
        if found != before:
            return number
        before = _digest(line)
    return 0


def outcomes(lines: list[str]) -> dict[str, str]:
    """Return the last known result of each release by its id: "started" when it never ended."""
    found = {}
    for line in lines:
        try:
            entry = json.loads(line)
            found[str(entry["release"])] = str(entry["result"])
        except (ValueError, LookupError, TypeError):
            continue
    return found


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
