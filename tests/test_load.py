"""Clients that ask at the same time: of a real HTTP server, and of what a test says."""

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from ops import load
from ops.front_door import FrontDoor, RequestError
from ops.load import Client
from tests.conftest import StandInServer

PROBE = "POST /experiments/search"


def refusing(status: int, retry_after: float = 1) -> Callable[[], None]:
    def ask() -> None:
        raise RequestError(status, "no", retry_after=retry_after)

    return ask


def ended(times: list[float], elapsed: float) -> Client:
    """Return a client that has seen this."""
    client = Client(lambda: None, 1, threading.Barrier(1), threading.Event())
    client.times, client.elapsed = times, elapsed
    return client


def test_every_answer_is_counted_but_the_one_that_connects(server: StandInServer) -> None:
    seen = load.measure([FrontDoor(server.url).answers for _ in range(3)], 0.3)

    assert (3, 0, 0, "") == (seen.clients, seen.failed, seen.limited, seen.failure)
    assert seen.answered + 3 == len(server.requests)
    assert 0 < seen.p50 <= seen.p99 < 0.3
    assert 0 < seen.processor
    assert 0.5 * seen.answered / 0.3 < seen.rate < 1.1 * seen.answered / 0.3


def test_clients_ask_at_the_same_time() -> None:
    """The first answers that count are there once all have asked: in turns there would be none."""
    together = threading.Barrier(4)

    def asking() -> Callable[[], object]:
        calls = itertools.count()

        def ask() -> None:
            if next(calls) == 1:
                together.wait(20)

        return ask

    assert load.measure([asking() for _ in range(4)], 0.05).answered >= 4


def test_the_rate_is_the_sum_of_each_client_s_own() -> None:
    seen = load.figures([ended([0.1] * 10, 1), ended([2.0], 2)], 0.5)

    assert pytest.approx(10.5) == seen.rate
    assert (0.1, 2.0, 0.5) == (seen.p50, seen.p99, seen.processor)


def test_of_a_hundred_answers_one_may_take_longer_than_p99() -> None:
    seen = load.figures([ended([float(i) for i in range(1, 101)], 1)], 0)

    assert (50.5, 99) == (seen.p50, seen.p99)


def test_failures_are_counted_and_the_first_is_kept(server: StandInServer) -> None:
    server.broken[PROBE] = (503, b"gone")
    seen = load.measure([FrontDoor(server.url).answers], 0.25)

    assert (0, 0, 0.0, 0.0) == (seen.answered, seen.limited, seen.p50, seen.p99)
    assert 2 <= seen.failed <= 3  # there is a pause after each
    assert "HTTP 503: gone" == seen.failure


def test_a_server_that_limits_its_clients_is_left_alone_for_as_long_as_it_asks() -> None:
    begin = time.monotonic()
    seen = load.measure([refusing(429, retry_after=0.5)], 0.2)

    assert (1, 0, 0) == (seen.limited, seen.failed, seen.answered)
    assert 0.5 <= time.monotonic() - begin < 5


def test_a_server_that_asks_for_hours_does_not_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LONGEST_SECONDS", 0.1)
    begin = time.monotonic()
    seen = load.measure([refusing(429, retry_after=9999)], 0.15)

    assert 2 == seen.limited
    assert time.monotonic() - begin < 5


def test_what_the_clients_themselves_take_is_known() -> None:
    def work() -> None:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    busy = load.measure([work], 0.2)
    idle = load.measure([lambda: time.sleep(0.02)], 0.2)

    assert idle.processor < busy.processor / 2


@pytest.mark.parametrize("moment", ["connecting", "measuring"])
def test_after_an_interrupt_no_request_begins(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    asked: list[float] = []
    slow = threading.Event()

    def ask() -> None:
        asked.append(time.monotonic())
        if moment == "connecting":
            slow.wait(1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    where = "threading.Barrier.wait" if moment == "connecting" else "time.process_time"
    alone, main = threading.Barrier.wait, threading.current_thread()
    monkeypatch.setattr(
        where,
        lambda *given: interrupted() if threading.current_thread() is main else alone(*given),
    )
    with pytest.raises(KeyboardInterrupt):
        load.measure([ask, ask], 30)
    count = len(asked)
    slow.set()
    time.sleep(0.1)

    assert count == len(asked)
    assert not [each for each in threading.enumerate() if isinstance(each, Client)]
