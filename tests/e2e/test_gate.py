"""Nobody gets past the door: every route that MLflow has, and every way to write a path."""

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.asking import API, Door, Stack, ask, basic, connection, raw, send, statuses

HERE = Path(__file__).parent
KNOWN = HERE / "routes-basic.txt"

PARAMETER_VALUE = re.compile(r"{\w+}")
"""Where a path in that list has one."""

CLOSED = (
    *("/gateway/", "/mlflow/gateway/", "/mlflow/gateway-proxy"),
    *("/3.0/jobs/", "/mlflow/jobs/", "/mlflow/prompt-optimization/jobs"),
    *("/mlflow/scorer/invoke", "/mlflow/issues/invoke", "/mlflow/genai/evaluate/invoke"),
    *(
        "/mlflow/assistant/",
        "/mlflow/webhooks",
        "/oidc/webhook",
        "/signup",
        "/mlflow/users/create-ui",
    ),
)
"""What is in the path of each route that stays closed."""

TRICKS = (
    *(
        "/",
        "//",
        "/./",
        "/../",
        "/%2e/",
        "/%2e%2e/",
        "/..%2f",
        "/%2e%2e%2f",
        "/%252e%252e/",
        "/.%2e/",
    ),
    *(
        f"/{API}/experiments/search",
        f"/.{API}/experiments/search",
        "/x/../version",
        "/x/%2e%2e/version",
    ),
    *("/static-files/../version", "/static-files/%2e%2e/version", "/static-files/..%2fversion"),
    *("/static-files/../../../../etc/passwd", "/static-files/%2e%2e%2f%2e%2e%2fetc/passwd"),
    *("/static", "/static-files/", "/staticx", "/static-files/index.html", "/favicon.ico"),
    *("/health", "/health/", "/health/../version", "/health/%2e%2e/version", "/health;/../version"),
    *(
        "/health%00",
        "/health%00/version",
        "/health%20",
        "/health.",
        "/HEALTH",
        "/health?x=/version",
    ),
    *("/version;", "/version;x=1", "/version.", "/version..", "/version/", "/VERSION", "/Version"),
    *(
        "/version%20",
        "/version%09",
        "/version%0a",
        "/version%0d%0aX: y",
        "/version%00",
        "/version%ff",
    ),
    *(
        "/version#",
        "/#/version",
        "/version?",
        "/version??",
        "/%76ersion",
        "/%2576ersion",
        "/\\version",
    ),
    *("/%5cversion", "/..\\version", "/.gate", "/%2egate", "//.gate", "/.gate/", "/.gate?x=1"),
    *("/api%2f2.0%2fmlflow%2fexperiments%2fsearch", "/ajax-api/2.0/mlflow/experiments/search"),
    *("/api/3.0/mlflow/server-info", "/x/api/3.0/mlflow/server-info", "/mlflow/server-info"),
    *(
        "/.well-known/acme-challenge/x",
        "/release",
        "/nginx_status",
        "/metrics",
        "/docs",
        "/openapi.json",
    ),
)


@pytest.fixture(scope="module")
def door(guarded: Stack) -> Door:
    """The door of a stack that others reach."""
    return Door.of(guarded)


def routes_of(stack: Stack, login: str) -> list[str]:
    """Return the routes of the MLflow that the server runs, with a kind of login."""
    python = ("python", "-W", "ignore", "-", login)
    done = subprocess.run(
        ["docker", "exec", "--interactive", stack.container("web"), *python],
        input=(HERE / "routes.py").read_bytes(),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout.decode().splitlines()


def known() -> Iterator[tuple[str, str, bool]]:
    """Yield method, a path as a client would write it, and whether it is closed, of each route."""
    for line in KNOWN.read_text("utf-8").splitlines():
        method, path = line.split(" ", 1)
        yield method, PARAMETER_VALUE.sub("1", path), any(part in path for part in CLOSED)


def test_every_route_of_mlflow_is_known(guarded: Stack) -> None:
    now, before = set(routes_of(guarded, "basic")), set(KNOWN.read_text("utf-8").splitlines())
    assert len(now) > 1000
    assert now == before, (
        "this MLflow has other routes than the list; see whether a new one has to be closed "
        f"(nginx/templates/refusals.conf.template), then renew {KNOWN.name} as routes.py says:\n"
        + "\n".join([f"new:  {line}" for line in sorted(now - before)])
        + "\n".join([f"gone: {line}" for line in sorted(before - now)])
    )


def test_a_stranger_gets_no_further_than_the_door_on_any_route(door: Door) -> None:
    wrong = []
    with connection(door) as made:
        for method, path, closed in known():
            answer = send(made, method, path)
            expected = 403 if closed else 401
            if answer.status != expected or answer.by_mlflow:
                wrong.append((method, path, answer.status, answer.by_mlflow))
            elif not closed:
                assert answer.header("www-authenticate").startswith("Basic "), (method, path)
    assert [] == wrong


def test_a_stranger_gets_no_file_that_nginx_has_kept(door: Door) -> None:
    page = ask(door, door.admin, "GET", "/").body.decode()
    [style] = re.findall('href="(static-files/[^"]*[.]css)"', page)
    assert 200 == ask(door, door.admin, "GET", f"/{style}").status

    assert 401 == ask(door, None, "GET", f"/{style}").status
    assert 401 == ask(door, ("admin", "not-the-password"), "GET", f"/{style}").status


def test_a_wrong_password_gets_no_further_than_the_door_on_any_route(door: Door) -> None:
    """From some on they are told to come later: no longer asked about, no nearer either."""

    def attempt(route: tuple[str, str, bool]) -> tuple[int, bool]:
        answer = ask(door, (door.admin[0], f"not for {route[1]}"), *route[:2])
        return answer.status, answer.by_mlflow

    routes = list(known())
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(attempt, routes))
    wrong = [
        (route, answer)
        for route, answer in zip(routes, answers, strict=True)
        if answer not in ([(403, False)] if route[2] else [(401, False), (429, False)])
    ]
    assert [] == wrong
    assert (401, False) in answers


def test_what_is_closed_is_closed_to_the_admin_too(door: Door) -> None:
    closed = [(method, path) for method, path, shut in known() if shut]
    assert len(closed) > 200
    with connection(door) as made:
        for method, path in [*closed, ("GET", "/metrics")]:
            answer = send(made, method, path, headers=basic(door.admin))
            assert (403, False) == (answer.status, answer.by_mlflow), (method, path)
            if method != "HEAD":
                assert "FEATURE_DISABLED" == answer.json["error_code"]


def test_what_is_open_is_passed_on_for_the_admin(door: Door) -> None:
    with connection(door) as made:
        for method, path, closed in known():
            if method == "GET" and not closed:
                answer = send(made, method, path, headers=basic(door.admin))
                assert answer.by_mlflow, (path, answer)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_way_of_writing_a_path_leads_a_stranger_past_the_door(door: Door, method: str) -> None:
    for path in TRICKS:
        request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = raw(door, request.encode())
        [status] = statuses(answer)
        assert status in (400, 401, 403, 404), (path, answer)
        assert b"x-frame-options" not in answer.lower(), (path, answer)
        assert b"root:" not in answer, path


@pytest.mark.parametrize(
    "line",
    [
        "GET https://localhost/version HTTP/1.1",
        "GET http://localhost/version HTTP/1.1",
        "GET http://127.0.0.1:5000/version HTTP/1.1",
        "GET http://web:5000/version HTTP/1.1",
        "GET * HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET version HTTP/1.1",
        "GET localhost/version HTTP/1.1",
        "CONNECT web:5000 HTTP/1.1",
        "CONNECT localhost:443 HTTP/1.1",
        "TRACE /version HTTP/1.1",
        "TRACK /version HTTP/1.1",
        "DEBUG /version HTTP/1.1",
        "PROPFIND / HTTP/1.1",
        "get /version HTTP/1.1",
        "GET /version",
        "GET /version HTTP/0.9",
        "GET /version HTTP/1.0",
        "GET /version HTTP/3.0",
        "PRI * HTTP/2.0",
        "GET /version\tHTTP/1.1",
        "GET  /version  HTTP/1.1",
        "GET /ver sion HTTP/1.1",
    ],
)
@pytest.mark.parametrize("user", ["nobody", "admin"])
def test_no_way_of_writing_a_request_line_leads_around_the_gate(
    door: Door, line: str, user: str
) -> None:
    """The admin's may be served, where it is one that NGINX takes: by MLflow, or not at all."""
    named = basic(door.admin)["Authorization"] if user == "admin" else "none"
    head = f"{line}\r\nHost: localhost\r\nAuthorization: {named}\r\nConnection: close\r\n\r\n"
    answer = raw(door, head.encode())
    found = statuses(answer)
    assert len(found) <= 1, answer
    refused = {400, 403, 404, 405, 421, 505}
    allowed = refused | ({200, 204} if user == "admin" else {401})
    assert set(found) <= allowed, answer
    if user == "nobody":
        assert b"x-frame-options" not in answer.lower(), answer
    if line.startswith(("TRA", "DEBUG", "PROPFIND", "CONNECT")):
        assert set(found) <= {400, 405}, answer


@pytest.mark.parametrize(
    "path",
    [
        "/gateway/mlflow/v1/models",
        "/ajax-api/3.0/mlflow/assistant/config",
        "/api/2.0/mlflow/webhooks",
        "/ajax-api/3.0/mlflow/gateway/secrets/list",
        "/signup",
    ],
)
def test_no_way_of_writing_a_path_opens_what_is_closed(door: Door, path: str) -> None:
    """Each of them answers 200 to the admin where it is open."""
    first, _, rest = path[1:].partition("/")
    ways = [
        *(path, f"/{path}", f"/.{path}", f"/x/..{path}", f"{path}/", f"{path}//", f"{path}/."),
        *(
            f"{path}?x=1",
            f"{path};x=1",
            f"{path}%20",
            f"{path}%00",
            f"{path}#",
            f"{path}.",
            f"{path}%2f",
        ),
        *(f"{path}/../../../../version", f"{path}/..%2f..%2f..%2f..%2fversion"),
        *(f"{path}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/version", f"{path}/x/../..", f"{path}/%2e"),
        *(
            f"/%{ord(first[0]):x}{first[1:]}/{rest}",
            f"/{first.upper()}/{rest}",
            f"/{first}//{rest}",
        ),
        *(
            f"/{first}%2f{rest}",
            f"/{first};/{rest}",
            f"/{first}/./{rest}",
            f"/static-files/..{path}",
        ),
        *(f"/static-files/%2e%2e{path}", f"https://localhost{path}", path.replace("/", "%2f")),
        *(
            path.replace("/", "\\"),
            path.replace("/", "/%0a"),
            f"/{first}/{rest}".replace("mlflow", "%6dlflow"),
        ),
    ]
    named = f"Host: localhost\r\nAuthorization: {basic(door.admin)['Authorization']}"
    for way in ways:
        request = f"GET {way} HTTP/1.1\r\n{named}\r\nConnection: close\r\n\r\n"
        [status] = statuses(raw(door, request.encode()))
        assert status in (400, 403, 404, 405), way


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 413])
def test_every_answer_tells_the_browser_what_it_may_do(door: Door, status: int) -> None:
    admin = door.admin
    answer = {
        200: lambda: ask(door, admin, "GET", "/"),
        400: lambda: ask(door, admin, "GET", "/x/../version"),
        401: lambda: ask(door, None, "GET", "/"),
        403: lambda: ask(door, admin, "GET", "/metrics"),
        404: lambda: ask(door, admin, "GET", "/nowhere"),
        405: lambda: ask(door, admin, "PROPFIND", "/"),
        413: lambda: ask(door, admin, "POST", "/graphql", headers={"Content-Length": "1000000000"}),
    }[status]()
    assert status == answer.status
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.header("content-security-policy").split(";")
    )
    assert "'self'" == policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"]
    assert "'none'" == policy["object-src"]
    assert "unsafe-inline" not in policy["script-src"]
    assert "nosniff" == answer.header("x-content-type-options")
    assert "same-origin" == answer.header("cross-origin-opener-policy")
    assert answer.header("referrer-policy")
    assert answer.header("permissions-policy")
    assert "nginx" == answer.header("server")


def test_a_browser_is_held_to_tls_but_not_for_other_servers_on_this_machine(
    door: Door,
) -> None:
    by_address = ask(door, None, "GET", "/", headers={"Host": "127.0.0.1"})
    assert "max-age=63072000" == by_address.header("strict-transport-security")
    assert "" == ask(door, None, "GET", "/").header("strict-transport-security")
