"""Attacks that are known, replayed: those of MLflow's CVEs, and those on any server."""

import itertools
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.asking import (
    API,
    JSON,
    Answer,
    Door,
    Stack,
    User,
    ask,
    basic,
    connection,
    let_in,
    raw,
    rest,
    send,
    statuses,
    wire,
)
from tests.e2e.conftest import free_port, wait_for

AJAX_3 = "/ajax-api/3.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
METADATA = "http://169.254.169.254/latest/meta-data/"
HTML = "<script>alert(1)</script>"
UP = "..%2f" * 8
UP_TWICE = "%252e%252e%252f" * 8

Slowly = Callable[..., str]
Undisturbed = Callable[[str], AbstractContextManager[None]]
Request = tuple[str, str, bytes | dict[str, Any] | None, dict[str, str]]


@pytest.fixture(scope="module")
def door(guarded: Stack) -> Door:
    """The door of a stack that others reach."""
    return Door.of(guarded)


@dataclass(frozen=True)
class Insider:
    """A user without any permission, and what is the user's own."""

    user: User
    experiment: str
    run: str


@pytest.fixture(scope="module")
def insider(door: Door) -> Iterator[Insider]:
    """Somebody with a login and bad intentions."""
    let_in(door, door.admin)
    user = (f"mallory-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex)
    account = {"username": user[0], "password": user[1]}
    assert 200 == ask(door, door.admin, "POST", f"{API}/users/create", account).status
    let_in(door, user)
    name = {"name": f"of {user[0]}"}
    experiment = ask(door, user, "POST", f"{API}/experiments/create", name).json["experiment_id"]
    made = ask(door, user, "POST", f"{API}/runs/create", {"experiment_id": experiment})
    yield Insider(user, experiment, made.json["run"]["info"]["run_id"])
    ask(door, door.admin, "POST", f"{API}/experiments/delete", {"experiment_id": experiment})
    ask(door, door.admin, "DELETE", f"{API}/users/delete", {"username": user[0]})


# --- What MLflow's CVEs were about ---


def get(path: str) -> Request:
    return "GET", path, None, {}


def post(path: str, body: bytes | dict[str, Any], **headers: str) -> Request:
    return "POST", path, body, headers


def version_of(source: str) -> Callable[[Insider], Request]:
    """A version of a model whose files would be somewhere else."""
    body = {"name": "m", "source": source}
    return lambda who: post(f"{API}/model-versions/create", {**body, "run_id": who.run})


def experiment_at(place: str) -> Callable[[Insider], Request]:
    """An experiment whose files would be somewhere else."""
    body = {"name": uuid.uuid4().hex, "artifact_location": place}
    return lambda _: post(f"{API}/experiments/create", body)


REPLAYS: dict[str, Callable[[Insider], Request]] = {
    # Files of the server.
    "CVE-2023-1177 source": version_of("file:///etc"),
    "CVE-2023-2780 source": version_of("file://localhost/etc"),
    "CVE-2023-6909 source": version_of("mlflow-artifacts:/../../../../etc"),
    "CVE-2024-3848 source": version_of("mlflow-artifacts://host/x#/../../../etc"),
    "CVE-2025-11201 source": version_of("../../../../etc"),
    "CVE-2026-2614 source": version_of("/etc/passwd"),
    "CVE-2026-2614 encoded": version_of("mlflow-artifacts:/%2e%2e/%2e%2e/etc"),
    "CVE-2024-2928 location": experiment_at("file:///x/y#/../../../../etc"),
    "CVE-2024-1483 location": experiment_at("http:///#/../../../../etc"),
    "CVE-2023-30172": lambda who: get(f"/get-artifact?run_id={who.run}&path={UP}etc/passwd"),
    "CVE-2023-3765": lambda who: get(f"/get-artifact?run_id={who.run}&path=%2fetc%2fpasswd"),
    "CVE-2023-3765 drive": lambda who: get(f"/get-artifact?run_id={who.run}&path=C:%5cwin.ini"),
    "CVE-2023-2356": lambda _: get(
        f"/model-versions/get-artifact?name=m&version=1&path={UP}passwd"
    ),
    "CVE-2023-6831 delete": lambda who: (
        "DELETE",
        f"{ARTIFACTS}/{who.experiment}/{UP_TWICE}tmp/x",
        None,
        {},
    ),
    "CVE-2023-6976 put": lambda who: ("PUT", f"{ARTIFACTS}/{who.experiment}/{UP}tmp/x", b"x", {}),
    "CVE-2026-2033 put": lambda who: (
        "PUT",
        f"{ARTIFACTS}/{who.experiment}/{UP_TWICE}tmp/x",
        b"x",
        {},
    ),
    "CVE-2026-2033 get": lambda who: get(f"{ARTIFACTS}/{who.experiment}/{UP}etc/passwd"),
    "CVE-2026-2033 list": lambda who: get(f"{ARTIFACTS}?path={who.experiment}/{UP}etc"),
    "CVE-2026-53995": lambda _: get(f"{AJAX_3}/get-trace-artifact?request_id={UP}etc/passwd"),
    "CVE-2026-53995 path": lambda _: get(f"/api/3.0/mlflow/traces/{UP}etc%2fpasswd"),
    # Calls to other servers.
    "CVE-2023-6974 source": version_of(METADATA),
    "CVE-2026-118628 location": experiment_at(METADATA),
    "CVE-2026-118628 other host": experiment_at("mlflow-artifacts://169.254.169.254/x"),
    "CVE-2026-2393": lambda _: post(
        f"{API}/webhooks", {"name": "w", "url": METADATA, "events": ["RUN_CREATED"]}
    ),
    "CVE-2026-64849": lambda _: post(f"{API}/webhooks/1/test", {}),
    "CVE-2026-115886": lambda _: post(f"{AJAX_3}/scorer/invoke", {"scorer_name": METADATA}),
    "PYSEC-2025-52": lambda _: post(
        "/ajax-api/2.0/mlflow/gateway-proxy",
        {"gateway_path": f"../../{METADATA}", "request_type": "GET"},
    ),
    # Code on the server.
    "CVE-2026-0545": lambda _: post(
        "/ajax-api/3.0/jobs/", {"job_name": "invoke_scorer", "params": {}}
    ),
    "CVE-2026-0545 search": lambda _: post("/ajax-api/3.0/jobs/search", {}),
    "CVE-2026-116692": lambda _: post(f"{AJAX_3}/scorer/invoke", {"serialized_scorer": "os"}),
    "CVE-2026-118624": lambda _: ("PATCH", f"{AJAX_3}/jobs/cancel/1", {}, {}),
    "CVE-2026-118626": lambda _: post(f"{AJAX_3}/issues/invoke", {}),
    "CVE-2026-2611": lambda _: post(f"{AJAX_3}/assistant/message", {"message": "run id"}),
    "GHSA-7xcw-g7v8-rq26": lambda _: post(
        f"{AJAX_3}/assistant/message", {"message": "run id"}, **{"X-Forwarded-For": "127.0.0.1"}
    ),
    "GHSA-7xcw-g7v8-rq26 skills": lambda _: post(
        f"{AJAX_3}/assistant/skills/install", {}, Forwarded="for=127.0.0.1"
    ),
    # Accounts and secrets.
    "GHSA-4qq5-mxxx-m6gg": lambda _: post(
        f"{API}/users/create", {"username": "eve", "password": "eve-gets-in-1234"}
    ),
    "CVE-2025-1473": lambda _: post(
        f"{API}/users/create-ui", b"username=eve&password=eve-gets-in-1234"
    ),
    "CVE-2026-3198": lambda _: get(f"{AJAX_3}/gateway/secrets/list"),
    "CVE-2026-118625": lambda _: get(f"{AJAX_3}/gateway/endpoints/list"),
    "CVE-2026-2652": lambda _: get("/gateway/mlflow/v1/models"),
    "CVE-2025-1474": lambda who: (
        "PATCH",
        f"{API}/users/update-password",
        {"username": who.user[0], "password": "", "current_password": who.user[1]},
        {},
    ),
    "CVE-2025-11200": lambda who: (
        "PATCH",
        f"{API}/users/update-password",
        {"username": who.user[0], "password": "a", "current_password": who.user[1]},
        {},
    ),
    # Pages of other sites.
    "CVE-2023-43472": lambda _: post(
        f"{API}/experiments/create",
        b'{"name": "x"}',
        **{"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ),
    "CVE-2023-6568": lambda _: post(f"{API}/experiments/create", b"{}", **{"Content-Type": HTML}),
    "CVE-2025-14279": lambda _: post("/graphql", {"query": "{test {output}}"}, Origin="null"),
}


@pytest.mark.parametrize("name", REPLAYS)
def test_a_stranger_s_exploit_ends_at_the_door(door: Door, insider: Insider, name: str) -> None:
    method, path, body, headers = REPLAYS[name](insider)
    answer = ask(door, None, method, path, body, headers=headers)
    assert answer.status in (400, 401, 403), answer
    assert not answer.by_mlflow


@pytest.mark.parametrize("name", REPLAYS)
def test_a_user_s_exploit_is_refused(door: Door, insider: Insider, name: str) -> None:
    method, path, body, headers = REPLAYS[name](insider)
    answer = ask(door, insider.user, method, path, body, headers=headers)
    assert answer.status in (400, 403, 404), answer
    assert b"root:" not in answer.body
    assert HTML.encode() not in answer.body or not answer.header("content-type").startswith(
        "text/html"
    )


def test_the_password_that_mlflow_once_came_with_is_not_the_admin_s(door: Door) -> None:
    for password in ("password1234", "password", "", "admin"):
        assert ask(door, ("admin", password), "GET", "/version").status in (401, 429), password


def test_a_thousand_questions_in_one_do_not_stop_the_server(door: Door, insider: Insider) -> None:
    """CVE-2025-0453."""
    one = 'mlflowGetRun(input: {runId: "x"}) {run {info {runId}}}'
    query = {"query": "{" + " ".join([f"a{number}: {one}" for number in range(1000)]) + "}"}
    answer = ask(door, insider.user, "POST", "/graphql", query)
    assert answer.seconds < 20
    assert answer.json.get("errors") or answer.status == 400, answer
    assert ask(door, door.admin, "GET", "/version").seconds < 2


@pytest.mark.parametrize("path", ["/graphql", f"{API}/experiments/search", f"{ARTIFACTS}/0/x"])
@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", "http://localhost", "http://localhost:3000", "null", "file://"),
        *("https://localhost.evil.example", "https://127.0.0.1:1", "http://[::1]", "localhost"),
    ],
)
def test_a_page_of_another_site_cannot_write_with_a_user_s_login(
    door: Door, path: str, origin: str
) -> None:
    """Not even a page of this machine, which MLflow itself always lets write."""
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = ask(door, door.admin, method, path, b"{}", headers={**JSON, "Origin": origin})
        assert (403, False) == (answer.status, answer.by_mlflow)
    own = {"Origin": f"https://localhost:{door.port}"}
    search = ("POST", f"{API}/experiments/search", {"max_results": 1})
    assert 200 == ask(door, door.admin, *search, headers=own).status


# --- What a request says about itself ---

CLAIMS = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "localhost",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-User": "admin",
    "X-Forwarded-Email": "admin@localhost",
    "X-Forwarded-Prefix": "/health",
    "X-Real-IP": "127.0.0.1",
    "X-Remote-User": "admin",
    "Remote-User": "admin",
    "X-Auth-Request-User": "admin",
    "X-Original-URL": "/health",
    "X-Original-Method": "OPTIONS",
    "X-Rewrite-URL": "/health",
    "X-HTTP-Method-Override": "GET",
    "X-Accel-Redirect": "/health",
    "X-Gate-In": "yes",
    "X-Gate-Cache": "HIT",
    "X-Gate-Client": "203.0.113.9",
    "Forwarded": "for=127.0.0.1;host=localhost;proto=http",
    "Proxy-Authorization": "Basic YWRtaW46YWRtaW4=",
    "Cookie": "session=admin; mlflow-request-header-Authorization=x",
    "Via": "1.1 localhost",
    "Authorization_": "Basic YWRtaW46YWRtaW4=",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_a_stranger_claims_opens_nothing(door: Door, claim: str) -> None:
    for path in ("/", f"{API}/users/current", "/api/3.0/mlflow/server-info", "/health"):
        answer = ask(door, None, "GET", path, headers={claim: CLAIMS[claim]})
        assert (401, False) == (answer.status, answer.by_mlflow), path


def test_what_a_user_claims_makes_no_other_user_of_it(door: Door, insider: Insider) -> None:
    answer = ask(door, insider.user, "GET", f"{API}/users/current", headers=CLAIMS)
    assert insider.user[0] == answer.json["user"]["username"]
    account = {"username": "eve", "password": "eve-gets-in-1234"}
    made = ask(door, insider.user, "POST", f"{API}/users/create", account, headers=CLAIMS)
    assert 403 == made.status


@pytest.mark.parametrize(
    "header",
    [
        "Authorization: Bearer {token}",
        "Authorization: Digest username=admin",
        "Authorization: Negotiate {token}",
        "Authorization: Basic",
        "Authorization: Basic ",
        "Authorization: Basic :",
        "Authorization: Basic !!!!",
        "Authorization: Basic {token}, Basic {token}",
        "Authorization: Basic {token}\r\nAuthorization: Basic {token}",
        "Authorization: Basic\r\n {token}",
        "Authorization : Basic {token}",
        " Authorization: Basic {token}",
        "Proxy-Authorization: Basic {token}",
        "Authorization: Basic YWRtaW46\x00",
        "Authorization: Basic " + "QUFB" * 9000,
        "Authorization: Basic AAAA",
        "Authorization: Basic gICAOoCAgA==",
        "Authorization: Basic YWRtaW4=",
        "Authorization: Basic Og==",
        "Authorization: Basic YWRtaW46AAAA",
    ],
)
def test_a_login_that_is_none_is_refused_before_mlflow_sees_it(door: Door, header: str) -> None:
    """Some are no Basic login, some hold no user, and some hold bytes that are no text."""
    token = basic(door.admin)["Authorization"].removeprefix("Basic ")
    head = f"GET /version HTTP/1.1\r\nHost: localhost\r\n{header}\r\nConnection: close\r\n\r\n"
    answer = raw(door, head.replace("{token}", token).encode("latin-1"))
    [status] = statuses(answer)
    assert status in (400, 401, 429), answer
    assert b"x-frame-options" not in answer.lower()


@pytest.mark.parametrize("name", ["evil.example", "web", "localhost.evil.example", None])
def test_a_handshake_for_another_name_fails(door: Door, name: str | None) -> None:
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", door.port), 20) as bare,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        blind.wrap_socket(bare, server_hostname=name)


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{443}", "web:5000", "localhost.evil.example", "db", ""]
)
def test_a_request_for_another_host_gets_no_answer(door: Door, host: str) -> None:
    named = basic(door.admin)["Authorization"]
    head = f"GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: {named}\r\nConnection: close\r\n\r\n"
    answer = raw(door, head.encode())
    assert answer == b"" or (host == "" and [400] == statuses(answer)), answer


def test_without_tls_the_port_says_nothing_of_the_server(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), 20) as made:
        made.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: made.recv(65536), b""))
    assert [400] == statuses(answer)
    assert b"nginx/" not in answer


# --- Where one request ends and the next begins ---

HIDDEN = "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Frame-Options: smuggled\r\n\r\n"

FRAMINGS = {
    "a length as it is": "Content-Length: {body}",
    "length, then chunks": "Content-Length: {n}\r\nTransfer-Encoding: chunked",
    "chunks, then length": "Transfer-Encoding: chunked\r\nContent-Length: 4",
    "chunks twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "chunks and identity": "Content-Length: 4\r\nTransfer-Encoding: chunked, identity",
    "chunks misspelt": "Content-Length: 4\r\nTransfer-Encoding: xchunked",
    "chunks after a tab": "Content-Length: 4\r\nTransfer-Encoding:\tchunked",
    "chunks after a break": "Content-Length: 4\r\nTransfer-Encoding:\r\n chunked",
    "chunks with a space before": "Content-Length: 4\r\nTransfer-Encoding : chunked",
    "chunks with a control character": "Content-Length: 4\r\nTransfer-Encoding: \x0bchunked",
    "chunks after a bare LF": "Content-Length: 4\r\nX: y\nTransfer-Encoding: chunked",
    "chunks after a bare CR": "Content-Length: 4\r\nX: y\rTransfer-Encoding: chunked",
    "chunks with quotes": 'Content-Length: 4\r\nTransfer-Encoding: "chunked"',
    "chunks by another name": "Content-Length: 4\r\nTransfer_Encoding: chunked",
    "two lengths": "Content-Length: 4\r\nContent-Length: {n}",
    "two lengths, the same": "Content-Length: {n}\r\nContent-Length: {n}",
    "a list of lengths": "Content-Length: 4, {n}",
    "a signed length": "Content-Length: +4",
    "a negative length": "Content-Length: -1",
    "a hexadecimal length": "Content-Length: 0x4",
    "a length with a space": "Content-Length: 4 {n}",
    "a huge length": "Content-Length: 18446744073709551620",
    "an empty length": "Content-Length:",
    "a folded length": "Content-Length: 4\r\n {n}",
    "a length behind a NUL": "X: y\x00\r\nContent-Length: 4",
    "two hosts": "Content-Length: 4\r\nHost: web:5000",
    "an upgrade": "Content-Length: 4\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "a WebSocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "a hop named": "Content-Length: 4\r\nConnection: close, Authorization, X-Forwarded-For",
}

BODIES = {
    "none": "",
    "a last chunk": "0\r\n\r\n",
    "a chunk": "4\r\nabcd\r\n0\r\n\r\n",
    "a chunk with an extension": '4;x="\r\n\r\n"\r\nabcd\r\n0\r\n\r\n',
    "a chunk that ends in LF": "4\nabcd\n0\n\n",
    "a chunk too large": "fffffffffffffffff\r\nabcd\r\n0\r\n\r\n",
    "a chunk of nothing known": "zz\r\nabcd\r\n0\r\n\r\n",
    "a trailer": "0\r\nContent-Length: 4\r\nX: y\r\n\r\n",
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    "target", [f"POST {API}/experiments/search", f"PUT {ARTIFACTS}/0/x", "GET /version"]
)
def test_no_request_is_smuggled_behind_another(door: Door, target: str, framing: str) -> None:
    """The first one has the admin's login, the hidden one has none: MLflow sees one at most.

    With the length as it is, the hidden one is no secret: it is answered, by the gate.
    """
    login = basic(door.admin)["Authorization"]
    for name, body in BODIES.items():
        hidden = body + HIDDEN
        lines = FRAMINGS[framing].replace("{n}", str(len(hidden))).replace("{body}", str(len(body)))
        head = f"{target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {login}\r\n{lines}\r\n\r\n"
        with wire(door) as made:
            made.sendall((head + hidden).encode("latin-1"))
            answers = until_quiet(made, 2 if framing == "a length as it is" else 1)
        assert answers.lower().count(b"\r\nx-frame-options:") <= 1, (name, answers)
        assert b"\r\n\r\nOK" not in answers, name
        assert 101 not in statuses(answers), name
        assert set(statuses(answers)[1:]) <= {400, 401, 405}, (name, answers)
        if framing == "a length as it is":
            assert [401] == statuses(answers)[1:], (name, answers)


def until_quiet(made: ssl.SSLSocket, answers: int = 1) -> bytes:
    """Return what comes until the connection closes, or nothing more has come for half a second.

    So many answers may take longer: the machine has other work.
    """
    found = b""
    made.settimeout(5)
    try:
        while part := made.recv(65536):
            found += part
            made.settimeout(0.5 if len(statuses(found)) >= answers else 5)
    except (TimeoutError, ConnectionError, ssl.SSLError):
        pass
    return found


@pytest.mark.parametrize("size", [9_000, 100_000, 1_000_000])
def test_a_header_that_is_too_large_is_refused(door: Door, size: int) -> None:
    for line in (f"GET /{'x' * size} HTTP/1.1\r\n", f"GET / HTTP/1.1\r\nX: {'y' * size}\r\n"):
        with wire(door) as made:
            try:
                made.sendall(line.encode() + b"Host: localhost\r\n\r\n")
            except (ConnectionError, ssl.SSLError):
                pass
            found = statuses(until_quiet(made))
        assert set(found) <= {400, 414}


def test_a_hundred_thousand_headers_are_refused(door: Door) -> None:
    many = "".join([f"X-{number}: y\r\n" for number in range(100_000)])
    with wire(door) as made:
        try:
            made.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n".encode())
        except (ConnectionError, ssl.SSLError):
            pass
        assert set(statuses(until_quiet(made))) <= {400}


# --- Too much, and too slow ---


SEARCH = "POST", f"{API}/experiments/search", {"max_results": 1}


@dataclass
class Pulse:
    """How long the admin waits for an answer meanwhile, once every tenth of a second."""

    door: Door
    user: User
    calls: Sequence[tuple[str, str, dict[str, Any]]] = (SEARCH,)
    """Made in turn."""

    waits: list[float] = field(default_factory=list)
    failures: list[object] = field(default_factory=list)
    halt: threading.Event = field(default_factory=threading.Event)

    def _beat(self) -> None:
        calls = itertools.cycle(self.calls)
        while not self.halt.wait(0.1):
            begin = time.monotonic()
            try:
                answer = ask(self.door, self.user, *next(calls))
            except OSError as error:
                self.failures.append(error)
            else:
                self.waits.append(time.monotonic() - begin)
                if answer.status != 200:
                    self.failures.append(answer)

    @contextmanager
    def beating(self) -> Iterator["Pulse"]:
        """Keep asking meanwhile."""
        thread = threading.Thread(target=self._beat)
        thread.start()
        try:
            yield self
        finally:
            self.halt.set()
            thread.join()

    def normal(self, measured: Callable[[str], None], during: str) -> None:
        """Fail unless every answer was good and most came in the time of an undisturbed server."""
        longest = max(self.waits)
        measured(
            f"{during}, a user waited {1000 * self.typical:.0f} ms (median of {len(self.waits)}), "
            f"{1000 * longest:.0f} ms at the most"
        )
        assert [] == self.failures
        assert self.typical < 0.5
        assert longest < 5

    @property
    def typical(self) -> float:
        return statistics.median(self.waits)


def silent(door: Door) -> socket.socket:
    """Connect, and say nothing."""
    return socket.create_connection(("127.0.0.1", door.port), 20)


def in_tls(door: Door, said: str) -> ssl.SSLSocket:
    """Connect, and say something that is no whole request."""
    made = door.trust.wrap_socket(silent(door), server_hostname="localhost")
    made.sendall(said.encode())
    return made


def slow_body(door: Door) -> ssl.SSLSocket:
    """Begin a body, as somebody who has logged in."""
    return in_tls(
        door,
        f"POST {API}/experiments/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        f"Authorization: {basic(door.admin)['Authorization']}\r\n\r\n",
    )


def open_still(made: socket.socket) -> bool:
    """Tell whether the server has not closed a connection."""
    try:
        while made.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


@pytest.mark.parametrize("begin", [silent, slow_body])
def test_who_says_nothing_more_is_dropped_and_nobody_else_waits(
    door: Door, measured: Callable[[str], None], begin: Callable[[Door], socket.socket]
) -> None:
    """What slowhttptest does not try: it always says something, and has no login."""
    let_in(door, door.admin)
    with ExitStack() as stack, Pulse(door, door.admin).beating() as pulse:
        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(begin, [door] * 300))
        started = time.monotonic()
        for one in made:
            stack.callback(one.close)
            one.setblocking(False)
        held = made
        while held := [one for one in held if open_still(one)]:
            assert time.monotonic() - started < 20, f"{len(held)} of {len(made)} still held"
            time.sleep(0.5)
        took = time.monotonic() - started
    measured(f"300 clients were dropped after {took:.0f} s")
    pulse.normal(measured, "with 300 silent clients")


@pytest.fixture(scope="module")
def slowly(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slowly]:
    """Have slowhttptest hold 400 connections, for 30 seconds or until all of them are closed.

    It names nobody in a handshake, and so would not get in (test_tls.py): stunnel does for it, and
    holds little of what goes through, or a slow reader would be one to stunnel only.
    """
    for program, package in (("slowhttptest", "slowhttptest"), ("stunnel", "stunnel4")):
        assert shutil.which(program), f"no {program} on this machine: apt-get install {package}"
    file, port = tmp_path_factory.mktemp("stunnel") / "conf", free_port()
    lines = (
        *("foreground = yes", "pid =", "debug = err", "[door]", "client = yes"),
        *(f"accept = 127.0.0.1:{port}", f"connect = 127.0.0.1:{door.port}", "sni = localhost"),
        *("socket = l:SO_SNDBUF=4096", "socket = r:SO_RCVBUF=4096"),
    )
    file.write_text("\n".join([*lines, ""]), "utf-8")

    def run(path: str, *options: str) -> str:
        words = ("slowhttptest", "-c", "400", "-r", "100", "-l", "30", *options)
        words += ("-u", f"http://127.0.0.1:{port}{path}")
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout)[-1000:]

    with subprocess.Popen(["stunnel", str(file)], stderr=subprocess.DEVNULL) as running:
        try:
            wait_for(lambda: listens(port), 20, "stunnel listens")
            yield run
        finally:
            running.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def undisturbed(door: Door, insider: Insider, measured: Callable[[str], None]) -> Undisturbed:
    """Fail unless somebody who reads and logs meanwhile is answered about as fast as before."""
    metrics = [{"key": "m", "value": 1.0, "timestamp": 1, "step": step} for step in range(100)]
    batch = ("POST", f"{API}/runs/log-batch", {"run_id": insider.run, "metrics": metrics})

    @contextmanager
    def watch(during: str) -> Iterator[None]:
        let_in(door, door.admin)
        before, pulse = (Pulse(door, door.admin, (SEARCH, batch)) for _ in range(2))
        with before.beating():
            time.sleep(5)
        with pulse.beating():
            yield
        pulse.normal(measured, during)
        measured(f"{pulse.typical / before.typical:.1f} times as long as before")

    return watch


@pytest.mark.parametrize(
    ("kind", "path", "seconds"),
    [("-H", "/", 28), ("-B", f"{API}/experiments/search", 18)],
    ids=["heads", "bodies"],
)
def test_slow_strangers_are_dropped_and_nobody_else_waits(
    slowly: Slowly, undisturbed: Undisturbed, kind: str, path: str, seconds: float
) -> None:
    """Some bytes more each second: of a head, and of a body that is not waited for."""
    with undisturbed("with 400 slow clients"):
        begin = time.monotonic()
        said = slowly(path, kind, "-i", "1", "-x", "2", "-s", "100000")
        took = time.monotonic() - begin
    assert "No open connections left" in said, said
    assert took < seconds  # four of them to begin


def test_users_who_read_slowly_keep_nobody_waiting(
    door: Door, insider: Insider, slowly: Slowly, undisturbed: Undisturbed
) -> None:
    """They keep their connections: to NGINX, somebody on a bad line looks the same.

    Strangers have nothing to read. The login is in a cookie that ends in a header, because
    slowhttptest knows of none.
    """
    let_in(door, insider.user)
    page = ask(door, insider.user, "GET", "/").body.decode()
    [style] = re.findall(r'href="(static-files/[^"]*[.]css)"', page)
    assert len(ask(door, insider.user, "GET", f"/{style}").body) > 100_000
    cookie = f"a=b\r\nAuthorization: {basic(insider.user)['Authorization']}"
    window = ("-w", "1", "-y", "512", "-n", "1", "-z", "5")
    with undisturbed("with 400 slow readers"):
        said = slowly(f"/{style}", "-X", *window, "-j", cookie)
    assert re.search(r"connected: +400\n", said), said


def test_a_stranger_s_upload_is_refused_before_it_is_read(
    door: Door, measured: Callable[[str], None]
) -> None:
    """One who does not stop at the answer is read for some seconds, and cut off."""
    lines = "Host: localhost\r\nContent-Length: 100000000000"
    with wire(door) as made:
        made.sendall(f"PUT {ARTIFACTS}/0/x HTTP/1.1\r\n{lines}\r\n\r\n".encode())
        sent = 0
        made.settimeout(0.05)
        while sent < 1_000_000:
            try:
                answer = made.recv(65536)
                break
            except TimeoutError:
                made.sendall(bytes(10_000))
                sent += 10_000
        assert [401] == statuses(answer)
        assert sent <= 100_000
        begin = time.monotonic()
        made.settimeout(20)
        try:
            while time.monotonic() - begin < 20:
                made.sendall(bytes(100_000))
        except (ConnectionError, ssl.SSLError):
            pass
        took = time.monotonic() - begin
    measured(f"refused after {sent} bytes; who sent on was cut off after {took:.1f} s")
    assert took < 10


def test_an_upload_in_chunks_and_one_with_a_wrong_password_are_refused_likewise(door: Door) -> None:
    for named in ("", f"Authorization: {basic(('admin', 'wrong-again'))['Authorization']}\r\n"):
        with wire(door, 60) as made:
            made.sendall(
                f"PUT {ARTIFACTS}/0/x HTTP/1.1\r\nHost: localhost\r\n{named}"
                "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nabcd\r\n".encode()
            )
            answer = rest(made)
        assert statuses(answer)[0] in (401, 429), answer
        assert b"x-frame-options" not in answer.lower()


def test_ten_thousand_wrong_passwords_are_slowed_then_refused_and_a_user_there_goes_on(
    door: Door, measured: Callable[[str], None]
) -> None:
    """What a guesser claims about itself makes it nobody else."""
    let_in(door, door.admin)
    answers: list[Answer] = []
    numbers = iter(range(10_000))  # whoever is not being slowed down takes the next

    def guess(_: int) -> None:
        with connection(door) as made:
            for number in numbers:
                claims = {
                    "X-Forwarded-For": f"203.0.113.{number % 250}",
                    "X-Gate-Client": f"203.0.113.{number % 250}",
                    "X-Gate-Cache": "EXPIRED",
                }
                login = basic((door.admin[0], f"guess {number}"))
                answers.append(send(made, "GET", "/version", None, {**login, **claims}))

    begin = time.monotonic()
    with Pulse(door, door.admin).beating() as pulse, ThreadPoolExecutor(40) as pool:
        list(pool.map(guess, range(40)))
    took = time.monotonic() - begin

    found = Counter(answer.status for answer in answers)
    measured(f"10,000 wrong passwords in {took:.0f} s: {dict(found)}")
    assert {401, 429} == set(found)
    assert found[401] < 30 + took  # one a second, and those that were in time
    assert max(answer.seconds for answer in answers if answer.status == 401) > 5
    refused = [answer for answer in answers if answer.status == 429]
    assert all(int(answer.header("retry-after")) > 0 for answer in refused)
    assert not any(answer.by_mlflow for answer in answers)
    pulse.normal(measured, "meanwhile")


def test_one_address_does_not_take_all_connections(door: Door) -> None:
    """429 is what MLflow's client waits at and repeats; one request less, and it is answered."""
    let_in(door, door.admin)
    head = (
        f"PUT {ARTIFACTS}/0/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        f"Authorization: {basic(door.admin)['Authorization']}\r\n\r\n"
    )
    with ExitStack() as stack:
        with ThreadPoolExecutor(16) as pool:
            made = list(pool.map(lambda _: in_tls(door, head), range(512)))
        for one in made:
            stack.callback(one.close)
        time.sleep(1)
        answer = ask(door, door.admin, "GET", "/version")
        assert (429, False) == (answer.status, answer.by_mlflow)
        assert int(answer.header("retry-after")) > 0
        made[0].close()
        time.sleep(1)
        assert 200 == ask(door, door.admin, "GET", "/version").status
