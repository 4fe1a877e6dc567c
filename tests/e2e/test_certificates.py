"""The real NGINX with certificates that come, change and go while it runs (ops/key_pairs.py).

It runs in a container of its image, or in the root file system that MLFLOW_LAB_NGINX names.
"""

import http.client
import multiprocessing
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.key_pairs import Shelf
from ops.private_ca import Authority
from ops.values import Secret
from tests import lab
from tests.e2e.conftest import free_port, output, wait_for

USER = 101
"""NGINX's number in its image, which is the certificate service's too."""

CACHED = 1
"""Seconds; a minute where it serves people."""

CONFIG = """
user nginx;
worker_processes 2;
pid /tmp/certificates-test.pid;
error_log stderr notice;
events {{ worker_connections 512; }}
http {{
    access_log off;
    ssl_certificate_cache max=10 valid={cached}s;
    map $ssl_server_name $certificate {{ default {inside}/certificates/live; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate $certificate/chain.pem;
        ssl_certificate_key $certificate/key.pem;
        location / {{ return 200 "served\\n"; }}
    }}
    server {{
        listen 127.0.0.1:{plain};
        location /.well-known/acme-challenge/ {{ root {inside}/challenges; }}
        location / {{ return 200 "plain\\n"; }}
    }}
}}
"""


def swap(folder: Path, seconds: float) -> None:
    """Make one certificate after the other the live one, as the service's user."""
    os.setgid(USER)
    os.setuid(USER)
    ca = Authority(Secret("a-secret-of-tests"), "nginx", ["localhost"])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = datetime.now(UTC)
        Shelf(folder).put(ca.issue(now), "a purpose", now)


@dataclass
class Door:
    """An NGINX, and the folder in which it finds certificates."""

    folder: Path
    port: int
    plain: int
    ca: Authority

    def put(self) -> int:
        """Make another certificate the live one; return its number."""
        now = datetime.now(UTC)
        pair = self.ca.issue(now)
        Shelf(self.folder).put(pair, "a purpose", now)
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, USER, USER, follow_symlinks=False)
        return pair.leaf.serial_number

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPSConnection]:
        made = http.client.HTTPSConnection(
            "localhost",
            self.port,
            context=ssl.create_default_context(cadata=self.ca.pem),
            timeout=10,
        )
        with closing(made):
            made.connect()
            yield made

    def served(self) -> int | None:
        """Shake hands; return the number of the certificate, None where there is none."""
        try:
            with self.connected() as made:
                assert isinstance(made.sock, ssl.SSLSocket)
                shown = made.sock.getpeercert()
                assert shown
                return int(str(shown["serialNumber"]), 16)
        except ssl.SSLError:
            return None

    def ask(self, path: str) -> str:
        """Ask at the port without TLS."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.plain, timeout=10)) as made:
            return answer(made, path)


def answer(made: http.client.HTTPConnection, path: str = "/") -> str:
    made.request("GET", path)
    return made.getresponse().read().decode()


@pytest.fixture
def door() -> Iterator[Door]:
    root = os.environ.get("MLFLOW_LAB_NGINX", "")
    folder = Path(tempfile.mkdtemp(prefix="certificates-", dir=f"{root}/var/tmp"))
    inside = f"/var/tmp/{folder.name}"
    for name in ("certificates", "challenges"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    port, plain = free_port(), free_port()
    text = CONFIG.format(cached=CACHED, inside=inside, port=port, plain=plain)
    (folder / "nginx.conf").write_text(text)
    words = ["nginx", "-c", f"{inside}/nginx.conf", "-g", "daemon off;"]
    if root:
        words = ["chroot", root, *words]
    else:
        lab.up()
        mount = ["--volume", f"{folder}:{inside}:ro", "--name", folder.name]
        words = ["docker", "run", "--rm", "--network=host", *mount, "nginx:1.30", *words]
    ca = Authority(Secret("a-secret-of-tests"), "nginx", ["localhost"])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        wait_for(lambda: listens(plain), 30, "NGINX answers")
        yield Door(folder / "certificates", port, plain, ca)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_nginx_starts_without_a_certificate_and_serves_one_as_soon_as_it_is_there(
    door: Door,
) -> None:
    assert door.served() is None
    assert door.ask("/") == "plain\n"

    number = door.put()
    assert door.served() == number


def test_nginx_serves_what_a_ca_asks_for_before_there_is_a_certificate(door: Door) -> None:
    folder = door.folder.parent / "challenges/.well-known/acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token").write_text("content")

    assert door.ask("/.well-known/acme-challenge/token") == "content"


def test_another_certificate_is_served_soon_and_nobody_is_cut_off(door: Door) -> None:
    first = door.put()
    with door.connected() as kept:
        assert answer(kept) == "served\n"
        sock = kept.sock

        second = door.put()
        assert first != second
        wait_for(lambda: door.served() == second, CACHED + 3, "the second is served")

        assert answer(kept) == "served\n"
        assert kept.sock is sock


def test_a_live_certificate_that_is_damaged_is_not_served_and_the_next_one_is(door: Door) -> None:
    door.put()
    live = (door.folder / "live").resolve()
    (live / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nMIG")
    time.sleep(CACHED + 1)
    assert door.served() is None

    assert door.served() is None
    number = door.put()
    wait_for(lambda: door.served() == number, CACHED + 3, "the next one is served")


def test_certificates_that_change_all_the_time_fail_nobody(
    door: Door, measured: Callable[[str], None]
) -> None:
    """Two reads are no pair when a rename is between them: NGINX has to read again.

    It reads again once, and here hundreds of renames a second go on meanwhile, so that now and then
    one handshake is lost. If it kept what does not belong together, all would be, for a second.
    """
    door.put()
    seconds = 15.0
    swapping = multiprocessing.get_context("fork").Process(target=swap, args=(door.folder, seconds))
    swapping.start()
    end = time.monotonic() + seconds

    def ask() -> list[int | None]:
        found = []
        while time.monotonic() < end:
            found.append(door.served())
        return found

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask) for _ in range(3)]
        numbers = [each for one in asking for each in one.result()]
    swapping.join()
    assert swapping.exitcode == 0
    lost = numbers.count(None)
    measured(f"{len(numbers)} handshakes, {lost} lost, {len({*numbers})} certificates seen")

    assert lost <= 3
    assert len({*numbers}) > seconds / 3


def test_the_image_s_user_has_the_number_that_the_service_writes_as() -> None:
    root = os.environ.get("MLFLOW_LAB_NGINX", "")
    if not root:
        lab.up()
    run = ["chroot", root] if root else ["docker", "run", "--rm", "nginx:1.30"]

    assert output(*run, "id", "-u", "nginx") == str(USER)
