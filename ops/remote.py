"""Looking at servers, here or on hosts over SSH: what the tasks with `--host` call."""

import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ops import (
    audit,
    certificate_state,
    compose,
    console,
    fleet,
    front_door,
    preflight,
    protection,
    server,
    smoke,
)
from ops.errors import OpsError, refusal
from ops.front_door import FrontDoor
from ops.paper import PaperHost
from ops.release import Release
from ops.settings import Settings
from ops.site import Site
from ops.states import Status

__all__ = ["execute", "logs", "reached", "show_releases", "show_status", "smoke_test", "tunnel"]


def show_status(hosts: str, *, as_json: bool) -> None:
    """Print the state of every service, here or on hosts; exit code 1 unless all are well."""
    if not hosts:
        server.show_status(as_json=as_json)
        return
    settings = Settings.load()
    with fleet.reach(settings, hosts) as found:
        states = {site.host.name: status(site) for site in found}
    if as_json:
        console.result_json({name: each.as_dict() for name, each in states.items()})
    else:
        for name, each in states.items():
            server.print_status(each, f"{name}  ")
    if not all(each.healthy for each in states.values()):
        raise OpsError("a host is not healthy", "see what it says: invoke logs --host")


def status(site: Site) -> Status:
    """Return the state of the services of a host."""
    live = site.facts().live
    services = compose.services(site.settings, site.host, names(live))
    backups = None
    if live and "backup" in live.services:
        backups = protection.read(site.host, site.compose(live, "exec", "--no-TTY", "backup"))
    certificate = None
    if live and "certificates" in live.services:
        inside = site.compose(live, "exec", "--no-TTY", "certificates")
        certificate = certificate_state.read(site.host, inside)
    return Status.of_containers(
        site.settings.url,
        services,
        answers=answers(site),
        backups=backups,
        certificate=certificate,
    )


def names(live: Release | None) -> tuple[str, ...]:
    """Return the services that should run where this release is live."""
    return live.services if live else ("db", "web", "nginx")


def answers(site: Site) -> bool:
    """Say whether server and database answer through the host's own front door."""
    with door(site) as port:
        try:
            front_door.through(site.settings, port).answers()
        except front_door.RequestError:
            return False
    return True


def door(site: Site) -> AbstractContextManager[int]:
    """Lead a port of this machine, which is yielded, to a host's own front door."""
    listens = front_door.address(site.settings)
    return fleet.over_ssh(site).forward(site.settings.site_port, listens)


@contextmanager
def reached(settings: Settings, hosts: str) -> Iterator[FrontDoor]:
    """Yield the front door of this machine's server, or of the one of a host."""
    if not hosts:
        yield front_door.local(settings)
        return
    with fleet.reach(settings, hosts) as found, door(only(found)) as port:
        yield front_door.through(settings, port)


def logs(hosts: str, service: str, *, follow: bool) -> None:
    """Show what the services wrote, here or on one host."""
    if not hosts:
        server.logs(service, follow=follow)
        return
    with fleet.reach(Settings.load(), hosts) as found:
        site = only(found)
        release = live(site)
        if service and service not in release.services:
            services = ", ".join(release.services)
            raise refusal(f"there is no service {service!r}", f"use one of {services}")
        words = ["logs", "--tail=500", *(["--follow"] if follow else [])]
        line = site.compose(release, *words, *([service] if service else []))
        ended(fleet.over_ssh(site).interact(line), line)


def smoke_test(hosts: str, url: str) -> None:
    """Prove that a server works: this machine's, that of each host, or the one at `url`."""
    if url or not hosts:
        server.smoke_test(url)
        return
    settings = Settings.load()
    with fleet.reach(settings, hosts) as found:
        for site in found:
            console.say(f"{site.host.name}:")
            with door(site) as port:
                smoke.run(front_door.through(settings, port), settings)


def execute(hosts: str, command: str, *, dry: bool) -> None:
    """Run a command on one host, in this terminal; or print it."""
    if not command.strip():
        raise refusal("no command is given", "write it after --: invoke exec -- docker ps")
    settings, words = Settings.load(), ("sh", "-c", command)
    if dry:
        for name in fleet.named(settings, hosts):
            PaperHost(name).interact(words)
        return
    with fleet.reach(settings, hosts) as found:
        ended(fleet.over_ssh(only(found)).interact(words), words)


def ended(code: int, words: tuple[str, ...]) -> None:
    """Raise unless a command ended well; its own words were seen."""
    if code != 0:
        raise OpsError(f"exit code {code} from: {shlex.join(words)}", "read the lines above", code)


def tunnel(hosts: str) -> None:
    """Lead a port of this machine to a host's front door until Ctrl-C."""
    settings = Settings.load()
    preflight.port_free("127.0.0.1", settings.site_port)
    with fleet.reach(settings, hosts) as found:
        site = only(found)
        with fleet.over_ssh(site).forward(
            settings.site_port, front_door.address(settings), local=settings.site_port
        ):
            console.result(f"{settings.scheme}://localhost:{settings.site_port}")
            console.say("Ctrl-C ends the tunnel")
            try:
                fleet.over_ssh(site).wait_closed()
            except KeyboardInterrupt:
                return


def only(found: list[Site]) -> Site:
    """Return the one host, or refuse several."""
    if len(found) > 1:
        raise refusal("several hosts are given", "name one: --host")
    return found[0]


def live(site: Site) -> Release:
    """Return the live release of a host, or refuse."""
    facts = site.facts()
    if facts.live is None:
        raise refusal(f"{site.host.name} has no live release", "deploy one: invoke deploy")
    return facts.live


def show_releases(hosts: str, *, as_json: bool) -> None:
    """Print every release of each host, the newest first."""
    settings = Settings.load()
    rows = []
    with fleet.reach(settings, hosts) as found:
        for site in found:
            facts = site.facts()
            rows += [
                {
                    "host": site.host.name,
                    "id": each.id,
                    "by": each.made_by,
                    "what": each.what,
                    "commit": each.commit,
                    "result": facts.outcomes.get(each.id, "unknown"),
                    "live": facts.live is not None and each.id == facts.live.id,
                }
                for each in sorted(facts.releases.values(), key=lambda each: each.id, reverse=True)
            ]
            if number := audit.broken(facts.record):
                name = site.host.name
                console.say(f"warning: {name}: the audit record was changed at line {number}")
    if as_json:
        console.result_json(rows)
        return
    for row in rows:
        mark = "live" if row["live"] else ""
        console.result(
            f"{row['host']}  {row['id']}  {row['result']:<10} {mark:<4}  {row['what']}  "
            f"{row['by']}  {row['commit']}"
        )
