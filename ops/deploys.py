"""Deploy and roll back, from the settings and files of this machine to the hosts."""

import getpass
import shlex
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ops import (
    builds,
    certificates,
    console,
    digests,
    fleet,
    hold,
    images,
    readiness,
    release,
    revisions,
    rollout,
    rotation,
    secret_files,
    sizing,
    stack,
    supply,
)
from ops.dry import MACHINE, ImaginedHost
from ops.errors import OpsError, refusal
from ops.hosts import LocalHost
from ops.preflight import env_file
from ops.release import Release
from ops.rollout import Move, WayBack
from ops.settings import Settings
from ops.site import Facts, Site
from ops.sizing import Size
from ops.values import Secret

__all__ = ["bring", "deploy", "pending", "rehearse", "rollback"]

HEAD = ("python", "-I", "/opt/migration.py", "--head")


def deploy(hosts: str, *, migrate: bool) -> None:
    """Bring hosts to the settings and files of this machine, unless a secret is being replaced."""
    rotation.remind(Settings.load())
    bring(hosts, migrate=migrate)


def bring(hosts: str, *, migrate: bool = False, way_back: WayBack | None = None) -> None:
    """Bring hosts to the settings and files of this machine."""
    settings, local = Settings.load(), LocalHost()
    settings.require_for_backups()
    certificates.require_given(settings)
    with fleet.reach(settings, hosts) as found:
        check_shared(settings, len(found))
        for site in found:
            readiness.require(site.host)
        check_held(found)
        facts = [site.facts() for site in found]
        check_secrets(settings, facts)
        size = sizing.size(settings, [images.engine(site.host).machine for site in found])
        settings = settings.with_secrets()
        move = planned(settings, size, local, facts, migrate=migrate)
        if all(unchanged(move.release, each) for each in facts):
            console.say("nothing changed; nothing was touched")
            console.result(settings.url)
            return
        show_plan(move.release, facts)
        check_schema(settings, move, facts)
        if way_back is not None:
            named = replace(move.release, what="upgrade")
            move = replace(move, release=named, way_back=way_back)
        finish(settings, [Site(site.host, settings) for site in found], move)


def pending(hosts: str) -> list[str]:
    """Return what a deploy would change now, a line each; to know it, the image is built."""
    settings, local = Settings.load(), LocalHost()
    missing = settings.missing_secrets()
    if missing:
        return [f"secret: {name} is to be made" for name in missing]
    with fleet.reach(settings, hosts) as found:
        facts = [site.facts() for site in found]
        size = sizing.size(settings, [images.engine(site.host).machine for site in found])
    new = planned(settings, size, local, facts, migrate=False).release
    lines = []
    for each in facts:
        if not unchanged(new, each):
            lines += release.differences(new, each.live) or ["a service is not well"]
    return list(dict.fromkeys(lines))


def planned(
    settings: Settings, size: Size, local: LocalHost, facts: list[Facts], *, migrate: bool
) -> Move:
    """Return the move that brings every host to these settings and files."""
    found = builds.identities(settings, local)
    image = stack.web_image(settings)
    needed = schema(local, image, found[image], facts)
    known = [name for each in facts for name in each.releases]
    return described(settings, size, local, found, needed, known=known, migrate=migrate)


def described(
    settings: Settings,
    size: Size,
    local: LocalHost,
    found: Mapping[str, str],
    schema: str,
    *,
    known: Iterable[str] = (),
    migrate: bool,
) -> Move:
    """Return the move to these settings and files, with images of these ids, and the schema."""
    names = supply.image_names(settings)
    files, variables = release.contents(settings, size, names)
    image, *others = stack.own_images(settings)
    secrets = secret_files.files(settings)
    number = release.new_id(known)
    new = Release(
        id=number,
        origin=number,
        made_by=f"{getpass.getuser()}@{socket.gethostname()}",
        commit=commit(settings, local),
        what="deploy",
        image=names[image],
        image_id=found[image],
        others={names[other]: found[other] for other in others},
        schema=schema,
        variables=variables,
        files={path: digests.texts({path: text}) for path, text in files.items()},
        secrets=sorted(secrets),
    )
    return Move(release=new, files=files, secrets=secrets, migrate=migrate)


def schema(local: LocalHost, image: str, identity: str, facts: list[Facts]) -> str:
    """Return the schema revision an image needs: known of a live one, else the image says it."""
    for each in facts:
        if each.live is not None and each.live.image_id == identity:
            return each.live.schema
    words = ("docker", "run", "--rm", "--network=none", f"--entrypoint={HEAD[0]}", image, *HEAD[1:])
    return local.check(words, "look at the image").strip()


def commit(settings: Settings, local: LocalHost) -> str:
    """Return the commit of the working tree, marked when there is more in it; "" without git."""
    words = ("git", "-C", str(settings.root), "describe", "--always", "--dirty", "--abbrev=12")
    return local.run(words).out.strip()


def check_secrets(settings: Settings, facts: list[Facts]) -> None:
    """Refuse to make new secrets for a database that was made with others."""
    lost = settings.lost_secrets()
    if lost and any(each.live is not None for each in facts):
        raise refusal(
            f"the host has a stack already, but .env lacks {', '.join(lost)}",
            "put back the .env this stack was deployed with",
        )
    if settings.missing_secrets():
        env_file(settings.root)


def check_held(found: Iterable[Site]) -> None:
    """Refuse a host on which an upgrade was cut off: its database may be half-way."""
    for site in found:
        if hold.found(site) is not None:
            raise refusal(
                f"an upgrade of {site.host.name} was cut off, and writes wait there",
                f"have it taken back: invoke upgrade --host {site.host.name}",
            )


def check_shared(settings: Settings, count: int) -> None:
    """Refuse several hosts that would each keep data of their own under one name."""
    if count == 1:
        return
    for key, what in (("database_host", "a database"), ("artifacts_destination", "artifacts")):
        if not getattr(settings, key):
            raise refusal(
                f"{count} hosts would each have {what} of their own",
                f"set {key.upper()} in .env to one for all (docs/deploy.md, 'Several hosts'), "
                "or deploy to one: --host",
            )


def check_schema(settings: Settings, move: Move, facts: list[Facts]) -> None:
    """Refuse to change the schema of a database that holds data, unless that is wanted."""
    rehearsed = settings.backups_destination and not settings.database_host
    by_hand = "back the database up, then: invoke deploy --migrate"
    for each in facts:
        if each.live is not None and each.live.schema != move.release.schema and not move.migrate:
            raise refusal(
                f"this release needs schema {move.release.schema}, the database is at "
                f"{each.live.schema}",
                "have it rehearsed and migrated: invoke upgrade" if rehearsed else by_hand,
            )


def unchanged(new: Release, facts: Facts) -> bool:
    """Say whether a host runs this content already, all of it well."""
    return facts.live is not None and new.same_content(facts.live) and facts.healthy


def show_plan(new: Release, facts: list[Facts]) -> None:
    """Say what is about to change."""
    lines = [line for each in facts for line in release.differences(new, each.live)]
    console.say(f"release {new.id} ({new.commit or 'no git'}):")
    for line in dict.fromkeys(lines or ["nothing in it changed; a service is not well"]):
        console.say(f"  {line}")


def finish(settings: Settings, found: list[Site], move: Move) -> None:
    """Carry a move out and say what it cost."""
    moved = rollout.carry_out(settings, found, move)
    if not moved.drained:
        console.say(f"note: requests were cut off after DRAIN_SECONDS={settings.drain_seconds}")
    for line in moved.failures[:10]:
        console.say(f"failed request {line}")
    console.say(
        f"release {move.release.id} is live; "
        f"{moved.requests} requests during the switch, {len(moved.failures)} failed"
    )
    console.result(settings.url)


def rehearse(hosts: str, *, migrate: bool) -> None:
    """Print what a deploy would run and send; nothing is built, sent, written or connected to."""
    settings, local = Settings.load(), LocalHost()
    settings.require_for_backups()
    certificates.require_given(settings)
    names = fleet.named(settings, hosts)
    check_shared(settings, len(names))
    missing = settings.missing_secrets()
    made: dict[str, Any] = {key.lower(): Secret("not made in a dry run") for key in missing}
    quick = replace(settings, watch_seconds=0, **made)
    here = {name: imagined_image(quick, local, name) for name in stack.own_images(quick)}
    identities = {name: found.identity if found else "" for name, found in here.items()}
    imagined = sizing.size(quick, [MACHINE] * len(names))
    move = described(quick, imagined, local, identities, "the image's", migrate=migrate)
    for name, there in supply.image_names(quick).items():
        found = here[name]
        if settings.registry:
            console.result(f"{local.name}$ docker image push {there}")
        size = f"{console.size(found.size)} at most" if found else "once it is built"
        for each in names:
            sent = f": send {name} ({size}, only layers it lacks) to: docker image load"
            pulled = f"$ docker image pull {there}"
            console.result(each + (pulled if settings.registry else sent))
    hosts_on_paper = [ImaginedHost(each, move.release) for each in names]
    rollout.carry_out(quick, [Site(host, quick) for host in hosts_on_paper], move)


def imagined_image(settings: Settings, local: LocalHost, name: str) -> images.Image | None:
    """Return an image of this machine, or print how it would be built."""
    try:
        found = images.image(local, name)
    except OpsError:  # no Docker here: the deploy itself says so
        found = None
    if found is None:
        console.result(f"{local.name}$ {shlex.join(stack.build(settings, name))}")
    return found


def rollback(hosts: str, to: str) -> None:
    """Bring hosts back to an earlier release: its image, configuration and secrets."""
    settings = Settings.load()
    with fleet.reach(settings, hosts) as found:
        check_held(found)
        facts = [site.facts() for site in found]
        chosen = [target(site, each, to) for site, each in zip(found, facts, strict=True)]
        if len({each.origin for each in chosen}) > 1:
            raise refusal("the hosts have no release in common", "name one that all have: --to")
        old = chosen[0]
        name = release.new_id(name for each in facts for name in each.releases)
        new = replace(
            old,
            id=name,
            made_by=f"{getpass.getuser()}@{socket.gethostname()}",
            what=f"rollback to {old.id}",
            commit=old.commit,
        )
        files = found[0].read(old.id, old.files)
        read = {path: digests.texts({path: text}) for path, text in files.items()}
        changed = [path for path in read if read[path] != old.files[path]]
        if changed:
            raise refusal(
                f"release {old.id} was changed on the host: {changed[0]}",
                "take another one: invoke releases",
            )
        show_plan(new, facts)
        finish(settings, found, Move(release=new, files=files, secrets={}))


def target(site: Site, facts: Facts, to: str) -> Release:
    """Return the release to go back to on a host, or refuse with the reason."""
    if facts.live is None:
        raise refusal(f"{site.host.name} has no live release", "deploy one: invoke deploy")
    if to and to not in facts.releases:
        raise refusal(f"{site.host.name} has no release {to!r}", "see which: invoke releases")
    earlier = [
        each
        for each in facts.releases.values()
        if facts.outcomes.get(each.id) == "ok"
        and each.id < facts.live.origin
        and each.origin == each.id
    ]
    if not to and not earlier:
        raise refusal(f"{site.host.name} has no earlier good release", "see: invoke releases")
    old = facts.releases[to] if to else max(earlier, key=lambda each: each.id)
    if "DB_VOLUME" not in old.variables and site.volume() != stack.database_volume(site.settings):
        raise refusal(
            f"release {old.id} knows only the database from before the restore",
            "take a later one: invoke releases",
        )
    gone = release.replaced_secrets(old, facts.live)
    if gone:
        raise refusal(
            f"release {old.id} is from before the rotation of its {', '.join(gone)}",
            f"deploy what it was made of, with today's secrets: git checkout {old.commit or '…'}, "
            "then invoke deploy",
        )
    current = facts.live.schema
    if old.schema != current and "db" in facts.live.services:
        # One that was restored since, perhaps.
        inside = site.compose(facts.live, "exec", "--no-TTY", "db")
        root = secret_files.root_password(site.settings)
        current = revisions.revisions(site.host, inside, root)["schema"]
    if old.schema != current:
        raise refusal(
            f"release {old.id} needs schema {old.schema}, the database is at {current}",
            "bring the data back that it knows, and then roll back; which, and what is lost: "
            f"invoke restore --host {site.host.name}, invoke list-backups",
        )
    return old
