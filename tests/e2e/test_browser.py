"""The user interface in a real Chromium, by the public name, on both engines."""

import shutil
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Response, expect, sync_playwright

from ops.front_door import FrontDoor
from tests.e2e.conftest import Project

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


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty browser."""
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    assert executable, "no Chromium on this machine: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser.new_page()
        browser.close()


@pytest.mark.parametrize("engine", ["stack", "embedded"])
def test_an_experiment_is_made_renamed_and_deleted_by_the_public_name(
    engine: str, page: Page, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(engine)
    address = f"http://mlflow.example.test:{project.port}"
    project.set(PUBLIC_URL=address)
    project.invoke("up")
    refused: list[str] = []
    page.on("response", lambda answer: refused.extend(failure(answer)))
    try:
        make_rename_and_delete(page, address)
    finally:
        project.unset("PUBLIC_URL")
        project.invoke("up")

    assert [] == refused


def failure(answer: Response) -> list[str]:
    """Say which request the server refused or failed; 404 is how the page asks what there is."""
    bad = answer.status == 403 or answer.status >= 500
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
