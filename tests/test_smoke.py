"""The smoke test, against a real HTTP server that speaks the part of MLflow's API it uses."""

import pytest

from ops import smoke
from ops.errors import OpsError
from ops.front_door import FrontDoor
from ops.settings import Settings
from tests.conftest import StandInServer

PASSED = [
    "server and database answer",
    "create an experiment and a run",
    "log 100 metrics and 20 params in a batch",
    "set a tag",
    "send and fetch an artifact of 5 MB",
    "register a model version",
    "search runs",
    "delete the model",
    "delete the artifact",
    "delete the run",
    "delete the experiment",
]

# What to break, and the step that must be named.
BREAKS = [
    ("POST /experiments/search", PASSED[0]),
    ("GET /experiments/get-by-name", PASSED[1]),
    ("POST /experiments/create", PASSED[1]),
    ("POST /runs/create", PASSED[1]),
    ("POST /runs/log-batch", PASSED[2]),
    ("GET /metrics/get-history", PASSED[2]),
    ("GET /runs/get", PASSED[2]),
    ("POST /runs/set-tag", PASSED[3]),
    ("PUT /artifacts", PASSED[4]),
    ("GET /artifacts", PASSED[4]),
    ("POST /registered-models/create", PASSED[5]),
    ("POST /model-versions/create", PASSED[5]),
    ("POST /runs/search", PASSED[6]),
]
# Calls of which a success is all there is to know.
SUCCESS_IS_ALL = {
    "POST /experiments/search",
    "POST /runs/log-batch",
    "POST /runs/set-tag",
    "PUT /artifacts",
    "POST /registered-models/create",
}
UNDOS = [
    ("DELETE /registered-models/delete", PASSED[7]),
    ("DELETE /artifacts", PASSED[8]),
    ("POST /runs/delete", PASSED[9]),
    ("POST /experiments/delete", PASSED[10]),
]


@pytest.fixture(autouse=True)
def small_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventy tests need not send 5 MB each."""
    monkeypatch.setattr(smoke, "ARTIFACT_BYTES", 50_000)


def run(server: StandInServer) -> None:
    smoke.run(FrontDoor(server.url), Settings())


def failed(server: StandInServer) -> OpsError:
    with pytest.raises(OpsError) as caught:
        run(server)
    assert caught.value.code == 1
    assert caught.value.remedy
    return caught.value


def left_behind(server: StandInServer) -> dict[str, list[str]]:
    """Return what a person would find of the test."""
    return {
        "experiments": [
            entry["name"]
            for entry in server.experiments.values()
            if entry["lifecycle_stage"] == "active"
        ],
        "runs": [
            identity
            for identity, entry in server.runs.items()
            if entry["info"]["lifecycle_stage"] == "active"
        ],
        "models": list(server.models),
        "artifacts": list(server.artifacts),
    }


NOTHING: dict[str, list[str]] = {"experiments": [], "runs": [], "models": [], "artifacts": []}


def test_each_step_is_a_result_with_its_time_and_nothing_is_left(
    server: StandInServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "ARTIFACT_BYTES", 5 * 1024**2)
    run(server)
    lines = capsys.readouterr().out.splitlines()

    assert [line.rpartition(" (")[0] for line in lines] == [f"ok  {step}" for step in PASSED]
    assert all(line.endswith(" s)") for line in lines)
    assert left_behind(server) == NOTHING


def test_the_experiment_of_the_last_test_is_used_again(server: StandInServer) -> None:
    run(server)
    run(server)

    assert [entry["name"] for entry in server.experiments.values()] == [smoke.EXPERIMENT]
    assert len(server.runs) == 2
    assert left_behind(server) == NOTHING


def test_each_destination_of_direct_access_has_an_experiment_of_its_own(
    server: StandInServer,
) -> None:
    """An experiment's artifacts stay where it was made, whatever the settings say later."""
    names = [
        smoke.experiment_name(settings)
        for settings in (
            Settings(),
            Settings(artifacts_destination="s3://one"),
            Settings(artifacts_destination="s3://one", artifact_access="direct"),
            Settings(artifacts_destination="s3://two", artifact_access="direct"),
        )
    ]

    assert names[0] == names[1] == smoke.EXPERIMENT
    assert len(set(names)) == 3

    run(server)
    assert [entry["name"] for entry in server.experiments.values()] == names[:1]


@pytest.mark.parametrize(
    ("broken", "step", "answer"),
    [
        (broken, step, answer)
        for broken, step in BREAKS
        for answer in [(500, b"boom"), None, (200, b"<html>"), (200, b"{}")]
        if answer != (200, b"{}") or broken not in SUCCESS_IS_ALL
    ],
)
def test_a_step_that_fails_is_named_and_what_was_made_is_undone(
    server: StandInServer, broken: str, step: str, answer: tuple[int, bytes] | None
) -> None:
    server.broken[broken] = answer
    error = failed(server)

    assert error.cause.startswith(f"{step}: ")
    assert left_behind(server) == NOTHING


@pytest.mark.parametrize(("broken", "step"), UNDOS)
def test_an_undo_that_fails_is_named_and_the_others_still_happen(
    server: StandInServer, broken: str, step: str
) -> None:
    server.broken[broken] = (500, b"boom")
    error = failed(server)

    assert error.cause.startswith(f"{step}: ")
    for other, _ in UNDOS:
        assert other in server.requests


def test_the_step_that_failed_is_named_also_when_an_undo_fails(server: StandInServer) -> None:
    server.broken = {"POST /runs/set-tag": (500, b"boom"), "POST /runs/delete": (500, b"boom")}
    error = failed(server)

    assert error.cause.startswith("set a tag: ")
    assert left_behind(server)["experiments"] == []


def test_an_interrupt_undoes_what_was_made(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: smoke.Session) -> None:
        raise KeyboardInterrupt

    steps = [*smoke.STEPS[:-1], ("search runs", interrupted)]
    monkeypatch.setattr(smoke, "STEPS", steps)
    with pytest.raises(KeyboardInterrupt):
        run(server)

    assert left_behind(server) == NOTHING


def test_an_artifact_that_comes_back_changed_is_noticed(server: StandInServer) -> None:
    server.broken["GET /artifacts"] = (200, b"\0" * smoke.ARTIFACT_BYTES)

    assert "is the checksum of the artifact that came back" in failed(server).cause
    assert left_behind(server) == NOTHING


def test_a_tag_that_lost_its_characters_is_noticed(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = server._runs_set_tag
    monkeypatch.setattr(
        server, "_runs_set_tag", lambda fields: keep({**fields, "value": "gr??er ?? ?"})
    )

    assert "'gr??er ?? ?' as the tag came back" in failed(server).cause


def test_metrics_that_were_lost_are_noticed(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = server._runs_log_batch
    monkeypatch.setattr(
        server,
        "_runs_log_batch",
        lambda fields: keep({**fields, "metrics": fields["metrics"][1:]}),
    )

    assert "99 metric values came back, not 100" in failed(server).cause


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (None, "invoke status"),
        ((403, b"Invalid Host header - possible DNS rebinding attack detected"), "PUBLIC_URL"),
        ((403, b"AccessDenied"), "refuses these credentials"),
        ((401, b""), "refuses these credentials"),
        ((413, b"Request Entity Too Large"), "limits the size of uploads"),
        ((502, b""), "starting, overloaded or gone"),
        ((503, b""), "starting, overloaded or gone"),
        ((504, b""), "starting, overloaded or gone"),
        ((500, b"INTERNAL_ERROR"), "look at the server's log"),
    ],
)
def test_the_likely_cause_is_named(
    server: StandInServer, answer: tuple[int, bytes] | None, remedy: str
) -> None:
    server.broken["POST /experiments/search"] = answer

    assert remedy in failed(server).remedy


def test_a_server_that_is_not_mlflow_is_an_error_of_the_first_step_that_sees_it(
    server: StandInServer,
) -> None:
    for line, _ in [*BREAKS, *UNDOS]:
        server.broken[line] = (200, b"{}")

    assert failed(server).cause.startswith("create an experiment and a run: ")


def test_direct_access_needs_credentials_of_this_machine(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The S3 server is the stand-in too; it answers nothing that S3 would."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "opensesame")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server.artifact_root = "s3://bucket/prefix"
    settings = Settings(s3_endpoint_url=server.url, s3_region="eu-central-1")
    with pytest.raises(OpsError) as caught:
        smoke.run(FrontDoor(server.url), settings)

    assert caught.value.cause.startswith("send and fetch an artifact of 5 MB: HTTP 403: S3 from")
    assert "credentials" in caught.value.remedy
    assert left_behind(server) == NOTHING
