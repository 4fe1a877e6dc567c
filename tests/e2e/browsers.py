"""A real Chromium, empty at first, which knows a private CA where it is told to."""

import base64
import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, sync_playwright

from tests.lab import browser as lab_browser

# As root and without a network; Chromium's own services would ask for hosts that are not there.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    lab_browser.FLAG,
]


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Have an empty browser."""
    executable = lab_browser.program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        yield browser
        browser.close()


def trusted(port: int) -> str:
    """Return the flag that takes the certificate shown at a port of this machine now.

    As a person lets a browser take it by importing the CA: Chromium reads CAs from a database that
    only a program of NSS writes.
    """
    shown = ssl.get_server_certificate(("localhost", port))
    key = x509.load_pem_x509_certificate(shown.encode()).public_key()
    known = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    pin = base64.b64encode(known.digest()).decode()
    return f"--ignore-certificate-errors-spki-list={pin}"
