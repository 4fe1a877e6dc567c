"""The checks of a host's backups: stored up to when, taken when, proven when."""

import json
from typing import Any

from ops import protection
from ops.checks import Check, Finding, NotChecked
from ops.patient import Patient
from ops.protection import Protection

__all__ = ["CHECKS"]


def _state(patient: Patient) -> dict[str, Any]:
    done = patient.inside("backup", protection.STATE, "")
    if done.code != 0:
        raise NotChecked("the backup service does not answer")
    found: dict[str, Any] = json.loads(done.out)
    return found


def _part(patient: Patient, name: str) -> Finding:
    state = _state(patient)
    last = (state.get("last") or {}).get("as_of")
    found = Protection(state.get("shipped_to"), last, state.get("proven"))
    return protection.findings(found, state)[name]


def stored(patient: Patient) -> Finding:
    """Ask up to when changes are in S3."""
    return _part(patient, "stored")


def backup(patient: Patient) -> Finding:
    """Ask when the last backup was."""
    return _part(patient, "backup")


def proven(patient: Patient) -> Finding:
    """Ask when a restore was proven last."""
    return _part(patient, "proven")


CHECKS: list[Check[Patient]] = [
    Check(
        name,
        look,
        needs=("release",),
        when=lambda settings: bool(settings.backups_destination),
    )
    for name, look in (("changes", stored), ("backup", backup), ("drill", proven))
]
