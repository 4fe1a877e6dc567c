"""A CA that speaks ACME: pebble, by the makers of Let's Encrypt, and the DNS it asks.

Both are single programs of Debian's package, unpacked and not installed. Nothing here needs Docker
or root.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from . import apt
from .command import leashed
from .errors import LabError
from .place import Place
from .turn import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

SUITE = "sid"
PATIENCE = 20  # seconds until both answer


def programs() -> tuple[str, str]:
    """Have pebble and pebble-challtestsrv; give where they are."""
    names = ("pebble", "pebble-challtestsrv")
    there = [shutil.which(name) for name in names]
    if there[0] and there[1] and shutil.which("apt-get") is None:
        return there[0], there[1]
    place = Place.read(os.environ)
    kept = place.folder / "pebble"
    if not kept.exists():
        place.make()
        with workspace() as folder:
            apt.unpack("pebble", SUITE, folder)
            shutil.copytree(folder / "usr/bin", f"{kept}.new", dirs_exist_ok=True)
        Path(f"{kept}.new").rename(kept)
    return str(kept / names[0]), str(kept / names[1])


@dataclass(frozen=True, slots=True)
class Pebble:
    """A CA that is running, and the way to tell its DNS what to answer."""

    directory: str
    ca_file: str
    """Vouches for the directory, not for what it issues."""

    management: str
    dns: str

    def root(self) -> str:
        """Give the certificate that what it issues leads to."""
        return self._call(f"{self.management}/roots/0")

    def resolve(self, host: str, *addresses: str) -> None:
        """Have a name lead to some addresses, or with none to where names lead by default."""
        verb = "add-a" if addresses else "clear-a"
        self._call(f"{self.dns}/{verb}", {"host": host, "addresses": addresses})

    def fail(self, host: str) -> None:
        """Have the DNS answer that it cannot say where a name leads."""
        self._call(f"{self.dns}/set-servfail", {"host": host})

    def heal(self, host: str) -> None:
        """Have it answer again."""
        self._call(f"{self.dns}/clear-servfail", {"host": host})

    def wish(self, certificate: str, begin: datetime) -> None:
        """Have the CA say that a certificate is to be renewed within the hour after `begin`."""
        end = begin + timedelta(hours=1)
        window = {"start": begin.isoformat(), "end": end.isoformat()}
        answer = json.dumps({"suggestedWindow": window})
        self._call(
            f"{self.management}/set-renewal-info/",
            {"certificate": certificate, "ariResponse": answer},
        )

    def _call(self, url: str, body: object = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=self.ca_file)
        request = urllib.request.Request(url, data)
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return str(answer.read().decode())


@contextmanager
def running(
    folder: Path,
    ca_file: Path,
    door: tuple[Path, Path],
    http_port: int,
    host: str = "127.0.0.1",
) -> Iterator[Pebble]:
    """Run a CA; it is reached with the certificate and key `door`, which `ca_file` vouches for.

    Its directory is at the address `host` of this machine.

    It looks for answers to its challenges at `http_port`, and believes any DNS name to be this
    machine unless its DNS is told otherwise. Each one is another CA.
    """
    pebble, dns = programs()
    listen, manage, answers, told = _free_ports(4)
    config = {
        "pebble": {
            "listenAddress": f"{host}:{listen}",
            "managementListenAddress": f"127.0.0.1:{manage}",
            "certificate": str(door[0]),
            "privateKey": str(door[1]),
            "httpPort": http_port,
            "tlsPort": _free_ports(1)[0],
            "retryAfter": {"authz": 1, "order": 1},
            "profiles": {
                "default": {"description": "90 days", "validityPeriod": 90 * 86400},
                "shortlived": {"description": "6 days", "validityPeriod": 6 * 86400},
            },
        }
    }
    file = folder / "pebble.json"
    file.write_text(json.dumps(config))
    quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    found = Pebble(
        f"https://{host}:{listen}/dir",
        str(ca_file),
        f"https://127.0.0.1:{manage}",
        f"http://127.0.0.1:{told}",
    )
    off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]
    with ExitStack() as stack:
        words = [
            dns,
            "-dnsserver",
            f"127.0.0.1:{answers}",
            "-management",
            f"127.0.0.1:{told}",
            *off,
        ]
        _start(stack, words, folder / "dns.log", {})
        words = [pebble, "-config", str(file), "-dnsserver", f"127.0.0.1:{answers}"]
        _start(stack, words, folder / "pebble.log", quick)
        _wait(found, folder)
        yield found


def _start(stack: ExitStack, words: list[str], log: Path, environ: dict[str, str]) -> None:
    """Start a program that ends with the stack, and with this process if that is killed."""
    with log.open("w") as output:
        process = subprocess.Popen(
            leashed(words),
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    stack.callback(process.wait)
    stack.callback(process.terminate)


def _wait(found: Pebble, folder: Path) -> None:
    """Wait until both programs answer."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found.root()
            found.resolve("ready.test")
        except OSError as error:
            if time.monotonic() > end:
                raise LabError(
                    f"pebble does not answer: {error}", f"read the logs in {folder}"
                ) from None
            time.sleep(0.1)
        else:
            return


def _free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
