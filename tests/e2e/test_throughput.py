"""How much real servers do, as a person measures it."""

import json
import signal
from collections.abc import Callable
from typing import Any

from ops import front_door
from tests.e2e.conftest import Project, wait_for

MARK = "mlflow-compose bench"
ACTIVE, DELETED = "ACTIVE_ONLY", "DELETED_ONLY"


def experiments(project: Project, view: str) -> list[str]:
    """Return the ids of what bench made on a server, the newest first."""
    body = {"max_results": 1000, "view_type": view, "filter": f"name LIKE '{MARK}%'"}
    found = front_door.local(project.settings).call("POST", "/experiments/search", body)
    return [each["experiment_id"] for each in found.get("experiments", [])]


def runs(project: Project, experiment: str, view: str) -> list[dict[str, Any]]:
    """Return the runs of an experiment."""
    body = {"experiment_ids": [experiment], "run_view_type": view, "max_results": 1000}
    found = front_door.local(project.settings).call("POST", "/runs/search", body)
    return list(found.get("runs", []))


def measure(project: Project, *words: str, **environ: str) -> dict[str, Any]:
    """Measure as a script does; nothing of it is to be seen afterwards."""
    done = project.invoke("bench", "--seconds=1", "--json", *words, environ=environ)
    found: dict[str, Any] = json.loads(done.stdout)
    assert 7 == len(found["measurements"])
    for each in found["measurements"]:
        assert (0, 0) == (each["failed"], each["limited"]), each
        assert each["rate"] > 1, each
    assert [] == experiments(project, ACTIVE)
    return found


def line(found: dict[str, Any]) -> str:
    """Return the rates of a measurement in one line."""
    rates = [
        f"{each['what']} {each['rate']:.0f} ({each['clients']})" for each in found["measurements"]
    ]
    return f"{', '.join(rates)}; {found['sagemaker']}; {'; '.join(found['notes'])}"


def test_a_guarded_server_is_measured_by_somebody_who_has_logged_in(
    guarded: Project, measured: Callable[[str], None]
) -> None:
    found = measure(guarded, "--url", guarded.url, **guarded.login())
    measured(line(found))

    hidden = experiments(guarded, DELETED)[0]
    assert [] == runs(guarded, hidden, ACTIVE)
    gone = runs(guarded, hidden, DELETED)
    assert 50 == len(gone)
    assert all(10 == len(each["data"]["metrics"]) for each in gone)


def test_whom_a_guarded_server_does_not_let_in_makes_nothing_there(guarded: Project) -> None:
    before = len(experiments(guarded, DELETED))
    wrong = guarded.login() | {"MLFLOW_TRACKING_PASSWORD": "not the password"}
    done = guarded.invoke("bench", "--url", guarded.url, environ=wrong, expect=1)

    assert "error: no experiment can be made there: HTTP 401" in done.stderr
    assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
    assert "" == done.stdout
    assert before == len(experiments(guarded, DELETED))


def test_a_server_without_docker_is_measured_as_the_one_of_its_folder(
    embedded: Project, measured: Callable[[str], None]
) -> None:
    measured(line(measure(embedded)))


def test_ctrl_c_ends_it_and_takes_back_what_it_made(embedded: Project) -> None:
    before = len(experiments(embedded, DELETED))
    going = embedded.start("bench", "--seconds=60")
    try:
        assert going.stdout is not None
        assert "clients" in going.stdout.readline()  # printed once all is made
        wait_for(lambda: experiments(embedded, ACTIVE), 10, "its experiment")
        going.send_signal(signal.SIGINT)
        _, err = going.communicate(timeout=30)
    finally:
        going.kill()
        going.communicate()

    assert 1 == going.returncode, err
    assert "Traceback" not in err
    assert [] == experiments(embedded, ACTIVE)
    assert before + 1 == len(experiments(embedded, DELETED))


def test_nobody_at_the_address_is_said_in_seconds(embedded: Project) -> None:
    done = embedded.invoke("bench", "--url=http://127.0.0.1:9", expect=1, timeout=60)

    assert "no answer from http://127.0.0.1:9" in done.stderr
