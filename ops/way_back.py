"""The way back of a database that is about to be migrated: a moment, and all up to it stored."""

import time
from datetime import UTC, datetime
from typing import Any

from ops import console, hold, protection, restore, revisions, secret_files, vault
from ops.age_keys import Key
from ops.errors import OpsError
from ops.homes import Home, SiteHome, home
from ops.hosts import Host
from ops.restore import Asked
from ops.scratch import Scratch
from ops.settings import Settings
from ops.site import LOOK_AT_HOST
from ops.switch import Switch, recover
from ops.values import Secret

__all__ = ["WayBack", "take_back"]

STORED_SECONDS = 90
"""How long is waited for the last changes to be stored: ten seconds are normal."""


class WayBack:
    """The way back on one host; `retry_seconds` is when clients whose writes wait come again."""

    def __init__(self, settings: Settings, hosts: str, key: Key, retry_seconds: int) -> None:
        self.settings, self.hosts, self.key = settings, hosts, key
        self.retry_seconds = retry_seconds

    def mark(self) -> dict[str, Any]:
        """Return what there is to know for the way back; nobody writes any more."""
        with home(self.settings, self.hosts) as target:
            there = database(target, self.settings)
            [now] = revisions.asked(*there, "SELECT UTC_TIMESTAMP(6)")
            before = datetime.fromisoformat(now).replace(tzinfo=UTC)
            noted = {"before": before.isoformat(), "revisions": revisions.revisions(*there)}
            await_stored(target, before)
        return noted

    def go(self, noted: dict[str, Any]) -> None:
        """Bring the database back to that moment, with the server of then on it."""
        with home(self.settings, self.hosts) as target:
            end_job(target, self.settings)
            bring_back(target, self.settings, self.key, noted["before"])


def await_stored(target: Home, before: datetime) -> None:
    """Wait until the backup service has stored every change up to a moment."""
    deadline = time.monotonic() + STORED_SECONDS
    with console.progress("storing the last changes"):
        while True:
            found = protection.read(target.host, target.inside("backup"))
            if found.shipped_to and datetime.fromisoformat(found.shipped_to) > before:
                return
            if time.monotonic() > deadline:
                why = "; ".join(found.problems) or "no reason given"
                raise OpsError(
                    f"the last changes are not stored after {STORED_SECONDS} s: {why}",
                    "mend the backups (invoke status), then upgrade again",
                )
            time.sleep(1)


def end_job(target: Home, settings: Settings) -> None:
    """Remove a migration job that goes on by itself, the command that ran it being gone."""
    its = ("project", settings.stack_name), ("service", "migrate"), ("oneoff", "True")
    filters = [f"--filter=label=com.docker.compose.{key}={value}" for key, value in its]
    left = target.host.check(("docker", "ps", "--quiet", *filters), LOOK_AT_HOST).split()
    if left:
        target.host.check(("docker", "rm", "--force", "--volumes", *left), LOOK_AT_HOST)


def bring_back(target: Home, settings: Settings, key: Key, before: str) -> None:
    """Restore what was there at a moment, and make that the database."""
    console.say(f"bringing the database back to {before}")
    way = restore.choose(vault.reach(settings), Asked(at=before))
    made, replaced = Scratch(target.host, settings, way), target.volume()
    made.sweep(replaced)
    restore.put_in_place(made, target, key)
    console.say(f"kept, in case: the volume {replaced}; if it is not needed: docker volume rm")


def take_back(target: Home, settings: Settings, key: Key) -> bool:
    """Take an upgrade back that was cut off; return whether there was one."""
    if not isinstance(target, SiteHome):
        return False
    noted = hold.found(target.site)
    if noted is None:
        return False
    console.say("an upgrade was cut off while writes waited")
    with target.kept():
        end_job(target, settings)
        facts = target.site.facts()
        recover(target.site, facts)
        live = facts.live
        assert live is not None
        if live.id != noted.get("release") and touched(target, settings, noted):
            bring_back(target, settings, key, noted["before"])
        hold.end(Switch(target.site, facts, live, live), live)
    console.say(f"writes go on; the server is that of release {live.id}")
    return True


def touched(target: Home, settings: Settings, noted: dict[str, Any]) -> bool:
    """Say whether the database is another one than before, as far as its schemas go."""
    if "before" not in noted:  # the migration begins after that is noted
        return False
    there = database(target, settings)
    try:
        return revisions.interrupted(*there) or revisions.revisions(*there) != noted["revisions"]
    except OpsError:  # a MySQL that says nothing, or of no schema
        return True


def database(target: Home, settings: Settings) -> tuple[Host, tuple[str, ...], Secret]:
    """Return the live MySQL as `revisions` asks it."""
    return target.host, target.inside("db"), secret_files.root_password(settings)
