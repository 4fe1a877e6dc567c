"""The verbs on a running server, whatever engine it is on: up, down, status, smoke test, bench."""

import shlex

from ops import (
    certificates,
    console,
    engines,
    front_door,
    rotation,
    smoke,
    stack,
    throughput,
    values,
)
from ops.errors import OpsError, refusal
from ops.front_door import FrontDoor, local
from ops.hosts import LocalHost
from ops.settings import Settings
from ops.states import Status

__all__ = [
    "bench",
    "down",
    "logs",
    "print_status",
    "show_client_env",
    "show_status",
    "smoke_test",
    "up",
]

MOST_SECONDS = 600

LOG_IN = {
    "basic": "log in as admin with ADMIN_PASSWORD of .env; let others in: invoke add-user",
    "oidc": "people log in at the identity provider; programs: invoke add-user, invoke token",
}


def up(wanted: str, *, migrate: bool) -> None:
    """Bring the server up on an engine, then print its address and the lines a client needs."""
    settings, host = Settings.load(), LocalHost()
    rotation.remind(settings)
    choice = engines.choose(wanted, settings, host)
    console.say(f"engine: {choice.name} ({choice.why})")
    if settings.auth == "none" and not settings.listens_here:
        console.say(f"warning: anybody who reaches {settings.bind_address} gets in (AUTH=none)")
    if choice.name == "embedded" and settings.backups_destination:
        console.say("warning: nothing is backed up on this engine: that takes MySQL")
    stop_other(choice.name, settings, host)
    engine = engines.ENGINES[choice.name]
    changed = engine.up(settings, host, migrate=migrate)
    console.say("the server is up" if changed else "the server was up already; nothing changed")
    console.result(settings.url)
    # Read anew, with the secrets that were made meanwhile.
    console.say(f"\nfor clients:\n{_exports(Settings.load())}")
    if settings.auth != "none":
        console.say(LOG_IN[settings.auth])


def stop_other(name: str, settings: Settings, host: LocalHost) -> None:
    """Refuse while the other engine runs: two servers would hold two sets of data."""
    before = engines.current(settings)
    if before is None or before is engines.ENGINES[name]:
        return
    if before.running(settings, host):
        raise refusal("the server runs on the other engine", "stop it first: invoke down")


def down() -> None:
    """Stop the server."""
    settings, host = Settings.load(), LocalHost()
    engine = engines.current(settings)
    stopped = engine is not None and engine.down(settings, host)
    console.say("the server is down; its data is kept" if stopped else "the server was not running")


def show_status(*, as_json: bool) -> None:
    """Print the state of every service; exit code 1 unless all are well."""
    settings, host = Settings.load(), LocalHost()
    found = _engine(settings).status(settings, host)
    if as_json:
        console.result_json(found.as_dict())
    else:
        print_status(found)
    if not found.healthy:
        raise OpsError("the server is not healthy", "see what it says: invoke logs")


def print_status(found: Status, before: str = "") -> None:
    """Print a stack's state, a line each for the whole and for every service."""
    word = "healthy" if found.healthy else "not healthy"
    console.result(f"{before}{found.url}  {word}  ({found.engine} engine)")
    for service in found.services:
        age = "-" if service.uptime_seconds is None else console.duration(service.uptime_seconds)
        used = "-" if service.memory_bytes is None else console.size(service.memory_bytes)
        console.result(f"{service.name:<8} {service.state:<20} {age:>12} {used:>10}")
    for report in (found.certificate, found.backups):
        for line in report.lines() if report else ():
            console.result(line)
    for problem in found.problems:
        console.say(problem)


def logs(service: str, *, follow: bool) -> None:
    """Show the logs of one service, or of all."""
    settings = Settings.load()
    _engine(settings).logs(settings, LocalHost(), service=service, follow=follow)


def smoke_test(url: str) -> None:
    """Prove that a server works: the one at `url`, or the one of these settings."""
    settings = Settings.load()
    smoke.run(_door(settings, url), settings)


def bench(url: str, seconds: str, *, as_json: bool) -> None:
    """Measure a server, likewise; so many seconds for each measurement."""
    try:
        long = values.count(1, MOST_SECONDS)(seconds)
    except ValueError as problem:
        raise refusal(
            f"--seconds {seconds[:20]!r} {problem}", "correct it, or leave it out"
        ) from None
    throughput.measure(_door(Settings.load(), url), long, as_json=as_json)


def _door(settings: Settings, url: str) -> FrontDoor:
    if not url:
        return local(settings)
    try:
        return front_door.as_client(values.endpoint(url))
    except ValueError as problem:
        raise refusal(f"the address {problem}", "give --url as http://host:port") from None


def show_client_env(*, as_json: bool) -> None:
    """Print what a client has to set."""
    settings = Settings.load()
    if as_json:
        console.result_json(_client_env(settings))
    else:
        console.result(_exports(settings))


def _exports(settings: Settings) -> str:
    pairs = _client_env(settings).items()
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in pairs)


def _client_env(settings: Settings) -> dict[str, str]:
    """Return what a client has to set, having written the CA that it is to trust."""
    settings = settings.with_secrets() if settings.tls == "private-ca" else settings
    certificates.keep_authority(settings)
    return stack.client_env(settings)


def _engine(settings: Settings) -> engines.Engine:
    engine = engines.current(settings)
    if engine is None:
        raise refusal("there is no server here yet", "bring one up: invoke up")
    return engine
