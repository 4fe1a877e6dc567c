"""Checks of the stack on a host: its release, its services, MySQL's options, the record."""

import re

from ops import accounts, audit, console, sizing, stack
from ops.checks import Check, Finding, NotChecked, fail, ok, warn
from ops.containers import Container, age
from ops.errors import OpsError
from ops.patient import Patient

__all__ = ["CHECKS"]

LOOP_RESTARTS = 3
LOOP_SECONDS = 600

# A database elsewhere is asked as the server asks it, with the server's own rights.
ELSEWHERE = """
import os, sys
import sqlalchemy as sa
with sa.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]).connect() as connection:
    for row in connection.execute(sa.text(sys.stdin.read())):
        print(*row, sep="\\t")
"""

TRUST = "log_bin_trust_function_creators"
OPTIONS = {
    TRUST: "ON",
    "gtid_mode": "ON",
    "collation_server": "utf8mb4_0900_bin",
}
POOL_RECYCLE = 3600
"""Seconds after which the server renews a connection; a test compares it with compose.yaml."""


def release(patient: Patient) -> Finding:
    """Say which release is live."""
    live = patient.facts.live
    if live is None:
        raise NotChecked(f"nothing is deployed: invoke deploy --host {patient.given}")
    return ok(f"{live.id} ({live.what}, by {live.made_by})")


def size(patient: Patient) -> Finding:
    """Compare what the live release gives the services with what fits the machine as it is now."""
    live, machine = patient.facts.live, patient.engine.machine
    assert live is not None  # or "release" has said so
    shared = len(patient.settings.deploy_hosts) > 1
    other = [
        f"{key} {live.variables.get(key, 'absent')}, not {fitting}"
        for key, fitting in stack.sizes(patient.size).items()
        if _misfit(key, live.variables.get(key, ""), fitting, shared=shared)
    ]
    cores = f"{machine.cores} core{'s' if machine.cores > 1 else ''}"
    said = f"{cores}, {console.size(machine.memory)}"
    if other:
        return warn(f"not for {said}: {'; '.join(other)}", "invoke deploy")
    return ok(f"for {said}")


def _misfit(key: str, given: str, fitting: str, *, shared: bool) -> bool:
    """Say whether a figure is another one; where several hosts share it, whether it is too much.

    They all have what fits the smallest of them.
    """
    if shared and given:
        too_much = int(re.sub(r"\D", "", given)) > int(re.sub(r"\D", "", fitting))
        return too_much and key in ("WEB_WORKERS", "WEB_MEMORY_LIMIT")
    return given != fitting


def services(patient: Patient) -> Finding:
    """Say whether all services of the live release are well."""
    found = [each for each in patient.facts.containers if each.service != "migrate"]
    said = ", ".join(f"{each.service} {_state(each)}" for each in found)
    if patient.facts.healthy:
        return ok(said)
    ill = next((each for each in found if not each.good), None)
    deploy = f"invoke deploy --host {patient.given}"
    remedy = (
        f"run there: docker logs --tail=50 {ill.identity[:12]}; then: {deploy}" if ill else deploy
    )
    return fail(said or "no service has a container", remedy)


def _state(container: Container) -> str:
    """Return the health of what runs; a container that has ended still shows its last one."""
    return (
        container.health if container.state == "running" and container.health else container.state
    )


def restarts(patient: Patient) -> Finding:
    """Say which services end and are started again by Docker."""
    again = [
        each for each in patient.facts.containers if each.restarts or each.state == "restarting"
    ]
    if not again:
        return ok("none")
    said = ", ".join(f"{each.service} {each.restarts} times" for each in again)
    loops = [each for each in again if _in_a_loop(each)]
    remedy = f"see why: docker logs --tail=50 {(loops or again)[0].identity[:12]}, run there"
    return fail(f"{said}, again and again", remedy) if loops else warn(said, remedy)


def _in_a_loop(container: Container) -> bool:
    if container.state == "restarting":
        return True
    return container.restarts >= LOOP_RESTARTS and age(container.started_at) < LOOP_SECONDS


def _variables(patient: Patient, *names: str) -> dict[str, str]:
    """Ask MySQL for variables of the running server."""
    listed = ", ".join(f"'{name}'" for name in names)
    query = f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed});"
    if patient.own_database:
        root = patient.settings.mysql_root_password
        if root is None:
            raise NotChecked("MYSQL_ROOT_PASSWORD is not in .env")
        words, stdin = accounts.login(accounts.ROOT, root, query)
        done = patient.inside("db", words, stdin.decode())
    else:
        done = patient.inside("web", ("python", "-I", "-c", ELSEWHERE), query)
    if done.code != 0:
        said = done.err.strip().splitlines() or ["no reason given"]
        who = "root" if patient.own_database else "the server"
        raise OpsError(
            f"MySQL does not answer {who}: {said[-1]}",
            "put back the .env this stack was deployed with; the password is the database's",
        )
    rows = (line.split("\t") for line in done.out.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def mysql(patient: Patient) -> Finding:
    """Compare the options of the running server with those that MLflow and backups need."""
    # Of a database elsewhere the migration has seen to the collation, and others back it up.
    options = OPTIONS if patient.own_database else {TRUST: OPTIONS[TRUST]}
    found = _variables(patient, *options, "wait_timeout")
    wrong = [
        f"{name} is {found.get(name, 'not there')}, not {wanted}"
        for name, wanted in options.items()
        if found.get(name) != wanted
    ]
    timeout = int(found.get("wait_timeout", 0))
    if timeout <= POOL_RECYCLE:
        wrong.append(f"wait_timeout is {timeout} s, not above the pool's {POOL_RECYCLE} s")
    if wrong and not patient.own_database:
        return fail("; ".join(wrong), "set it where DATABASE_HOST is: in RDS, a parameter group")
    if wrong:
        return fail(
            "; ".join(wrong),
            f"run there: docker restart {patient.running('db').identity[:12]} (the server waits "
            "meanwhile); what stays as it is was set for good: RESET PERSIST in MySQL",
        )
    return ok(f"{len(options)} options as needed, wait_timeout {console.duration(timeout)}")


def connections(patient: Patient) -> Finding:
    """Compare the connections MySQL takes with those that the workers may open."""
    try:
        most = int(_variables(patient, "max_connections").get("max_connections", 0))
    except OpsError:
        raise NotChecked("see mysql") from None
    hosts = 1 if patient.own_database else max(1, len(patient.settings.deploy_hosts))
    workers = patient.size.web_workers * hosts
    server = patient.size.connections * hosts
    said = f"{most}; {workers} workers may open {server}"
    remedy = "set a lower WEB_WORKERS in .env, or give MySQL more: SET PERSIST max_connections"
    if most < server:
        return fail(said, remedy)
    if most < 2 * server + sizing.SPARE_CONNECTIONS:
        return warn(f"{said}, twice that while a deploy lasts", remedy)
    return ok(said)


def record(patient: Patient) -> Finding:
    """Follow the chain of the audit record."""
    lines = patient.facts.record
    number = audit.broken(lines)
    if number:
        return fail(
            f"changed at line {number} of {len(lines)}",
            "compare it with the record on another host: what follows that line proves nothing",
        )
    if not lines:
        return fail("gone, though something is deployed", "find out who removed it")
    return ok(f"{len(lines)} lines, unbroken")


CHECKS: list[Check[Patient]] = [
    Check("release", release, needs=("docker access",)),
    Check("size", size, needs=("release",)),
    Check("services", services, needs=("release",)),
    Check("restarts", restarts, needs=("release",)),
    Check("mysql", mysql, needs=("release",)),
    Check("connections", connections, needs=("release",)),
    Check("audit record", record, needs=("release",)),
]
