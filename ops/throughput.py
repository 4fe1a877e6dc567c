"""How much a server does: reads, batch writes and searches, as its clients get them from here."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ops import console, load
from ops.errors import OpsError
from ops.front_door import FrontDoor, RequestError
from ops.load import Figures

__all__ = ["measure"]

CLIENTS = 16
RUNS = 50
"""What a search finds: the first page of an experiment, as the UI shows it."""

METRICS = 10
PATIENCE_SECONDS = 30
"""How long a request before and after the measurement waits for a server that limits it."""

SIZES = (("Small", 25), ("Medium", 50), ("Large", 100))
"""SageMaker's tracking servers, with the requests a second that each sustains.

https://docs.aws.amazon.com/sagemaker/latest/dg/mlflow-create-tracking-server.html
"""

OUR_LIMIT = 500
"""What our own NGINX lets one login do in a second; others wait in turn (nginx/templates)."""

HEAD = ("", "clients", "a second", "p50", "p99", "failed", "429")
MIXED = "all in turn"


@dataclass
class Caller:
    """One client: its own connection, and a run that nobody else writes to."""

    door: FrontDoor
    experiment: str
    run: str
    number: int
    asked: int = field(default=0)

    def read(self) -> None:
        """Read the experiment."""
        self.door.call("GET", "/experiments/get", {"experiment_id": self.experiment})

    def write(self) -> None:
        """Log a step of a training: some metrics in one batch."""
        self.asked += 1
        self.door.call("POST", "/runs/log-batch", _step(self.run, self.asked))

    def search(self) -> None:
        """Find the newest runs of the experiment."""
        body = {"experiment_ids": [self.experiment], "max_results": RUNS}
        self.door.call("POST", "/runs/search", body)

    def in_turn(self) -> None:
        """Do the next of the three; clients begin at different ones."""
        self.number += 1
        (self.read, self.write, self.search)[self.number % 3]()


KINDS = (("reads", Caller.read), ("batch writes", Caller.write), ("searches", Caller.search))
PLAN = (
    *((label, 1, ask) for label, ask in KINDS),
    *((label, CLIENTS, ask) for label, ask in KINDS),
    (MIXED, CLIENTS, Caller.in_turn),
)
Found = list[tuple[str, Figures]]


def measure(door: FrontDoor, seconds: float, *, as_json: bool) -> None:
    """Ask a server for so long with each of the plan; print what it did, and what that equals."""
    found: Found = []
    with experiment(door) as (name, identity):
        console.say(f"{door.url}: {len(PLAN)} measurements of {seconds:g} s")
        console.say(f"in the experiment {name!r}, which is deleted at the end")
        callers = _callers(door, identity)
        if not as_json:
            console.result(_line(HEAD))
        for label, clients, ask in PLAN:
            seen = load.measure([partial(ask, caller) for caller in callers[:clients]], seconds)
            found.append((label, seen))
            if not as_json:
                console.result(_line(_row(label, seen)))
            if not seen.answered and seen.failed:
                break
    if as_json:
        console.result_json(report(door.url, seconds, found))
    failed = sum(seen.failed for _, seen in found)
    if failed:
        first = next(seen.failure for _, seen in found if seen.failed)
        raise OpsError(
            f"{failed} of {failed + sum(seen.answered for _, seen in found)} requests failed, "
            f"the first with {first}",
            "see what the server says; of this folder's: invoke status, invoke logs --service web",
        )
    if not as_json:
        for line in (equals(found[-1][1]), *notes(found)):
            console.result(line)


def report(url: str, seconds: float, found: Found) -> dict[str, Any]:
    """Return all of it, for scripts."""
    label, last = found[-1]
    return {
        "url": url,
        "seconds": seconds,
        "measurements": [{"what": label, **asdict(seen)} for label, seen in found],
        "sagemaker": size(last.rate) if label == MIXED and not last.failed else None,
        "notes": notes(found),
    }


def size(rate: float) -> str | None:
    """Return the largest of SageMaker's sizes that sustains no more than this."""
    return next((name for name, least in reversed(SIZES) if rate >= least), None)


def equals(mixed: Figures) -> str:
    """Return which of SageMaker's sizes the server equals, and how that is known."""
    name = size(mixed.rate)
    least = dict(SIZES)[name] if name else SIZES[0][1]
    much = "as much as" if name else "less than"
    return (
        f"{much} SageMaker's {name or SIZES[0][0]} ({least} requests a second, sustained): "
        f"{mixed.clients} clients that read, write and search in turn got {_rate(mixed.rate)}, "
        "now and over this network"
    )


def notes(found: Found) -> list[str]:
    """Return what else is evident: what was the limit, and what would help."""
    seen = {(label, each.clients): each for label, each in found}
    said = []
    if limited := sum(each.limited for each in seen.values()):
        said.append(
            f"the server limits this login: {limited} times it answered 429 and was left alone for "
            "as long as it asked; it may be able to do more"
        )
    elif any(each.rate > 0.95 * OUR_LIMIT for each in seen.values()):
        said.append(
            f"one login gets {OUR_LIMIT} requests a second through NGINX as it is set up here: a "
            "server behind it may be able to do more"
        )
    busy = [label for label, each in found if each.processor > 0.9]
    if busy:
        said.append(
            f"this machine's processor was the limit ({', '.join(dict.fromkeys(busy))}): the "
            "server may be able to do more; measure from a larger machine"
        )
    one, many = seen.get(("reads", 1)), seen.get(("reads", CLIENTS))
    if one and many and not (said or many.failed) and many.rate < 1.3 * one.rate:
        said.append(
            f"{CLIENTS} clients together read hardly more than one: the server has no more to "
            "give; more processors or workers would help (WEB_WORKERS)"
        )
    return said


@contextmanager
def experiment(door: FrontDoor) -> Iterator[tuple[str, str]]:
    """Yield name and id of an experiment of this measurement alone; delete it, whatever happens.

    Each has a new one: what is deleted is only hidden, and would come back with its runs.
    """
    name = f"mlflow-compose bench {datetime.now(UTC):%Y-%m-%d %H:%M:%S} {uuid.uuid4().hex[:4]}"
    try:
        with _refusals("no experiment can be made there"):
            made = _insist(door, "POST", "/experiments/create", {"name": name})
            identity = str(made["experiment_id"])
        yield name, identity
    except BaseException:  # Ctrl-C leaves nothing behind either, if the server made it at all
        with suppress(OpsError, RequestError):
            _remove(door, name)
        raise
    with _refusals(f"the experiment {name!r} is still there"):
        _remove(door, name)


def _remove(door: FrontDoor, name: str) -> None:
    """Delete the experiment of this name; its runs go with it."""
    found = _insist(door, "GET", "/experiments/get-by-name", {"experiment_name": name})
    identity = found["experiment"]["experiment_id"]
    _insist(door, "POST", "/experiments/delete", {"experiment_id": identity})


def _callers(door: FrontDoor, identity: str) -> Sequence[Caller]:
    """Return the clients, having made the runs, each with a step of metrics."""
    runs = []
    with _refusals("no run can be logged there"):
        for _ in range(RUNS):
            body = {"experiment_id": identity, "start_time": _now(), "run_name": "bench"}
            made = _insist(door, "POST", "/runs/create", body)
            runs.append(str(made["run"]["info"]["run_id"]))
            _insist(door, "POST", "/runs/log-batch", _step(runs[-1], 0))
    return [Caller(door.anew(), identity, runs[i], i) for i in range(CLIENTS)]


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Turn what the server refuses into the error that says so."""
    try:
        yield
    except LookupError:
        raise OpsError(
            f"{what}: the answer is not MLflow's", "give the address of an MLflow server: --url"
        ) from None
    except RequestError as error:
        raise OpsError(f"{what}: {error}", _remedy(error.status)) from None


def _remedy(status: int) -> str:
    if status == 0:
        return "see that the server is up, and that this is its address"
    if status in (401, 403):
        return (
            "log in as somebody who may make experiments: MLFLOW_TRACKING_USERNAME, "
            "MLFLOW_TRACKING_PASSWORD"
        )
    return "see whether the server works at all: invoke smoke, with the same --url"


def _insist(door: FrontDoor, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Call the server, again for some time where it says that it has too much to do."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return door.call(method, path, body)
        except RequestError as error:
            if error.status != 429 or time.monotonic() + error.retry_after > end:
                raise
            time.sleep(error.retry_after)


def _step(run: str, number: int) -> dict[str, Any]:
    moment = _now()
    metrics = [
        {"key": f"metric{i}", "value": number + i / 16, "timestamp": moment, "step": number}
        for i in range(METRICS)
    ]
    return {"run_id": run, "metrics": metrics}


def _now() -> int:
    return int(time.time() * 1000)


def _row(label: str, seen: Figures) -> Sequence[str]:
    spans = [_milliseconds(each) if seen.answered else "-" for each in (seen.p50, seen.p99)]
    counts = (str(seen.failed), str(seen.limited))
    return (label, str(seen.clients), _rate(seen.rate), *spans, *counts)


def _line(cells: Sequence[str]) -> str:
    label, *others = cells
    return f"{label:<12} " + " ".join(f"{each:>9}" for each in others)


def _rate(rate: float) -> str:
    """Write a rate so that it is seen on which side of a size it is."""
    return f"{int(rate * 10) / 10}" if rate < 100 else f"{rate:.0f}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
