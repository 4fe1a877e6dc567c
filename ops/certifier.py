"""The certificate service: has a certificate for NGINX made and renewed, in a container of its own.

python -m ops.certifier serve    without end
python -m ops.certifier once     now, whatever it waits for; what is not due is left alone
python -m ops.certifier state    prints how it stands, as one JSON document
"""

import argparse
import fcntl
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from ops.acme_orders import Directory, OrderError
from ops.errors import FAILED, OpsError
from ops.key_pairs import Pair, Shelf, write
from ops.private_ca import Authority
from ops.values import Secret

__all__ = ["Acme", "Certifier", "Private", "main", "pause"]

FOLDER, WEBROOT = Path("/certificates"), Path("/challenges")
CA_SECRET = Path("/run/secrets/ca_secret")
DOOR = "http://nginx:8080"

TURN_SECONDS = 30.0
"""Between two looks. By the clock of the machine, which may be put right meanwhile."""

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=6)
GROWTH = 4
"""Pauses of 1, 4, 16, 64 min are four attempts in the first hour: Let's Encrypt allows five that
fail. https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-identifier-per-account
"""

LONGEST_WAIT = timedelta(days=8)
"""That a CA may ask for. Further away is only what was written down under a wrong clock."""

ASK_EVERY = timedelta(hours=6)


class Issuer(Protocol):
    """Who makes certificates."""

    @property
    def purpose(self) -> dict[str, Any]:
        """What a certificate is made for: with another purpose it has to be made anew."""

    def issue(self, now: datetime) -> Pair:
        """Return a new certificate; raises OpsError where there is none to be had."""

    def renewal(self, pair: Pair, now: datetime) -> datetime:
        """Return when a certificate is to be made anew."""


class Private:
    """The stack's own CA."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority

    @property
    def purpose(self) -> dict[str, Any]:
        """It follows from the CA, and that from the names."""
        names, by = self.authority.names, self.authority.fingerprint
        return {"mode": "private-ca", "names": names, "by": by}

    def issue(self, now: datetime) -> Pair:
        """Return a new certificate."""
        return self.authority.issue(now)

    def renewal(self, pair: Pair, now: datetime) -> datetime:
        """With the last third; at once where the clock was wrong when it was made."""
        return now if now < pair.begin else pair.last_third


@dataclass(slots=True)
class Acme:
    """A CA that is asked by ACME."""

    directory: Directory
    names: list[str]
    wished: datetime | None = None
    ask_at: datetime | None = None

    @property
    def purpose(self) -> dict[str, Any]:
        """Names, and who is asked."""
        return {"mode": "acme", "names": sorted(set(self.names)), "by": self.directory.url}

    def issue(self, now: datetime) -> Pair:
        """Return a new certificate."""
        del now
        self.wished = self.ask_at = None
        return self.directory.order(self.names)

    def renewal(self, pair: Pair, now: datetime) -> datetime:
        """With the last third, or earlier if the CA wishes so, as before it revokes many."""
        if self.ask_at is None or now >= self.ask_at:
            self.ask_at = now + ASK_EVERY
            try:
                self.wished, again = self.directory.advice(pair)
                self.ask_at = max(min(again, self.ask_at), now + timedelta(minutes=1))
            except OrderError:  # advice is all it is; the order says why
                self.wished = None
        return min(filter(None, (self.wished, pair.last_third)))


def _utc() -> datetime:
    return datetime.now(UTC)


class Certifier:
    """Has the live certificate fit its purpose."""

    def __init__(self, issuer: Issuer, folder: Path, clock: Callable[[], datetime] = _utc) -> None:
        self.issuer = issuer
        self.shelf = Shelf(folder)
        self.file = folder / "state.json"
        self.clock = clock

    def turn(self, *, now_or_never: bool = False) -> OpsError | None:
        """Look once, and do what is due, unless it failed lately; return what went wrong."""
        with self._alone():
            now = self.clock()
            state = self._remembered()
            pair = self._fitting()
            renewal = self.issuer.renewal(pair, now) if pair else now
            error = None
            if now >= renewal and (now_or_never or not _waiting(state, now)):
                error = self._attempt(state, now)
                pair = self._fitting()
                renewal = self.issuer.renewal(pair, now) if pair else now
            self._tell(state, pair, renewal)
            return error

    def _attempt(self, state: dict[str, Any], now: datetime) -> OpsError | None:
        """Try once. That it failed is written down first: a killed attempt counts as one."""
        failures = int(state.get("failures", 0)) + 1
        state |= {"failures": failures, "last_attempt": now.isoformat()}
        state["next_attempt"] = (now + pause(failures)).isoformat()
        self._tell(state, self._fitting(), now)
        try:
            self.shelf.put(self.issuer.issue(now), _text(self.issuer.purpose), now)
        except (OpsError, OSError) as error:
            trouble = _in_words(error)
            wait = getattr(trouble, "until", None)
            after = now + pause(failures)
            state["next_attempt"] = max(after, min(wait or after, now + LONGEST_WAIT)).isoformat()
            state["error"] = {"cause": trouble.cause, "remedy": trouble.remedy}
            say(f"{trouble.cause}; try: {trouble.remedy}; next at {state['next_attempt']}")
            return trouble
        for key in ("failures", "next_attempt", "error"):
            state.pop(key, None)
        names = ", ".join(self.issuer.purpose["names"])
        made = self._fitting()
        say(f"a new certificate for {names}, until {made.end.isoformat() if made else 'never'}")
        return None

    def _fitting(self) -> Pair | None:
        """Return the live pair if it was made for what it is to be."""
        pair = self.shelf.read()
        return pair if self.shelf.purpose() == _text(self.issuer.purpose) else None

    def _remembered(self) -> dict[str, Any]:
        """Return the state as it was left; with another purpose, nothing has failed yet."""
        try:
            state = json.loads(self.file.read_bytes())
        except (OSError, ValueError):
            return {}
        purpose = self.issuer.purpose
        same = isinstance(state, dict) and all(state.get(key) == purpose[key] for key in purpose)
        return state if same else {}

    def _tell(self, state: dict[str, Any], pair: Pair | None, renewal: datetime) -> None:
        """Write down how it stands."""
        live = pair or self.shelf.read()
        state |= self.issuer.purpose
        state["at"] = self.clock().isoformat()
        state["fits"] = pair is not None
        state["not_before"] = live.begin.isoformat() if live else None
        state["not_after"] = live.end.isoformat() if live else None
        state["renewal"] = renewal.isoformat() if pair else None
        write(self.file, json.dumps(state, indent=1).encode() + b"\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one at a time work here; a killed one keeps nobody out."""
        with (self.shelf.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def pause(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row; not all stacks at the same time."""
    growth: int = GROWTH ** min(failures - 1, 9)
    length = min(FIRST_PAUSE * growth, LONGEST_PAUSE)
    return random.uniform(0.9, 1.1) * length  # noqa: S311 - nothing secret


def _waiting(state: Mapping[str, Any], now: datetime) -> bool:
    """Say whether an attempt that failed was so lately that it is too early for the next."""
    given = state.get("next_attempt")
    return given is not None and now < datetime.fromisoformat(given) <= now + LONGEST_WAIT


def _text(purpose: Mapping[str, Any]) -> str:
    return json.dumps(purpose, sort_keys=True)


def _in_words(error: Exception) -> OpsError:
    """Return an error as a person reads it: a full disk, for example, is none of ours."""
    if isinstance(error, OpsError):
        return error
    return OpsError(
        f"{type(error).__name__}: {error}",
        "see whether the disk that Docker's volumes are on is full",
    )


def say(text: str) -> None:
    """Write a line to the log."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    print(f"{moment} {' '.join(text.split())}", file=sys.stderr, flush=True)


def issuer(environ: Mapping[str, str], folder: Path, webroot: Path, secret: Path) -> Issuer:
    """Return who makes certificates, by the environment that compose/certificates.yaml gives."""
    names = environ["CERTIFICATE_NAMES"].split(",")
    if environ["TLS"] == "private-ca":
        given = Secret(secret.read_text("utf-8").strip())
        return Private(Authority(given, environ["STACK_NAME"], names))
    vouched = environ["ACME_CA_FILE"]
    return Acme(
        Directory(
            url=environ["ACME_DIRECTORY"],
            email=environ["ACME_EMAIL"],
            ca_file=vouched if vouched and Path(vouched).stat().st_size else "",
            folder=folder / "acme",
            webroot=webroot,
            door=DOOR,
        ),
        names,
    )


def main() -> int:
    """Run one of the commands; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["serve", "once", "state"])
    command = parser.parse_args().command

    def ended(*_: object) -> None:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, ended)
    state = FOLDER / "state.json"
    if command == "state":
        print(state.read_text("utf-8") if state.exists() else "{}", end="")
        return 0
    ours = Certifier(issuer(os.environ, FOLDER, WEBROOT, CA_SECRET), FOLDER)
    if command == "once":
        return FAILED if ours.turn(now_or_never=True) else 0
    while True:
        try:
            ours.turn()
        except OSError as error:
            say(_in_words(error).cause)
        time.sleep(TURN_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
