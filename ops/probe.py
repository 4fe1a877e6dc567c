"""A client that asks all the time: what a switch costs is counted, not claimed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ops.front_door import FrontDoor, RequestError

__all__ = ["Count", "running"]

PAUSE_SECONDS = 0.05


class Count(threading.Thread):
    """Asks one front door, over and over: through a connection that is kept, and through new ones.

    Each request goes through NGINX and MLflow to the database. None is repeated. Counting begins
    with the first answer: this client comes with what the new release brings, as it may be a CA or
    a name that the old one does not have. Without any answer, all that were asked have failed.
    """

    def __init__(self, door: FrontDoor) -> None:
        super().__init__(name=f"probe-{door.url}", daemon=True)
        self.requests = 0
        self.failures: list[str] = []
        self._door = door
        self._answered = False
        self._done = threading.Event()
        self._begin = time.monotonic()

    def run(self) -> None:
        """Ask until told to end."""
        while not self._done.wait(PAUSE_SECONDS):
            self._ask(self._door)
            self._ask(self._door.anew())

    def _ask(self, door: FrontDoor) -> None:
        self.requests += 1
        try:
            door.answers()
        except RequestError as error:
            self.failures.append(f"after {time.monotonic() - self._begin:.1f} s: {error}")
        else:
            if not self._answered:
                self._answered, self.requests, self.failures = True, 1, []

    def end(self) -> None:
        """Stop asking."""
        self._done.set()
        self.join()


@contextmanager
def running(door: FrontDoor) -> Iterator[Count]:
    """Have a probe run; it has ended when this ends."""
    probe = Count(door)
    probe.start()
    try:
        yield probe
    finally:
        probe.end()
