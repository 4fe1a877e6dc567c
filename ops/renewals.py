"""What each generated secret needs to be replaced while the stack runs."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ops import accounts, consent, console, front_door, premises, rotation, secret_files
from ops.errors import OpsError, from_output, refusal
from ops.front_door import RequestError
from ops.premises import Place, Premises
from ops.rotation import Change, Steps
from ops.settings import ADMIN, GENERATED, Settings
from ops.users import Users
from ops.values import Secret

__all__ = ["rotate"]

CACHE_SECONDS = 90
"""How long a password may go on working once it was changed: MLflow and NGINX each remember it.

NGINX remembers a certificate for a minute, too.
"""

POLL_SECONDS = 5.0
STILL = "the old {key} is still accepted"
AGAIN = "run the same command again: it goes on where it was"

JOB = "ops/rekeying.py"
"""Is given to Python whole: the image that runs may be of an earlier version."""


@dataclass(frozen=True, slots=True)
class Plain:
    """One that only has to be taken into use; those of the other kinds begin with it."""

    settings: Settings
    where: Premises

    def admit(self, change: Change) -> None:
        """Leave it: nobody asks for it but what is started with it."""

    def take(self, change: Change) -> None:
        """Have everything run with what is in `.env`."""
        del change
        self.where.bring()

    def dismiss(self, change: Change) -> None:
        """Leave it: the old one is gone with what knew it."""


@dataclass(frozen=True, slots=True)
class Account(Plain):
    """The password of a user of MySQL, who has two while servers of both kinds run.

    https://dev.mysql.com/doc/refman/9.7/en/password-management.html#dual-passwords
    """

    user: str = ""

    def admit(self, change: Change) -> None:
        """Give the user the new password in addition."""
        root, both = secret_files.root_password(self.settings), (change.old, change.new)
        with self.where.reached() as place:
            # A third one may be left by a deploy that failed: it would stay, and the old one go.
            accounts.admit(place.host, place.database, root, self.user, both)

    def dismiss(self, change: Change) -> None:
        """Take the old one away."""
        root = secret_files.root_password(self.settings)
        with self.where.reached() as place:
            accounts.settle(place.host, place.database, root, self.user, change.new)
            if accounts.accepted(place.host, place.database, self.user, change.old):
                raise OpsError(STILL.format(key=change.key), AGAIN)


@dataclass(frozen=True, slots=True)
class Root(Plain):
    """MySQL's administrator, whom only our own commands are: there is no need for two passwords."""

    def admit(self, change: Change) -> None:
        """Change the password."""
        with self.where.reached() as place:
            if not accounts.accepted(place.host, place.database, accounts.ROOT, change.new):
                sql = f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{change.new.reveal()}';"
                sql = f"SET SESSION sql_log_bin = 0; {sql}"
                accounts.as_root(place.host, place.database, change.old, sql)

    def dismiss(self, change: Change) -> None:
        """See that the old one is refused."""
        with self.where.reached() as place:
            if accounts.accepted(place.host, place.database, accounts.ROOT, change.old):
                raise OpsError(STILL.format(key=change.key), AGAIN)


@dataclass(frozen=True, slots=True)
class Elsewhere(Plain):
    """The password of our user in a MySQL that is not the stack's: the user changes it himself."""

    def admit(self, change: Change) -> None:
        """Have the new password in addition."""
        self._do("admit", change)

    def dismiss(self, change: Change) -> None:
        """Take the old one away."""
        self._do("dismiss", change)

    def _do(self, what: str, change: Change) -> None:
        with self.where.reached() as place:
            run(place, what, change.old.reveal(), change.new.reveal())


@dataclass(frozen=True, slots=True)
class Rekeyed(Plain):
    """One that locks what is in the database: that is locked anew, before and after the change.

    A server knows one of them. From the first time until the new server takes over, the old one
    cannot open what is locked; the second time is for what it has locked itself meanwhile.
    """

    lock: str = ""
    as_used: Callable[[Secret], str] = Secret.reveal

    def admit(self, change: Change) -> None:
        """Lock all with the new one."""
        with self.where.reached() as place:
            self._rekey(place, change)

    def take(self, change: Change) -> None:
        """Have everything run with the new one; if that fails, the old server can go on."""
        self.settings.note(f"an earlier {change.key}, for backups of then: {change.old.reveal()}")
        try:
            self.where.bring()
        except BaseException:
            with self.where.reached() as place:
                self._rekey(place, change.back)
            raise

    def dismiss(self, change: Change) -> None:
        """Lock with the new one what was locked with the old one meanwhile."""
        with self.where.reached() as place:
            self._rekey(place, change)

    def _rekey(self, place: Place, change: Change) -> None:
        run(place, self.lock, self.as_used(change.old), self.as_used(change.new))


@dataclass(frozen=True, slots=True)
class Admin(Plain):
    """The password of MLflow's first user, who has one."""

    def admit(self, change: Change) -> None:
        """Change it, by the server itself."""
        with self.where.reached() as place:
            if not self._known(place, change.new):
                with place.door(replace(self.settings, admin_password=change.old)) as door:
                    Users(door).set_password(ADMIN, change.new, change.old)

    def dismiss(self, change: Change) -> None:
        """Wait until nobody remembers the old one."""
        deadline = time.monotonic() + CACHE_SECONDS
        with self.where.reached() as place:
            while self._known(place, change.old):
                if time.monotonic() > deadline:
                    raise OpsError(STILL.format(key=change.key), AGAIN)
                time.sleep(POLL_SECONDS)

    def _known(self, place: Place, password: Secret) -> bool:
        with place.door(replace(self.settings, admin_password=password)) as door:
            try:
                door.call("GET", "/users/current", {})
            except RequestError as error:
                if error.status == 401:
                    return False
                raise OpsError(
                    f"the server does not say who {ADMIN} is: {error}", "look: invoke status"
                ) from None
        return True


@dataclass(frozen=True, slots=True)
class SignOnAdmin(Admin):
    """The same where people log in at an identity provider: the migration job sets it."""

    def admit(self, change: Change) -> None:
        """Leave it: nobody but our own commands has it."""


@dataclass(frozen=True, slots=True)
class Signing(Plain):
    """What the private CA follows from."""

    def dismiss(self, change: Change) -> None:
        """See that NGINX shows what the new CA has signed: it looks once a minute, or when told."""
        new = replace(self.settings, ca_secret=change.new)
        with self.where.reached() as place, place.door(new) as door:
            front_door.wait(door, CACHE_SECONDS, lambda: None)


def run(place: Place, what: str, old: str, new: str) -> None:
    """Run the job in the database that needs what the server has, and raise what it ends with."""
    source = (Settings.load().root / JOB).read_text("utf-8")
    told = json.dumps({"do": what, "old": old, "new": new}).encode()
    done = place.host.run(place.job("python", "-I", "-c", source), stdin=told, deadline=600)
    if done.code != 0:
        raise from_output(done.code, done.err)
    for line in done.out.splitlines():
        console.say(line)


def kinds(settings: Settings, where: Premises) -> Mapping[str, Steps]:
    """Return what is done for each secret."""
    found = (settings, where)
    fernet = secret_files.fernet
    return {
        "MYSQL_PASSWORD": Elsewhere(*found)
        if settings.database_host
        else Account(*found, "mlflow"),
        "MYSQL_ROOT_PASSWORD": Root(*found),
        "MYSQL_WEB_PASSWORD": Account(*found, "web"),
        "BACKUP_PASSWORD": Account(*found, "backup"),
        "KEK_PASSPHRASE": Rekeyed(*found, "gateway"),
        "WEBHOOK_KEY": Rekeyed(*found, "webhooks", fernet),
        "ADMIN_PASSWORD": (SignOnAdmin if settings.auth == "oidc" else Admin)(*found),
        "SESSION_KEY": Plain(*found),
        "CA_SECRET": Signing(*found),
    }


def rotate(key: str, hosts: str, *, yes: bool) -> None:
    """Replace a generated secret by a new one, here or on hosts."""
    key, settings = key.upper(), Settings.load()
    check(settings, key)
    where = premises.premises(settings, hosts)
    with rotation.begun(settings, key, hosts) as (change, before):
        if before:
            console.say(f"the rotation of {key} was cut off: it goes on")
        else:
            where.require_current()
            if key == "CA_SECRET" and not yes:
                consent.ask(
                    "every client needs the file of the new CA, and fails until it has it",
                    elsewhere="--yes",
                )
        rotation.carry_out(settings, change, kinds(settings, where)[key])
    console.say(f"{key} is a new one, in use and in .env")
    if key == "CA_SECRET":
        console.say("give clients the new CA: invoke client-env says where it is")


def check(settings: Settings, key: str) -> None:
    """Refuse what is no secret of this stack, or not ours to change."""
    if key not in GENERATED:
        raise refusal(f"there is no generated secret {key!r}", f"use one of {', '.join(GENERATED)}")
    if key not in settings.used_secrets():
        raise refusal(f"this stack has no use for {key}", "leave it as it is")
    if settings.missing_secrets():
        raise refusal(f"{key} was not made yet", "bring the stack up: invoke up")
    if settings.overridden(key):
        raise refusal(
            f"the environment sets {key}, and what is kept in .env would not count",
            f"unset it: unset {key}",
        )
