"""Who did what, and when: requests through the front door, logins refused, deploys."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappush, heappushpop
from typing import Any

from ops import access_files, access_log, console, fleet, moments, stack, states
from ops.access_log import Asked, Request, printable
from ops.containers import containers
from ops.errors import refusal
from ops.hosts import Host, LocalHost
from ops.settings import Settings

__all__ = ["Wish", "show"]

SUSPECTS = 5
"""How many of those whose login was refused are named, those with the most first."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants to see, in the words of the command line."""

    since: str
    until: str = ""
    user: str = ""
    method: str = ""
    path: str = ""
    writes: bool = False
    failed: bool = False

    def asked(self, now: datetime) -> Asked:
        """Return it with the moments that are meant, or refuse."""
        return Asked(
            since=moments.since(self.since, "--since", now),
            until=moments.since(self.until, "--until", now) if self.until else None,
            user=self.user,
            method=self.method.upper(),
            path=self.path,
            writes=self.writes,
            failed=self.failed,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A machine with a stack: its folder, NGINX's container or "", the record of deploys."""

    host: Host
    folder: str
    container: str
    record: list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that somebody did: a request, or what the record of deploys says (`None`)."""

    time: datetime
    machine: str
    request: Request | None
    entry: Mapping[str, Any]

    def line(self) -> str:
        """Return it for a script."""
        return json.dumps({"machine": self.machine, **self.entry})

    def text(self) -> str:
        """Return it for a person; in brackets a name that was not let in."""
        if self.request is None:
            fields = ("by", "what", "release", "result")
            by, what, release, result = (str(self.entry.get(key, "")) for key in fields)
            return printable(f"{stamp(self.time)}  {by:<16} {'':<15} {what} {release}: {result}")
        it = self.request
        name = it.user or (f"({it.claims})" if it.claims else "-")
        sizes = f"{console.size(it.bytes_in):>10} {console.size(it.bytes_out):>10}"
        return (
            f"{stamp(it.time)}  {printable(name):<16} {printable(it.client):<15} "
            f"{access_log.what(it):<54} {it.status} {sizes} {it.seconds:>8.3f} s"
        )


class Newest:
    """Rows as they come, of which the newest are kept: `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0
        self._heap: list[tuple[datetime, int, Row]] = []

    def add(self, row: Row) -> None:
        """Take a row; the oldest goes when there are too many."""
        self.count += 1
        item = (row.time, self.count, row)
        if len(self._heap) < self.limit:
            heappush(self._heap, item)
        else:
            heappushpop(self._heap, item)

    def rows(self) -> list[Row]:
        """Return what was kept, the newest last."""
        return [row for _, _, row in sorted(self._heap)]


def show(hosts: str, wish: Wish, *, as_json: bool, limit: int) -> None:
    """Print what was done, the newest last: `limit` of it, or all, as it comes, where that is 0."""
    if limit < 0:
        raise refusal(f"--limit {limit} is below 0", "give a number; 0 is all")
    asked = wish.asked(datetime.now(UTC))
    newest, refused = Newest(limit), Counter[tuple[str, str]]()

    def say(row: Row) -> None:
        console.result(row.line() if as_json else row.text())

    with places(Settings.load(), hosts) as found:
        for place in found:
            read(place, asked, newest.add if limit else say, refused)
    for row in newest.rows():
        say(row)
    if newest.count > limit:
        console.say(f"{newest.count - limit} earlier ones are not shown: --limit 0 shows all")
    for (name, client), times in refused.most_common(SUSPECTS):
        console.say(f"{times} refused logins as {printable(name)} from {client}")


def read(
    place: Place, asked: Asked, add: Callable[[Row], None], refused: Counter[tuple[str, str]]
) -> None:
    """Add what was done at a place; count the logins that were refused, by name and address."""
    for deploy in deploys(place, asked):
        add(deploy)

    def take(line: str) -> None:
        request = access_log.parse(line)
        if request is not None and asked.about(request):
            if request.refused_login:
                refused[request.claims, request.client] += 1
            add(Row(request.time, place.host.name, request, request.entry))

    access_files.read(
        *(place.host, place.folder, place.container, take),
        span=(asked.since, asked.until),
        holding=access_log.narrowing(asked),
    )


def deploys(place: Place, asked: Asked) -> Iterator[Row]:
    """Yield the deploys that are asked for: they change things, and are no requests."""
    if asked.method or asked.path:
        return
    for line in place.record:
        try:
            entry = json.loads(line)
            time = datetime.fromisoformat(entry["time"])
            by, _, result = (str(entry[key]) for key in ("by", "what", "result"))
        except (ValueError, LookupError, TypeError):
            continue  # `invoke releases` says where the record was changed
        in_time = asked.since <= time and (asked.until is None or time < asked.until)
        wanted = asked.user in ("", by) and not (asked.failed and result in ("ok", "started"))
        if in_time and wanted:
            yield Row(time, place.host.name, None, entry)


def stamp(time: datetime) -> str:
    """Return a time in the zone of this machine."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


@contextmanager
def places(settings: Settings, hosts: str) -> Iterator[list[Place]]:
    """Reach the machines whose logs are asked for: hosts, or this one."""
    if hosts:
        with fleet.reach(settings, hosts) as found:
            yield [
                Place(site.host, site.top, nginx(settings, site.host), site.facts().record)
                for site in found
            ]
        return
    if states.remembered(settings) != "compose":
        raise refusal(
            "there is no access log here: NGINX writes it",
            "bring the stack up: invoke up --engine compose; or name a host: --host",
        )
    host = LocalHost()
    yield [Place(host, str(stack.folder(settings)), nginx(settings, host), [])]


def nginx(settings: Settings, host: Host) -> str:
    """Return NGINX's container, "" without one."""
    found = containers(settings, host)
    return next((each.identity for each in found if each.service == "nginx"), "")
