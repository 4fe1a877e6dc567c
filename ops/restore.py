"""A database brought back: into a new volume, proven there, and only then put in place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from ops import (
    accounts,
    age_keys,
    artifacts,
    consent,
    console,
    digests,
    manifest,
    shipping,
    stack,
    vault,
)
from ops.age_keys import Key
from ops.chain import unbroken
from ops.errors import OpsError, from_output, refusal
from ops.gtids import GtidSet
from ops.homes import Home, home
from ops.manifest import Manifest
from ops.moments import moment
from ops.scratch import Fetched, Scratch, Way, told
from ops.settings import Settings
from ops.values import Secret
from ops.vault import Vault

__all__ = ["Asked", "bring", "check", "choose", "order", "put_in_place", "restore"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SEE = "see which: invoke list-backups"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; None where they said nothing.

    An empty string is something that was said: a variable of a script that is not set.
    """

    identity: str | None = None
    at: str | None = None
    key: str = ""


def restore(asked: Asked, hosts: str, *, confirm: str) -> None:
    """Bring the database back to a backup, to a moment, or to the last change that was stored."""
    settings = Settings.load()
    key = age_keys.find(settings, asked.key)
    way = choose(vault.reach(settings), asked)
    check(way.backup, key)
    check_passphrase(way.backup, settings)
    with home(settings, hosts) as target, target.kept():
        show(way, target, settings)
        if confirm != settings.stack_name:
            consent.ask(
                f"Put this in the place of the database of {settings.stack_name}?",
                answer=settings.stack_name,
                elsewhere=f"repeat with --confirm {settings.stack_name}",
            )
        # --- Looked at; what follows changes things, and the database only at the end ---
        settings = settings.with_secrets()
        made = Scratch(target.host, settings, way)
        before = target.volume()
        kept = target.host.run(("docker", "volume", "inspect", before)).code == 0
        made.sweep(before)
        made.check_room()
        secure(target)
        serving = put_in_place(made, target, key)
        # It is up without its server where an earlier release's is the one that fits.
        next_task = "rollback" if target.runs("db") else "deploy" if hosts else "up"
    if kept:
        forget = f"when you are sure: docker volume rm {before}"
        console.say(f"kept, in case: the volume {before}; {forget}")
    if serving:
        console.result(settings.url)
    else:
        where = f" --host {hosts}" if hosts else ""
        console.say("the database is back; now start the server on it:")
        console.result(f"invoke {next_task}{where}")


def put_in_place(made: Scratch, target: Home, key: Key) -> bool:
    """Restore into a new volume and make it the database; return whether a server runs on it."""
    image, credentials = target.images(), target.credentials()
    with made.volumes(live=target.volume):
        bring(made, key, image, credentials)
        with console.progress("putting it in place"):
            return target.take(made.volume, made.revision)


def bring(made: Scratch, key: Key, image: str, credentials: str) -> Fetched:
    """Fetch a backup into new volumes and prove it there: its own state, and what came after.

    `image` is that of the backup service, and `credentials` the file with which it reaches S3.
    """
    backup = made.way.backup
    fetched = made.fetch(image, key.reveal(), credentials)
    with made.loaded() if backup.kind == manifest.DUMP else made.mysql():
        made.replay("tail", fetched.tail)
        check_reached(made, backup.gtids)
        made.prove()
        rows = sum(table.rows for table in backup.tables.values())
        console.say(f"as it was counted: {len(backup.tables)} tables, {rows:,} rows")
        made.replay("after", fetched.after)
        if fetched.after:
            check_reached(made, fetched.gtids)
            console.say(f"repeated {fetched.transactions:,} changes, the last of {fetched.last}")
        for each in artifacts.report(artifacts.look(made, made.settings)):
            console.say(each)
        made.read_revision()
    return fetched


def check_reached(made: Scratch, wanted: str) -> None:
    """Raise unless exactly these transactions are in the database."""
    found, expected = GtidSet.parse(made.executed()), GtidSet.parse(wanted)
    if found != expected:
        raise OpsError(
            f"the database has the transactions {found}, and should have {expected}",
            "take another backup: invoke list-backups",
        )


def choose(place: Vault, asked: Asked) -> Way:
    """Return the backup to begin with and how far to go; refuses what cannot be had."""
    if asked.identity is not None and asked.at is not None:
        raise refusal("--id and --at are both given", "give one of them")
    if asked.identity is not None:
        return Way(manifest.find(place, asked.identity))
    wanted = moment(asked.at, "--at") if asked.at is not None else None
    bases = found_bases(place)
    if not bases:
        raise refusal(f"there is no backup in {place}", "see whether that is the right place")
    if wanted is None:
        return way_on(place, bases[-1], None)
    if wanted > datetime.now(UTC):
        raise refusal(f"{wanted} has not been yet", "give a moment of the past")
    earlier = [each for each in bases if each.time <= wanted]
    if not earlier:
        raise refusal(f"the first backup stands for {bases[0].as_of}, which is after {wanted}", SEE)
    check_unprotected(place, earlier[-1], bases, wanted)
    return way_on(place, earlier[-1], wanted)


def check_unprotected(
    place: Vault, backup: Manifest, bases: Sequence[Manifest], wanted: datetime
) -> None:
    """Refuse a moment at which another MySQL was the database already, without a backup yet.

    That is so for some seconds after a restore. The logs of the one before lead past it.
    """
    later = [each for each in bases if each.time > wanted and each.server != backup.server]
    if not later:
        return
    pieces = shipping.stored(place, later[0].server)
    began = min((each.committed for each in pieces if each.committed), default=0)
    if began and EPOCH + began * MICROSECOND <= wanted:
        raise refusal(
            f"at {wanted} a restored MySQL was the database, since {EPOCH + began * MICROSECOND}, "
            f"and its first backup stands for {later[0].as_of}",
            "take a moment before the one or after the other",
        )


def found_bases(place: Vault) -> list[Manifest]:
    """Return the physical backups, the oldest first; those that make no sense are told of."""
    made, damaged = manifest.every(place)
    for error in damaged.values():
        console.say(f"note: left out: {error.cause}")
    bases = [each for each in made if each.kind == manifest.BASE]
    return sorted(bases, key=lambda each: each.time)


def way_on(place: Vault, backup: Manifest, wanted: datetime | None) -> Way:
    """Return the way from a backup by the stored logs to a moment, or to their end.

    Refuses a moment that they do not lead to without a break.
    """
    pieces = shipping.stored(place, backup.server)
    way = unbroken(pieces, backup.server, backup.first_log)
    reached = max((each.committed for each in way.segments), default=0)
    if wanted is None:
        return Way(backup, "last", sum(each.end - each.start for each in way.segments), reached)
    until = (wanted - EPOCH) // MICROSECOND
    if way.gap and reached < until:
        state = max(EPOCH + reached * MICROSECOND, backup.time)
        raise refusal(
            f"logs are missing after {way.gap[0]}, byte {way.gap[1]}: "
            f"from {backup.id} the way leads to {state}",
            "take an earlier moment, or a later backup: invoke list-backups",
        )
    size = 0
    for _, group in groupby(way.segments, lambda each: each.file):
        # A log is fetched as a whole, and cut then.
        found = list(group)
        size += sum(each.end - each.start for each in found)
        if any(each.committed > until for each in found):
            return Way(backup, str(until), size, until)
    return Way(backup, str(until), size, reached)


def check(backup: Manifest, key: Key) -> None:
    """Refuse a backup that the key does not open, or our MySQL, before anything is done."""
    if not key.opens(backup.recipients):
        raise refusal(
            f"the key does not open {backup.id}: that was encrypted for "
            f"{', '.join(backup.recipients)}",
            "give the file of such a key: --key",
        )
    series = re.match(r"(\d+)\.(\d+)", backup.version)
    ours = tuple(int(part) for part in stack.MYSQL_SERIES.split("."))
    if series is None or (int(series[1]), int(series[2])) > ours:
        raise refusal(
            f"{backup.id} is of MySQL {backup.version}, and this version has "
            f"{stack.MYSQL_SERIES}, which takes nothing newer",
            "restore with the version of this repository that made it",
        )


def check_passphrase(backup: Manifest, settings: Settings) -> None:
    """Say what the restored database holds that no one will be able to open."""
    kept = backup.secrets.get("KEK_PASSPHRASE")
    now = settings.kek_passphrase
    if now is None or digests.fingerprint(now.reveal(), backup.stack) != kept:
        console.say(
            "note: KEK_PASSPHRASE is not the one of then: keys that MLflow's gateway stored stay "
            "locked until that one is back in .env"
        )


def show(way: Way, target: Home, settings: Settings) -> None:
    """Print what will be done, and what is lost by it."""
    backup = way.backup
    upto = backup.as_of
    if way.to == "last":
        upto = f"the last change that was stored, of {state(way)}"
    elif way.to:
        upto = str(EPOCH + int(way.to) * MICROSECOND)
    rows = sum(table.rows for table in backup.tables.values())
    console.say(f"backup {backup.id} of {backup.as_of}: {console.size(backup.size)}, {rows:,} rows")
    if backup.stack != settings.stack_name:
        console.say(f"note: it is of another stack, {backup.stack}")
    console.say(f"brought to: {upto}")
    console.say(f"MLflow's schema: {backup.schema}; MySQL {backup.version}")
    where = target.host.name
    if not target.runs("db"):
        console.say(f"on {where}, where no database runs now")
        return
    console.say(f"on {where}, in the place of {target.volume()}, which is kept")
    for line in lost(way, target, settings.mysql_root_password):
        console.say(line)


def state(way: Way) -> datetime:
    """Return when the state that it leads to came about."""
    return max(EPOCH + way.last * MICROSECOND, way.backup.time)


def lost(way: Way, target: Home, root: Secret | None) -> list[str]:
    """Return what the database has that the restored one will not, as far as MLflow dates it."""
    since = (state(way) - EPOCH) // timedelta(milliseconds=1)
    questions = {
        "runs begun since": f"SELECT COUNT(*) FROM mlflow.runs WHERE start_time > {since}",  # noqa: S608
        "versions of models": "SELECT COUNT(*) FROM mlflow.model_versions "  # noqa: S608
        f"WHERE creation_time > {since}",
    }
    unknown = "note: what is lost by it is not known: "
    if root is None:
        return [f"{unknown}MYSQL_ROOT_PASSWORD is not in .env"]
    lines = []
    for what, question in questions.items():
        words, stdin = accounts.login(accounts.ROOT, root, question)
        done = target.host.run((*target.inside("db"), *words), stdin=stdin)
        count = done.out.strip()
        if done.code != 0 or not count.isdecimal():
            return [f"{unknown}the database does not say"]
        if count != "0":
            lines.append(f"lost: {count} {what}")
    return lines


def secure(target: Home) -> None:
    """Have what is there now backed up first, where something is and can be."""
    if not target.runs("backup"):
        return
    try:
        console.say(f"backed up as it is now: {order(target)}")
    except OpsError as error:
        console.say(f"note: no backup of what is there now: {error.cause}")


def order(target: Home, kind: str = manifest.BASE) -> str:
    """Have the backup service take a backup of a kind; return its id."""
    words = (*target.inside("backup"), "python", "-m", "ops.keeper", "take", kind)
    with console.steps() as step:
        done = target.host.follow(words, told(step))
    said = [line for line in done.err.splitlines() if manifest.ID.fullmatch(line)]
    if done.code != 0 or not said:
        raise from_output(done.code, done.err)
    return said[-1]
