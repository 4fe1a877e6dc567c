"""The probe, against a real HTTP server."""

import time

from ops import probe
from ops.front_door import FrontDoor
from tests.conftest import StandInServer


def wait_for_requests(count: probe.Count, number: int) -> None:
    deadline = time.monotonic() + 10
    while count.requests < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_every_request_is_counted_and_none_is_made_afterwards(server: StandInServer) -> None:
    with probe.running(FrontDoor(server.url)) as count:
        wait_for_requests(count, 6)

    assert [] == count.failures
    asked = len(server.requests)
    assert count.requests == asked
    time.sleep(0.15)
    assert asked == len(server.requests)


def test_a_failed_request_is_kept_with_its_time_and_reason(server: StandInServer) -> None:
    with probe.running(FrontDoor(server.url)) as count:
        wait_for_requests(count, 2)
        server.broken["POST /experiments/search"] = (502, b"gone")
        wait_for_requests(count, 8)

    assert count.failures
    assert count.failures[0].startswith("after ")
    assert "HTTP 502: gone" in count.failures[0]


def test_counting_begins_with_the_first_answer(server: StandInServer) -> None:
    server.broken["POST /experiments/search"] = (401, b"another CA, name or login")
    with probe.running(FrontDoor(server.url)) as count:
        wait_for_requests(count, 4)
        del server.broken["POST /experiments/search"]
        before = len(server.requests)
        while count.failures:
            time.sleep(0.01)
        wait_for_requests(count, 4)

    assert [] == count.failures
    assert 4 <= count.requests <= len(server.requests) - before + 1


def test_nobody_at_the_door_is_a_failure_too() -> None:
    with probe.running(FrontDoor("http://127.0.0.1:9")) as count:
        wait_for_requests(count, 2)

    assert count.requests == len(count.failures)
