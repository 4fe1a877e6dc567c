"""Our server, side by side with the one of articles (tests/e2e/article.py).

Both on one machine in one run, in turns, with the same rows in their databases. Ours is what
`invoke up` makes with TLS and a login; the article's is open and plain, and a second one of it has
MLflow's own login. Not a test: `nox -s bench -- server` runs it, prints what it measured and writes
the ratios to docs/performance.md. BENCH_QUICK=true in the environment is for whoever works on it:
one round of seconds, without the large experiment and the large artifact, and nothing is written.
"""

import os
import platform
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest

from tests import lab, performance
from tests.e2e import agreement, article, visits
from tests.e2e.article import LOGIN, PLAIN
from tests.e2e.clients import Clients
from tests.e2e.conftest import ROOT, Project, s3_client, s3_settings
from tests.e2e.filling import fill
from tests.e2e.side import Side
from tests.e2e.transfers import BUCKET, Straight, Through, Way
from tests.performance import Figure, Goal

QUICK = os.environ.get("BENCH_QUICK", "") == "true"
ROUNDS = 1 if QUICK else 3
SECONDS, WARM = 5, 2
SMALL, LARGE = 1000, 100_000
SIZES = [SMALL] if QUICK else [SMALL, LARGE]
FILE_SIZES = {"100 kB": 100_000} | ({} if QUICK else {"1 GB": 1_000_000_000})
PEOPLE = 8
"""Our NGINX lets each of them ask 500 times a second: no limit is raised for the benchmark."""

OURS, STRAIGHT = "ours", "straight to S3"
CLIENTS = (1, 16, 64)
LONG = 5 if QUICK else 20
"""Seconds of 16 clients: NGINX asks again about each login in that time, as it does all day."""
STALL = 5 if QUICK else 35
"""Seconds in which a server that came to a halt goes on: SQLAlchemy waits 30 for a connection."""

PAGE = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "performance.svg"


@dataclass(frozen=True)
class Asked:
    """What clients ask for under load."""

    name: str
    kind: str
    size: int = 0

    def seconds(self, number: int) -> int:
        """Return how long so many clients ask."""
        if number == 16:
            return LONG
        return STALL if number > 16 and self.kind == "batch" else SECONDS


ASKED = [
    Asked("reads", "read"),
    Asked("batch writes", "batch"),
    *(Asked(f"searches over {size:,} runs", "search", size) for size in SIZES),
]


@dataclass
class Book:
    """What was measured: a value for each round, by what it is of and by side."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    """What did not end well."""

    def keep(self, what: str, side: str, value: float) -> None:
        """Write a value down."""
        self.values[what, side].append(value)

    def ratio(self, what: str, theirs: str = PLAIN, ours: str = OURS) -> list[float]:
        """Return ours by theirs, round by round."""
        pairs = zip(self.values[what, ours], self.values[what, theirs], strict=True)
        return [mine / other for mine, other in pairs]

    def lines(self) -> Iterator[str]:
        """Return all of it, for whoever watches the run."""
        for (what, side), values in self.values.items():
            yield f"{what}, {side}: {', '.join(f'{value:.4g}' for value in values)}"


def brought_up(project: Project) -> Side:
    """Bring ours up as its user does."""
    project.invoke("up", "--engine", "compose")
    return Side(
        name=OURS,
        project=project.name,
        url=project.url,
        root_password="$(cat /run/secrets/mysql_root_password)",
        admin=project.admin,
        ca=project.ca,
    )


@pytest.fixture(scope="module")
def sides(
    make_project: Callable[..., Project], the_lab: lab.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Clients]]:
    """Ours between the two others, all filled, each with its clients."""
    article.build()
    settings = s3_settings(the_lab, f"s3://{BUCKET}/bench-server")
    project = make_project("bench-server", **settings, TLS="private-ca", AUTH="basic")
    folder = tmp_path_factory.mktemp("clients")
    with ExitStack() as stacks:
        stacks.callback(empty_bucket, the_lab)
        yield [
            with_clients(stacks.enter_context(article.running(the_lab, PLAIN)), folder),
            with_clients(brought_up(project), folder),
            with_clients(stacks.enter_context(article.running(the_lab, LOGIN)), folder),
        ]


def with_clients(side: Side, folder: Path) -> Clients:
    """Fill a side's database, and let people in where they have to log in."""
    agreement.prove(side)
    filled = fill(side, [SMALL] if side.name == LOGIN else SIZES)
    if side.admin:
        side = side.with_people(PEOPLE, filled.experiments)
    return Clients(side, filled, folder)


def empty_bucket(the_lab: lab.Lab) -> None:
    """Take away what was left in S3."""
    client = s3_client(the_lab.s3)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for each in page.get("Contents", []):
            if re.match("bench-(server|straight)/|e2e-bench-article", each["Key"]):
                client.delete_object(Bucket=BUCKET, Key=each["Key"])


def open_or_ours(sides: list[Clients]) -> list[Side]:
    """Return the sides without MLflow's own login, which is there for its rates only."""
    return [each.side for each in sides if each.side.name != LOGIN]


def starts(book: Book, sides: list[Clients]) -> None:
    """Start each server on its migrated database, and see what it takes once it is quiet."""
    for side in open_or_ours(sides):
        book.keep("start", side.name, side.restarted())
        side.rest()
        book.keep("memory at rest", side.name, side.memory())


def loads(book: Book, sides: list[Clients]) -> None:
    """Ask each side the same, one after the other."""
    for number in CLIENTS:
        for asked in ASKED:
            for each in sides:
                # MLflow's own login answers too few in less time, and of 64 clients next to none.
                if each.side.name != LOGIN or (number == 16 and asked.size < LARGE):
                    load(book, each, asked, number)


def load(book: Book, each: Clients, asked: Asked, number: int) -> None:
    """Have so many clients ask one side; every answer of ours has to be good."""
    experiment = each.filled.searched[asked.size] if asked.size else ""
    if each.side.name == OURS:
        each.warm()
    each.ask(asked.kind, number, WARM, experiment)
    # What wrk has not waited for is still being answered.
    each.side.rest()
    heard = each.ask(asked.kind, number, asked.seconds(number), experiment)
    each.side.rest()
    name, side = f"{asked.name}, {number} client{'s' if number > 1 else ''}", each.side.name
    assert side != OURS or heard.bad == 0, f"{name}: {heard}"
    if heard.bad or not heard.answers:
        book.notes.append(f"{name}, {side}: {heard.answers} answers, {heard.bad} requests failed")
    book.keep(name, side, heard.rate)
    book.keep(f"{name}, median", side, heard.p50)
    book.keep(f"{name}, p99", side, heard.slowest)


def under_load(book: Book, sides: list[Clients]) -> None:
    """See what a stack takes while 16 clients search."""
    with ThreadPoolExecutor(1) as pool:
        for each in (each for each in sides if each.side.name != LOGIN):
            busy = pool.submit(each.ask, "search", 16, 8, each.filled.searched[SMALL])
            time.sleep(5)
            book.keep("memory under load", each.side.name, each.side.memory())
            busy.result()
            each.side.rest()


def pages(book: Book, sides: list[Clients]) -> None:
    """Load the user interface with an empty cache, and again."""
    for side in open_or_ours(sides):
        for when, visit in zip(("first", "repeat"), visits.twice(side), strict=True):
            book.keep(f"user interface, {when} load, kB", side.name, visit.received / 1000)
            book.keep(f"user interface, {when} load, seconds", side.name, visit.seconds)


def artifacts(book: Book, sides: list[Clients], files: dict[str, Path], straight: Straight) -> None:
    """Send files and fetch them again, each way after the other."""
    ways: dict[str, Way] = {side.name: Through(side) for side in open_or_ours(sides)}
    ways[STRAIGHT] = straight
    for size, file in files.items():
        times = 20 if file.stat().st_size < 10**6 else 1
        for name, way in ways.items():
            book.keep(f"{size} up", name, 1 / median(way.up(file) for _ in range(times)))
        for name, way in ways.items():
            book.keep(f"{size} down", name, 1 / median(way.down(file) for _ in range(times)))


def figures(book: Book) -> list[Figure]:
    """Return the goals, and what was measured beside them."""

    def at_most(bound: float, unit: str = "") -> Goal:
        return Goal(bound, at_least=False, unit=unit)

    search = f"searches over {SMALL:,} runs, 16 clients"
    rates = [("reads, 16 clients", 3), ("batch writes, 16 clients", 4), (search, 2)]
    if not QUICK:
        rates.append((f"searches over {LARGE:,} runs, 16 clients", 2))
    logins = [("reads, 16 clients", 40), ("batch writes, 16 clients", 25), (search, 6)]
    slowest = "batch writes, 64 clients, p99"
    first, repeat = (f"user interface, {when} load, kB" for when in ("first", "repeat"))
    found = [Figure(name, book.ratio(name), Goal(bound)) for name, bound in rates]
    found += [
        Figure(f"{name}, both with a login", book.ratio(name, LOGIN), Goal(bound))
        for name, bound in logins
    ]
    found += [
        Figure(slowest, book.ratio(slowest), at_most(1 / 3)),
        Figure("memory at rest", book.ratio("memory at rest"), at_most(0.35)),
        Figure("image", book.ratio("image"), at_most(0.5)),
        Figure("user interface, first load, bytes", book.ratio(first), at_most(1 / 3)),
        Figure("user interface, repeat load", book.values[repeat, OURS], at_most(50, " kB"), " kB"),
        Figure("start", book.ratio("start"), at_most(0.5)),
    ]
    found += [
        Figure(f"{what} through ours, to straight to S3", book.ratio(what, STRAIGHT), Goal(0.9))
        for what in ("1 GB up", "1 GB down")
        if not QUICK
    ]
    told = {figure.name for figure in found} | {first, repeat, "image"}
    return found + [
        Figure(what, book.ratio(what))
        for what, side in list(book.values)
        if side == PLAIN and what not in told and not what.endswith("median")
    ]


def machine() -> str:
    """Return the day, and what the run was on."""
    text = Path("/proc/cpuinfo").read_text("utf-8")
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores "
        f"({model[1].strip() if model else platform.machine()}), {memory:.0f} GiB of memory, "
        f"{ROUNDS} rounds. Ours divided by the article's, unless the line says otherwise."
    )


def bench_server(
    sides: list[Clients],
    the_lab: lab.Lab,
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    """Measure, say what came out, and write it down."""
    files = {}
    for size, count in FILE_SIZES.items():
        files[size] = tmp_path / f"{count}.bin"
        with files[size].open("wb") as stream:
            for _ in range(count // 10**5):
                stream.write(os.urandom(10**5))
    book = Book()
    for side in open_or_ours(sides):
        book.keep("image", side.name, side.size())
    try:
        for number in range(ROUNDS):
            order = sides if number % 2 == 0 else sides[::-1]
            starts(book, order)
            pages(book, order)
            artifacts(book, order, files, Straight(the_lab))
            loads(book, order)
            under_load(book, order)
    finally:  # half of it is better than nothing
        for line in book.lines():
            measured(line)
    found = figures(book)
    text = performance.report(found, where=machine(), picture=PICTURE.name, notes=book.notes)
    measured(f"\n{text}")
    if not QUICK:
        PAGE.write_text(performance.document(PAGE.read_text("utf-8"), text), "utf-8")
        PICTURE.write_text(performance.chart(found), "utf-8")
