"""Clients that ask a server at the same time, each without a pause, and what they saw."""

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ops.front_door import RequestError

__all__ = ["Figures", "measure"]

PAUSE_SECONDS = 0.1
"""After a failure: a server that refuses at once is not asked thousands of times."""

LONGEST_SECONDS = 30
"""For which a server that limits its clients is left alone at a time, whatever it asks for."""

PATIENCE_SECONDS = 5
"""How long an interrupt waits for requests under way."""


@dataclass(frozen=True)
class Figures:
    """What some clients saw together; times are those of the requests that succeeded."""

    clients: int
    answered: int
    rate: float
    """Answers a second."""
    p50: float
    p99: float
    failed: int
    limited: int
    """Answers of 429, which are not failures: the server is well, and wants less."""
    processor: float
    """How much of one processor of this machine the clients took; near 1, they were the limit."""
    failure: str
    """The first one."""


class Client(threading.Thread):
    """Asks until its time is over, or `halt`; the first time only to be connected."""

    def __init__(
        self,
        ask: Callable[[], object],
        seconds: float,
        begin: threading.Barrier,
        halt: threading.Event,
    ) -> None:
        super().__init__(daemon=True)  # a request without an answer keeps nobody here
        self.times: list[float] = []
        self.failures: list[str] = []
        self.limited = 0
        self.elapsed = 0.0
        self._ask, self._seconds, self._begin, self._halt = ask, seconds, begin, halt

    def run(self) -> None:
        """Ask, once all are ready."""
        try:
            self._ask()
        except RequestError:
            pass  # so will the next one, which is counted
        try:
            self._begin.wait()
        except threading.BrokenBarrierError:
            return
        begin = time.monotonic()
        while self.elapsed < self._seconds and not self._halt.is_set():
            self._halt.wait(min(self._once(), LONGEST_SECONDS))
            self.elapsed = time.monotonic() - begin

    def _once(self) -> float:
        """Ask once; return how many seconds to leave the server alone."""
        begin = time.monotonic()
        try:
            self._ask()
        except RequestError as error:
            if error.status == 429:
                self.limited += 1
                return error.retry_after
            self.failures.append(str(error))
            return PAUSE_SECONDS
        self.times.append(time.monotonic() - begin)
        return 0


def measure(asks: Sequence[Callable[[], object]], seconds: float) -> Figures:
    """Have a client for each of `asks` repeat it for so long; each has a connection of its own."""
    begin, halt = threading.Barrier(len(asks) + 1), threading.Event()
    clients = [Client(ask, seconds, begin, halt) for ask in asks]
    for client in clients:
        client.start()
    try:
        begin.wait()
        started, used = time.monotonic(), time.process_time()
        for client in clients:
            client.join()
    except BaseException:  # Ctrl-C: no request begins after it
        halt.set()
        begin.abort()
        end = time.monotonic() + PATIENCE_SECONDS
        for client in clients:
            client.join(max(0, end - time.monotonic()))
        raise
    took = time.monotonic() - started
    return figures(clients, (time.process_time() - used) / took)


def figures(clients: Sequence[Client], processor: float) -> Figures:
    """Return what clients saw that have ended."""
    times = sorted(seconds for client in clients for seconds in client.times)
    failures = [text for client in clients for text in client.failures]
    return Figures(
        clients=len(clients),
        answered=len(times),
        # Of each by its own time: who waits for the last answer does not make the others slow.
        rate=sum(len(client.times) / client.elapsed for client in clients),
        p50=statistics.median(times) if times else 0,
        p99=times[math.ceil(len(times) * 0.99) - 1] if times else 0,
        failed=len(failures),
        limited=sum(client.limited for client in clients),
        processor=processor,
        failure=failures[0] if failures else "",
    )
