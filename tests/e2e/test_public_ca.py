"""A whole stack whose certificate another's CA signs: pebble, in the place of Let's Encrypt.

What the service does that asks for it, and with answers that are wrong, is in test_acme.py.
"""

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops import front_door, probe
from ops.private_ca import Authority
from ops.values import Secret
from tests import lab
from tests.e2e.conftest import Project, output, wait_for
from tests.lab import pebble
from tests.lab.pebble import Pebble


@dataclass(frozen=True)
class Certified:
    """A stack that has been brought up, and its CA."""

    project: Project
    ca: Pebble
    root: Path
    """What vouches for all that the CA signs."""

    def shown(self) -> str:
        """Return the certificate that clients see now."""
        return ssl.get_server_certificate(("localhost", self.project.tls_port))


@pytest.fixture(scope="module")
def certified(
    make_project: Callable[..., Project],
    the_lab: lab.Lab,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Certified]:
    """The CA looks for answers where NGINX listens without TLS, and containers reach the CA."""
    folder = tmp_path_factory.mktemp("pebble")
    host = str(urlsplit(the_lab.s3.endpoint).hostname)
    company = Authority(Secret("a-company-of-tests"), "company", ["127.0.0.1", host])
    pair = company.issue(datetime.now(UTC))
    for name, content in (("ca", company.pem.encode()), ("cert", pair.chain), ("key", pair.key)):
        (folder / name).write_bytes(content)
    project = make_project("certified", TLS="acme", AUTH="basic", WEB_WORKERS="1")
    door = folder / "cert", folder / "key"
    with pebble.running(folder, folder / "ca", door, project.port, host) as ca:
        root = folder / "root"
        root.write_text(ca.root(), "utf-8")
        # As if it were one of those that everybody knows.
        project.environ.update(SSL_CERT_FILE=str(root), REQUESTS_CA_BUNDLE=str(root))
        project.set(
            PUBLIC_URL=f"https://localhost:{project.tls_port}",
            ACME_DIRECTORY=ca.directory,
            ACME_CA_FILE=ca.ca_file,
        )
        project.invoke("up", "--engine", "compose")
        yield Certified(project, ca, root)


def test_up_has_a_certificate_signed_by_way_of_the_stack_s_own_port(certified: Certified) -> None:
    project = certified.project

    project.smoke()
    assert "localhost, by ACME" in project.invoke("status").stdout


def test_nobody_trusts_it_who_does_not_know_the_ca(certified: Certified) -> None:
    done = certified.project.invoke("smoke", expect=None, environ={"SSL_CERT_FILE": "/dev/null"})

    assert 0 != done.returncode
    assert "certificate" in done.stderr


def test_the_next_certificate_is_shown_and_no_request_fails_meanwhile(
    certified: Certified, monkeypatch: pytest.MonkeyPatch, measured: Callable[[str], None]
) -> None:
    """A service that starts asks whether the CA wishes it; one that runs, some hours later."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certified.root))
    first = certified.shown()
    with probe.running(front_door.local(certified.project.settings)) as asking:
        certified.ca.wish(first, datetime.now(UTC) - timedelta(hours=1))
        output("docker", "restart", certified.project.container("certificates"))
        took = wait_for(lambda: certified.shown() != first, 180, "another certificate is shown")
    measured(f"shown after {took:.0f} s, {asking.requests} requests meanwhile")

    assert [] == asking.failures
    assert asking.requests > 20
    certified.project.invoke("status")
