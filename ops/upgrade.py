"""An upgrade: planned, backed up, rehearsed on a restored copy, and only then carried out."""

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from ops import (
    age_keys,
    consent,
    console,
    deploys,
    manifest,
    rehearsal,
    restore,
    revisions,
    secret_files,
    server,
    stack,
    vault,
)
from ops.age_keys import Key
from ops.containers import containers
from ops.errors import from_output, refusal
from ops.homes import Home, home
from ops.hosts import Host
from ops.rehearsal import Rehearsal
from ops.scratch import UPGRADE, Scratch, Way
from ops.settings import Settings
from ops.way_back import WayBack, take_back

__all__ = ["upgrade"]

LOOK = "look at the Docker Engine: docker info"

VERSION = "import importlib.metadata as found; print(found.version('mlflow'))"

RETRIES = 5
"""In so many tries a client's write is to get through, of the seven that MLflow's client makes.
https://mlflow.org/docs/latest/api_reference/python_api/mlflow.environment_variables.html"""

BESIDE = 60
"""Seconds that writes wait beside the migration: for what is stored, and for the new server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """From what to what: images, versions, and the migrations in between."""

    now: str
    new: str
    mlflow: tuple[str, str]
    mysql: str
    schemas: list[dict[str, Any]]

    @property
    def migrations(self) -> list[dict[str, str]]:
        """What will be done to the database, in order."""
        return [step for each in self.schemas for step in each["migrations"]]


def upgrade(hosts: str, *, key: str, rehearse_only: bool, yes: bool, as_json: bool) -> None:
    """Bring a server and its database to what this folder has, once that went well on a copy."""
    if as_json and not rehearse_only:
        raise refusal("--json is for a rehearsal", "repeat with --rehearse-only")
    settings = Settings.load()
    require_own_database(settings)
    opener = age_keys.find(settings, key)
    place = vault.reach(settings)
    with home(settings, hosts) as target, target.drilling():
        settings = settings.with_secrets()
        if take_back(target, settings, opener):
            return
        plan = planned(target, settings)
        if plan.now == plan.new:
            console.say("the server runs what this folder has; nothing to rehearse")
            console.say(f"for other settings: invoke {'deploy' if hosts else 'up'}")
            return
        show(plan)
        identity = restore.order(target)
        console.say(f"backed up: {identity}")
        way = Way(manifest.find(place, identity))
        restore.check(way.backup, opener)
        made = Scratch(target.host, settings, way, UPGRADE)
        made.sweep(target.volume())
        made.check_room()
        found = rehearsal.rehearse(made, target, opener, plan.now, plan.new)
    if as_json:
        console.result_json({"backup": identity, "plan": asdict(plan), "rehearsal": asdict(found)})
    else:
        report(found)
    rehearsal.require_alike(found)
    if rehearse_only:
        return
    if plan.migrations and not yes:
        consent.ask(
            f"Migrate the database of {settings.stack_name} now?", elsewhere="repeat with --yes"
        )
    where = f" --host {hosts}" if hosts else ""
    restored = f"invoke restore{where} --id {identity}"
    if hosts:
        deploys.bring(hosts, migrate=True, way_back=way_back(settings, hosts, opener, plan, found))
    else:
        console.say(f"should it fail: check out what ran before, then {restored}")
        server.up("compose", migrate=True)
    if plan.migrations:
        console.say(f"the database as it was before: {restored}")


def require_own_database(settings: Settings) -> None:
    """Refuse a database that is not the stack's own, or one without backups."""
    if settings.database_host:
        raise refusal(
            f"the database is at {settings.database_host}: there is no copy to rehearse on",
            "take a snapshot there, then: invoke deploy --migrate",
        )
    if not settings.backups_destination:
        raise refusal(
            "an upgrade begins with a backup, and BACKUPS_DESTINATION is not set",
            "set up backups (docs/backups.md) for what runs now, then upgrade",
        )


def planned(target: Home, settings: Settings) -> Plan:
    """Return what an upgrade would do; the new image is there afterwards."""
    found = containers(settings, target.host)
    now = [each.image for each in found if each.service == "web" and each.state == "running"]
    if not now or not target.runs("db"):
        raise refusal(
            f"no stack runs on {target.host.name} that could be upgraded",
            "a server without Docker is by: invoke up --migrate; a new stack is made by: invoke up",
        )
    name = target.server_image()
    new = target.host.check(("docker", "image", "inspect", "--format", "{{.Id}}", name), LOOK)
    version = python(target.host, now[0], "-c", VERSION)
    there = target.host, target.inside("db"), secret_files.root_password(settings)
    current = [f"{name}={revision}" for name, revision in revisions.revisions(*there).items()]
    told = json.loads(python(target.host, name, "-I", "/opt/migration.py", "--plan", *current))
    [mysql] = revisions.asked(*there, "SELECT VERSION()")
    return Plan(
        now=now[0],
        new=new.strip(),
        mlflow=(version.strip(), told["mlflow"]),
        mysql=mysql,
        schemas=told["schemas"],
    )


def python(host: Host, image: str, *words: str) -> str:
    """Return what Python prints in a container of an image that reaches nothing."""
    run = ("docker", "run", "--rm", "--network=none", "--entrypoint=python", image, *words)
    done = host.run(run)
    if done.code != 0:
        said = from_output(done.code, done.err)
        raise refusal(said.cause, said.remedy)
    return done.out


def show(plan: Plan) -> None:
    """Print what an upgrade would do."""
    before, after = plan.mlflow
    same = " (the same; another image)" if before == after else ""
    console.say(f"MLflow {before} -> {after}{same}")
    series = re.match(r"\d+\.\d+", plan.mysql)
    if series is None or series[0] != stack.MYSQL_SERIES:
        console.say(f"MySQL {plan.mysql} -> {stack.MYSQL_SERIES}")
    for each in plan.schemas:
        steps = each["migrations"]
        console.say(f"{each['name']}: {each['from']} -> {each['to']}, {len(steps)} migrations")
        for step in steps:
            console.say(f"  {step['revision']} {step['what']}")


def report(found: Rehearsal) -> None:
    """Print what a rehearsal showed."""
    times = found.seconds
    console.result(
        f"rehearsed: restored in {times['restored']} s, migrated in {times['migration']} s, "
        f"the new server answered after {times['start']} s"
    )
    for name, (before, after) in found.touched.items():
        now = "" if after == before else f", {after:,} afterwards"
        console.result(f"  changes {name}: {before:,} rows{now}")
    said = ", ".join(f"{count} {what}" for what, count in found.read.items())
    alike = "different from" if found.differences else "the same as"
    console.result(f"read: {said}; {alike} what the server of now reads")


def way_back(
    settings: Settings, hosts: str, key: Key, plan: Plan, found: Rehearsal
) -> WayBack | None:
    """Return the way back of the database; None where nothing is done to it.

    Clients wait as long as a migration takes that fails in the end, and the restore after it. It
    took so long on the copy; live, MySQL also writes a log and waits for the disk.
    """
    if not plan.migrations:
        return None
    expected = 2 * found.seconds["migration"] + found.seconds["restored"] + BESIDE
    return WayBack(settings, hosts, key, math.ceil(expected / RETRIES))
