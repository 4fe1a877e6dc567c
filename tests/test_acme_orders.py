"""What a CA may answer that refuses, is busy or is none.

A real one issues in tests/e2e/test_acme.py. The stub speaks as much ACME as it takes to come to the
answer that a test is about.
"""

import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.acme_orders import CHALLENGES, Directory, OrderError
from ops.key_pairs import Pair
from ops.private_ca import Authority
from ops.values import Secret

NAME = "mlflow.example.test"
TOKEN = "YSB0b2tlbiBvZiB0aGUgdGVzdHM"
PROBLEM = "application/problem+json"
Answer = tuple[int, dict[str, str], Any]


@dataclass
class Stub:
    """An ACME directory; `answers` says what a path is answered with, in place of what is usual."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    hosts: list[str] = field(default_factory=list)
    webroot: Path = Path("/nonexistent")
    on_challenge: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def usual(self, path: str) -> Answer:
        url = self.url
        authorization = {
            "status": "pending",
            "identifier": {"type": "dns", "value": NAME},
            "challenges": [
                {"type": "dns-01", "url": f"{url}/dns", "token": TOKEN, "status": "pending"},
                {"type": "http-01", "url": f"{url}/http", "token": TOKEN, "status": "pending"},
            ],
        }
        order = {
            "status": "pending",
            "identifiers": [{"type": "dns", "value": NAME}],
            "authorizations": [f"{url}/authorization"],
            "finalize": f"{url}/finalize",
        }
        listing = {name: f"{url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
        known: dict[str, Answer] = {
            "/directory": (200, {}, listing),
            "/newNonce": (200, {}, ""),
            "/newAccount": (201, {"Location": f"{url}/account"}, {"status": "valid"}),
            "/newOrder": (201, {"Location": f"{url}/order"}, order),
            "/authorization": (200, {}, authorization),
            "/http": (
                *(200, {"Link": f'<{url}/authorization>;rel="up"'}),
                authorization["challenges"][1],  # type: ignore[index]
            ),
        }
        return known[path]

    def refuse(self, path: str, code: str, detail: str, status: int = 403, **more: str) -> None:
        headers = {"Content-Type": PROBLEM, **{k.replace("_", "-"): v for k, v in more.items()}}
        typed = f"urn:ietf:params:acme:error:{code}"
        self.answers[path] = (status, headers, {"type": typed, "detail": detail})


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith(f"/{CHALLENGES}/"):  # as NGINX
                made.hosts.append(self.headers["Host"])
                self.show(made.webroot / self.path[1:])
                return
            made.asked.append(self.path)
            made.agents.add(self.headers["User-Agent"])
            if self.path == "/http":
                made.on_challenge()
            status, headers, body = made.answers.get(self.path) or made.usual(self.path)
            data = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            kind = {"Content-Type": "application/json"}
            usual = {**kind, "Replay-Nonce": "bm9uY2U", "Content-Length": str(len(data))}
            for name, value in (usual | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def show(self, file: Path) -> None:
            data = file.read_bytes() if file.exists() else b""
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def directory(stub: Stub, tmp_path: Path) -> Directory:
    webroot = tmp_path / "challenges"
    stub.webroot = webroot
    return Directory(f"{stub.url}/directory", "", "", tmp_path / "acme", webroot, stub.url)


def refused(directory: Directory) -> OrderError:
    with pytest.raises(OrderError) as caught:
        directory.order([NAME])
    return caught.value


def a_pair() -> Pair:
    return Authority(Secret("a-secret-of-tests"), "tests", [NAME]).issue(datetime.now(UTC))


# --- Limits ---


def test_a_limit_is_said_and_when_to_come_again(stub: Stub, directory: Directory) -> None:
    detail = "too many certificates already issued"
    stub.refuse("/newOrder", "rateLimited", detail, 429, Retry_After="7200")
    error = refused(directory)

    assert error.cause == f"the CA refuses: rateLimited: {detail}"
    assert error.remedy.startswith("wait: it tries again by itself")
    assert error.until is not None
    assert timedelta(minutes=119) < error.until - datetime.now(UTC) <= timedelta(hours=2)


def test_a_date_to_come_again_is_understood(stub: Stub, directory: Directory) -> None:
    moment = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    stub.refuse(
        "/newOrder", "rateLimited", "later", 429, Retry_After=format_datetime(moment, usegmt=True)
    )

    assert refused(directory).until == moment


@pytest.mark.parametrize("given", ["soon", "", "-1", "९"])
def test_a_time_that_is_none_is_not_understood(
    stub: Stub, directory: Directory, given: str
) -> None:
    headers = {"Retry_After": given.encode().decode("latin-1")} if given else {}
    stub.refuse("/newOrder", "rateLimited", "later", 429, **headers)

    assert refused(directory).until is None


def test_a_limit_on_accounts_is_a_limit_too(stub: Stub, directory: Directory) -> None:
    stub.refuse("/newAccount", "rateLimited", "too many accounts", 429, Retry_After="60")

    assert "rateLimited: too many accounts" in refused(directory).cause
    assert "/newOrder" not in stub.asked


def test_a_ca_that_is_busy_says_when_to_come_again(stub: Stub, directory: Directory) -> None:
    stub.answers["/directory"] = (503, {"Retry-After": "600"}, "<html>busy</html>")
    error = refused(directory)

    assert "does not answer as a CA: HTTP 503" in error.cause
    assert error.until is not None


def test_what_was_said_to_an_earlier_request_is_forgotten(stub: Stub, directory: Directory) -> None:
    stub.answers["/directory"] = (503, {"Retry-After": "600"}, "busy")
    refused(directory)
    del stub.answers["/directory"]
    stub.answers["/newOrder"] = (200, {}, "no JSON")

    assert refused(directory).until is None


# --- Refusals ---


@pytest.mark.parametrize(
    ("path", "code", "remedy"),
    [
        ("/newOrder", "rejectedIdentifier", "TLS=private-ca"),
        ("/newOrder", "caa", "CAA record"),
        ("/newOrder", "unheardOf", "see what the CA says"),
        ("/newAccount", "externalAccountRequired", "ACME_DIRECTORY"),
        ("/newAccount", "invalidContact", "ACME_EMAIL"),
        ("/newAccount", "userActionRequired", "read what the CA asks for"),
    ],
)
def test_a_refusal_says_why_and_what_to_do(
    stub: Stub, directory: Directory, path: str, code: str, remedy: str
) -> None:
    stub.refuse(path, code, "for\na reason")
    error = refused(directory)

    assert code in error.cause
    assert error.cause.endswith("for a reason")
    assert remedy in error.remedy
    assert error.code == 1


@pytest.mark.parametrize("code", ["dns", "connection", "unauthorized", "incorrectResponse", "caa"])
def test_a_name_that_could_not_be_verified_is_named(
    stub: Stub, directory: Directory, code: str
) -> None:
    def fail() -> None:
        status, headers, body = stub.usual("/authorization")
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": "seen otherwise"}
        body["challenges"][1] |= {"status": "invalid", "error": problem}
        stub.answers["/authorization"] = (status, headers, body | {"status": "invalid"})

    stub.on_challenge = fail
    error = refused(directory)

    assert error.cause == f"the CA could not verify {NAME}: {code}: seen otherwise"
    assert error.remedy != "see what the CA says above; it tries again by itself"


def test_a_ca_that_does_not_verify_by_http_is_said(stub: Stub, directory: Directory) -> None:
    status, headers, body = stub.usual("/authorization")
    body["challenges"].pop()
    stub.answers["/authorization"] = (status, headers, body)

    assert f"does not verify {NAME} by HTTP" in refused(directory).cause


def test_an_order_that_the_ca_gives_up_is_said(stub: Stub, directory: Directory) -> None:
    _, _, authorization = stub.usual("/authorization")
    stub.answers["/authorization"] = (200, {}, authorization | {"status": "valid"})
    _, _, order = stub.usual("/newOrder")
    problem = {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden meanwhile"}
    stub.answers["/finalize"] = (200, {}, order | {"status": "processing"})
    stub.answers["/order"] = (200, {}, order | {"status": "invalid", "error": problem})

    assert refused(directory).cause == "the CA refuses: caa: forbidden meanwhile"


def test_a_ca_that_does_not_come_to_an_end_is_left(
    stub: Stub, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.acme_orders.PATIENCE", timedelta(seconds=1))

    assert "did not finish within" in refused(directory).cause
    assert stub.asked.count("/authorization") > 1


# --- No CA ---


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, "<html>a page</html>"),
        (200, {}, {"newNonce": "http://127.0.0.1:9/"}),
        (404, {}, "not found"),
        (500, {}, {"no": "problem"}),
    ],
    ids=["page", "half", "missing", "broken"],
)
def test_an_address_of_something_else_is_said(
    stub: Stub, directory: Directory, answer: Answer
) -> None:
    stub.answers["/directory"] = answer
    error = refused(directory)

    assert error.cause.startswith((f"{stub.url}/directory does not answer", "the CA refuses"))
    assert "\n" not in error.cause


def test_nobody_there_is_said(directory: Directory) -> None:
    with socket.socket() as deaf:  # bound, and not listening
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/directory"
        directory.url = url
        error = refused(directory)

    assert error.cause.startswith(f"no answer from {url}: ")
    assert "ACME_DIRECTORY" in error.remedy


# --- NGINX is not there yet ---


def test_a_ca_is_not_asked_before_nginx_shows_what_it_will_look_for(
    stub: Stub, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.acme_orders.PATIENCE", timedelta(seconds=0.5))
    stub.webroot = Path("/nonexistent")
    error = refused(directory)

    assert error.cause == "NGINX does not show on port 80 what a CA asks for: HTTP 404"
    assert stub.asked == []
    assert [*(directory.webroot / CHALLENGES).iterdir()] == []


def test_nginx_may_come_later(stub: Stub, directory: Directory) -> None:
    where, stub.webroot = stub.webroot, Path("/nonexistent")
    threading.Timer(0.5, lambda: setattr(stub, "webroot", where)).start()
    stub.refuse("/newOrder", "serverInternal", "later", 500)

    assert "later" in refused(directory).cause
    assert len(stub.hosts) > 1


@pytest.mark.parametrize(("name", "host"), [(NAME, NAME), ("2001:db8::1", "[2001:db8::1]")])
def test_nginx_is_asked_by_the_name_that_it_serves(
    stub: Stub, directory: Directory, name: str, host: str
) -> None:
    stub.refuse("/newOrder", "serverInternal", "later", 500)
    with pytest.raises(OrderError):
        directory.order([name])

    assert stub.hosts == [host]


# --- What is kept and shown meanwhile ---


def test_the_answer_to_a_challenge_is_there_while_the_ca_looks_and_not_after(
    stub: Stub, directory: Directory
) -> None:
    folder = directory.webroot / CHALLENGES
    seen = {}

    def look() -> None:
        for file in folder.iterdir():
            seen[file.name] = (file.read_text(), stat.S_IMODE(file.stat().st_mode))
        stub.refuse("/authorization", "serverInternal", "enough", 500)

    stub.on_challenge = look
    refused(directory)

    [(name, (content, mode))] = seen.items()
    assert name == TOKEN
    assert content.startswith(f"{TOKEN}.")
    assert mode == 0o644
    assert [*folder.iterdir()] == []


def test_an_account_is_made_once_and_kept_for_its_owner_alone(
    stub: Stub, directory: Directory
) -> None:
    stub.refuse("/newOrder", "serverInternal", "later", 500)
    refused(directory)
    [key] = directory.folder.iterdir()
    text = key.read_text()

    stub.answers["/newAccount"] = (200, {"Location": f"{stub.url}/account"}, {"status": "valid"})
    assert "later" in refused(directory).cause
    assert [*directory.folder.iterdir()] == [key]
    assert key.read_text() == text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_another_address_has_another_account(stub: Stub, directory: Directory) -> None:
    stub.refuse("/newOrder", "serverInternal", "later", 500)
    refused(directory)
    directory.email = "ops@example.test"
    refused(directory)

    assert len([*directory.folder.iterdir()]) == 2


def test_a_ca_without_advice_gives_none_and_is_asked_again_in_hours(directory: Directory) -> None:
    wished, again = directory.advice(a_pair())

    assert wished is None
    assert timedelta(hours=5) < again - datetime.now(UTC) < timedelta(hours=7)


def test_a_ca_sees_whose_client_it_is(stub: Stub, directory: Directory) -> None:
    directory.advice(a_pair())

    assert stub.agents == {"mlflow-compose"}
