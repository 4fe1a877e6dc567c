"""Where the server gets to: S3, and nowhere else, whatever it is made to ask for."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import lab
from tests.e2e.conftest import Project, output, s3_settings, wait_for

REACH = """
import socket, sys, time
for line in sys.stdin.read().splitlines():
    host, port = line.rsplit(" ", 1)
    begin = time.monotonic()
    try:
        socket.create_connection((host, int(port)), 5).close()
        print(line, "reached")
    except OSError as error:
        print(line, "not reached:", error)
"""

ASK = """
import json, os, socket, sys
proxy = os.environ["https_proxy"].removeprefix("http://").split(":")
answers = []
for text in json.load(sys.stdin):
    with socket.create_connection(proxy, 10) as way:
        way.settimeout(20)
        way.sendall(text.encode("latin-1"))
        answers.append(way.recv(200).decode("latin-1").partition("\\r\\n")[0])
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def callers(make_project: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack with its artifacts in S3 that may call two more servers, up."""
    project = make_project(
        "egress",
        **s3_settings(the_lab, "s3://mlflow-artifacts/egress"),
        OUTBOUND_HOSTS=f"allowed.example.test,{outside(the_lab)}:{FORWARDED}",
        WEB_WORKERS="1",
    )
    project.invoke("up", "--engine", "compose")
    return project


FORWARDED = 8443
"""A port of the machine that the proxy lets tunnels through to."""


def outside(the_lab: lab.Lab) -> str:
    """Return an address of the machine, as others on a network of its see it."""
    return str(urlsplit(the_lab.s3.endpoint).hostname)


def python(project: Project, script: str, given: str) -> str:
    """Run a script in the server's container, in its environment."""
    words = ("docker", "exec", "--interactive", project.container("web"), "python", "-c", script)
    return output(*words, stdin=given)


def ask(project: Project, *requests: str) -> list[str]:
    """Send requests to the proxy as they are; return the first line of each answer."""
    found: list[str] = json.loads(python(project, ASK, json.dumps(requests)))
    return found


def request(line: str, *headers: str) -> str:
    """Return a request of this first line."""
    return "\r\n".join([f"{line} HTTP/1.1", *(headers or ("Host: x",)), "", ""])


def refusals(project: Project) -> list[dict[str, Any]]:
    """Return what the proxy says that it refused."""
    done = subprocess.run(
        ["docker", "logs", project.container("egress")], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextmanager
def listening(host: str, port: int) -> Iterator[list[bytes]]:
    """Listen on the machine, answer each request with a redirect, and yield what was heard."""
    heard: list[bytes] = []
    server = socket.create_server((host, port))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(10)
                heard.append(peer.recv(4096))
                where = b"http://169.254.169.254/latest/api/token"
                peer.sendall(
                    b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n"
                    b"Connection: close\r\n\r\n" % where
                )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def test_the_server_works_through_the_proxy(callers: Project) -> None:
    callers.smoke()

    assert not [each for each in refusals(callers) if each["refused"] != "-"]


def test_the_server_reaches_no_address_but_those_of_the_stack(
    callers: Project, the_lab: lab.Lab
) -> None:
    s3 = urlsplit(the_lab.s3.endpoint)
    inside = output(
        *("docker", "inspect", "--format"),
        "{{range .NetworkSettings.Networks}}{{.Gateway}} {{.IPAddress}} {{end}}",
        callers.container("web"),
    ).split()
    machine = output("hostname", "-I").split()
    gateways = [address for address in inside if address.endswith(".1")]
    with socket.create_server(("0.0.0.0", 0)) as here:
        port = here.getsockname()[1]
        wanted = [
            *(f"{address} {port}" for address in (*machine, *gateways) if ":" not in address),
            f"{s3.hostname} {s3.port}",
            "169.254.169.254 80",
            "192.0.2.1 443",
            "example.com 443",
            f"{address_of(callers, 'egress', 'frontend')} 3128",
            f"{address_of(callers, 'nginx', 'frontend')} 8080",
        ]
        found = python(callers, REACH, "\n".join(wanted)).splitlines()

    assert len(gateways) == 2
    assert len(machine) > 1
    assert [line for line in found if "not reached" not in line] == []
    reached = python(callers, REACH, "db 3306\negress-web 3128\nnginx 8080").splitlines()
    assert [line.rpartition(" ")[2] for line in reached] == ["reached"] * 3


def address_of(project: Project, service: str, network: str) -> str:
    """Return the address of a service on a network of the stack."""
    form = f'{{{{(index .NetworkSettings.Networks "{project.name}_{network}").IPAddress}}}}'
    return output("docker", "inspect", "--format", form, project.container(service))


def test_the_database_reaches_no_proxy_and_nobody_outside_either(callers: Project) -> None:
    reach = f"exec 3<>/dev/tcp/{address_of(callers, 'egress', 'server')}/3128"
    done = subprocess.run(
        ["docker", "exec", callers.container("db"), "timeout", "5", "bash", "-c", reach],
        capture_output=True,
        check=False,
    )

    assert done.returncode != 0
    assert output("docker", "port", callers.container("egress")) == ""


def attacks(the_lab: lab.Lab) -> list[str]:
    """Return requests that the proxy is not to carry."""
    s3 = urlsplit(the_lab.s3.endpoint).netloc
    address, port = s3.split(":")
    number = int.from_bytes(socket.inet_aton(address))
    tunnels = [
        *("allowed.example.test:80", "allowed.example.test:22", "allowed.example.test:3306"),
        *("allowed.example.test.:443", "allowed.example.test%2e:443"),
        *("a.allowed.example.test:443", "allowed-example.test:443", "x@allowed.example.test:443"),
        *("allowed.example.test:443@169.254.169.254:80", "http://allowed.example.test:443/"),
        *(s3, f"{address}:22", "169.254.169.254:80", "db:3306", "nginx:8080", "127.0.0.1:3128"),
        *("[::1]:443", "2130706433:443", "0:443", "allowed.example.test"),
    ]
    urls = [
        *("http://169.254.169.254/latest/api/token", "http://example.com/", "http://db:3306/"),
        *("http://nginx:8080/", "http://127.0.0.1:3128/", "http://localhost/", "http://egress/"),
        *(f"HTTP://{s3}/", f"http://{address}.:{port}/", f"http://{address}:{port}1/"),
        *(f"http://{number}:{port}/", f"http://{number:#x}:{port}/", f"http://{address}/"),
        *(f"http://[::ffff:{address}]:{port}/", f"http://{s3}@169.254.169.254/"),
        *(f"http://user:word@{s3}/", f"http://{s3}\\@169.254.169.254/"),
        *(f"http://{s3}#@169.254.169.254/", f"http://{s3}?@169.254.169.254/"),
        *(f"http://%31{address[1:]}:{port}/", f"https://{s3}/", f"ftp://{s3}/", f"//{s3}/"),
        *("http://allowed.example.test/", "https://allowed.example.test/", "/", "*"),
    ]
    chunked = "Transfer-Encoding: chunked"
    return [
        *(request(f"CONNECT {each}", f"Host: {each}") for each in tunnels),
        *(request(f"GET {each}", f"Host: {s3}") for each in urls),
        # The one in the request line counts.
        request("GET http://169.254.169.254/", f"Host: {s3}"),
        request("CONNECT 169.254.169.254:80", "Host: allowed.example.test:443"),
        request("GET /latest/api/token", "Host: 169.254.169.254"),
        # Which end the body has, nobody is to disagree about.
        request(f"PUT http://{s3}/x", "Host: x", chunked, "Content-Length: 3") + "0\r\n\r\n",
        request(f"PUT http://{s3}/x", "Host: x", "Transfer-Encoding: xchunked") + "0\r\n\r\n",
        request(f"PUT http://{s3}/x", "Host: x", "Transfer-Encoding : chunked") + "0\r\n\r\n",
        request(f"PUT http://{s3}/x", "Host: x", f"{chunked}, identity") + "0\r\n\r\n",
        request(f"GET http://{s3}/x", "Host: x", "Host: 169.254.169.254"),
        f"GET http://{s3}/x\tHTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET http://{s3}/x HTTP/1.1\nHost: x\n\n",
        "GET http://169.254.169.254/\r\n\r\n",
    ]


def test_the_proxy_carries_what_is_named_and_refuses_and_logs_the_rest(
    callers: Project, the_lab: lab.Lab
) -> None:
    before = len(refusals(callers))
    tried = attacks(the_lab)
    answers = ask(callers, *tried)
    carried = [
        pair
        for pair in zip(tried, answers, strict=True)
        if not pair[1].startswith(("HTTP/1.1 403", "HTTP/1.1 400", "HTTP/1.1 501"))
        and "<!DOCTYPE" not in pair[1]
    ]
    logged = refusals(callers)[before:]

    assert carried == []
    assert len(logged) >= len(tried) - 8
    tokens = [each for each in logged if each["refused"].endswith("/latest/api/token")]
    assert {each["status"] for each in tokens} == {403}
    # A query may hold a signature.
    assert "@169" not in json.dumps(logged)


def test_a_place_that_is_named_is_reached(callers: Project, the_lab: lab.Lab) -> None:
    host = outside(the_lab)
    with listening(host, FORWARDED) as heard:
        [answer] = ask(callers, request(f"CONNECT {host}:{FORWARDED}"))

    assert answer.endswith("200 Connection Established")
    assert len(heard) == 1


FOLLOW = """
import requests, sys
last = requests.get(sys.stdin.read(), timeout=20)
print([each.status_code for each in (*last.history, last)])
"""


def test_other_places_take_effect_with_the_next_up_and_lead_nowhere_else(
    callers: Project, the_lab: lab.Lab
) -> None:
    container, host = callers.container("egress"), outside(the_lab)
    callers.set(OUTBOUND_HOSTS="other.example.test", S3_ENDPOINT_URL=f"http://{host}:{FORWARDED}")
    callers.invoke("up")
    gone, new = ask(
        callers,
        request(f"CONNECT {host}:{FORWARDED}"),
        request("CONNECT other.example.test:443"),
    )
    with listening(host, FORWARDED) as heard:
        followed = python(callers, FOLLOW, f"http://{host}:{FORWARDED}/x")

    assert callers.container("egress") != container
    assert gone.startswith("HTTP/1.1 403")
    assert new.startswith("HTTP/1.1 502")  # nobody has that name
    assert len(heard) == 1
    assert followed == "[302, 403]"  # it was sent on to the machine's own address
    assert refusals(callers)[-1]["refused"] == "GET http://169.254.169.254/latest/api/token"


def test_without_anywhere_to_go_there_is_no_proxy_and_no_way_around_it(callers: Project) -> None:
    callers.set(ARTIFACTS_DESTINATION="", S3_ENDPOINT_URL="", OUTBOUND_HOSTS="")
    callers.invoke("up")

    assert callers.container("egress") == ""
    assert "http_proxy" not in output("docker", "exec", callers.container("web"), "env")
    callers.smoke()


def test_a_server_with_webhooks_has_a_way_out(callers: Project, the_lab: lab.Lab) -> None:
    s3 = urlsplit(the_lab.s3.endpoint)
    callers.set(OPEN_FEATURES="webhooks")
    callers.invoke("up")
    found = python(callers, REACH, f"{s3.hostname} {s3.port}").split()

    assert found[-1] == "reached"
    callers.smoke()


def wait_until_healthy(project: Project) -> None:
    """Wait until the proxy says that it is well."""
    form = "{{.State.Health.Status}}"
    wait_for(
        lambda: output("docker", "inspect", "-f", form, project.container("egress")) == "healthy",
        60,
        "the proxy is healthy",
    )


def test_a_proxy_that_was_killed_comes_back(callers: Project, the_lab: lab.Lab) -> None:
    callers.set(**s3_settings(the_lab, "s3://mlflow-artifacts/egress"), OPEN_FEATURES="")
    callers.invoke("up")
    output("docker", "kill", "--signal=KILL", callers.container("egress"))
    output("docker", "start", callers.container("egress"))
    wait_until_healthy(callers)

    callers.smoke()
