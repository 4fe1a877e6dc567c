"""Certificates by ACME from a real CA, on this machine alone; neither Docker nor root is needed.

The rest of what a CA may answer, and this one cannot, is in tests/test_acme_orders.py.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.acme_orders import CHALLENGES, Directory
from ops.certifier import Acme, Certifier
from ops.key_pairs import Pair, Shelf
from ops.private_ca import Authority
from ops.values import Secret
from tests.e2e.conftest import free_port
from tests.lab import pebble
from tests.lab.pebble import Pebble
from tests.tls import handshake

NAME = "mlflow.example.test"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web(folder: Path, port: int) -> Iterator[None]:
    """Serve a folder on this machine, as NGINX does on port 80."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@dataclass
class World:
    """A CA, a web server that it finds, and our service between them."""

    ca: Pebble
    folder: Path
    webroot: Path
    port: int
    """Where the CA looks."""

    door: str
    later: timedelta = timedelta(0)
    names: list[str] = field(default_factory=lambda: [NAME])
    directory: str = ""
    advised: bool = True
    """Whether the CA is asked when it would renew: pebble says some hour of two days."""

    def __post_init__(self) -> None:
        self.directory = self.directory or self.ca.directory

    def turn(self, **options: bool) -> str:
        """Let a service that has just been started have one look; return what went wrong."""
        directory = Directory(
            *(self.directory, "", self.ca.ca_file),
            *(self.folder / "acme", self.webroot, self.door),
        )
        later = None if self.advised else datetime.max.replace(tzinfo=UTC)
        issuer = Acme(directory, self.names, ask_at=later)
        clock: Callable[[], datetime] = lambda: datetime.now(UTC) + self.later  # noqa: E731
        error = Certifier(issuer, self.folder, clock).turn(**options)
        return error.message or "" if error else ""

    @property
    def live(self) -> Pair | None:
        return Shelf(self.folder).read()

    @property
    def pair(self) -> Pair:
        assert self.live is not None
        return self.live

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text("utf-8"))
        return found


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pebble, int]]:
    """A CA, whose directory proves itself by a certificate of a company's own."""
    folder = tmp_path_factory.mktemp("pebble")
    company = Authority(Secret("a-company-of-tests"), "company", ["127.0.0.1", "localhost"])
    pair = company.issue(datetime.now(UTC))
    for name, text in (("ca", company.pem), ("cert", pair.chain), ("key", pair.key)):
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    port = free_port()
    door = folder / "cert", folder / "key"
    with pebble.running(folder, folder / "ca", door, port) as running:
        yield running, port


@pytest.fixture
def world(ca: tuple[Pebble, int], tmp_path: Path) -> Iterator[World]:
    """The web server is up, and the name leads the CA to a port where nobody is."""
    folder, webroot = tmp_path / "certificates", tmp_path / "challenges"
    folder.mkdir()
    webroot.mkdir()
    door = free_port()
    with web(webroot, door):
        yield World(ca[0], folder, webroot, ca[1], f"http://127.0.0.1:{door}")


@pytest.fixture
def served(world: World) -> Iterator[World]:
    """The name leads to the web server."""
    with web(world.webroot, world.port):
        yield world


def minutes_until(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds() / 60


# --- A certificate, and the next ---


def test_a_certificate_is_issued_and_verifies_for_its_name(served: World) -> None:
    assert served.turn() == ""

    assert served.pair.names == [NAME]
    seen = handshake(served.pair, NAME, served.ca.root())
    assert seen["subjectAltName"] == (("DNS", NAME),)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(served.pair, "other.example.test", served.ca.root())


def test_what_was_laid_out_for_the_ca_is_taken_away(served: World) -> None:
    served.turn()

    assert [*(served.webroot / CHALLENGES).iterdir()] == []


def test_a_service_that_starts_again_asks_for_nothing(served: World) -> None:
    served.advised = False
    served.turn()
    first = served.pair
    accounts = [*(served.folder / "acme").iterdir()]

    assert served.turn(now_or_never=True) == ""
    assert served.pair == first
    assert [*(served.folder / "acme").iterdir()] == accounts


def test_it_is_renewed_with_the_last_third_of_its_life_and_with_a_new_key(served: World) -> None:
    served.advised = False
    served.turn()
    first = served.pair
    left = first.last_third - datetime.now(UTC)

    served.later = left - timedelta(minutes=5)
    served.turn()
    assert served.pair == first

    served.later = left + timedelta(minutes=5)
    assert served.turn() == ""
    assert served.pair.leaf.serial_number != first.leaf.serial_number
    assert served.pair.leaf.public_key() != first.leaf.public_key()


def test_it_is_renewed_when_the_ca_wishes_so(served: World) -> None:
    served.turn()
    first = served.pair

    served.ca.wish(first.chain.decode(), datetime.now(UTC) - timedelta(hours=1))
    assert served.turn() == ""

    assert served.pair.leaf.serial_number != first.leaf.serial_number


def test_another_name_gets_a_certificate_at_once(served: World) -> None:
    served.turn()

    served.names = ["other.example.test", NAME]
    assert served.turn() == ""

    assert served.pair.names == [NAME, "other.example.test"]


def test_an_address_gets_a_certificate_for_some_days(served: World) -> None:
    served.names = ["127.0.0.1"]
    assert served.turn() == ""

    assert served.pair.names == ["127.0.0.1"]
    assert served.pair.end - served.pair.begin <= timedelta(days=7)
    assert handshake(served.pair, "127.0.0.1", served.ca.root())


# --- Something is wrong ---


def test_a_name_that_dns_does_not_know_is_said_and_tried_again_later(served: World) -> None:
    served.ca.fail(NAME)
    try:
        said = served.turn()
        assert f"the CA could not verify {NAME}: connection: " in said
        assert "could not resolve" in said
        assert "see that the name's DNS leads to this host" in said
        assert served.live is None
        assert 0.8 < minutes_until(served.state["next_attempt"]) < 1.2

        before = served.state
        assert served.turn() == ""
        assert served.state["last_attempt"] == before["last_attempt"]
    finally:
        served.ca.heal(NAME)

    served.later = timedelta(minutes=2)
    assert served.turn() == ""
    assert served.pair.names == [NAME]
    assert "error" not in served.state


def test_a_name_that_leads_to_nobody_is_said(world: World) -> None:
    said = world.turn()

    assert f"the CA could not verify {NAME}: connection: " in said
    assert "who may reach its port 80" in said


def test_a_name_that_leads_to_somebody_else_is_said(world: World, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with web(tmp_path / "other", world.port):
        said = world.turn()

    assert f"the CA could not verify {NAME}: unauthorized: " in said
    assert "something else answers on port 80" in said


def test_a_ca_that_is_away_leaves_the_certificate_that_is_there(served: World) -> None:
    served.turn()
    first = served.pair

    served.directory = f"https://127.0.0.1:{free_port()}/dir"
    said = served.turn()

    assert "no answer from https://127.0.0.1:" in said
    assert served.pair == first
    assert served.state["fits"] is False


def test_a_directory_that_nobody_vouches_for_is_not_trusted(served: World) -> None:
    served.ca = replace(served.ca, ca_file="")
    said = served.turn()

    assert "does not prove who it is" in said
    assert "ACME_CA_FILE" in said


def test_attempts_that_fail_grow_rare_and_do_not_start_anew_with_the_service(world: World) -> None:
    waits = []
    for _ in range(5):
        assert world.turn() != ""
        waits.append(minutes_until(world.state["next_attempt"]) - world.later.total_seconds() / 60)
        world.later += timedelta(minutes=waits[-1] + 0.1)

    for wait, meant in zip(waits, [1, 4, 16, 64, 256], strict=True):
        assert 0.85 * meant < wait < 1.15 * meant
