"""What a server does, measured with a real HTTP server that speaks a part of MLflow's API."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from ops import load, throughput
from ops.errors import OpsError
from ops.front_door import FrontDoor
from ops.load import Figures
from ops.throughput import CLIENTS, MIXED, RUNS
from tests.conftest import StandInServer

SECONDS = 0.05
LINES = [
    *(("reads", "1"), ("batch writes", "1"), ("searches", "1")),
    *(("reads", "16"), ("batch writes", "16"), ("searches", "16"), ("all in turn", "16")),
]
SEEN = Figures(16, 900, 90.0, 0.001, 0.002, 0, 0, 0.3, "")


@pytest.fixture(autouse=True)
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there are clients; the stand-in sends each with all it ever got."""
    monkeypatch.setattr(throughput, "RUNS", CLIENTS)


def measure(server: StandInServer, *, as_json: bool = False) -> None:
    throughput.measure(FrontDoor(server.url), SECONDS, as_json=as_json)


def refused(server: StandInServer) -> OpsError:
    with pytest.raises(OpsError) as caught:
        measure(server)
    assert 1 == caught.value.code
    return caught.value


def left_behind(server: StandInServer) -> list[str]:
    return [
        each["name"] for each in server.experiments.values() if each["lifecycle_stage"] != "deleted"
    ]


def all_seen(**changes: Any) -> list[tuple[str, Figures]]:
    """Return what was seen of a server that does well, but for these."""
    ones = [(label, replace(SEEN, clients=1, rate=30)) for label, _ in throughput.KINDS]
    many = [(label, replace(SEEN, **changes)) for label, _ in throughput.KINDS]
    return [*ones, *many, (MIXED, SEEN)]


def test_each_measurement_is_a_line_and_then_it_says_what_that_equals(
    server: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(server)
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()

    assert ["clients", "a", "second", "p50", "p99", "failed", "429"] == head.split()
    shown = [re.fullmatch(r"(\D+?) +(\d+) .* ms +0 +0", line) for line in lines[: len(LINES)]]
    assert LINES == [each.groups() if each else None for each in shown]
    assert "SageMaker's " in lines[len(LINES)]
    assert f"{server.url}: 7 measurements of 0.05 s" in err
    assert "mlflow-compose bench" in err


def test_what_is_measured_is_what_clients_do_each_with_a_run_of_its_own(
    server: StandInServer,
) -> None:
    measure(server)
    asked = {line: server.requests.count(line) for line in server.requests}
    batches = [
        json.loads(body)
        for line, body in zip(server.requests, server.bodies, strict=True)
        if line == "POST /runs/log-batch"
    ]

    assert asked["GET /experiments/get"] > CLIENTS
    assert asked["POST /runs/search"] > CLIENTS
    assert len(batches) > 2 * CLIENTS
    assert {10} == {len(batch["metrics"]) for batch in batches}
    for run, entry in server.runs.items():
        steps = [metric["step"] for metric in entry["data"]["metrics"][::10]]
        assert [*range(len(steps))] == steps, run
        assert len(steps) > 1


def test_runs_and_experiment_are_gone_afterwards(server: StandInServer) -> None:
    measure(server)

    assert [] == left_behind(server)
    assert CLIENTS == len(server.runs)
    assert 1 == len(server.experiments)


def test_two_measurements_have_an_experiment_each(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "PLAN", throughput.PLAN[:1])
    measure(server)
    measure(server)

    assert 2 == len({each["name"] for each in server.experiments.values()})


def test_a_script_gets_one_document(
    server: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(server, as_json=True)
    found = json.loads(capsys.readouterr().out)

    assert {"url", "seconds", "measurements", "sagemaker", "notes"} == found.keys()
    assert (server.url, SECONDS) == (found["url"], found["seconds"])
    assert LINES == [(each["what"], str(each["clients"])) for each in found["measurements"]]
    assert all(each["rate"] > 0 and each["failed"] == 0 for each in found["measurements"])


@pytest.mark.parametrize(
    ("rate", "name"),
    [
        *((0, None), (24.9, None), (25, "Small"), (49.9, "Small"), (50, "Medium")),
        *((99.9, "Medium"), (100, "Large"), (1000, "Large")),
    ],
)
def test_a_size_of_sagemaker_s_is_equalled_from_its_sustained_rate_on(
    rate: float, name: str | None
) -> None:
    said = throughput.equals(replace(SEEN, rate=rate))

    assert name == throughput.size(rate)
    assert said.startswith(f"as much as SageMaker's {name} (" if name else "less than SageMaker's")
    assert "16 clients that read, write and search in turn" in said
    assert "now and over this network" in said


def test_a_rate_that_just_misses_a_size_is_not_written_as_one_that_has_it() -> None:
    assert throughput.equals(replace(SEEN, rate=24.99)).count(" got 24.9,") == 1


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"limited": 4}, "12 times it answered 429"),
        ({"rate": 490.0}, "one login gets 500 requests a second"),
        ({"processor": 0.95}, "this machine's processor was the limit (reads, batch writes"),
        ({"rate": 31.0}, "16 clients together read hardly more than one"),
    ],
)
def test_what_the_limit_was_is_said_where_it_is_evident(
    changes: dict[str, float], note: str
) -> None:
    [said] = throughput.notes(all_seen(**changes))

    assert note in said
    assert [] == throughput.notes(all_seen())


@pytest.mark.parametrize(
    "broken",
    ["POST /experiments/create", "POST /runs/create", "POST /runs/log-batch"],
)
@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (None, "see that the server is up"),
        ((401, b"who are you"), "MLFLOW_TRACKING_USERNAME"),
        ((403, b"Permission denied"), "MLFLOW_TRACKING_USERNAME"),
        ((500, b"boom"), "invoke smoke"),
    ],
)
def test_a_server_that_refuses_it_is_not_measured(
    server: StandInServer, broken: str, answer: tuple[int, bytes] | None, remedy: str
) -> None:
    server.broken[broken] = answer
    error = refused(server)

    assert re.match("no (experiment can be made|run can be logged) there: ", error.cause)
    assert remedy in error.remedy
    assert "GET /experiments/get" not in server.requests
    assert [] == left_behind(server)


@pytest.mark.parametrize("broken", ["POST /experiments/create", "POST /runs/create"])
def test_a_server_that_is_not_mlflow_is_told_from_one(server: StandInServer, broken: str) -> None:
    server.broken[broken] = (200, b"{}")

    assert "the answer is not MLflow's" in refused(server).cause
    assert [] == left_behind(server)


def test_nobody_at_the_address_is_an_error() -> None:
    with pytest.raises(OpsError, match="no experiment can be made there: no answer from") as caught:
        throughput.measure(FrontDoor("http://127.0.0.1:9"), SECONDS, as_json=False)

    assert 1 == caught.value.code


def test_what_fails_ends_it_with_what_was_seen_and_no_size(
    server: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.broken["POST /runs/search"] = (500, b"boom")
    error = refused(server)
    out = capsys.readouterr().out

    assert re.match(r"\d+ of \d+ requests failed, the first with HTTP 500: boom", error.cause)
    assert out.splitlines()[-1].startswith("searches ")
    assert "SageMaker" not in out
    assert [] == left_behind(server)


def test_a_script_gets_its_document_also_where_something_failed(
    server: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.broken["POST /runs/search"] = (500, b"boom")
    with pytest.raises(OpsError):
        measure(server, as_json=True)
    found = json.loads(capsys.readouterr().out)

    assert found["sagemaker"] is None
    assert "HTTP 500: boom" == found["measurements"][-1]["failure"]
    assert 3 == len(found["measurements"])


def test_an_experiment_that_cannot_be_deleted_is_named(server: StandInServer) -> None:
    server.broken["POST /experiments/delete"] = (500, b"boom")
    error = refused(server)

    [name] = left_behind(server)
    assert f"the experiment {name!r} is still there: HTTP 500: boom" == error.cause


def test_an_interrupt_deletes_what_was_made(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(server)

    assert RUNS > len(server.runs) == CLIENTS
    assert [] == left_behind(server)


def test_an_interrupt_while_the_server_makes_the_experiment_deletes_it(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = FrontDoor.call

    def interrupted(self: FrontDoor, method: str, path: str, body: Any) -> dict[str, Any]:
        answer = call(self, method, path, body)
        if path == "/experiments/create":
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(FrontDoor, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(server)

    assert 1 == len(server.experiments)
    assert [] == left_behind(server)


def test_a_server_that_has_too_much_to_do_is_asked_again_when_it_wants_to_be(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "PLAN", throughput.PLAN[:1])
    server.headers["Retry-After"] = "7"
    waits: list[float] = []

    def waited(seconds: float) -> None:
        waits.append(seconds)
        del server.broken["POST /experiments/create"]

    server.broken["POST /experiments/create"] = (429, b"")
    monkeypatch.setattr("ops.throughput.time.sleep", waited)
    measure(server)
    assert [7] == waits

    monkeypatch.setattr(throughput, "PATIENCE_SECONDS", 5)
    server.broken["POST /experiments/create"] = (429, b"too much")
    assert "HTTP 429: too much" in refused(server).cause
    assert [7] == waits
