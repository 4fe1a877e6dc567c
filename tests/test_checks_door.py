"""The front door: a real server, certificates made for the test, and what is made of answers."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ops import checks_door
from ops.checks import Finding
from ops.patient import Patient
from ops.settings import Settings
from tests import patients
from tests.conftest import StandInServer
from tests.tls import self_signed

PUT = "PUT /artifacts"
GET = "GET /artifacts"
DELETE = "DELETE /artifacts"
SEARCH = "POST /experiments/search"
NAME = "mlflow.example.com"


@pytest.fixture
def patient(settings: Settings, server: StandInServer, monkeypatch: pytest.MonkeyPatch) -> Patient:
    """A host whose front door answers to its name only; the large file is a small one."""
    monkeypatch.setattr(checks_door, "BLOCK", 10**5)
    server.name = "localhost:5050"
    return patients.patient(settings, url=server.url)


def names(monkeypatch: pytest.MonkeyPatch, known: dict[str, str]) -> None:
    """Be the DNS."""

    def getaddrinfo(name: str, *_: object) -> list[tuple[object, ...]]:
        if name not in known:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (known[name], 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize(
    ("known", "state", "found", "remedy"),
    [
        (
            {NAME: "192.0.2.7", "192.0.2.7": "192.0.2.7"},
            *("ok", f"{NAME} is 192.0.2.7", ""),
        ),
        (
            {NAME: "192.0.2.9", "192.0.2.7": "192.0.2.7"},
            *("warn", f"{NAME} is 192.0.2.9, the host is 192.0.2.7", "point the record"),
        ),
        ({NAME: "192.0.2.9"}, "ok", f"{NAME} is 192.0.2.9", ""),
        ({}, "fail", f"there is no {NAME}", f"make a DNS record for {NAME}"),
    ],
)
def test_the_public_name_is_looked_up(
    patient: Patient,
    *,
    monkeypatch: pytest.MonkeyPatch,
    known: dict[str, str],
    state: str,
    found: str,
    remedy: str,
) -> None:
    names(monkeypatch, known)
    patient.settings = replace(patient.settings, public_url=f"https://{NAME}")
    finding = checks_door.dns(patient)

    assert (state, found) == (finding.state, finding.found)
    assert remedy in finding.remedy


# --- Certificates ---


def certify(folder: Path, name: str, days: float) -> Path:
    """Make a certificate that signs itself, with its key, in one file."""
    pair = self_signed([name], days)
    file = folder / "certificate.pem"
    file.write_bytes(pair.chain + pair.key)
    return file


@contextmanager
def tls_server(file: Path) -> Iterator[int]:
    """Show a certificate to one client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            try:
                plain, _ = listening.accept()
                with plain, context.wrap_socket(plain, server_side=True) as shown:
                    shown.recv(1)
            except OSError:
                pass  # the client did not like it

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(5)


@pytest.mark.parametrize(
    ("name", "days", "trusted", "state", "found", "remedy"),
    [
        ("localhost", 60.5, True, "ok", "the certificate fits localhost, 60 d", ""),
        ("localhost", 34.5, True, "ok", "the certificate fits localhost, 34 d", ""),
        ("localhost", 32.5, True, "warn", "the certificate ends in 32 d", "renewed"),
        ("localhost", -1, True, "fail", "localhost: certificate has expired", "a valid certif"),
        ("other.test", 60, True, "fail", "localhost: Hostname mismatch", "a valid certificate for"),
        ("localhost", 60, False, "fail", "localhost: self-signed certificate", "with its chain"),
    ],
)
def test_a_certificate_is_seen_as_a_client_sees_it(
    patient: Patient,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    days: float,
    trusted: bool,
    state: str,
    found: str,
    remedy: str,
) -> None:
    file = certify(tmp_path, name, days)
    monkeypatch.setenv("SSL_CERT_FILE", str(file) if trusted else "/nonexistent")
    with tls_server(file) as port:
        patient.settings = replace(patient.settings, public_url=f"https://localhost:{port}")
        finding = checks_door.tls(patient)

    assert state == finding.state, finding
    assert finding.found.startswith(found)
    assert remedy in finding.remedy


def test_a_name_at_which_nobody_speaks_tls_is_found(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    patient.settings = replace(patient.settings, public_url=f"https://localhost:{port}")
    finding = checks_door.tls(patient)

    assert finding.state == "fail"
    assert finding.found.startswith(f"no TLS at localhost:{port}: ")
    assert f"port {port} is open" in finding.remedy


# --- HTTP ---


def test_a_door_in_order(patient: Patient, server: StandInServer) -> None:
    assert checks_door.answers(patient).found.startswith("http://localhost:5050 answers in ")
    assert checks_door.host_rule(patient) == Finding("ok", "a foreign Host header gets no answer")
    assert checks_door.cors_rule(patient).state == "ok"
    assert server.requests == [SEARCH, SEARCH, "GET /experiments/search"]


def test_a_door_that_does_not_answer_leads_to_the_log_of_nginx(patient: Patient) -> None:
    finding = checks_door.answers(patients.patient(patient.settings))

    assert finding.state == "fail"
    assert finding.remedy == f"run there: docker logs --tail=50 {'f' * 12}"


def test_a_server_that_is_gone_leads_to_another_deploy(
    patient: Patient, server: StandInServer
) -> None:
    server.broken[SEARCH] = (502, b"Bad Gateway")
    ended = patients.containers(web={"state": {"Status": "exited"}})
    gone = patients.patient(patient.settings, {patients.INSPECT: ended}, server.url)
    finding = checks_door.answers(gone)

    assert finding.found == "HTTP 502: Bad Gateway"
    assert finding.remedy == f"web does not run: invoke deploy --host {patients.NAME}"


@pytest.mark.parametrize(("answer", "status"), [(None, 200), ((403, b"Invalid Host header"), 403)])
def test_any_answer_to_a_foreign_name_is_a_fault(
    patient: Patient, server: StandInServer, answer: tuple[int, bytes] | None, status: int
) -> None:
    server.name = ""
    if answer:
        server.broken[SEARCH] = answer
    finding = checks_door.host_rule(patient)

    assert finding.state == "fail"
    assert finding.found == f"a request for doctor.invalid is answered: HTTP {status}"
    assert "invoke deploy --host" in finding.remedy


@pytest.mark.parametrize("allowed", ["*", "https://doctor.invalid"])
def test_a_foreign_page_that_may_read_is_a_fault(
    patient: Patient, server: StandInServer, allowed: str
) -> None:
    server.headers["Access-Control-Allow-Origin"] = allowed
    finding = checks_door.cors_rule(patient)

    assert finding.state == "fail"
    assert f"(access-control-allow-origin: {allowed})" in finding.found
    assert "CORS_ORIGINS" in finding.remedy


def test_a_large_file_goes_there_and_back_and_nothing_stays(
    patient: Patient, server: StandInServer
) -> None:
    finding = checks_door.transfer(patient)

    assert finding.state == "ok"
    assert finding.found.startswith("10 MB up at ")
    assert finding.found.endswith("checksums alike")
    assert server.artifacts == {}
    assert server.requests == [PUT, GET, DELETE]


def test_by_default_it_is_100_mb() -> None:
    assert checks_door.BLOCK * checks_door.BLOCKS == 100 * 10**6


@pytest.mark.parametrize(
    ("line", "answer", "state", "found"),
    [
        (PUT, (413, b"too large"), "fail", "HTTP 413: too large"),
        (GET, (200, b"something else"), "fail", "what came back is not what was sent"),
        (GET, (500, b"boom"), "fail", "HTTP 500: boom"),
        (DELETE, (500, b"boom"), "warn", "checksums alike, but HTTP 500: boom"),
    ],
)
def test_a_large_file_that_does_not_make_it_is_deleted_all_the_same(
    patient: Patient,
    *,
    server: StandInServer,
    line: str,
    answer: tuple[int, bytes],
    state: str,
    found: str,
) -> None:
    server.broken[line] = answer
    finding = checks_door.transfer(patient)

    assert state == finding.state
    assert finding.found.endswith(found)
    assert finding.remedy
    assert server.requests[-1] == DELETE
    assert bool(server.artifacts) == (line == DELETE)


def test_ctrl_c_leaves_nothing_behind(
    patient: Patient, server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = patient.door.request

    def interrupted(method: str, path: str, **options: object) -> bytes:
        if method == "GET":
            raise KeyboardInterrupt
        return request(method, path, **options)

    monkeypatch.setattr(patient.door, "request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checks_door.transfer(patient)

    assert server.artifacts == {}


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ({}, {"100 MB"}),
        ({"artifact_access": "presigned"}, {"100 MB"}),
        ({"artifact_access": "direct"}, set()),
        ({"public_url": f"http://{NAME}"}, {"100 MB", "dns"}),
        ({"public_url": f"https://{NAME}"}, {"100 MB", "dns", "certificate"}),
    ],
)
def test_a_check_is_made_where_the_settings_ask_for_it(
    settings: Settings, changed: dict[str, str], made: set[str]
) -> None:
    wanted: Callable[[Settings], list[str]] = lambda given: [  # noqa: E731
        check.name for check in checks_door.CHECKS if check.when(given)
    ]

    assert {*wanted(replace(settings, **changed))} == {  # type: ignore[arg-type]
        *("front door", "host rule", "cors rule"),
        *made,
    }
