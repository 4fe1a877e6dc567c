"""Checks of the front door: its public name and certificate, whom it answers, what it carries."""

import hashlib
import os
import secrets
import socket
import ssl
import time
from urllib.parse import urlsplit

from ops import certificates, console, front_door, routes
from ops.checks import Check, Finding, NotChecked, fail, ok, warn
from ops.front_door import FrontDoor, RequestError
from ops.patient import Patient

__all__ = ["CHECKS"]

TIMEOUT_SECONDS = 10
HTTPS = 443
LATE = 4
"""Renewal begins with the last third of a certificate's life: with the last quarter it is late."""

FOREIGN = "doctor.invalid"
"""No name of anybody (RFC 2606)."""

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
BLOCK = 10**6
BLOCKS = 100


def dns(patient: Patient) -> Finding:
    """Look the public name up, and compare it with the host's address."""
    name = urlsplit(patient.settings.url).hostname or ""
    found = _addresses(name)
    if not found:
        return fail(f"there is no {name}", f"make a DNS record for {name}, or correct PUBLIC_URL")
    there = _addresses(routes.find(patient.given, patient.settings).host)
    said = f"{name} is {', '.join(sorted(found))}"
    if there and not found & there:
        return warn(
            f"{said}, the host is {', '.join(sorted(there))}",
            "point the record to the host, unless a load balancer or proxy is in front of it",
        )
    return ok(said)


def _addresses(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError):
        return set()


def tls(patient: Patient) -> Finding:
    """Check the certificate as a client does: who signed it, its name, its end."""
    parts = urlsplit(patient.settings.url)
    name, port = parts.hostname or "", parts.port or HTTPS
    try:
        begin, end = _validity(name, port, certificates.authority(patient.settings))
    except ssl.SSLCertVerificationError as error:
        return fail(
            f"{name}: {error.verify_message}",
            f"give what ends TLS a valid certificate for {name}, with its chain",
        )
    except OSError as error:
        return fail(
            f"no TLS at {name}:{port}: {error}",
            f"see that what ends TLS runs, and that port {port} is open to you",
        )
    left = console.duration(end - time.time())
    if end - time.time() < (end - begin) / LATE:
        return warn(f"the certificate ends in {left}", "see why it was not renewed")
    return ok(f"the certificate fits {name}, {left} left")


def _validity(name: str, port: int, authority: str) -> tuple[float, float]:
    """Return from when until when a certificate is valid, in seconds since 1970."""
    context = front_door.trust(authority)
    with (
        socket.create_connection((name, port), timeout=TIMEOUT_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as shown,
    ):
        certificate = shown.getpeercert() or {}
    begin, end = (
        float(ssl.cert_time_to_seconds(str(certificate[key]))) for key in ("notBefore", "notAfter")
    )
    return begin, end


def answers(patient: Patient) -> Finding:
    """Ask server and database through NGINX, by the public name."""
    begin = time.monotonic()
    try:
        patient.door.answers()
    except RequestError as error:
        service = "nginx" if error.status == 0 else "web"
        return fail(str(error), _logs(patient, service))
    return ok(f"{patient.settings.url} answers in {(time.monotonic() - begin) * 1000:.0f} ms")


def _logs(patient: Patient, service: str) -> str:
    try:
        identity = patient.running(service).identity[:12]
    except NotChecked as why:
        return f"{why}: invoke deploy --host {patient.given}"
    return f"run there: docker logs --tail=50 {identity}"


def host_rule(patient: Patient) -> Finding:
    """Ask for a foreign name: NGINX must close the connection without a word (444)."""
    try:
        patient.door.as_host(FOREIGN).answers()
        status = 200
    except RequestError as error:
        status = error.status
    if status:
        return fail(
            f"a request for {FOREIGN} is answered: HTTP {status}",
            f"take back what was changed in nginx/, then: invoke deploy --host {patient.given}",
        )
    return ok("a foreign Host header gets no answer")


def cors_rule(patient: Patient) -> Finding:
    """Ask as a page of another site does: it must not be allowed to read the answer."""
    try:
        allowed = patient.door.allowed_origin(f"https://{FOREIGN}")
    except RequestError as error:
        return fail(str(error), _logs(patient, "web"))
    if allowed:
        return fail(
            f"pages of https://{FOREIGN} may read answers (access-control-allow-origin: {allowed})",
            "take back what was changed at CORS_ORIGINS in compose/compose.yaml, "
            f"then: invoke deploy --host {patient.given}",
        )
    return ok("a foreign Origin is not allowed to read answers")


def transfer(patient: Patient) -> Finding:
    """Send 100 MB as an artifact and fetch them; nothing stays."""
    folder = f"{ARTIFACTS}/mlflow-compose-doctor-{secrets.token_hex(8)}"
    try:
        finding = _there_and_back(patient, f"{folder}/random.bin")
    finally:  # Ctrl-C leaves nothing behind either
        left = _removed(patient.door, folder)
    if left is not None and finding.state == "ok":
        name = folder.rpartition("/")[2]
        return warn(f"{finding.found}, but {left}", f"delete {name} where artifacts are kept")
    return finding


def _there_and_back(patient: Patient, path: str) -> Finding:
    content = os.urandom(BLOCK) * BLOCKS
    begin = time.monotonic()
    try:
        patient.door.request("PUT", path, body=content)
        sent = time.monotonic()
        back = patient.door.request("GET", path)
    except RequestError as error:
        return fail(str(error), _logs(patient, "web"))
    rates = [
        len(content) / max(seconds, 0.001) for seconds in (sent - begin, time.monotonic() - sent)
    ]
    if hashlib.sha256(back).digest() != hashlib.sha256(content).digest():
        return fail("what came back is not what was sent", _logs(patient, "web"))
    up, down = (console.size(rate) for rate in rates)
    return ok(f"{len(content) // 10**6} MB up at {up}/s, down at {down}/s, checksums alike")


def _removed(door: FrontDoor, folder: str) -> RequestError | None:
    try:
        door.request("DELETE", folder)
    except RequestError as error:
        return error
    return None


CHECKS: list[Check[Patient]] = [
    Check("dns", dns, needs=("settings",), when=lambda settings: bool(settings.public_url)),
    Check(
        "certificate",
        tls,
        needs=("dns",),
        when=lambda settings: settings.url.startswith("https:"),
    ),
    Check("front door", answers, needs=("release",)),
    Check("host rule", host_rule, needs=("front door",)),
    Check("cors rule", cors_rule, needs=("front door",)),
    Check(
        "100 MB",
        transfer,
        needs=("front door", "disk"),
        when=lambda settings: settings.artifact_access != "direct",
    ),
]
