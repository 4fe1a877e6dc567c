"""A restored MySQL, in a container of its own with no network, before it is anybody's database."""

import json
import secrets
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from ops import console, images, stack
from ops.errors import OpsError, from_output, refusal
from ops.hosts import Host
from ops.manifest import DUMP, Manifest, Table
from ops.settings import Settings

__all__ = ["DRILL", "RESTORE", "UPGRADE", "Fetched", "Scratch", "Way"]

RESTORE, DRILL, UPGRADE = "restore", "drill", "upgrade"
"""What one is for; a restore that goes on is nothing that a drill has left, nor the reverse."""

LABEL = "mlflow-compose."
"""With what it is for, on all containers and volumes; the value is the stack."""

LOGS = "-logs"
"""What the second volume's name has more than the first one's."""

ROOM = 1.2
"""Of what is unpacked: what has to be free, for it grows while logs are repeated."""

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
GRANT ALL ON mlflow_oidc.* TO 'mlflow'@'%';
"""

# They are made anew when it has become the database (ops/accounts.py): with what they had then, a
# password that was replaced since would be good again.
FORGET = "DROP USER IF EXISTS 'web'@'%', 'backup'@'%';"

CLIENT, PASSWORDS = "/dev/shm/client", "/dev/shm/passwords"  # noqa: S108 - in the container
PROGRESS = "progress "
"""How the lines begin that are for whoever watches (ops/keeper.py)."""

LOOK = "see what is there: docker logs"


@dataclass(frozen=True, slots=True)
class Way:
    """How far a restore goes: to a backup's own state, to a moment after it, or to the last log.

    `to` is what `fetch` takes: microseconds since 1970, `last`, or "". `logs` are the bytes of the
    logs on the way, and `last` is the moment they lead to, in microseconds since 1970.
    """

    backup: Manifest
    to: str = ""
    logs: int = 0
    last: int = 0

    @property
    def room(self) -> int:
        """The bytes of disk that it takes."""
        # A dump lies there as SQL beside the database that is made of it.
        copies = 2 if self.backup.kind == DUMP else 1
        plain = sum(each.plain_size for each in self.backup.objects)
        return int(ROOM * (copies * plain + self.logs))


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

    def __init__(self, host: Host, settings: Settings, way: Way, purpose: str = RESTORE) -> None:
        self.host, self.settings, self.way = host, settings, way
        self.stack, self.purpose = settings.stack_name, purpose
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}".lower()
        self.volume = f"{self.stack}_db-{now}"
        self.logs = f"{self.volume}{LOGS}"
        self.revision = ""
        self.container, self.reader = f"{self.volume}-mysql", f"{self.volume}-web"

    @property
    def label(self) -> str:
        """How containers and volumes are known to be of such a restore of this stack."""
        return f"{LABEL}{self.purpose}={self.stack}"

    @property
    def labelled(self) -> tuple[str, str]:
        """The option of Docker that gives something the label."""
        return "--label", self.label

    def check_room(self) -> None:
        """Refuse what Docker's disk would not hold; one that is not to be seen is trusted."""
        root = images.engine(self.host).root
        done = self.host.run(("df", "-Pk", root))  # in a virtual machine, as on a Mac, it fails
        if done.code != 0:
            return
        free = int(done.out.splitlines()[-1].split()[3]) * 1024
        # A migration may write a table anew beside the old one.
        room = self.way.room * (2 if self.purpose == UPGRADE else 1)
        if free < room:
            raise refusal(
                f"it takes {console.size(room)} on {self.host.name}, and "
                f"{console.size(free)} are free on the disk of {root}",
                "make room there; see what can go: docker system df --verbose",
            )

    def sweep(self, live: str) -> None:
        """Remove what is left of one that was killed; never `live`, the volume of the database.

        Nobody else may be at it. The volume of the logs is there before that of the data and goes
        after it: the data of a restore without one were put in place once, whatever became of them.
        """
        label = ("--filter", f"label={self.label}")
        left = self.host.check(("docker", "ps", "--all", "--quiet", *label), LOOK).split()
        if left:
            self.host.check(("docker", "rm", "--force", "--volumes", *left), LOOK)
        there = self.host.check(("docker", "volume", "ls", "--quiet", *label), LOOK).split()
        for logs in there:
            data = logs.removesuffix(LOGS)
            if data == logs:
                continue
            for gone in [data, logs] if data in there and data != live else [logs]:
                remedy = f"see who holds it: docker ps --all --filter volume={gone}"
                self.host.check(("docker", "volume", "rm", gone), remedy)
            console.say(f"removed what a {self.purpose} left that was cut off: {data}")

    @contextmanager
    def volumes(self, *, keep: bool = True, live: Callable[[], str] = lambda: "") -> Iterator[None]:
        """Have the two volumes; afterwards that of the logs is gone, and the other unless kept.

        Where it failed both are gone, but never what `live` says is the volume of the database.
        """
        # As Compose names what it made, so that it takes the volume for its own.
        own = [f"com.docker.compose.project={self.stack}", "com.docker.compose.volume=db"]
        labels = [word for each in own for word in ("--label", each)] if keep else []
        remedy = "look at the Docker Engine: docker info"
        made = ("docker", "volume", "create", *self.labelled)
        gone = [self.volume, self.logs]
        try:
            self.host.check((*made, self.logs), remedy)
            self.host.check((*made, *labels, self.volume), remedy)
            yield
            if keep:
                gone = [self.logs]
        finally:
            # What cannot be removed now, the next one sweeps; what went wrong before says more.
            with suppress(OpsError):
                left = (self.reader, self.container)
                self.host.run(("docker", "rm", "--force", "--volumes", *left))
                now = live()
                for each in (name for name in gone if name != now):
                    self.host.check(("docker", "volume", "rm", "--force", each), LOOK)

    def fetch(self, image: str, key: str, credentials: str) -> Fetched:
        """Unpack the backup into the volumes; what is wrong with it shows here.

        `image` is that of the backup service, and `credentials` the file with which it reaches S3.
        """
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
            *(*self.labelled, "--read-only", "--tmpfs=/tmp:size=16m"),
            *("--cap-drop=ALL", "--security-opt=no-new-privileges:true"),
            *(f"--volume={self.volume}:/restore/data", f"--volume={self.logs}:/restore/logs"),
            *(f"--env={name}={value}" for name, value in environ.items() if value),
            *(image, "python", "-m", "ops.keeper", "fetch", f"--id={self.way.backup.id}"),
            *([f"--to={self.way.to}"] if self.way.to else []),
        )
        given = json.dumps({"key": key, "credentials": credentials}).encode()
        with console.steps() as step:
            done = self.host.follow(words, told(step), stdin=[given])
        if done.code != 0:
            said = from_output(done.code, done.err)
            raise OpsError(said.cause, said.remedy)  # its refusal comes when much has been done
        try:
            found = json.loads(answer(done.err))
            return Fetched(**{"after": [], **found})
        except (ValueError, TypeError, IndexError):
            raise OpsError(
                f"the backup service did not say what it fetched: {done.err[-200:]!r}",
                "see whether its image is of this version: invoke build",
            ) from None

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
        empty = (
            *("--env=MYSQL_ALLOW_EMPTY_PASSWORD=yes", "--env=MYSQL_ROOT_HOST=localhost"),
            "--env=MYSQL_DATABASE=mlflow",
        )
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
            with suppress(OpsError):
                self.host.run(("docker", "rm", "--force", "--volumes", self.container))

    def _wait(self, *where: str) -> None:
        """Wait until MySQL answers; raise with its last words if it ends instead."""
        ping = f"mysqladmin {shlex.join(where)} --silent ping 2>/dev/null"
        script = f"for i in $(seq 1200); do {ping} && exit 0; sleep 0.5; done; exit 1"
        words = ("docker", "exec", self.container, "sh", "-c", script)
        if self.host.run(words, deadline=START_SECONDS + 60).code != 0:
            log = self.host.run(("docker", "logs", "--tail", "20", self.container))
            said = (log.out + log.err).strip()
            raise OpsError(f"MySQL does not start on the restored data:\n  {said}", LOOK)

    def _put(self, path: str, text: str) -> None:
        """Write a file in the container's memory."""
        script = f"umask 077; cat > {path}"
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
            f"ALTER USER IF EXISTS {user} IDENTIFIED BY '{password.reveal()}';\n"
            f"ALTER USER IF EXISTS {user} DISCARD OLD PASSWORD;"
            for user, password in given.items()
            if password is not None
        ]
        return "\n".join(["FLUSH PRIVILEGES;", FORGET, *lines, ""])

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

    def read_revision(self) -> None:
        """Keep the revision of MLflow's schema that the data has come to, if there is one."""
        table = "table_schema = 'mlflow' AND table_name = 'alembic_version'"
        if self.sql(f"SELECT 1 FROM information_schema.tables WHERE {table}"):  # noqa: S608
            [[self.revision]] = self.sql("SELECT version_num FROM mlflow.alembic_version")

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
        there = [row[0] for row in listed]
        if sorted(there) != sorted(made.triggers):
            raise OpsError(
                f"the triggers are {', '.join(there) or 'gone'}, and should be "
                f"{', '.join(made.triggers) or 'none'}",
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
