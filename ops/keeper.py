"""The backup service: what runs in the container beside MySQL, by itself and on order.

    python -m ops.keeper serve       ships the logs without end, takes a base when one is due
    python -m ops.keeper take base   takes a base now, or a dump; prints its id
    python -m ops.keeper state       prints how it stands, as one JSON document
    python -m ops.keeper fetch       unpacks a backup (ops/fetching.py); the key comes on stdin

Lines on stderr that begin with "progress " are for whoever gave the order.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ops import base, dump, fetching, manifest, vault
from ops.base import Origin
from ops.chain import unbroken
from ops.donor import Donor
from ops.errors import FAILED, REFUSED, OpsError, refusal
from ops.manifest import Manifest
from ops.settings import Settings
from ops.shipping import Shipper, stored
from ops.vault import Vault

__all__ = ["due", "main"]

DATA, SPOOL = Path("/var/lib/mysql"), Path("/spool")
STATE, LOCK = SPOOL / "state.json", SPOOL / "lock"

POLL_SECONDS = 4.0
"""Between two looks at the logs: with one upload that is a loss of less than ten seconds."""

WAIT_SECONDS = 15.0
"""After something failed."""

LOOK_SECONDS = 60.0
"""Between two looks at what others left."""

RETRY_SECONDS = 600.0
"""After a base failed: it costs MySQL something."""

DAY = timedelta(days=1)
WEEK = 7 * DAY
"""Between two dumps."""

TAKERS: dict[str, Callable[[base.Origin, base.Told], Manifest]] = {
    manifest.BASE: base.take,
    manifest.DUMP: dump.take,
}

KEEP_LOGS = timedelta(hours=24)
"""How long MySQL keeps logs that are stored: a restore here needs no download of them."""

TOLD_EVERY = 0.5

ENDED = 143
"""The exit code of one that was told to end, as a shell has it for SIGTERM."""


class Keeper:
    """The service: one loop that ships, and a thread for the base that is due."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.donor = Donor("db")
        self.state: dict[str, Any] = {"begun": moment()}
        self.stop = threading.Event()
        self.last: Manifest | None = None
        self.dumped: datetime | None = None
        self.gap = False
        self.failed_at: float | None = None
        self.work: threading.Thread | None = None
        self.look_at = 0.0

    def serve(self) -> None:
        """Go on until told to stop; what fails is tried again."""
        sweep()
        shipper: Shipper | None = None
        while not self.stop.is_set():
            pause = POLL_SECONDS
            try:
                if shipper is None or self.donor.server().uuid != shipper.server:
                    shipper = self.begin()
                asked = moment()
                if shipper.ship(datetime.now(UTC)):
                    self.state |= {"shipped_to": asked, "log": shipper.place.file}
                else:
                    pause = 0
                shipper.forget(datetime.now(UTC) - KEEP_LOGS)
                self.heed(shipper)
                self.look(shipper)
                self.schedule(shipper.vault)
                self.state.pop("error", None)
                self.state.pop("error_since", None)
            except (OpsError, OSError) as error:
                trouble = in_words(error)
                say(trouble)
                self.state |= {"error": trouble.cause}
                self.state.setdefault("error_since", moment())
                self.heed(shipper)
                pause, shipper = WAIT_SECONDS, None
            self.tell()
            self.stop.wait(pause)

    def begin(self) -> Shipper:
        """Return what ships the logs of the MySQL that is there now."""
        place = vault.reach(self.settings, FAILED)
        server = self.donor.server()
        self.learn(place, server.uuid)
        self.state["server"] = server.uuid
        made = Shipper(place, self.donor, server.uuid, DATA, self.settings.recipients)
        self.heed(made)
        self.gap = self.gap or broken(place, self.last)
        return made

    def heed(self, shipper: Shipper | None) -> None:
        """Remember a gap: once a piece is stored beyond it, another shipper sees none."""
        if shipper is not None and shipper.gap:
            self.gap, shipper.gap = True, False

    def learn(self, place: Vault, server: str) -> None:
        """Ask which backups there are."""
        self.last = newest(place, server, manifest.BASE)
        dumped = newest(place, server, manifest.DUMP)
        self.dumped = dumped.time if dumped else None

    def look(self, shipper: Shipper) -> None:
        """Ask now and then for what is done elsewhere: proven restores, and backups on order."""
        if time.monotonic() >= self.look_at:
            found = manifest.last_proven(shipper.vault)
            self.state["proven"] = found.isoformat() if found else None
            if not self.working:
                self.learn(shipper.vault, shipper.server)
            self.look_at = time.monotonic() + LOOK_SECONDS

    @property
    def working(self) -> bool:
        """Whether a backup of its own is under way."""
        return self.work is not None and self.work.is_alive()

    def schedule(self, place: Vault) -> None:
        """Take a base or a dump if one is due and none is under way."""
        now = datetime.now(UTC)
        self.state["last"] = summary(self.last)
        if self.working:
            return
        if self.failed_at is not None and time.monotonic() - self.failed_at < RETRY_SECONDS:
            return
        at = self.settings.backup_at
        if self.gap or due(self.last.time if self.last else None, now, at):
            kind = manifest.BASE
        elif due(self.dumped, now, at, WEEK - DAY):
            kind = manifest.DUMP
        else:
            return
        self.work = threading.Thread(target=self.take, args=(place, kind), daemon=True)
        self.work.start()

    def take(self, place: Vault, kind: str) -> None:
        """Take a backup and remember how that ended."""
        gap, self.gap = self.gap, self.gap and kind != manifest.BASE
        try:
            made = take(self.settings, place, kind, lambda *_: None)
            if kind == manifest.BASE:
                self.last = made
            else:
                self.dumped = made.time
            self.failed_at = None
            self.state.pop("base_error", None)
        except Exception as error:  # noqa: BLE001 - a disk that is full, say: it is tried again
            self.gap = self.gap or gap
            self.failed(in_words(error))

    def failed(self, error: OpsError) -> None:
        """Remember why a backup failed, and when."""
        say(error)
        self.failed_at = time.monotonic()
        self.state["base_error"] = error.cause

    def tell(self) -> None:
        """Write how it stands, for whoever asks."""
        self.state["at"] = moment()
        draft = STATE.with_suffix(".new")
        try:
            draft.write_text(json.dumps(self.state) + "\n", "utf-8")
            draft.replace(STATE)
        except OSError as error:  # on a full disk it is all the more important to ship
            say(in_words(error))


def due(last: datetime | None, now: datetime, at: str, more: timedelta = 0 * DAY) -> bool:
    """Say whether a backup is due: the last one is from before the last time of the day `at`.

    `more` is how much older than that it may be. One from the future, by a clock that was ahead,
    is no reason to make none.
    """
    hour, minute = (int(part) for part in at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    latest = today if today <= now else today - DAY
    return last is None or last + more < latest or last > now + DAY


def newest(place: Vault, server: str, kind: str) -> Manifest | None:
    """Return the newest backup of a kind of a MySQL."""
    found = sorted(manifest.known(place, kind), key=lambda each: each[1], reverse=True)
    ahead = datetime.now(UTC) + DAY
    for generation, identity in found:
        if manifest.begun(identity) > ahead:
            continue
        name = f"{generation}/{identity}/{manifest.NAME}"
        try:
            made = Manifest.read(place.read(name), name)
        except OpsError as error:
            if error.code != REFUSED:
                raise
            say(error)  # one that is not ours keeps nobody from shipping
            continue
        if made.kind == kind and made.server == server:
            return made
    return None


def broken(place: Vault, last: Manifest | None) -> bool:
    """Say whether logs are missing after a backup."""
    if last is None:
        return False
    way = unbroken(stored(place, last.server, last.first_log), last.server, last.first_log)
    return way.gap is not None


def take(settings: Settings, place: Vault, kind: str, told: base.Told) -> Manifest:
    """Take a backup of a kind, unless one is under way."""
    with alone():
        origin = Origin(
            *(place, Donor("db"), DATA, SPOOL),
            settings.stack_name,
            settings.recipients,
            {"KEK_PASSPHRASE": os.environ["KEK_FINGERPRINT"]},
            {"place": settings.artifacts_destination},
        )
        return TAKERS[kind](origin, told)


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second one out while a base is taken; a killed one keeps nobody out."""
    with LOCK.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal(
                "a backup is under way already", "wait for it: invoke list-backups"
            ) from None
        sweep()
        yield


def sweep() -> None:
    """Remove what a base left that was killed."""
    import shutil

    for path in SPOOL.iterdir():
        if manifest.ID.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def summary(made: Manifest | None) -> dict[str, Any] | None:
    """Return what is told of a backup."""
    return {"id": made.id, "as_of": made.as_of, "size": made.size} if made else None


def moment() -> str:
    """Return the time."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def in_words(error: Exception) -> OpsError:
    """Return an error as a person reads it: a full disk, for example, is none of ours."""
    if isinstance(error, OpsError):
        return error
    return OpsError(
        f"{type(error).__name__}: {error}",
        "see whether the disk that Docker's volumes are on is full; then again",
    )


def say(error: OpsError) -> None:
    """Write an error to the log."""
    print(f"{moment()} {error.message}", file=sys.stderr, flush=True)


class Teller:
    """Passes progress on, not more often than somebody reads."""

    def __init__(self) -> None:
        self.last, self.label = 0.0, ""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Tell that something is under way, and how far."""
        now = time.monotonic()
        if label != self.label or done >= total or now - self.last > TOLD_EVERY:
            self.last, self.label = now, label
            line = json.dumps([label, done, total])
            print(f"progress {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Run one of the commands; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve")
    commands.add_parser("take").add_argument("kind", choices=[*TAKERS])
    commands.add_parser("state")
    fetching.arguments(commands.add_parser("fetch"))
    options = parser.parse_args()

    told_to_end = threading.Event()

    def ended(*_: object) -> None:
        told_to_end.set()
        raise SystemExit(ENDED)

    signal.signal(signal.SIGTERM, ended)
    try:
        settings = Settings.load(Path("/nonexistent"))
        if options.command == "serve":
            Keeper(settings).serve()
        elif options.command == "take":
            place = vault.reach(settings)
            print(take(settings, place, options.kind, Teller()).id)
        elif options.command == "fetch":
            fetching.fetch(settings, options, Teller())
        else:
            print(STATE.read_text("utf-8") if STATE.exists() else "{}", end="")
    except (OpsError, OSError) as error:
        if told_to_end.is_set():  # age, asked in between, makes an error of its own of it
            return ENDED
        said = in_words(error)
        print(said.message, file=sys.stderr, flush=True)
        return said.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
