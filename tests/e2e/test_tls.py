"""How the front door speaks TLS, as scanners see it: Mozilla's profile, and nothing older."""

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from ops.private_ca import Authority
from ops.values import Secret
from tests.e2e.conftest import Project, output
from tests.e2e.tools import environment


@pytest.fixture(scope="module")
def scanned(
    guarded: Project, tmp_path_factory: pytest.TempPathFactory
) -> "subprocess.CompletedProcess[str]":
    """What sslyze says, measured against Mozilla's intermediate profile."""
    folder = tmp_path_factory.mktemp("scanners")
    program = environment("scanners", folder) / "sslyze"
    report = folder / "report.json"
    words = [
        str(program),
        "--mozilla_config=intermediate",
        f"--certinfo_ca_file={guarded.ca}",
        f"--json_out={report}",
        f"localhost:{guarded.tls_port}",
    ]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def test_mozilla_s_profile_is_kept(scanned: "subprocess.CompletedProcess[str]") -> None:
    said = scanned.stdout + scanned.stderr

    assert "OK - Compliant" in said, said[-3000:]


EXPECTED = {
    ("HIGH", "cipher_order"): "every one of them is good, so the client chooses (tls.conf)",
    ("HIGH", "cert_expirationStatus"): "ours live for 30 days and are made anew with 10 left",
    ("HIGH", "cert_notAfter"): "the same",
    ("HIGH", "cert_revocation"): "30 days are soon over; a private CA has no list of revoked ones",
    ("WARN", "secure_renego"): "asked without a name, and such a handshake ends",
    ("WARN", "engine_problem"): "about the OpenSSL of the scanner",
}
"""What testssl.sh finds that is meant to be so; another severity would be another finding."""


def test_testssl_finds_nothing_but_what_is_meant_to_be_so(
    guarded: Project, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    found = findings(guarded, tmp_path / "report.json", measured)
    if "check failed because of connect problem" in str(found):  # on a busy machine
        found = findings(guarded, tmp_path / "again.json", measured)

    assert [] == found


def findings(
    guarded: Project, report: Path, measured: Callable[[str], None]
) -> list[dict[str, str]]:
    """Run testssl.sh; return what it found that is not meant to be so."""
    program = shutil.which("testssl") or shutil.which("testssl.sh")
    assert program, "no testssl.sh on this machine: apt-get install testssl.sh bind9-dnsutils"
    checks = ("protocols", "standard", "fs", "server-preference", "server-defaults", "headers")
    words = [
        *(program, "--quiet", "--warnings=batch", "--color=0", f"--jsonfile={report}"),
        *("--nodns=none", "--ip=127.0.0.1", f"--add-ca={guarded.ca}"),
        *(f"--{check}" for check in (*checks, "vulnerable")),
        f"localhost:{guarded.tls_port}",
    ]
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=400, cwd=report.parent
    )
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text("utf-8"))
    by_id = {line["id"]: line["finding"] for line in found}
    assert "scanTime" in by_id, done.stdout + done.stderr  # written last
    assert by_id["cert_chain_of_trust"] == "passed."
    measured(f"{len(found)} findings in {by_id['scanTime']} s")

    return [
        line
        for line in found
        if line["severity"] not in ("OK", "INFO", "LOW")
        and (line["severity"], line["id"]) not in EXPECTED
    ]


@pytest.mark.parametrize(
    ("option", "works"),
    [
        ("-tls1_1", False),
        ("-tls1_2", True),
        ("-tls1_3", True),
        ("-tls1_2 -cipher AES128-SHA", False),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256", False),
        # The stand-in's OpenSSL is 3.6, the official image's 3.5: both have it.
        ("-tls1_3 -groups X25519MLKEM768", True),
    ],
)
def test_what_is_spoken(guarded: Project, option: str, works: bool) -> None:
    script = (
        f"echo | openssl s_client -connect 127.0.0.1:8443 -servername localhost {option} "
        "2>&1 | grep -c 'BEGIN CERTIFICATE' || true"
    )
    said = output("docker", "exec", guarded.container("nginx"), "sh", "-c", script)

    assert ("1" if works else "0") == said


@pytest.mark.parametrize("name", ["other.example.test", None])
def test_a_handshake_for_another_name_or_none_ends_there(
    guarded: Project, name: str | None
) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", guarded.tls_port), timeout=20) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname=name).close()


def test_the_port_without_tls_leads_to_the_other_one(guarded: Project) -> None:
    answer = requests.get(
        f"http://localhost:{guarded.port}/a?b=c", allow_redirects=False, timeout=20
    )

    assert (308, f"{guarded.url}/a?b=c") == (answer.status_code, answer.headers["Location"])


def test_no_secret_of_the_front_door_is_where_others_look(guarded: Project) -> None:
    """Neither in what Docker shows, nor in a list of processes, nor in a log."""
    env = dict(
        line.split("=", 1)
        for line in (guarded.root / ".env").read_text("utf-8").splitlines()
        if "=" in line
    )
    names = ("ADMIN_PASSWORD", "SESSION_KEY", "WEBHOOK_KEY", "CA_SECRET", "MYSQL_PASSWORD")
    secrets = [env[name].strip("'") for name in names]
    containers = [guarded.container(name) for name in ("web", "nginx", "db", "certificates")]
    seen = json.dumps(json.loads(output("docker", "inspect", *containers)))
    for container in containers:
        seen += output("docker", "top", container, "-eo", "pid,args")
        done = subprocess.run(["docker", "logs", container], capture_output=True, check=True)
        seen += (done.stdout + done.stderr).decode(errors="replace")
    seen += "".join(
        file.read_text("utf-8")
        for file in Path(guarded.root, "data", "compose").rglob("*")
        if file.is_file() and "secrets" not in file.parts
    )

    assert [] == [name for name, secret in zip(names, secrets, strict=True) if secret in seen]


def give(project: Project, folder: Path) -> bytes:
    """Have another's certificate for this machine in the project's files; return it."""
    pair = Authority(Secret("another-ca"), "another", ["localhost"]).issue(datetime.now(UTC))
    (folder / "chain.pem").write_bytes(pair.chain)
    (folder / "key.pem").write_bytes(pair.key)
    project.set(
        TLS="files",
        TLS_CERTIFICATE_FILE=str(folder / "chain.pem"),
        TLS_KEY_FILE=str(folder / "key.pem"),
    )
    return pair.chain


def shown(project: Project) -> bytes:
    return ssl.get_server_certificate(("localhost", project.tls_port)).encode()


def test_a_certificate_of_yours_is_shown_and_another_one_after_up(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("files", WEB_WORKERS="1")
    first = give(project, tmp_path)
    project.invoke("up", "--engine", "compose")
    project.invoke("smoke")
    assert first == shown(project)

    second = give(project, tmp_path)
    project.invoke("up")
    assert second == shown(project) != first

    (tmp_path / "key.pem").write_text("no key", "utf-8")
    refused = project.invoke("up", expect=2)
    assert "is not to be used" in refused.stderr
    assert second == shown(project)
