"""The program that an MLflow's image runs on a copy, against a server of the tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops import reader

RUN = {"info": {"run_id": "a"}, "data": {"metrics": [{"key": "a b", "value": 1}]}}
ANSWERS = {
    "experiments/search": {"experiments": [{"experiment_id": "7"}]},
    "runs/search": {"runs": [RUN]},
    "runs/get": {"run": RUN},
    "metrics/get-history": {"metrics": [{"step": 1}, {"step": 2}]},
    "registered-models/search": {"registered_models": [{"name": "m/1"}]},
    "registered-models/get": {"registered_model": {"name": "m/1"}},
    "model-versions/search": {},
    "traces": None,
}


class Asked:
    """A server that is asked, instead of by HTTP, in the place of `ask`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = dict(ANSWERS)
        monkeypatch.setattr(reader, "ask", self.ask)

    def ask(self, path: str, body: Any = None, *, missing: bool = False) -> Any:
        self.asked.append((path, body))
        what = path.removeprefix(reader.API).partition("?")[0]
        assert missing == (what == "traces")
        return self.answers[what]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_the_newest_and_the_oldest_are_read_each_with_its_metrics(server: Asked) -> None:
    answers: dict[str, Any] = {}
    reader.read(answers)

    assert {
        "experiments",
        "runs DESC",
        "runs ASC",
        "run a",
        "metric a a b",
        "models",
        "model m/1",
        "versions",
        "traces 7",
    } == set(answers)
    orders = [body["order_by"] for _, body in server.asked if body and "order_by" in body]
    assert [["attributes.start_time DESC"], ["attributes.start_time ASC"]] == orders
    paths = [path for path, _ in server.asked]
    assert any("metric_key=a%20b" in path for path in paths)
    assert any(path.endswith(("name=m/1", "name=m%2F1")) for path in paths)
    assert answers["traces 7"] is None


def test_a_run_that_reads_otherwise_a_second_time_ends_it(server: Asked) -> None:
    server.answers["runs/get"] = {"run": {**RUN, "data": {}}}
    with pytest.raises(SystemExit, match="a run read twice was two: a"):
        reader.read({})


def test_a_migration_job_that_fails_ends_it_with_a_code_of_its_own(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text("import sys; sys.exit('error: no')", "utf-8")
    program = (
        f"import sys; sys.argv = ['']; sys.path.insert(0, {str(Path(reader.__file__).parent)!r}); "
        f"import reader; reader.JOBS = {{'migrate': (sys.executable, {str(job)!r})}}; "
        f"reader.OPTION_FILE = reader.Path({str(tmp_path / 'client')!r}); reader.main()"
    )
    given = {"stages": ["migrate"], "client": "x", "passphrase": "y", "auth": "", "auth_config": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (reader.MIGRATION_FAILED, "") == (done.returncode, done.stdout)
    assert "error: no" in done.stderr
    assert 0o600 == (tmp_path / "client").stat().st_mode & 0o777
