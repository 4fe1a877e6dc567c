"""The verb that looks at everything and changes nothing: this machine, then each host."""

from collections.abc import Iterator
from contextlib import ExitStack

from ops import (
    checks_backups,
    checks_door,
    checks_host,
    checks_local,
    checks_s3,
    checks_stack,
    console,
    fleet,
)
from ops.checks import Check, Finding, examine
from ops.checks_local import Here
from ops.errors import OpsError
from ops.hosts import LocalHost
from ops.patient import Patient
from ops.settings import Settings

__all__ = ["doctor"]

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
INDENT = " " * 6

HOST_CHECKS: list[Check[Patient]] = [
    *checks_host.CHECKS,
    *checks_stack.CHECKS,
    *checks_s3.CHECKS,
    *checks_backups.CHECKS,
    *checks_door.CHECKS,
]
NAMES = [check.name for check in HOST_CHECKS] + [check.name for check in checks_local.CHECKS]
WIDTH = max(map(len, NAMES))


def doctor(hosts: str, *, as_json: bool) -> None:
    """Make every check and print what was found; exit code 1 when one fails."""
    rows: list[dict[str, str]] = []
    for host, check, finding in findings(hosts):
        row = {"host": host, "check": check, "state": finding.state}
        if not as_json:
            if not rows or rows[-1]["host"] != host:
                console.result(f"{host}:")
            show(check, finding)
        rows.append({**row, "found": finding.found, "remedy": finding.remedy})
    if as_json:
        console.result_json(rows)
    failed = [row for row in rows if row["state"] == "fail"]
    if failed:
        count = f"{len(failed)} check{'s' if len(failed) > 1 else ''} failed"
        raise OpsError(count, "do what stands below each, then again: invoke doctor")


def findings(hosts: str) -> Iterator[tuple[str, str, Finding]]:
    """Yield host, check and finding, one after the other as they are made."""
    local = LocalHost()
    settings = load()
    of_settings = settings.deploy_host if isinstance(settings, Settings) else ""
    names = fleet.addresses(hosts or of_settings)
    here = Here(host=local, settings=settings)
    for check, finding in examine(checks_local.CHECKS, here):
        yield local.name, check, finding
    for name in names:
        for check, finding in of_host(name, settings, local):
            yield name, check, finding


def load() -> Settings | OpsError:
    """Return the settings, or the error that lists all their problems."""
    try:
        return Settings.load()
    except OpsError as error:
        return error


def of_host(
    name: str, settings: Settings | OpsError, local: LocalHost
) -> Iterator[tuple[str, Finding]]:
    """Make the checks of one host; without good settings, say of each that it was not made."""
    known = settings if isinstance(settings, Settings) else Settings()
    lacking = [] if isinstance(settings, Settings) else ["settings"]
    checks = [check for check in HOST_CHECKS if check.when(known)]
    with ExitStack() as opened:
        patient = Patient(given=name, settings=known, local=local, opened=opened)
        yield from examine(checks, patient, lacking)


def show(check: str, finding: Finding) -> None:
    """Print a finding: one line, more where it has more, and the way out below it."""
    first, *rest = finding.found.splitlines() or [""]
    text = f"{check:<{WIDTH}}  {first}"
    console.marked(f"{finding.state:<6}", COLOURS[finding.state], text)
    for line in rest:
        console.result(f"{INDENT}{line}")
    if finding.remedy:
        console.result(f"{INDENT}try: {finding.remedy}")
