"""NGINX in front of the real server, and in front of a stand-in that shows what reaches it."""

import gzip
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops import nginx, stack
from ops.settings import Settings
from tests.e2e.conftest import (
    IN_A_VOLUME,
    PUBLIC_URL,
    ROOT,
    Project,
    free_port,
    output,
    paused,
    wait_for,
)
from tests.e2e.upstream import DOWNLOAD

MIB = 1024**2
NAME = PUBLIC_URL.removeprefix("https://")
SEARCH = "/api/2.0/mlflow/experiments/search"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def door(small: Project) -> Project:
    """The small stack, up: NGINX under a public name, with artifacts in a volume."""
    small.set(**IN_A_VOLUME)
    small.invoke("up", "--engine", "compose")
    return small


@contextmanager
def connection(port: int, seconds: float = 60) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        yield made
    finally:
        made.close()


def ask(
    project: Project,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send one request under the public name; return status, headers and body."""
    with connection(project.port) as made:
        made.request(method, path, body, {"Host": NAME, **(headers or {})})
        answer = made.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def raw(port: int, request: str) -> bytes:
    """Send bytes as they are; return everything that comes back before the connection closes."""
    with socket.create_connection(("127.0.0.1", port), 20) as made:
        made.sendall(request.encode())
        parts = iter(lambda: made.recv(65536), b"")
        return b"".join(parts)


def search_as(project: Project, host: str) -> int:
    """Search as a client that calls the server by some name; 0 where it hangs up."""
    body = '{"max_results": 1}'
    answer = raw(
        project.port,
        f"POST {SEARCH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}",
    )
    return int(answer.split(b" ")[1]) if answer else 0


def nginx_processes(container: str) -> list[str]:
    """Return the process numbers of NGINX on this machine."""
    return output("docker", "top", container, "-eo", "pid").split()[1:]


def written(container: str) -> int:
    """Return the bytes that NGINX's processes have handed to the disk, deleted files included."""
    total = 0
    for process in nginx_processes(container):
        lines = Path(f"/proc/{process}/io").read_text("ascii").splitlines()
        fields = dict(line.split(": ") for line in lines)
        total += int(fields["write_bytes"])
    return total


def temporary_files(container: str) -> list[str]:
    """Return the bodies that NGINX keeps in files right now, deleted files included."""
    found = []
    for process in nginx_processes(container):
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            if "temp" in target or "cache" in target:
                found.append(target)
    return found


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        f"{NAME}.evil.example",
        f"evil.{NAME}",
        "localhost.evil.example",
        "192.0.2.1",
        "db",
        "web:5000",
    ],
)
def test_an_unknown_host_gets_no_answer_at_all(door: Project, host: str) -> None:
    assert b"" == raw(door.port, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")


def test_a_client_that_names_no_host_gets_no_answer_at_all(door: Project) -> None:
    assert b"" == raw(door.port, "GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    "host",
    [
        NAME,
        NAME.upper(),
        "MLflow.Example.Test",
        f"{NAME}:443",
        f"{NAME.title()}:443",
        "localhost",
        "LocalHost:{port}",
        "127.0.0.1:{port}",
        "[::1]:{port}",
    ],
)
def test_the_public_name_and_loopback_are_let_in_in_any_case_with_and_without_port(
    door: Project, host: str
) -> None:
    assert 200 == search_as(door, host.format(port=door.port))


def test_a_foreign_page_cannot_write_and_the_own_one_can(door: Project) -> None:
    path, body = SEARCH.replace("/api/", "/ajax-api/"), b'{"max_results": 1}'
    for foreign in ("https://evil.example", f"{PUBLIC_URL}.evil.example", f"http://{NAME}", "null"):
        status, headers, _ = ask(door, "POST", path, body, {**JSON, "Origin": foreign})
        assert (403, None) == (status, headers.get("access-control-allow-origin")), foreign
    status, headers, _ = ask(door, "POST", path, body, {**JSON, "Origin": PUBLIC_URL})
    assert (200, PUBLIC_URL) == (status, headers.get("access-control-allow-origin"))


def test_a_json_body_of_64_mib_passes_and_a_larger_one_is_413(door: Project) -> None:
    body = b'{"max_results": 1}'
    fits = body + b" " * (64 * MIB - len(body))
    assert 200 == ask(door, "POST", SEARCH, fits, JSON)[0]

    length = 64 * MIB + 1  # refused by its header: not one byte of it is sent
    head = f"POST {SEARCH} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {length}\r\n\r\n"
    assert raw(door.port, head).startswith(b"HTTP/1.1 413 ")


def test_a_json_body_that_does_not_say_its_length_is_cut_off_at_64_mib(door: Project) -> None:
    chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
    with socket.create_connection(("127.0.0.1", door.port), 60) as made:
        head = f"POST {SEARCH} HTTP/1.1\r\nHost: {NAME}\r\nTransfer-Encoding: chunked\r\n\r\n"
        made.sendall(head.encode())
        try:
            for _ in range(80):
                made.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert made.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_an_artifact_of_200_mb_passes_both_ways_and_never_touches_nginx_s_disk(
    door: Project,
) -> None:
    container = door.container("nginx")
    before = written(container)
    path, block = f"{ARTIFACTS}/0/large/model.bin", os.urandom(MIB)
    kept: list[str] = []
    with connection(door.port, 300) as made:
        made.putrequest("PUT", path, skip_host=True)
        made.putheader("Host", NAME)
        made.putheader("Content-Length", str(200 * MIB))
        made.endheaders()
        for number in range(200):
            made.send(block)
            if number % 50 == 49:
                kept += temporary_files(container)
        answer = made.getresponse()
        assert 200 == answer.status
        answer.read()

        made.request("GET", path, headers={"Host": NAME})
        answer = made.getresponse()
        for number in range(200):
            assert block == answer.read(MIB)
            if number % 50 == 49:
                kept += temporary_files(container)
        assert b"" == answer.read()
    assert [] == kept
    assert written(container) - before < 5 * MIB


def test_the_user_interface_comes_compressed_and_artifacts_come_as_they_are(door: Project) -> None:
    page = ask(door, "GET", "/")[2].decode()
    [script] = re.findall('src="([^"]*static-files[^"]*)"', page)
    _, headers, body = ask(door, "GET", f"/{script}", None, {"Accept-Encoding": "gzip"})
    assert ("gzip", b"\x1f\x8b") == (headers.get("content-encoding"), body[:2])

    path, text = f"{ARTIFACTS}/0/small/text.json", b'{"a": 1}' * 1000
    assert 200 == ask(door, "PUT", path, text)[0]
    _, headers, body = ask(door, "GET", path, None, {"Accept-Encoding": "gzip"})
    assert (None, text) == (headers.get("content-encoding"), body)


def stylesheet(door: Project) -> str:
    """Return the path of a file that is named by its content."""
    page = ask(door, "GET", "/")[2].decode()
    [style] = re.findall('href="([^"]*static-files[^"]*css)"', page)
    return f"/{style}"


def test_a_file_of_the_user_interface_is_asked_of_the_server_once(door: Project) -> None:
    style = stylesheet(door)
    packed = {"Accept-Encoding": "gzip"}
    status, headers, body = ask(door, "GET", style, None, packed)
    assert (200, "gzip") == (status, headers["content-encoding"])
    with paused(door.container("web")):
        again = ask(door, "GET", style, None, packed)
        plain = ask(door, "GET", style)
        known = ask(door, "GET", style, None, {"If-None-Match": headers["etag"]})

    assert (200, 200, 304) == (again[0], plain[0], known[0])
    assert body == again[2]
    assert gzip.decompress(body) == plain[2]


def test_a_file_that_nginx_has_kept_has_each_header_once(door: Project) -> None:
    style = stylesheet(door)
    for _ in range(2):
        with connection(door.port) as made:
            made.request("GET", style, None, {"Host": NAME, "Accept-Encoding": "gzip"})
            names = [name.lower() for name, _ in made.getresponse().getheaders()]
        # MLflow says "vary" of its own.
        assert [] == [name for name in names if names.count(name) > 1 and name != "vary"]
        assert {"x-request-id", "content-security-policy"} <= {*names}


def logged(project: Project, service: str, words: str) -> list[str]:
    """Return the lines of a service's log that hold some words."""
    lines = project.invoke("logs", "--service", service).stdout.splitlines()
    return [line for line in lines if words in line]


@pytest.mark.parametrize("service", ["nginx", "web"])
def test_a_query_is_in_no_access_log(door: Project, service: str) -> None:
    secret, mark = uuid.uuid4().hex, uuid.uuid4().hex
    path = "/api/2.0/mlflow/experiments/get-by-name"
    assert 404 == ask(door, "GET", f"{path}?experiment_name={secret}")[0]
    assert 404 == ask(door, "GET", f"{ARTIFACTS}/{mark}")[0]  # both log what fails in the end
    if service == "nginx":
        wait_for(lambda: logged(door, service, mark), 10, "the second request in the log")
        [line] = logged(door, service, mark)
        entry = json.loads(line.partition("|")[2])
        assert (404, "GET", f"{ARTIFACTS}/{mark}") == (
            entry["status"],
            entry["method"],
            entry["path"],
        )
    assert [] == logged(door, service, secret)


@dataclass
class Bench:
    """This repository's NGINX configuration in front of a stand-in, on a network of its own."""

    name: str
    port: int
    control: int
    folder: Path
    made: list[str] = field(default_factory=list)

    def start(self, name: str, image: str, *options: str, command: tuple[str, ...] = ()) -> str:
        """Start a container on the bench's network."""
        words = ("docker", "run", "--detach", "--name", f"{self.name}-{name}")
        self.made.append(f"{self.name}-{name}")
        return output(*words, "--network", self.name, *options, image, *command)

    def nginx(self) -> str:
        """Start NGINX with the files of this repository."""
        given = Settings(public_url=f"http://{NAME}", auth="none", open_features="gateway")
        files = nginx.files(ROOT, stack.site(given)) | nginx.identity("web")
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text, "utf-8")
        options = (
            f"--publish=127.0.0.1:{self.port}:8080",
            f"--volume={self.folder}:/etc/nginx/here:ro",
        )
        command = ("nginx", "-c", "/etc/nginx/here/nginx.conf", "-g", "daemon off;")
        return self.start("nginx", "nginx:1.30", *options, command=command)

    def web(self) -> str:
        """Start the stand-in under the name that NGINX looks for; return its address."""
        script = Path(__file__).with_name("upstream.py")
        options = (
            "--network-alias=web",
            f"--publish=127.0.0.1:{self.control}:5000",
            f"--volume={script}:/upstream.py:ro",
        )
        command = ("python", "/upstream.py", "5000")
        container = self.start("web", "python:3.13-slim", *options, command=command)
        wait_for(self.listens, 20, "the stand-in listens")
        return self.address(container)

    def address(self, container: str) -> str:
        """Return the address of a container."""
        form = f'{{{{(index .NetworkSettings.Networks "{self.name}").IPAddress}}}}'
        return output("docker", "inspect", "--format", form, container)

    def listens(self) -> bool:
        try:
            self.counters()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a container of the bench."""
        output("docker", "rm", "--force", "--volumes", f"{self.name}-{name}")
        self.made.remove(f"{self.name}-{name}")

    def counters(self) -> dict[str, Any]:
        """Return what the stand-in has counted, asked past NGINX."""
        with connection(self.control, 10) as made:
            made.request("GET", "/counters")
            found: dict[str, Any] = json.loads(made.getresponse().read())
            return found

    def release(self) -> None:
        """Let the stand-in send its next piece."""
        with connection(self.control, 10) as made:
            made.request("POST", "/release")
            assert 200 == made.getresponse().status

    def status(self, path: str = "/health") -> int:
        """Return the status of a request through NGINX; 0 where nobody listens."""
        try:
            with connection(self.port, 20) as made:
                made.request("GET", path, headers={"Host": NAME})
                answer = made.getresponse()
                answer.read()
                return answer.status
        except (OSError, http.client.HTTPException):
            return 0


@contextmanager
def bench(name: str) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp())
    made = Bench(f"e2e-{name}-{uuid.uuid4().hex[:6]}", free_port(), free_port(), folder)
    output("docker", "network", "create", made.name)
    try:
        yield made
    finally:
        shutil.rmtree(folder)
        for container in made.made:
            words = ("docker", "rm", "--force", "--volumes", container)
            subprocess.run(words, capture_output=True, check=False)
        output("docker", "network", "rm", made.name)


@pytest.fixture(scope="module")
def standing() -> Iterator[Bench]:
    """NGINX and a stand-in, both up."""
    with bench("bench") as made:
        made.web()
        made.nginx()
        wait_for(lambda: made.status() == 200, 30, "an answer through NGINX")
        yield made


@pytest.mark.parametrize(
    "path",
    [
        "/gateway/chat/pieces",
        f"{ARTIFACTS}/pieces",
        "/ajax-api/2.0/mlflow-artifacts/artifacts/pieces",
    ],
)
def test_a_streamed_answer_arrives_piece_by_piece(standing: Bench, path: str) -> None:
    with connection(standing.port, 10) as made:
        made.request("GET", path, headers={"Host": NAME})
        answer = made.getresponse()
        assert b"data: 0\n\n" == answer.read1()  # piece 1 is sent only after `release`
        standing.release()
        assert b"data: 1\n\n" == answer.read1()
        standing.release()
        assert b"data: 2\n\n" == answer.read()


def test_an_upload_reaches_the_server_before_the_client_has_finished(standing: Bench) -> None:
    before = standing.counters()["received"]
    with connection(standing.port) as made:
        made.putrequest("PUT", f"{ARTIFACTS}/0/model.bin", skip_host=True)
        made.putheader("Host", NAME)
        made.putheader("Content-Length", str(20 * MIB))
        made.endheaders()
        made.send(bytes(10 * MIB))
        wait_for(
            lambda: standing.counters()["received"] >= before + 10 * MIB, 20, "the first half there"
        )
        made.send(bytes(10 * MIB))
        assert 200 == made.getresponse().status
    assert before + 20 * MIB == standing.counters()["received"]


def test_an_upload_without_a_length_is_passed_on_as_it_comes(standing: Bench) -> None:
    before = standing.counters()["received"]
    with connection(standing.port) as made:
        made.putrequest("PUT", f"{ARTIFACTS}/0/model.bin", skip_host=True)
        made.putheader("Host", NAME)
        made.putheader("Transfer-Encoding", "chunked")
        made.endheaders()
        made.send(b"100000\r\n" + bytes(MIB) + b"\r\n")
        wait_for(lambda: standing.counters()["received"] >= before + MIB, 20, "the first chunk")
        made.send(b"0\r\n\r\n")
        assert 200 == made.getresponse().status


def test_a_download_waits_for_its_reader_instead_of_filling_nginx_s_disk(standing: Bench) -> None:
    container = f"{standing.name}-nginx"
    before, sent = written(container), standing.counters()["sent"]
    with connection(standing.port) as made:
        made.request("GET", f"{ARTIFACTS}/flood", headers={"Host": NAME})
        answer = made.getresponse()
        previous = [-1]

        def stalled() -> bool:
            now = standing.counters()["sent"]
            still = now == previous[-1] and now > sent
            previous.append(now)
            return still and previous[-5:] == [now] * 5

        wait_for(stalled, 30, "the server waiting for a reader that does not read")
        ahead = standing.counters()["sent"] - sent
        assert ahead < DOWNLOAD // 4
        assert [] == temporary_files(container)
        total = sum(map(len, iter(lambda: answer.read(MIB), b"")))
    assert DOWNLOAD == total
    assert written(container) - before < 5 * MIB


def test_connections_to_the_server_are_kept_and_used_again(standing: Bench) -> None:
    before = standing.counters()
    for _ in range(60):
        assert 200 == standing.status("/api/2.0/mlflow/experiments/get")
    after = standing.counters()
    assert 60 == after["requests"] - before["requests"]
    nginx_workers = len(nginx_processes(f"{standing.name}-nginx")) - 1
    assert after["connections"] - before["connections"] <= nginx_workers


def test_what_a_client_claims_about_itself_is_not_passed_on(standing: Bench) -> None:
    claims = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "gopher",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=192.0.2.7;host=evil.example",
    }
    with connection(standing.port) as made:
        made.request("GET", "/version", headers={"Host": NAME, **claims})
        assert 200 == made.getresponse().status
    got = standing.counters()["headers"]
    assert (NAME, NAME, "http") == (
        got["Host"],
        got["X-Forwarded-Host"],
        got["X-Forwarded-Proto"],
    )
    assert "Forwarded" not in got
    assert not any("192.0.2.7" in value or "evil" in value for value in got.values())


def test_nginx_starts_before_the_server_and_follows_it_to_another_address(
    measured: Callable[[str], None],
) -> None:
    with bench("alone") as alone:
        container = alone.nginx()
        wait_for(lambda: alone.status() == 502, 20, "502 while there is no server")

        first = alone.web()
        came = wait_for(lambda: alone.status() == 200, 20, "an answer when the server has come")

        alone.remove("web")
        wait_for(lambda: alone.status() == 502, 20, "502 while the server is gone")
        alone.start("taken", "python:3.13-slim", "--interactive", command=("cat",))
        second = alone.web()  # the address of the first may be taken by now
        assert first != second
        moved = wait_for(lambda: alone.status() == 200, 20, "an answer from the new address")
        state = json.loads(output("docker", "inspect", container))[0]
        assert ("running", 0) == (state["State"]["Status"], state["RestartCount"])
    measured(f"answers {came:.1f} s after the server came, {moved:.1f} s after it moved")
