"""A database brought back, for the fast tests: a machine whose Docker is a double, and its home.

The double knows volumes and containers by their labels, and its MySQL answers as one does that was
restored well, unless a test says otherwise.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops.errors import OpsError
from ops.homes import LocalHome
from ops.hosts import Result, failure
from ops.manifest import DUMP, Manifest, Stored
from ops.settings import Settings
from tests.binlogs import SERVER
from tests.conftest import FAILS, OK, FakeHost, docker_info
from tests.stored import BUCKET, PRIVATE, PUBLIC, a_manifest

STACK = "stack"
LIVE = f"{STACK}_db"
BACKUP = "20261125T160000Z-abcdef"
MADE = a_manifest()
DUMPED = a_manifest(
    kind=DUMP, first_log="", objects=[Stored("dump.sql.zst.age", 100, "a" * 64, 1000, "b" * 64)]
)
ENV = {
    "STACK_NAME": STACK,
    "BACKUPS_DESTINATION": f"s3://{BUCKET}/stack",
    "BACKUP_RECIPIENTS": PUBLIC,
    "MYSQL_PASSWORD": "mysql-password-1",
    "MYSQL_ROOT_PASSWORD": "mysql-root-password-1",
    "KEK_PASSPHRASE": "kek-passphrase-1",
    "BACKUP_PASSWORD": "backup-password-1",
}
SECRETS = (PRIVATE.strip(), *(text for key, text in ENV.items() if key.endswith(("WORD", "RASE"))))


def fetched(**more: Any) -> dict[str, Any]:
    """Return what the backup service says that it has unpacked."""
    return {"tail": ["binlog.000002"], "gtids": MADE.gtids, **more}


ALONE = fetched(tail=[])
AFTER = fetched(
    after=["binlog.000002", "binlog.000003"],
    gtids=f"{SERVER}:1-9",
    transactions=4,
    last="2026-11-25T15:10:00.000+00:00",
)


SAID = {
    "experiments": {"experiments": [{"experiment_id": "0"}]},
    "run a": {"run": {"info": {"run_id": "a"}}},
    "run b": {"run": {"info": {"run_id": "b"}}},
    "metric a loss": {"metrics": [{"key": "loss", "step": step} for step in range(3)]},
    "models": {},
}
"""What MLflow answers from the database."""


def prepared(folder: Path, monkeypatch: Any, **more: str) -> Settings:
    """Write the `.env` of a stack with backups, and the private key where it lies by default."""
    lines = [f"{key}='{text}'\n" for key, text in {**ENV, **more}.items()]
    (folder / ".env").write_text("".join(lines), "utf-8")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    settings = Settings.load()
    settings.personal.mkdir(parents=True, exist_ok=True)
    file = settings.personal / f"{STACK}.agekey"
    file.touch(0o600)
    file.write_text(PRIVATE, "utf-8")
    return settings


class Docker(FakeHost):
    """A machine whose Docker is a double.

    `breaks` is told each command before it runs, with its number, and may raise, or answer
    in its place; where it is `late`, the command has been done by then. `answers` are for what
    Docker is not asked, as in `FakeHost`.
    """

    name = "the-host"

    def __init__(self, made: Manifest = MADE, found: Mapping[str, Any] | None = None) -> None:
        super().__init__({"docker exec live-db": "0\n", "images": "", "take": ""})
        self.made, self.found = made, found or AFTER
        self.volumes: dict[str, str] = {LIVE: ""}
        self.containers: dict[str, str] = {"live-db": ""}
        self.executed = ""
        self.leads_to = {
            "tail/": made.gtids,
            "after/": self.found["gtids"],
            "dump.sql": made.gtids,
        }
        self.free = 10**9
        self.rows: dict[str, list[Any]] = {
            name: [table.rows, table.checksum] for name, table in made.tables.items()
        }
        self.triggers = list(made.triggers)
        self.said: dict[str, Any] = SAID
        self.breaks: Callable[[int, str], Result | None] = lambda *_: None
        self.late, self.ended = False, ""

    @property
    def left(self) -> list[str]:
        """What there is of restores: labelled volumes and containers."""
        return [name for name, label in {**self.volumes, **self.containers}.items() if label]

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline: float = 0,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        del deadline
        assert not env
        line = shlex.join(words)
        self.lines.append(line)
        self.given.append(stdin)
        number = len(self.lines)
        done = self._done(words, stdin) if self.late else None
        instead = self.breaks(number, line)
        self.containers.pop(self.ended, None)  # one that ends by itself and was not cut off
        return instead or done or self._done(words, stdin)

    def _done(self, words: Sequence[str], stdin: bytes) -> Result:
        line = shlex.join(words)
        for start, answer in self.answers.items():
            if line.startswith(start):
                return answer if isinstance(answer, Result) else Result(0, answer, "")
        told = words[1 : 3 if words[1] == "volume" else 2] if words[0] == "docker" else words[:1]
        verb = "_".join(told)
        act: Callable[[list[str], bytes], Result] = getattr(self, f"do_{verb}")
        return act(list(words), stdin)

    def follow(
        self,
        words: Sequence[str],
        on_line: Callable[[str], None],
        env: Mapping[str, str] | None = None,
        *,
        stdin: Iterable[bytes] = (),
    ) -> Result:
        done = self.run(words, stdin=b"".join(stdin), env=env)
        for line in (done.out + done.err).splitlines():
            on_line(line)
        return Result(done.code, "", done.out + done.err)

    # --- What Docker does ---

    def do_info(self, *_: Any) -> Result:
        return Result(0, docker_info(), "")

    def do_df(self, *_: Any) -> Result:
        return Result(0, f"Filesystem\n/dev/sda 1 1 {self.free // 1024} 1% /\n", "")

    def do_volume_create(self, words: list[str], _: bytes) -> Result:
        self.volumes[words[-1]] = label_of(words)
        return OK

    def do_volume_rm(self, words: list[str], _: bytes) -> Result:
        for name in words[3:]:
            if name in self.containers.values():
                return FAILS
            if name not in self.volumes and "--force" not in words:
                return FAILS
            self.volumes.pop(name, None)
        return OK

    def do_volume_ls(self, words: list[str], _: bytes) -> Result:
        return listed(self.volumes, words)

    def do_volume_inspect(self, words: list[str], _: bytes) -> Result:
        return OK if words[-1] in self.volumes else FAILS

    def do_ps(self, words: list[str], _: bytes) -> Result:
        return listed(self.containers, words)

    def do_rm(self, words: list[str], _: bytes) -> Result:
        for name in words[4:]:
            self.containers.pop(name, None)
        return OK

    def do_stop(self, *_: Any) -> Result:
        return OK

    def do_run(self, words: list[str], stdin: bytes) -> Result:
        name = next(word.partition("=")[2] for word in words if word.startswith("--name="))
        if name in self.containers:
            return Result(125, "", f"The container name {name} is already in use")
        if "--detach" in words or self.late:
            self.containers[name] = label_of(words)
            self.ended = "" if "--detach" in words else name
        if "--detach" in words:
            return OK
        if "ops.keeper" in words:
            assert json.loads(stdin)["key"]
            progress = 'progress ["fetching base", 1, 2]\n'
            return Result(0, progress + json.dumps(self.found) + "\n", "")
        return self.do_read(words, json.loads(stdin)["stages"])

    def do_read(self, words: list[str], stages: list[str]) -> Result:
        """Do what an MLflow beside MySQL is to do (ops/reader.py)."""
        del words
        found = {"seconds": dict.fromkeys([*stages, "start"], 1.5), "answers": self.said}
        return Result(0, f"{json.dumps(found)}\n", "")

    def do_logs(self, *_: Any) -> Result:
        return Result(0, "what MySQL said\n", "")

    def do_exec(self, words: list[str], stdin: bytes) -> Result:
        text = words[-1]
        for folder, gtids in self.leads_to.items():
            if f"/restore/logs/{folder}" in text:
                self.executed = gtids
        if words[-4:-1] and "--execute=" in text:
            return Result(0, self.answer(text.removeprefix("--execute=")), "")
        assert bool(stdin) == ("cat > " in text)
        return OK

    def answer(self, question: str) -> str:
        """Answer as MySQL does."""
        if "gtid_executed" in question:
            return self.executed.replace(",", ",\n") + "\n"
        if "alembic_version" in question:
            return "1\n" if "information_schema" in question else "a\n"
        if "information_schema.tables" in question:
            return "".join(f"{name}\n" for name in ["mysql.user", *self.rows])
        if "CHECKSUM TABLE" in question:
            every = (f"{rows}\n{name}\t{total}\n" for name, (rows, total) in self.rows.items())
            return "".join(every)
        if "information_schema.triggers" in question:
            return "".join(f"{name}\n" for name in self.triggers)
        raise AssertionError(question)


def label_of(words: list[str]) -> str:
    found = [each for each in words if each.startswith("mlflow-compose.")]
    assert len(found) == 1
    return found[0]


def listed(there: Mapping[str, str], words: list[str]) -> Result:
    wanted = words[-1].removeprefix("label=")
    return Result(0, "".join(f"{name}\n" for name, label in there.items() if label == wanted), "")


class FakeHome(LocalHome):
    """A home on a machine with such a Docker; what it does is a command there."""

    def __init__(self, settings: Settings, host: Docker) -> None:
        super().__init__(settings)
        self.local: Docker = host
        self.running = {"db", "backup"}
        self.live, self.starts = LIVE, True
        self.locked: list[str] = []

    def inside(self, service: str) -> tuple[str, ...]:
        return ("docker", "exec", f"live-{service}")

    def runs(self, service: str) -> bool:
        return service in self.running

    def volume(self) -> str:
        return self.live

    def images(self) -> str:
        self.local.check(("images",), "look")
        return "backup:1"

    def server_image(self) -> str:
        self.local.check(("images", "web"), "look")
        return "web:1"

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self.lock("kept"):
            yield

    @contextmanager
    def drilling(self) -> Iterator[None]:
        with self.lock("drilling"):
            yield

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock; everything is done within it."""
        self.locked.append(name)
        try:
            yield
        finally:
            self.locked.append(f"{name} no more")

    def take(self, volume: str, revision: str) -> bool:
        assert volume in self.local.volumes
        assert "a" == revision
        self.local.check(("take", volume), "look")
        self.live = volume
        return self.starts


def at_home(monkeypatch: Any, module: Any, home: FakeHome) -> None:
    """Let a module find this home."""

    @contextmanager
    def found(*_: object) -> Iterator[FakeHome]:
        yield home

    monkeypatch.setattr(module, "home", found)


def interrupt(*_: object) -> Result:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def loses(_: int, line: str) -> Result:
    """Lose the host."""
    raise failure(shlex.split(line), 255, "broken pipe", "see whether the host is there")


def fails(*_: object) -> Result:
    """End with an exit code."""
    return Result(1, "", "no such luck\n")


MANNERS: dict[str, Callable[[int, str], Result]] = {
    "fails": fails,
    "loses": loses,
    "interrupt": interrupt,
}
"""The ways in which a command does not do what it should."""

Caught = (OpsError, KeyboardInterrupt)
