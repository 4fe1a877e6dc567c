"""How the front door speaks TLS, as scanners see it: Mozilla's profile, and nothing older."""

import json
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
