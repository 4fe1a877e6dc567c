"""The documents, read by a new user: their commands are run as they stand there."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Project, output

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str) -> list[str]:
    """Return the commands of a document, block by block."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


def test_the_readme_brings_up_a_server_for_a_new_user(make_project: Callable[..., Project]) -> None:
    """An empty folder, an empty home, a Python with pip; `nox` is what CI itself begins with."""
    project = make_project("readme")
    output(sys.executable, "-m", "venv", str(project.root / ".venv"))
    install, use = blocks("README.md")
    first, second = install.strip().splitlines()
    newcomer = {"PATH": f"{project.root / '.venv' / 'bin'}:{os.environ['PATH']}"}

    said = project.shell(first, **newcomer)

    assert said.rstrip().endswith(project.url)
    assert "nox -s lint test" == second
    assert second in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    tracking = project.shell(f'{use}printf "%s" "$MLFLOW_TRACKING_URI"', **newcomer)
    assert project.url == tracking
    project.shell("invoke smoke && invoke status && invoke down", **newcomer)


def test_the_commands_of_the_settings_page_run(stack: Project) -> None:
    for block in blocks("docs/settings.md"):
        stack.shell(block)


def test_a_server_is_measured_as_the_performance_page_says(stack: Project) -> None:
    *_, own = blocks("docs/performance.md")

    assert "invoke bench --seconds 2\n" == own
    assert "SageMaker's" in stack.shell(own)


def test_the_commands_of_the_contributing_page_are_those_of_ci() -> None:
    text = "\n".join(blocks("CONTRIBUTING.md"))

    assert "pip install -r requirements.txt" in text
    assert "nox -s lint test" in text
