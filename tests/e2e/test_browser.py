"""The user interface in a real Chromium: by the public name on both engines, and behind a login."""

import base64
import hashlib
import shutil
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Error, Page, Response, expect, sync_playwright

from ops import front_door
from ops.front_door import FrontDoor
from tests.e2e.conftest import Project, todays

# As root and without a network; Chromium's own services would ask for hosts that are not there.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A public name of the project's own, served by this machine.
    "--host-resolver-rules=MAP mlflow.example.test 127.0.0.1",
]
SECONDS = 60


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """Have an empty browser."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        yield browser
        browser.close()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of an empty browser."""
    with chromium() as browser:
        yield browser.new_page()


@pytest.mark.parametrize("engine", todays(["stack", "embedded"], 2))
def test_an_experiment_is_made_renamed_and_deleted_by_the_public_name(
    engine: str, page: Page, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(engine)
    address = f"http://mlflow.example.test:{project.port}"
    project.set(PUBLIC_URL=address, AUTH="none")
    project.invoke("up")
    refused: list[str] = []
    page.on("response", lambda answer: refused.extend(failure(answer)))
    try:
        make_rename_and_delete(page, address)
    finally:
        project.unset("PUBLIC_URL", "AUTH")
        project.invoke("up")

    assert [] == refused


def failure(answer: Response) -> list[str]:
    """Say which request the server refused or failed; 404 is how the page asks what there is."""
    closed = "/mlflow/assistant/" in answer.url  # the page asks whether there is one
    bad = (answer.status == 403 and not closed) or answer.status >= 500
    return [f"{answer.status} {answer.request.method} {answer.url}"] if bad else []


def make_rename_and_delete(page: Page, address: str) -> None:
    name = f"made in a browser {uuid.uuid4().hex[:6]}"
    page.set_default_timeout(SECONDS * 1000)
    page.goto(f"{address}/#/experiments")
    page.get_by_role("button", name="Create", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_placeholder("Input an experiment name").fill(name)
    dialog.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_text(name).first).to_be_visible()
    assert "active" == stage(address, name)

    guidance = page.get_by_role("button", name="Got it")  # shown once, over everything
    guidance.click()
    open_menu(page, "Edit experiment")
    dialog.locator("input").first.fill(f"{name}, renamed")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    assert "active" == stage(address, f"{name}, renamed")

    open_menu(page, "Delete")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_be_hidden()
    assert "deleted" == stage(address, f"{name}, renamed")


def open_menu(page: Page, item: str) -> None:
    page.get_by_test_id("overflow-menu-trigger").first.click()
    page.get_by_role("menuitem", name=item).click()


def stage(address: str, name: str) -> str:
    """Ask the server itself, by the public name, what became of an experiment."""
    parts = urlsplit(address)
    door = FrontDoor(f"http://127.0.0.1:{parts.port}", {"Host": parts.netloc})
    found = door.call("GET", "/experiments/get-by-name", {"experiment_name": name})
    return str(found["experiment"]["lifecycle_stage"])


# --- Behind the gate ---

NOTES = "logged through the front door"


@pytest.fixture
def trusting(guarded: Project) -> Iterator[Browser]:
    """A browser that takes the certificate shown now, as a person lets it by importing the CA.

    Chromium reads CAs from a database that only a program of NSS writes.
    """
    shown = ssl.get_server_certificate(("localhost", guarded.tls_port))
    key = x509.load_pem_x509_certificate(shown.encode()).public_key()
    known = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    pin = base64.b64encode(known.digest()).decode()
    with chromium(f"--ignore-certificate-errors-spki-list={pin}") as browser:
        yield browser


def a_run(project: Project) -> tuple[str, str, str]:
    """Log a run with an artifact; return its experiment, its id and its name."""
    door = front_door.local(project.settings)
    name = f"seen in a browser {uuid.uuid4().hex[:6]}"
    experiment = door.call("POST", "/experiments/create", {"name": name})["experiment_id"]
    body = {"experiment_id": experiment, "run_name": name, "start_time": int(time.time() * 1000)}
    info = door.call("POST", "/runs/create", body)["run"]["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:")
    store = f"/api/2.0/mlflow-artifacts/artifacts{path}/notes.txt"
    door.request("PUT", store, body=NOTES.encode())
    return experiment, info["run_id"], name


def test_a_browser_logs_in_looks_at_a_run_and_opens_an_artifact(
    guarded: Project, trusting: Browser
) -> None:
    experiment, run, name = a_run(guarded)
    user, password = guarded.admin
    context = trusting.new_context(http_credentials={"username": user, "password": password})
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    refused: list[str] = []
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text))
    page.on("response", lambda answer: refused.extend(failure(answer)))

    page.goto(f"{guarded.url}/#/experiments/{experiment}/runs/{run}")
    expect(page.get_by_text(name).first).to_be_visible()
    page.goto(f"{guarded.url}/#/experiments/{experiment}/runs/{run}/artifacts")
    page.get_by_text("notes.txt").first.click()
    expect(page.get_by_text(NOTES).first).to_be_visible()

    assert [] == refused
    assert [] == [line for line in said if "Content Security Policy" in line]


def test_a_browser_without_a_password_sees_nothing(guarded: Project, trusting: Browser) -> None:
    page = trusting.new_context().new_page()
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto(f"{guarded.url}/")
