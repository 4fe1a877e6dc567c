"""The user interface as a browser loads it: bytes over the wire and seconds, first and again."""

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext

from tests.e2e.browsers import chromium, trusted
from tests.e2e.side import Side, login

SECONDS = 90
QUIET, LATER = 2, 20
"""Seconds without an answer, after which a page has all it wants; and how long these may take."""


@dataclass(frozen=True)
class Visit:
    """What the list of experiments took until it could be used."""

    received: int
    """Bytes, headers included, as they came over the wire."""
    seconds: float


def twice(side: Side) -> tuple[Visit, Visit]:
    """Load the user interface with an empty cache, and again with what is in it then."""
    port = urlsplit(side.url).port
    assert port
    with chromium(*([trusted(port)] if side.ca else [])) as browser:
        # Not `http_credentials`: with them Playwright turns the cache off.
        known = {"Authorization": login(side.admin)} if side.admin else {}
        context = browser.new_context(extra_http_headers=known)
        return _load(context, side.url), _load(context, side.url)


def _load(context: BrowserContext, url: str) -> Visit:
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    received: list[int] = []

    def count(event: dict[str, Any]) -> None:
        received.append(int(event["encodedDataLength"]))

    network = context.new_cdp_session(page)
    network.on("Network.loadingFinished", count)
    network.send("Network.enable")
    page.goto(f"{url}/#/experiments")
    page.get_by_role("button", name="Create", exact=True).first.wait_for()
    seconds = page.evaluate("performance.now()") / 1000
    # Not "networkidle": the page goes on asking from time to time.
    end, heard = time.monotonic() + LATER, -1
    while len(received) != heard and time.monotonic() < end:
        heard = len(received)
        page.wait_for_timeout(QUIET * 1000)
    page.close()
    return Visit(sum(received), seconds)
