"""The lock of a deploy: held by a process on the host, for as long as the operator's end lives.

A script on the host holds the lock and listens. It hears a beat every few seconds; when the beats
end, for whatever reason (Ctrl-C, `kill -9`, a cut cable), it lets go by itself. So no lock outlives
its holder, and nobody has to break one. The kernel ends the lock with the script, and the host's
own clock measures the silence.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ops import console
from ops.errors import OpsError, refusal
from ops.hosts import Host

__all__ = ["BEAT_SECONDS", "LEASE_SECONDS", "held"]

BEAT_SECONDS = 5.0
LEASE_SECONDS = 30

# $1 folder, $2 who, as JSON, $3 seconds of silence after which the lock is let go. The file says
# who holds the lock, or held it last without letting go in order. flock's lock goes with the
# descriptor. `read -t` is bash's.
SCRIPT = """
mkdir -p -m 700 "$1" && exec 9>>"$1/lock" || exit 1
if ! flock --nonblock 9; then
    echo "held $(($(date +%s) - $(stat -c %Y "$1/holder")))"; cat "$1/holder"; exit 75
fi
if [ -s "$1/holder" ]; then echo "left"; cat "$1/holder"; fi
printf '%s\\n' "$2" >"$1/holder" && echo "ready" || exit 1
while read -r -t "$3" beat; do
    if [ "$beat" = done ]; then : >"$1/holder"; exit 0; fi
    touch "$1/holder"
done
exit 76
"""
HELD = "held "


@contextmanager
def held(host: Host, folder: str, who: dict[str, str]) -> Iterator[threading.Event]:
    """Hold the lock of a folder on a host; the event yielded is set when it was lost.

    Raises a refusal (code 2) that names the holder when somebody else has it.
    """
    holder = _Holder(host, folder, {**who, "since": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"})
    holder.start()
    try:
        holder.wait()
        yield holder.lost
    finally:
        holder.let_go()


class _Holder(threading.Thread):
    """The operator's end: sends the beats, hears what the script says."""

    def __init__(self, host: Host, folder: str, who: dict[str, str]) -> None:
        super().__init__(name=f"lease-{host.name}", daemon=True)
        self.host = host
        self.words = ("bash", "-c", SCRIPT, "lease", folder, json.dumps(who), str(LEASE_SECONDS))
        self.lost = threading.Event()
        self._done = threading.Event()
        self._answered = threading.Event()
        self._said: list[str] = []
        self._error: OpsError | None = None
        self._code: int | None = None

    def run(self) -> None:
        try:
            self._code = self.host.follow(self.words, self._hear, stdin=self._beats()).code
        except OpsError as error:
            self._error = error
        self.lost.set()
        self._answered.set()

    def _beats(self) -> Iterator[bytes]:
        while not self._done.wait(BEAT_SECONDS):
            yield b"beat\n"
        yield b"done\n"

    def _hear(self, line: str) -> None:
        self._said.append(line.rstrip())
        refused = len(self._said) == 2 and self._said[0].startswith(HELD)
        if self._said[-1] == "ready" or refused:
            self._answered.set()

    def wait(self) -> None:
        """Wait for the lock; raise when it is somebody else's."""
        self._answered.wait()
        if self._error is not None:
            raise self._error
        words = iter(self._said)
        for line in words:
            if line == "left":
                console.say(
                    f"note: {self.host.name}: {_who(next(words, ''))} ended without letting go of "
                    "the lock; what was left half-done is put right first"
                )
        if self._said and self._said[0].startswith(HELD):
            age = self._said[0].removeprefix(HELD)
            raise refusal(
                f"{self.host.name} is being changed by {_who(self._said[-1])}, "
                f"last heard of {age} s ago",
                f"wait for it to end; should it be dead, the lock ends by itself after "
                f"{LEASE_SECONDS} s of silence",
            )
        if self._code is not None:
            raise OpsError(
                "\n  ".join([f"cannot take the lock on {self.host.name}", *self._said[-5:]]),
                "look at the host: is its disk full, is the folder yours?",
            )

    def let_go(self) -> None:
        """End the lease in order."""
        self._done.set()
        self.join(BEAT_SECONDS)


def _who(text: str) -> str:
    try:
        entry: dict[str, Any] = json.loads(text)
        return f"{entry['by']} ({entry['what']}, since {entry['since']})"
    except (ValueError, LookupError, TypeError):
        return "somebody"
