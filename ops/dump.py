"""A dump: the database as SQL, which any later MySQL takes, and RDS and Aurora do.

The backup service has no mysqldump. One of MySQL's own image stands beside it, which does nothing
but wait for a word in a pipe and answer with one dump (compose/backups.yaml).
"""

import os
import re
import select
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ops import base, generations, manifest
from ops.base import About, Content, Known, Origin, Told
from ops.database import SIGN_ON, TRACKING
from ops.donor import census
from ops.errors import OpsError
from ops.gtids import GtidSet
from ops.manifest import Manifest

__all__ = ["Dump", "take"]

BLOCK = 1024**2
HEAD_SECONDS = 20.0
"""How long others may wait at most until mysqldump has begun: it takes a tenth of a second."""

END_SECONDS = 10.0
GTIDS = re.compile(rb"GTID_PURGED=(?:/\*!80000 '\+'\*/ )?'([^']*)'")
COMPLETE = b"-- Dump completed"
LOOK = "see what it says: invoke logs --service dump"


class Dump:
    """One dump on its way, from the service that makes it; the folder is `dump` in the spool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.head = b""
        self.stream = -1

    def begin(self) -> None:
        """Order a dump; return once its first bytes say which state of the database it has."""
        code = self.folder / "code"
        try:
            code.unlink(missing_ok=True)
            self.stream = os.open(self.folder / "out", os.O_RDONLY | os.O_NONBLOCK)
            ask = os.open(self.folder / "ask", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            raise OpsError(f"the dump service does not run: {error.strerror}", LOOK) from None
        with os.fdopen(ask, "wb") as pipe:
            pipe.write(b"dump\n")
        deadline = time.monotonic() + HEAD_SECONDS
        while not GTIDS.search(self.head):
            data = self._read(deadline)
            if not data or len(self.head) > BLOCK:
                raise self._failed("it did not say which state it has")
            self.head += data

    def _read(self, deadline: float) -> bytes:
        """Return the next bytes; none at the end, or when the time is over."""
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self.stream], [], [], 1)
            if not ready:
                continue
            data = os.read(self.stream, BLOCK)
            if data or (self.folder / "code").exists():
                return data
            time.sleep(0.05)  # nobody has opened the other end yet
        return b""

    @property
    def gtids(self) -> GtidSet:
        """The transactions of the state it has."""
        found = GTIDS.search(self.head)
        assert found is not None
        return GtidSet.parse(found[1].decode())

    def chunks(self) -> Iterator[bytes]:
        """Yield it; raise at the end unless it is whole."""
        yield self.head
        last = self.head
        while data := self._read(time.monotonic() + 600):
            last = last[-200:] + data
            yield data
        if COMPLETE not in last[-200:]:
            raise self._failed("it ends too early")
        if self._code() != "0":
            raise self._failed(f"exit code {self._code()}")

    def _code(self) -> str:
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                found = (self.folder / "code").read_text("utf-8").strip()
                if found:  # a shell makes the file before it writes there
                    return found
            time.sleep(0.1)
        return "unknown"

    def _failed(self, why: str) -> OpsError:
        try:
            said = (self.folder / "said").read_text("utf-8", "replace").strip()[-500:]
        except FileNotFoundError:
            said = ""
        return OpsError(f"mysqldump failed: {why}: {said}", LOOK)

    def close(self) -> None:
        """Let go of the pipe; a mysqldump that still writes ends by that."""
        if self.stream >= 0:
            os.close(self.stream)


def take(origin: Origin, told: Told) -> Manifest:
    """Make a dump and return its manifest; it is kept as long as a weekly backup."""
    begin = datetime.now(UTC)
    about = About(manifest.new_id(begin), manifest.DUMP, "weekly", "", begin)
    until, size = generations.kept_until(about.generation, begin), base.size(origin.data)
    made = Dump(origin.spool / "dump")
    try:
        with (
            origin.donor.checkpoint(made.begin) as (point, cursor),
            ThreadPoolExecutor(1) as pool,
        ):
            if made.gtids != GtidSet.parse(point.gtids):
                raise OpsError("the dump has another state than was counted", "try again")
            known = Known.now(origin.donor)
            counted = pool.submit(census, cursor)
            content = Content(f"{about.generation}/{about.id}/{manifest.SQL}", made.chunks(), size)
            stored = base.stored(origin, content, until, told)
            told("counting", 0, size)
            tables = counted.result()
    finally:
        made.close()
    dumped = (f"{TRACKING}.", f"{SIGN_ON}.")
    its = {name: table for name, table in tables.items() if name.startswith(dumped)}
    return base.conclude(origin, about, (point, known), [stored], its)
