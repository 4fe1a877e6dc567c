"""What a backup says of itself. It is written last: a backup exists when its manifest does."""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Self, get_origin

from ops.errors import OpsError, refusal
from ops.generations import GENERATIONS
from ops.gtids import UUID, GtidSet
from ops.vault import Vault

__all__ = [
    "BASE",
    "DRILL",
    "DUMP",
    "NAME",
    "SQL",
    "Manifest",
    "Stored",
    "Table",
    "begun",
    "every",
    "find",
    "known",
    "last_proven",
    "new_id",
]

NAME = "manifest.json"
BASE, DUMP = "base", "dump"

SQL = "dump.sql.zst.age"
"""The one object of a dump."""

FORMAT = 1
MOST = 4 * 1024**2
"""Bytes; a manifest of MLflow's tables has some 20,000."""

ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
PLACE = re.compile(rf"({'|'.join(GENERATIONS)})/({ID.pattern})/{re.escape(NAME)}")
OBJECT = re.compile(r"[a-z]+\.(tar|sql)\.zst\.age")
LOG = re.compile(r"binlog\.[0-9]{6,10}")
TIME = "%Y%m%dT%H%M%SZ"
DRILL = re.compile(r"drills/(?P<time>[0-9]{8}T[0-9]{6}Z)-(?P<result>ok|failed)\.json")
"""The evidence of a drill (ops/evidence.py): its name says how it ended."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of a backup; sums are SHA-256 of what is stored and of what is in it."""

    name: str
    size: int
    sha256: str
    plain_size: int
    plain_sha256: str


@dataclass(frozen=True, slots=True)
class Table:
    """What a table held: its rows, and what CHECKSUM TABLE said."""

    rows: int
    checksum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What `manifest.json` says; times are in UTC, as ISO 8601 has them.

    `gtids` are the transactions of the state that `tables` describes, and to which a restore of
    this backup alone leads; `first_log` is the binary log from which on all that follows it is.
    `server` is the UUID of the MySQL; its logs are those below logs/<server>/.
    """

    id: str
    kind: str
    generation: str
    stack: str
    begun: str
    finished: str
    server: str
    version: str
    schema: str
    first_log: str
    gtids: str
    as_of: str
    objects: list[Stored]
    tables: dict[str, Table]
    accounts: list[str]
    triggers: list[str]
    secrets: dict[str, str]
    recipients: list[str]
    artifacts: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The place of the backup's objects."""
        return f"{self.generation}/{self.id}"

    @property
    def size(self) -> int:
        """The bytes that are stored."""
        return sum(each.size for each in self.objects)

    @property
    def time(self) -> datetime:
        """The moment whose state a restore of this backup alone brings."""
        return datetime.fromisoformat(self.as_of)

    def stored(self, name: str) -> Stored:
        """Return one of the objects; refuses where there is none."""
        for each in self.objects:
            if each.name == name:
                return each
        raise refusal(
            f"{self.id} is a {self.kind} and holds no {name}",
            "take another backup: invoke list-backups",
        )

    def text(self) -> bytes:
        """Return the document."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()

    def problem(self, place: str) -> str:
        """Return why it is not that of a place, or cannot be followed; "" where it can."""
        GtidSet.parse(self.gtids)
        if place != f"{self.folder}/{NAME}":
            return f"it is that of {self.folder}"
        if not all(OBJECT.fullmatch(each.name) for each in self.objects):
            return "it names objects elsewhere"
        if self.time.tzinfo is None:
            return f"a moment in no zone: {self.as_of}"
        if self.kind == BASE and not (
            UUID.fullmatch(self.server) and LOG.fullmatch(self.first_log)
        ):
            return f"logs that are none: {self.server}, {self.first_log}"
        return ""

    @classmethod
    def read(cls, data: bytes, place: str) -> Self:
        """Return what a document at a place says; refuses one that is not a manifest of there."""
        problem = "too large" if len(data) > MOST else ""
        try:
            entry = json.loads(data[:MOST])
            number = entry.pop("format")
            if number != FORMAT:
                problem = f"format {number}"
            entry["objects"] = [Stored(**each) for each in entry["objects"]]
            entry["tables"] = {name: Table(**each) for name, each in entry["tables"].items()}
            made = cls(**entry)
            _check_types(made, *made.objects, *made.tables.values())
            problem = problem or made.problem(place)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = problem or str(error)
        if problem:
            raise refusal(
                f"{place} is no manifest of this repository: {problem}",
                "take another backup: invoke list-backups",
            )
        return made


def _check_types(*read: Any) -> None:  # noqa: ANN401 - values of the classes above
    """Raise TypeError unless each field is of its type, which a document does not care about."""
    for each in read:
        for one in fields(each):
            value = getattr(each, one.name)
            if type(value) is not (get_origin(one.type) or one.type):
                raise TypeError(f"{one.name} is {value!r:.60}")


def every(vault: Vault) -> tuple[list[Manifest], dict[str, OpsError]]:
    """Return what is known of every backup, the oldest first; and by its id what makes no sense."""
    found, damaged = [], {}
    for generation, identity in sorted(known(vault), key=lambda each: each[1]):
        name = f"{generation}/{identity}/{NAME}"
        data = vault.read(name)
        try:
            found.append(Manifest.read(data, name))
        except OpsError as error:
            damaged[identity] = error
    return found, damaged


def last_proven(vault: Vault) -> datetime | None:
    """Return when a restore was proven last."""
    found = [DRILL.fullmatch(entry.name) for entry in vault.list("drills/")]
    times = [each["time"] for each in found if each is not None and each["result"] == "ok"]
    return datetime.strptime(max(times), TIME).replace(tzinfo=UTC) if times else None


def new_id(now: datetime) -> str:
    """Return an id: the time, which sorts as text, and something nobody else has."""
    return f"{now.astimezone(UTC).strftime(TIME)}-{secrets.token_hex(3)}"


def begun(identity: str) -> datetime:
    """Return when the backup of an id began."""
    return datetime.strptime(identity.partition("-")[0], TIME).replace(tzinfo=UTC)


def known(vault: Vault, kind: str = "") -> Iterator[tuple[str, str]]:
    """Yield the generation and the id of each backup that exists, the oldest of each first.

    With a kind, only those: a dump is told by its object, without reading manifests.
    """
    for generation in GENERATIONS:
        names = [entry.name for entry in vault.list(f"{generation}/")]
        dumps = {name.rpartition("/")[0] for name in names if name.endswith(f"/{SQL}")}
        for name in names:
            found = PLACE.fullmatch(name)
            its = DUMP if name.rpartition("/")[0] in dumps else BASE
            with suppress(ValueError):  # digits that are no time are no id of ours
                if found and kind in ("", its) and begun(found[2]):
                    yield found[1], found[2]


def find(vault: Vault, identity: str) -> Manifest:
    """Return the manifest of a backup by its id; refuses what is no id, or not there."""
    if not ID.fullmatch(identity):
        raise refusal(f"{identity[:60]!r} is no id of a backup", "take one of: invoke list-backups")
    for generation, each in known(vault):
        if each == identity:
            place = f"{generation}/{identity}/{NAME}"
            return Manifest.read(vault.read(place), place)
    raise refusal(f"there is no backup {identity} in {vault}", "see which: invoke list-backups")
