"""A database brought back: into a new volume, proven there, and only then put in place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ops import age_keys, artifacts, consent, console, manifest, stack, vault
from ops.age_keys import Key
from ops.chain import Segment, unbroken
from ops.errors import OpsError, refusal
from ops.gtids import GtidSet
from ops.homes import Home, home
from ops.manifest import Manifest
from ops.scratch import Fetched, Scratch, Way, answer, told
from ops.settings import Settings
from ops.vault import Vault

__all__ = ["Asked", "choose", "moment", "restore"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROOT = (
    "mysql",
    "--defaults-extra-file=/run/secrets/mysql_root_client",
    "--batch",
    "--skip-column-names",
)
BACKUP_SECONDS = 6 * 3600.0
SEE = "see which: invoke list-backups"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; an empty string where they said nothing."""

    identity: str = ""
    at: str = ""
    key: str = ""


def restore(asked: Asked, hosts: str, *, confirm: str) -> None:
    """Bring the database back to a backup, to a moment, or to the last change that was stored."""
    settings = Settings.load()
    key = age_keys.find(settings, asked.key)
    place = vault.reach(settings)
    with place.asking(2):
        way = choose(place, asked)
    check_key(way.backup, key)
    check_passphrase(way.backup, settings)
    with home(settings, hosts) as target, target.kept():
        show(way, target)
        if confirm != settings.stack_name:
            consent.ask(
                f"Put this in the place of the database of {settings.stack_name}?",
                answer=settings.stack_name,
                elsewhere=f"repeat with --confirm {settings.stack_name}",
            )
        # --- Looked at; what follows changes things, and the database only at the end ---
        settings = settings.with_secrets()
        secure(target)
        made = Scratch(target.host, settings, target.images(), way)
        with made.volumes():
            bring(made, key, settings)
            before = target.volume()
            with console.progress("putting it in place"):
                serving = target.take(made.volume)
    console.say(f"kept, in case: the volume {before}; when you are sure: docker volume rm {before}")
    if serving:
        console.result(settings.url)
    else:
        where = f" --host {hosts}" if hosts else ""
        console.say("the database is back; now start the server on it:")
        console.result(f"invoke {'deploy' if hosts else 'up'}{where}")


def bring(made: Scratch, key: Key, settings: Settings) -> Fetched:
    """Fetch a backup into new volumes and prove it there: its own state, and what came after."""
    backup = made.way.backup
    fetched = made.fetch(key.reveal(), stack.s3_credentials(settings))
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
        for each in artifacts.report(artifacts.look(made, settings)):
            console.say(each)
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
    if asked.identity and asked.at:
        raise refusal("--id and --at are both given", "give one of them")
    if asked.identity:
        return Way(manifest.find(place, asked.identity))
    wanted = moment(asked.at) if asked.at else None
    bases = found_bases(place)
    if not bases:
        raise refusal(f"there is no backup in {place}", "see whether that is the right place")
    if wanted is None:
        return Way(bases[-1], "last")
    if wanted > datetime.now(UTC):
        raise refusal(f"{asked.at} has not been yet", "give a moment of the past")
    earlier = [each for each in bases if each.time <= wanted]
    if not earlier:
        raise refusal(
            f"the first backup stands for {bases[0].as_of}, which is after {asked.at}", SEE
        )
    check_gap(place, earlier[-1], wanted)
    return Way(earlier[-1], str((wanted - EPOCH) // timedelta(microseconds=1)))


def found_bases(place: Vault) -> list[Manifest]:
    """Return the physical backups, the oldest first."""
    names = [f"{generation}/{each}/{manifest.NAME}" for generation, each in manifest.known(place)]
    made = [Manifest.read(place.read(name), name) for name in names]
    bases = [each for each in made if each.kind == manifest.BASE]
    return sorted(bases, key=lambda each: each.time)


def check_gap(place: Vault, backup: Manifest, wanted: datetime) -> None:
    """Refuse a moment that the stored logs do not lead to without a break."""
    names = (entry.name for entry in place.list(f"logs/{backup.server}/"))
    pieces = [each for each in map(Segment.parse, names) if each is not None]
    way = unbroken(pieces, backup.server, backup.first_log)
    reached = max((each.committed for each in way.segments), default=0)
    if way.gap and EPOCH + timedelta(microseconds=reached) < wanted:
        raise refusal(
            f"logs are missing after {way.gap[0]}, byte {way.gap[1]}: "
            f"from {backup.id} the way leads to {EPOCH + timedelta(microseconds=reached)}",
            "take an earlier moment, or a later backup: invoke list-backups",
        )


def moment(text: str) -> datetime:
    """Return the moment that a person means; without an offset, it is in this machine's zone."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise refusal(
            f"--at {text!r} is no moment", 'write it as "2026-11-23 06:40", or with +00:00'
        ) from None


def check_key(backup: Manifest, key: Key) -> None:
    """Refuse a key that does not open the backup, before anything is done."""
    if not key.opens(backup.recipients):
        raise refusal(
            f"the key does not open {backup.id}: that was encrypted for "
            f"{', '.join(backup.recipients)}",
            "give the file of such a key: --key",
        )


def check_passphrase(backup: Manifest, settings: Settings) -> None:
    """Say what the restored database holds that no one will be able to open."""
    kept = backup.secrets.get("KEK_PASSPHRASE")
    now = settings.kek_passphrase
    if now is None or stack.fingerprint(now.reveal(), backup.stack) != kept:
        console.say(
            "note: KEK_PASSPHRASE is not the one of then: keys that MLflow's gateway stored stay "
            "locked until that one is back in .env"
        )


def show(way: Way, target: Home) -> None:
    """Print what will be done, and what is lost by it."""
    backup = way.backup
    upto = backup.as_of
    if way.to == "last":
        upto = "the last change that was stored"
    elif way.to:
        upto = str(EPOCH + timedelta(microseconds=int(way.to)))
    rows = sum(table.rows for table in backup.tables.values())
    console.say(f"backup {backup.id} of {backup.as_of}: {console.size(backup.size)}, {rows:,} rows")
    console.say(f"brought to: {upto}")
    console.say(f"MLflow's schema: {backup.schema}; MySQL {backup.version}")
    where = target.host.name
    if not target.runs("db"):
        console.say(f"on {where}, where no database runs now")
        return
    console.say(f"on {where}, in the place of {target.volume()}, which is kept")
    for line in lost(way, target):
        console.say(line)


def lost(way: Way, target: Home) -> list[str]:
    """Return what the database has that the restored one will not, as far as MLflow dates it."""
    if way.to == "last":
        return []
    since = int(way.to) // 1000 if way.to else int(way.backup.time.timestamp() * 1000)
    questions = {
        "runs begun since": f"SELECT COUNT(*) FROM mlflow.runs WHERE start_time > {since}",  # noqa: S608
        "versions of models": "SELECT COUNT(*) FROM mlflow.model_versions "  # noqa: S608
        f"WHERE creation_time > {since}",
    }
    lines = []
    for what, question in questions.items():
        done = target.host.run((*target.inside("db"), *ROOT, f"--execute={question}"))
        count = done.out.strip()
        if done.code == 0 and count not in ("", "0"):
            lines.append(f"lost: {count} {what}")
    return lines


def secure(target: Home) -> None:
    """Have what is there now backed up first, where something is and can be."""
    if not target.runs("backup"):
        return
    with console.steps() as step:
        done = target.host.follow(ordered(target), told(step))
    if done.code != 0:
        said = done.err.strip().splitlines()[-2:]
        console.say(f"note: no backup of what is there now: {' '.join(said)}")
        return
    console.say(f"backed up as it is now: {answer(done.err)}")


def ordered(target: Home, kind: str = manifest.BASE) -> Sequence[str]:
    """Return the command that orders a backup."""
    return (*target.inside("backup"), "python", "-m", "ops.keeper", "take", kind)
