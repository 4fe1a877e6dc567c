"""Backups for the fast tests: a bucket of moto's, real keys, and a MySQL that is a double.

The double writes real bytes of binary logs. The real MySQL is asked in tests/e2e/test_backups.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage

from ops import base, manifest, vault
from ops.base import Origin
from ops.binlog import ROTATE
from ops.donor import Checkpoint, Server
from ops.manifest import Manifest, Stored, Table
from ops.settings import Settings
from ops.vault import Vault
from tests.aws import Aws
from tests.binlogs import SERVER, log

BUCKET = "the-backups"
KEY = pyrage.x25519.Identity.generate()
PRIVATE, PUBLIC = f"{KEY}\n", str(KEY.to_public())
OTHER = f"{pyrage.x25519.Identity.generate()}\n"
PLACE = Settings(
    backups_destination=f"s3://{BUCKET}/stack", backup_recipients=PUBLIC, stack_name="stack"
)


def a_vault(aws: Aws, *, locked: bool = False) -> Vault:
    """Return an empty place for backups."""
    s3 = aws.client("s3")
    where = {"LocationConstraint": "eu-west-2"}
    s3.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=locked
    )
    if locked:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
        s3.put_object_lock_configuration(
            Bucket=BUCKET,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
    return vault.reach(PLACE)


def names(place: Vault, below: str = "") -> list[str]:
    """Return the names of what is stored."""
    return [entry.name for entry in place.list(below)]


@dataclass
class FakeDonor:
    """A MySQL in a folder: logs of real bytes, and a copy of three files."""

    data: Path
    spool: Path
    uuid: str = SERVER
    committed: int = 0
    forgotten: list[str] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with one log and a table."""
        (self.data / "mlflow").mkdir(parents=True)
        self.spool.mkdir(exist_ok=True)
        (self.data / "mlflow" / "runs.ibd").write_bytes(b"rows " * 1000)
        self.write("binlog.000001", log([]))

    def write(self, name: str, content: bytes) -> None:
        """Write a log as it stands now."""
        (self.data / name).write_bytes(content)

    def commit(self, name: str, numbers: range, previous: int = 0, **more: Any) -> None:
        """Have transactions in a log, all of them committed."""
        self.write(name, log(numbers, previous, **more))
        self.committed = max(self.committed, numbers.stop - 1)

    def _may(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]

    def server(self) -> Server:
        self._may("server")
        return Server(self.uuid, "9.7.4")

    def executed(self) -> str:
        self._may("executed")
        return f"{self.uuid}:1-{self.committed}" if self.committed else ""

    def logs(self) -> list[str]:
        return sorted(path.name for path in self.data.glob("binlog.0*"))

    def rotate(self) -> str:
        self._may("rotate")
        last = self.logs()[-1]
        if self.committed:
            numbers = range(1, self.committed + 1)
            if last == "binlog.000001":
                self.write(last, log(numbers, end=ROTATE))
        name = f"binlog.{int(last[-6:]) + 1:06d}"
        self.write(name, log([], self.committed))
        return name

    def clone(self, folder: Path) -> None:
        copy = self.spool / folder.name
        (copy / "mlflow").mkdir(parents=True)
        (copy / "mlflow" / "runs.ibd").write_bytes(b"rows " * 1000)
        self._may("clone")
        (copy / "ibdata1").write_bytes(bytes(10_000))

    def uncloned(self) -> list[str]:
        return self.others

    def accounts(self) -> list[str]:
        return ["mlflow@%", "root@localhost"]

    def triggers(self) -> list[str]:
        return ["mlflow.prevent_secrets_aad_mutation"]

    def schema(self) -> str:
        return "abc123"

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    @contextmanager
    def checkpoint(self) -> Iterator[tuple[Checkpoint, Any]]:
        """Yield the state as it is now."""
        self._may("checkpoint")
        last = self.logs()[-1]
        size = (self.data / last).stat().st_size
        now = datetime.now(UTC).isoformat()
        yield Checkpoint(gtids=self.executed(), file=last, position=size, as_of=now), Cursor()


class Cursor:
    """A cursor that knows of one table with seven rows."""

    def __init__(self) -> None:
        self.said = ""

    def execute(self, text: str, *_: Any) -> None:
        self.said = text

    def fetchall(self) -> list[tuple[str, str]]:
        return [("mlflow", "runs")]

    def fetchone(self) -> tuple[Any, ...]:
        return (7,) if "COUNT" in self.said else ("mlflow.runs", 42)


def a_donor(tmp_path: Path) -> FakeDonor:
    """Return a MySQL in a folder of its own."""
    return FakeDonor(tmp_path / "mysql", tmp_path / "spool")


def origin(place: Vault, donor: FakeDonor) -> Origin:
    """Return what a base is made of."""
    double: Any = donor
    secrets = {"KEK_PASSPHRASE": "f" * 32}
    return Origin(place, double, donor.data, donor.spool, "stack", [PUBLIC], secrets, {})


def told(*_: object) -> None:
    """Hear of progress."""


def a_base(place: Vault, donor: FakeDonor, hear: Callable[..., None] = told) -> Manifest:
    """Make a base."""
    return base.take(origin(place, donor), hear)


def a_manifest(**fields: Any) -> Manifest:
    """Return a manifest; what is not given is as plain as can be."""
    plain: dict[str, Any] = {
        "id": "20261125T150342Z-1f3a9c",
        "kind": manifest.BASE,
        "generation": "daily",
        "stack": "stack",
        "begun": "2026-11-25T15:03:42+00:00",
        "finished": "2026-11-25T15:04:42+00:00",
        "server": SERVER,
        "version": "9.7.4",
        "schema": "abc123",
        "first_log": "binlog.000002",
        "gtids": f"{SERVER}:1-5",
        "as_of": "2026-11-25T15:03:43+00:00",
        "objects": [
            Stored("base.tar.zst.age", 100, "a" * 64, 1000, "b" * 64),
            Stored("tail.tar.zst.age", 10, "c" * 64, 100, "d" * 64),
        ],
        "tables": {"mlflow.runs": Table(7, 42)},
        "accounts": ["mlflow@%"],
        "triggers": ["mlflow.prevent_secrets_aad_mutation"],
        "secrets": {"KEK_PASSPHRASE": "f" * 32},
        "recipients": [PUBLIC],
    }
    return Manifest(**{**plain, **fields})


def put(place: Vault, name: str, data: bytes) -> None:
    """Write something in the place of what is there, as somebody with other rights could."""
    place.s3.put_object(Bucket=BUCKET, Key=place.key(name), Body=data)
