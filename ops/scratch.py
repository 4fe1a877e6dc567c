"""A restored MySQL, in a container of its own with no network, before it is anybody's database."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ops import console, stack
from ops.errors import OpsError, from_output
from ops.hosts import Host
from ops.manifest import Manifest, Table
from ops.settings import Settings

__all__ = ["Fetched", "Scratch", "Way", "answer", "told"]

LABEL = "mlflow-compose.restore"
"""On the containers and volumes of a restore; its value is the stack."""

START_SECONDS = 600.0
"""MySQL recovers before it answers, which takes as long as what was written in the last minutes."""

REPLAY_SECONDS = 24 * 3600.0
STOP_SECONDS = 600

# The official image has it beside its shell and not in the PATH.
MYSQLBINLOG = "/usr/libexec/mysqlsh/mysqlbinlog"

# Nothing durable before it is whole: a power cut ends the restore, and it begins anew.
FLAGS = (
    *("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--skip-log-bin"),
    *("--log-bin-trust-function-creators=ON", "--event-scheduler=OFF"),
    "--innodb-flush-log-at-trx-commit=0",
)

# A dump has no users in it.
USERS = """
CREATE USER IF NOT EXISTS 'mlflow'@'%';
GRANT ALL ON mlflow.* TO 'mlflow'@'%';
"""

CLIENT, PASSWORDS = "/dev/shm/client", "/dev/shm/passwords"  # noqa: S108 - in the container
PROGRESS = "progress "
"""How the lines begin that are for whoever watches (ops/keeper.py)."""

LOOK = "see what is there: docker logs"


@dataclass(frozen=True, slots=True)
class Way:
    """How far a restore goes: to a backup's own state, to a moment after it, or to the last log.

    `to` is what `fetch` takes: microseconds since 1970, `last`, or "".
    """

    backup: Manifest
    to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What was unpacked: names of logs, and what they lead to."""

    tail: list[str]
    gtids: str
    after: list[str]
    transactions: int = 0
    last: str = ""
    stopped: bool = False


class Scratch:
    """The volumes and the container of one restore; `name` is what they begin with."""

    def __init__(self, host: Host, settings: Settings, image: str, way: Way) -> None:
        self.host, self.settings, self.image, self.way = host, settings, image, way
        self.stack = settings.stack_name
        self.volume = f"{self.stack}_db-{datetime.now(UTC):%Y%m%dT%H%M%SZ}".lower()
        self.logs = f"{self.volume}-logs"
        self.container = f"{self.volume}-mysql"

    @property
    def labelled(self) -> tuple[str, str]:
        """How containers and volumes of this restore are known."""
        return "--label", f"{LABEL}={self.stack}"

    @contextmanager
    def volumes(self, *, keep: bool = True) -> Iterator[None]:
        """Have the two volumes; afterwards that of the logs is gone, and the other unless kept.

        Where it failed both are gone.
        """
        # As Compose names what it made, so that it takes the volume for its own.
        own = [f"com.docker.compose.project={self.stack}", "com.docker.compose.volume=db"]
        labels = [word for each in own for word in ("--label", each)] if keep else []
        remedy = "look at the Docker Engine: docker info"
        made = ("docker", "volume", "create", *self.labelled)
        self.host.check((*made, *labels, self.volume), remedy)
        self.host.check((*made, self.logs), remedy)
        gone = [self.volume, self.logs]
        try:
            yield
            if keep:
                gone = [self.logs]
        finally:
            self.host.run(("docker", "rm", "--force", "--volumes", self.container))
            self.host.run(("docker", "volume", "rm", "--force", *gone))

    def fetch(self, key: str, credentials: str) -> Fetched:
        """Unpack the backup into the volumes; what is wrong with it shows here."""
        settings = self.settings
        environ = {
            "BACKUPS_DESTINATION": settings.backups_destination,
            "BACKUP_RECIPIENTS": settings.backup_recipients,
            "S3_ENDPOINT_URL": settings.s3_endpoint_url,
            "S3_REGION": settings.s3_region,
            "AWS_SHARED_CREDENTIALS_FILE": "/tmp/credentials",  # noqa: S108 - in the container
        }
        words = (
            *("docker", "run", "--rm", "--interactive", f"--name={self.container}"),
            *(*self.labelled, "--read-only", "--tmpfs=/tmp"),
            *("--cap-drop=ALL", "--security-opt=no-new-privileges:true"),
            *(f"--volume={self.volume}:/restore/data", f"--volume={self.logs}:/restore/logs"),
            *(f"--env={name}={value}" for name, value in environ.items() if value),
            *(self.image, "python", "-m", "ops.keeper", "fetch", f"--id={self.way.backup.id}"),
            *([f"--to={self.way.to}"] if self.way.to else []),
        )
        given = json.dumps({"key": key, "credentials": credentials}).encode()
        with console.steps() as step:
            done = self.host.follow(words, told(step), stdin=[given])
        if done.code != 0:
            raise from_output(done.code, done.err)
        found = json.loads(answer(done.err))
        return Fetched(**{"after": [], **found})

    @contextmanager
    def mysql(self) -> Iterator[None]:
        """Have a MySQL on the restored data that nobody else reaches, with the passwords of now."""
        with self._started(*FLAGS, "--skip-grant-tables", "--skip-networking"):
            self._wait("--user=root")
            self._put(CLIENT, self._option_file())
            self._put(PASSWORDS, self._passwords())
            self.inside("bash", "-c", f"mysql --user=root < {PASSWORDS}")
            yield

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Have a new MySQL that a dump was loaded into, with the users of now."""
        empty = ("--env=MYSQL_ALLOW_EMPTY_PASSWORD=yes", "--env=MYSQL_DATABASE=mlflow")
        with self._started(*FLAGS, env=empty):
            self._wait("--host=127.0.0.1")  # the one that prepares the volume has a socket only
            self._put(CLIENT, self._option_file())
            self._put(PASSWORDS, USERS + self._passwords())
            self.inside("bash", "-c", f"mysql --user=root < {PASSWORDS}")
            load = f"mysql --defaults-extra-file={CLIENT} --binary-mode --max-allowed-packet=1G"
            with console.progress("loading the dump"):
                script = f"{load} < /restore/logs/dump.sql"
                self.inside("bash", "-c", script, deadline=REPLAY_SECONDS)
            yield

    @contextmanager
    def server(self) -> Iterator[None]:
        """Have it once more, as a database asked over TCP by what shares its loopback."""
        with self._started(*FLAGS):
            self._wait("--host=127.0.0.1")
            self._put(CLIENT, self._option_file())
            yield

    @contextmanager
    def _started(self, *flags: str, env: Sequence[str] = ()) -> Iterator[None]:
        """Have a MySQL; where nothing failed it ends with all it knows on the disk."""
        words = (
            *("docker", "run", "--detach", f"--name={self.container}", "--network=none"),
            *(*self.labelled, "--shm-size=16m", *env),
            *(f"--volume={self.volume}:/var/lib/mysql", f"--volume={self.logs}:/restore/logs:ro"),
            *(stack.BASES[0], *flags),
        )
        self.host.check(words, LOOK, deadline=START_SECONDS)
        stop = ("docker", "stop", "-t", str(STOP_SECONDS), self.container)
        try:
            yield
            self.inside("sync")  # what was unpacked and never touched since is on no disk yet
            self.host.check(stop, LOOK, deadline=STOP_SECONDS + 60)
        finally:
            self.host.run(("docker", "rm", "--force", "--volumes", self.container))

    def _wait(self, *where: str) -> None:
        """Wait until MySQL answers; raise with its last words if it ends instead."""
        ping = f"mysqladmin {shlex.join(where)} --silent ping 2>/dev/null"
        script = f"for i in $(seq 1200); do {ping} && exit 0; sleep 0.5; done; exit 1"
        words = ("docker", "exec", self.container, "sh", "-c", script)
        if self.host.run(words, deadline=START_SECONDS).code != 0:
            log = self.host.run(("docker", "logs", "--tail", "20", self.container))
            said = (log.out + log.err).strip()
            raise OpsError(f"MySQL does not start on the restored data:\n  {said}", LOOK)

    def _put(self, path: str, text: str) -> None:
        """Write a file in the container's memory."""
        script = f"umask 077; cat > {path}; chown mysql {path} 2>/dev/null || true"
        words = ("docker", "exec", "--interactive", self.container, "sh", "-c", script)
        self.host.check(words, LOOK, stdin=text.encode())

    def _option_file(self) -> str:
        password = self.settings.mysql_root_password
        assert password is not None
        return f'[client]\nuser = root\npassword = "{password.reveal()}"\n'

    def _passwords(self) -> str:
        """Return SQL that gives users the passwords of `.env`: those of then may be lost."""
        settings = self.settings
        given = {
            "'root'@'localhost'": settings.mysql_root_password,
            "'root'@'%'": settings.mysql_root_password,
            "'mlflow'@'%'": settings.mysql_password,
        }
        lines = [
            f"ALTER USER IF EXISTS {user} IDENTIFIED BY '{password.reveal()}';"
            for user, password in given.items()
            if password is not None
        ]
        return "\n".join(["FLUSH PRIVILEGES;", *lines, ""])

    def inside(self, *words: str, deadline: float = START_SECONDS) -> str:
        """Run a command in MySQL's container; return what it printed."""
        return self.host.check(("docker", "exec", self.container, *words), LOOK, deadline=deadline)

    def sql(self, *questions: str) -> list[list[str]]:
        """Return the rows that answer questions."""
        options = (f"--defaults-extra-file={CLIENT}", "--batch", "--skip-column-names", "--raw")
        out = self.inside(
            "mysql", *options, f"--execute={'; '.join(questions)}", deadline=REPLAY_SECONDS
        )
        return [line.split("\t") for line in out.splitlines()]

    def replay(self, folder: str, files: Sequence[str]) -> None:
        """Repeat what logs say; MySQL skips the transactions it has."""
        if not files:
            return
        paths = shlex.join(f"/restore/logs/{folder}/{name}" for name in files)
        # A password that was changed in the logs is changed back in the same session.
        script = (
            f"{{ {MYSQLBINLOG} {paths} && cat {PASSWORDS}; }}"
            f" | mysql --defaults-extra-file={CLIENT} --binary-mode"
        )
        with console.progress("repeating what the logs say"):
            self.inside("bash", "-o", "pipefail", "-c", script, deadline=REPLAY_SECONDS)

    def executed(self) -> str:
        """Return the transactions it has, as a set of GTIDs."""
        return "".join(row[0] for row in self.sql("SELECT @@global.gtid_executed"))

    def census(self, names: Iterable[str]) -> dict[str, Table]:
        """Count and sum up tables; those that are not there are left out."""
        listed = self.sql(
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables "
            "WHERE table_type = 'BASE TABLE'"
        )
        there = {row[0] for row in listed}
        found = {}
        wanted = [name for name in names if name in there]
        questions = []
        for name in wanted:
            quoted = ".".join(f"`{part}`" for part in name.split(".", 1))
            questions += [f"SELECT COUNT(*) FROM {quoted}", f"CHECKSUM TABLE {quoted}"]  # noqa: S608
        rows = self.sql(*questions) if questions else []
        for name, (count, total) in zip(
            wanted, zip(rows[::2], rows[1::2], strict=True), strict=True
        ):
            found[name] = Table(int(count[0]), int(total[-1]))
        return found

    def prove(self) -> None:
        """Raise unless it is, row by row, what the manifest says of the backup's own state."""
        made = self.way.backup
        with console.progress("comparing every table with the manifest"):
            found = self.census(made.tables)
        wrong = [
            f"{name}: {_said(found.get(name))} instead of {_said(table)}"
            for name, table in made.tables.items()
            if found.get(name) != table
        ]
        if wrong:
            raise OpsError(
                "\n  ".join([f"the restored data is not what {made.id} was", *wrong[:10]]),
                "take another backup: invoke list-backups",
            )
        listed = self.sql(
            "SELECT CONCAT(trigger_schema, '.', trigger_name) FROM information_schema.triggers "
            "WHERE trigger_schema <> 'sys' ORDER BY 1"
        )
        if [row[0] for row in listed] != made.triggers:
            raise OpsError(
                f"triggers are missing: {', '.join(made.triggers)}",
                "take another backup: invoke list-backups",
            )


def _said(table: Table | None) -> str:
    return "nothing" if table is None else f"{table.rows} rows, sum {table.checksum}"


def answer(said: str) -> str:
    """Return what the backup service answered; its lines of progress may come before or after."""
    lines = [line for line in said.splitlines() if line and not line.startswith(PROGRESS)]
    return lines[-1] if lines else ""


def told(step: Callable[[str, int, int], None]) -> Callable[[str], None]:
    """Return what takes the lines of the backup service and shows its progress."""

    def line(text: str) -> None:
        if text.startswith(PROGRESS):
            step(*json.loads(text.removeprefix(PROGRESS)))

    return line
