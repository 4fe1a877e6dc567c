"""Sets of GTIDs, the names that MySQL gives transactions: which ones a server has executed.

https://dev.mysql.com/doc/refman/9.7/en/replication-gtids-concepts.html
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["LAST", "GtidSet"]

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}")
RANGE = re.compile(r"([0-9]{1,19})(?:\s*-\s*([0-9]{1,19}))?")
LAST = 2**63 - 2
"""The highest number that MySQL gives a transaction."""

Source = tuple[str, str]
"""Whose numbers they are: a server's UUID, and a tag or nothing."""

Ranges = tuple[tuple[int, int], ...]
"""Numbers from one to another, both included; ascending, and merged where they meet."""


@dataclass(frozen=True, slots=True)
class GtidSet:
    """A set of GTIDs; made by `parse` or `from_gtids`, and equal when the same GTIDs are in it."""

    sources: tuple[tuple[Source, Ranges], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "GtidSet":
        """Read a set as MySQL writes it; anything else is a ValueError."""
        if not text.strip():
            return cls()
        found: dict[Source, list[tuple[int, int]]] = {}
        for part in text.split(","):
            for source, span in _spans(part):
                found.setdefault(source, []).append(span)
        return _made(found)

    @classmethod
    def from_gtids(cls, gtids: Iterable[str]) -> "GtidSet":
        """Return the set of single GTIDs, in any order."""
        found: dict[Source, list[tuple[int, int]]] = {}
        for gtid in gtids:
            source, number = _single(gtid)
            found.setdefault(source, []).append((number, number))
        return _made(found)

    def with_one(self, gtid: str) -> "GtidSet":
        """Return the set with one GTID more: quick where it follows the highest of its source."""
        source, number = _single(gtid)
        ranges = _ranges(self, source)
        if ranges and ranges[-1][1] + 1 == number:
            grown = (*ranges[:-1], (ranges[-1][0], number))
        else:
            grown = _merged([*ranges, (number, number)])
        return GtidSet(
            tuple((each, grown if each == source else its) for each, its in self.sources)
            if ranges
            else tuple(sorted([*self.sources, (source, grown)]))
        )

    def __or__(self, other: "GtidSet") -> "GtidSet":
        found = {source: list(ranges) for source, ranges in self.sources}
        for source, ranges in other.sources:
            found.setdefault(source, []).extend(ranges)
        return _made(found)

    def __sub__(self, other: "GtidSet") -> "GtidSet":
        left = (
            (source, _without(ranges, _ranges(other, source))) for source, ranges in self.sources
        )
        return GtidSet(tuple((source, ranges) for source, ranges in left if ranges))

    def __le__(self, other: "GtidSet") -> bool:
        return not self - other

    def __contains__(self, gtid: str) -> bool:
        source, number = _single(gtid)
        # The highest come first: that is where one looks while a log is read.
        return any(low <= number <= high for low, high in reversed(_ranges(self, source)))

    def __iter__(self) -> Iterator[str]:
        for (uuid, tag), ranges in self.sources:
            source = f"{uuid}:{tag}" if tag else uuid
            for low, high in ranges:
                yield from (f"{source}:{number}" for number in range(low, high + 1))

    def __len__(self) -> int:
        return sum(high - low + 1 for _, ranges in self.sources for low, high in ranges)

    def __bool__(self) -> bool:
        return bool(self.sources)

    def __str__(self) -> str:
        texts: dict[str, str] = {}
        for (uuid, tag), ranges in self.sources:
            spans = [str(low) if low == high else f"{low}-{high}" for low, high in ranges]
            texts[uuid] = ":".join([texts.get(uuid, uuid), *([tag] if tag else []), *spans])
        return ",".join(texts.values())


def _ranges(gtids: GtidSet, source: Source) -> Ranges:
    return next((ranges for each, ranges in gtids.sources if each == source), ())


def _made(found: dict[Source, list[tuple[int, int]]]) -> GtidSet:
    return GtidSet(tuple((source, _merged(found[source])) for source in sorted(found)))


def _spans(part: str) -> Iterator[tuple[Source, tuple[int, int]]]:
    """Read what stands between two commas: a UUID, then numbers, and tags that hold from there."""
    uuid, *words = [word.strip().lower() for word in part.split(":")]
    if not UUID.fullmatch(uuid) or not words:
        raise ValueError(f"no set of GTIDs: {part.strip()[:80]!r}")
    tag, numbered = "", False
    for word in words:
        if TAG.fullmatch(word) and (numbered or not tag):
            tag, numbered = word, False
        else:
            yield (uuid, tag), _span(word)
            numbered = True
    if not numbered:
        raise ValueError(f"no numbers of GTIDs after {words[-1]!r}")


def _span(word: str) -> tuple[int, int]:
    if found := RANGE.fullmatch(word):
        low, high = int(found[1]), int(found[2] or found[1])
        if 1 <= low <= high <= LAST:
            return low, high
    raise ValueError(f"no numbers of GTIDs: {word[:80]!r}")


def _single(gtid: str) -> tuple[Source, int]:
    source, _, number = gtid.rpartition(":")
    if number.isdecimal() and number.isascii() and 1 <= int(number) <= LAST:
        return _source(source), int(number)
    raise ValueError(f"no GTID: {gtid[:80]!r}")


@lru_cache
def _source(text: str) -> Source:
    uuid, colon, tag = text.lower().partition(":")
    if UUID.fullmatch(uuid) and (TAG.fullmatch(tag) if colon else not tag):
        return uuid, tag
    raise ValueError(f"no GTID of {text[:80]!r}")


def _merged(spans: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def _without(ranges: Ranges, taken: Ranges) -> Ranges:
    """Return what is left of ranges when others are taken away; one pass through both."""
    left: list[tuple[int, int]] = []
    at = 0
    for first, last in ranges:
        low = first
        while at < len(taken) and taken[at][1] < low:
            at += 1
        ahead = at
        while ahead < len(taken) and taken[ahead][0] <= last:
            if low < taken[ahead][0]:
                left.append((low, taken[ahead][0] - 1))
            low = taken[ahead][1] + 1
            ahead += 1
        if low <= last:
            left.append((low, last))
    return tuple(left)
