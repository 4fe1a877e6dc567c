"""Binary logs on their way to S3 while MySQL writes them.

They are read from MySQL's own data folder. What is stored is only what is committed: bytes that
MySQL has written and not yet made last may be gone after a power cut, and their GTIDs be given to
other transactions then.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from ops import generations, seals
from ops.binlog import Damaged, scan
from ops.chain import Segment, following, numbered, unbroken
from ops.donor import Donor
from ops.errors import OpsError
from ops.gtids import GtidSet
from ops.vault import Vault

__all__ = ["Shipper", "stored"]

MOST = 1000
PIECE = 8 * 1024**2
"""The most bytes of a log that are one object, and in memory at a time."""


@dataclass(slots=True)
class Place:
    """Where in which file: `at` is what is stored, `border` the last end of a transaction in it."""

    file: str
    at: int = 0
    border: int = 0


class Shipper:
    """Stores the logs of one MySQL, from where an earlier one left off."""

    def __init__(
        self, vault: Vault, donor: Donor, server: str, folder: Path, recipients: list[str]
    ) -> None:
        self.vault, self.donor, self.server = vault, donor, server
        self.folder, self.recipients = folder, recipients
        self.gap = False
        self.place = self._resume()

    def _resume(self) -> Place:
        """Return where to go on; what was stored last is asked of S3, which alone knows it."""
        logs = self.donor.logs()
        # Of what MySQL has no more there may be hundreds of thousands.
        found = stored(self.vault, self.server, min(logs)) or stored(self.vault, self.server)
        if not found:
            return Place(logs[0])
        last = max((each.file for each in found), key=numbered)
        way = unbroken([each for each in found if each.file == last], self.server, last)
        at = way.segments[-1].end if way.segments else 0
        with suppress(FileNotFoundError):
            if last in logs and (self.folder / last).stat().st_size >= at:
                return Place(last, at, self._border(last, at))
        # What was not stored of it yet is gone, if there was any: a new base is due.
        self.gap = True
        return Place(following(last) if following(last) in logs else logs[0])

    def _border(self, file: str, at: int) -> int:
        """Return the last end of a transaction up to a position."""
        with undamaged(file), (self.folder / file).open("rb") as stream:
            border = 0
            while border < at:
                log = scan(stream, border, most=PIECE)
                ends = [log.end, *(each.end for each in reversed(log.transactions))]
                if log.end > at or log.end == border:
                    return max([border, *(end for end in ends if end <= at)])
                border = log.end
        return border

    def ship(self, now: datetime) -> bool:
        """Store what is there and whole; return whether that was all of it."""
        # A busy MySQL must not keep others from their turn.
        return any(not self._piece(now) for _ in range(MOST))

    def _piece(self, now: datetime) -> bool:
        """Store one piece, or turn to the next file; return False when there was nothing to do."""
        place, path = self.place, self.folder / self.place.file
        ended = (self.folder / following(place.file)).exists()
        try:
            with undamaged(place.file), path.open("rb") as stream:
                log = scan(stream, place.border, most=PIECE)
                executed = GtidSet.parse(self.donor.executed())
                whole = list(takewhile(lambda each: each.gtid in executed, log.transactions))
                complete = len(whole) == len(log.transactions)
                end = log.end if complete else max([place.border, *(each.end for each in whole)])
                committed = max((each.committed for each in whole), default=0)
                if end > place.at:
                    self._store(stream, end, committed, now)
                    place.border = end
                    return True
        except FileNotFoundError:
            first = self.donor.logs()[0]
            if first == place.file:
                raise OpsError(
                    f"{path} is not there, and MySQL says that it is",
                    "see where the volume of the database is: invoke doctor",
                ) from None
            self.gap = True
            self.place = Place(first)
            return True
        if ended and complete:
            self.place = Place(following(place.file))
            return True
        return False

    def _store(self, stream: io.BufferedReader, end: int, committed: int, now: datetime) -> None:
        """Store bytes from where the last piece ended."""
        place = self.place
        while place.at < end:
            size = min(PIECE, end - place.at)
            stream.seek(place.at)
            sealed = io.BytesIO()
            seals.seal(io.BytesIO(stream.read(size)), sealed, self.recipients)
            data = sealed.getvalue()
            last = place.at + size == end
            piece = Segment(
                self.server,
                place.file,
                place.at,
                place.at + size,
                committed if last else 0,
                hashlib.sha256(data).hexdigest()[:16],
            )
            self.vault.put(piece.key, data, generations.kept_until("logs", now))
            place.at += size

    def forget(self, before: datetime) -> None:
        """Have MySQL delete logs that are stored and older than a moment."""

        def old(name: str) -> bool:
            done = numbered(name) < numbered(self.place.file)
            return done and (self.folder / name).stat().st_mtime < before.timestamp()

        with suppress(FileNotFoundError):  # MySQL has ends of its own for logs
            if names := list(takewhile(old, self.donor.logs())):
                self.donor.forget(following(names[-1]))


def stored(vault: Vault, server: str, first: str = "") -> list[Segment]:
    """Return the pieces that are stored of a server's logs, from one of them on."""
    below = f"logs/{server}/"
    names = (entry.name for entry in vault.list(below, f"{below}{first}" if first else ""))
    return [each for each in map(Segment.parse, names) if each is not None]


@contextmanager
def undamaged(file: str) -> Iterator[None]:
    """Have damage in a log said."""
    try:
        yield
    except Damaged as damage:
        raise OpsError(
            f"the binary log {file} is damaged: {damage}",
            "take a base: invoke backup; then look at the disk",
        ) from None
