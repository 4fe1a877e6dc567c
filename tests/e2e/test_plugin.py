"""What stands in for MLflow's own parts does the same: compared in the image, on real MySQL.

The scripts run in the container of a guarded stack's server, with its settings and its driver.
"""

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.asking import API, Door, ask
from tests.e2e.conftest import Project, output

INSIDE = Path(__file__).parent / "inside"

LAST = re.compile(r"(\d+) compared, (\d+) different$")


def compared(project: Project, script: str, *words: str) -> int:
    """Run a script in the server's container; return how much it compared, all of it alike."""
    done = subprocess.run(
        [
            "docker",
            "exec",
            "--interactive",
            f"{project.name}-web-1",
            "/opt/entrypoint.sh",
            "python",
            "-",
            *words,
        ],
        input=(INSIDE / f"{script}.py").read_text("utf-8"),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    last = LAST.search(done.stdout.rstrip())
    assert last, done.stdout[-4000:] + done.stderr[-4000:]
    assert last[2] == "0", done.stdout[:8000]
    return int(last[1])


def test_our_store_does_what_mlflow_s_does(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    seed = random.randrange(10**6)
    measured(f"seed {seed}: {compared(guarded, 'stores', str(seed), '150')} answers and states")


def test_our_json_says_what_mlflow_s_does(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    seed = random.randrange(10**6)
    measured(f"seed {seed}: {compared(guarded, 'messages', str(seed))} messages")


def test_the_shorter_way_answers_as_the_whole_application_does(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    name, password = guarded.admin
    measured(f"admin: {compared(guarded, 'ways', f'{name}:{password}')} answers")


def test_it_does_for_somebody_with_few_rights(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    guarded.invoke("remove-user", "few", "--yes", expect=None)  # of a run before this one
    password = guarded.invoke("add-user", "few", "--generate").stdout.split()[-1]

    measured(f"few: {compared(guarded, 'ways', f'few:{password}')} answers")


def test_a_password_is_computed_once_and_a_changed_one_is_refused(guarded: Project) -> None:
    assert compared(guarded, "passwords") == 16


# --- Counts, which no noise of a machine changes ---

STATEMENTS = """
import os, sqlalchemy as sa
with sa.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"]).connect() as connection:
    names = "'Com_select', 'Com_insert', 'Com_update', 'Com_begin', 'Com_commit', 'Com_rollback'"
    found = connection.execute(sa.text(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})"))
    print(sum(int(count) for _, count in found))
"""

EACH = 40
"""Requests; others than these, of the gate and of health checks, are less than one for each."""


def statements(project: Project) -> int:
    """Return how many statements MySQL has had from anybody."""
    inside = ["docker", "exec", f"{project.name}-web-1", "python", "-c", STATEMENTS]
    return int(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        # Who asks, and what they ask for. MLflow's own: 3, each with a commit and a rollback.
        ("experiments/get?experiment_id=0", None, 2),
        # Who asks; the run, begin, two inserts, commit. MLflow's own: 7, and 4 of either.
        ("runs/log-batch", {"metrics": [{"key": "k", "value": 1, "timestamp": 1, "step": 1}]}, 6),
        # Who asks, three times; begin, which runs, what they are, their metrics, params, tags and
        # links, commit.
        ("runs/search", {"experiment_ids": ["0"], "max_results": 5}, 11),
    ],
)
def test_a_request_takes_no_more_statements_than_it_needs(
    guarded: Project,
    measured: Callable[[str], None],
    path: str,
    body: dict[str, object] | None,
    most: int,
) -> None:
    door = Door.of(guarded)
    made = ask(door, door.admin, "POST", f"{API}/runs/create", {"experiment_id": "0"}).json
    if body and "metrics" in body:
        body = {**body, "run_id": made["run"]["info"]["run_id"]}
    method = "POST" if body else "GET"
    before = statements(guarded)
    for _ in range(EACH):
        assert 200 == ask(door, door.admin, method, f"{API}/{path}", body).status
    each = (statements(guarded) - before) / EACH
    measured(f"{path}: {each:.1f} statements")

    assert each < most + 1


def test_the_server_is_one_process_and_its_workers_which_share_what_they_do_not_change(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    top = output("docker", "top", f"{guarded.name}-web-1", "-o", "pid")
    memory = [Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8") for pid in top.split()[1:]]
    resident, own = (
        sum(map(int, re.findall(rf"^{name}: +(\d+)", "".join(memory), re.MULTILINE)))
        for name in ("Rss", "Pss")
    )
    measured(f"{len(memory)} processes: {own // 1024} MiB, {resident // 1024} each for itself")

    assert len(memory) == 1 + 2
    assert own < resident * 0.6
