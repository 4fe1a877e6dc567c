"""The verbs behind the tasks; the engine is a stand-in that notes what it is asked."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ops import engines, server, states, throughput
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.settings import Settings
from ops.states import Service, Status
from tests.conftest import FakeHost, StandInServer, leave_rotation


@dataclass
class StandInEngine:
    """An engine without a server."""

    name: str
    calls: list[str] = field(default_factory=list)
    runs: bool = False
    changed: bool = True
    healthy: bool = True
    error: OpsError | None = None

    def up(self, settings: Settings, host: LocalHost, *, migrate: bool) -> bool:
        assert isinstance(host, LocalHost)
        self.calls.append(f"up migrate={migrate}")
        states.remember(settings, self.name)
        if self.error:
            raise self.error
        return self.changed

    def down(self, settings: Settings, host: LocalHost) -> bool:
        assert isinstance(host, LocalHost)
        self.calls.append(f"down {settings.stack_name}")
        return self.changed

    def running(self, settings: Settings, host: LocalHost) -> bool:
        assert settings
        assert isinstance(host, LocalHost)
        return self.runs

    def status(self, settings: Settings, host: LocalHost) -> Status:
        assert isinstance(host, LocalHost)
        web = Service("web", "running", self.healthy, 185.0, 240 * 1024**2)
        services = (web, Service("db", "absent", healthy=False))
        return Status(self.name, settings.url, self.healthy, services)

    def logs(self, settings: Settings, host: LocalHost, *, service: str, follow: bool) -> None:
        assert settings
        assert isinstance(host, LocalHost)
        self.calls.append(f"logs {service!r} {follow}")


@dataclass
class Stack:
    """A stack of this test: its settings and both engines."""

    settings: Settings
    compose: StandInEngine
    embedded: StandInEngine


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    made = Stack(Settings(root=tmp_path), StandInEngine("compose"), StandInEngine("embedded"))
    both: dict[str, engines.Engine] = {"compose": made.compose, "embedded": made.embedded}
    monkeypatch.setattr(engines, "ENGINES", both)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: made.settings))
    absent = FakeHost({"docker version": Result(127, "", "docker: not found")})
    monkeypatch.setattr(server, "LocalHost", lambda: absent)
    return made


def test_up_prints_the_address_and_says_the_rest(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    server.up("auto", migrate=False)
    out, err = capsys.readouterr()

    assert out == "http://localhost:5050\n"
    assert err.splitlines() == [
        "engine: embedded (docker is not installed)",
        "the server is up",
        "",
        "for clients:",
        "export MLFLOW_TRACKING_URI=http://localhost:5050",
    ]
    assert stack.embedded.calls == ["up migrate=False"]


def test_a_second_up_says_that_nothing_changed(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.embedded.changed = False
    server.up("embedded", migrate=True)

    assert "the server was up already; nothing changed" in capsys.readouterr().err
    assert stack.embedded.calls == ["up migrate=True"]


@pytest.mark.parametrize(
    ("address", "warned"),
    [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("10.1.2.3", True), ("::", True)],
)
def test_an_open_address_without_login_is_warned_of(
    stack: Stack, capsys: pytest.CaptureFixture[str], address: str, warned: bool
) -> None:
    stack.settings = replace(stack.settings, bind_address=address)
    server.up("embedded", migrate=False)

    assert ("warning: " in capsys.readouterr().err) == warned


def test_the_engine_that_backs_nothing_up_says_so_once(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engines, "compose_problem", lambda _: None)
    said = []
    for engine, place in (("embedded", "s3://b"), ("embedded", ""), ("compose", "s3://b")):
        stack.settings = replace(stack.settings, backups_destination=place)
        server.up(engine, migrate=False)
        said.append(capsys.readouterr().err.count("nothing is backed up on this engine"))

    assert said == [1, 0, 0]


def test_up_says_that_a_secret_is_replaced_by_half_and_goes_on(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_rotation(stack.settings)
    server.up("embedded", migrate=False)

    assert "then go on with it: invoke rotate-secret MYSQL_PASSWORD\n" in capsys.readouterr().err
    assert ["up migrate=False"] == stack.embedded.calls


def test_two_engines_never_run_at_once(stack: Stack) -> None:
    states.remember(stack.settings, "compose")
    stack.compose.runs = True
    with pytest.raises(OpsError, match="the server runs on the other engine") as caught:
        server.up("embedded", migrate=False)

    assert caught.value.code == 2
    assert stack.embedded.calls == []


def test_a_stopped_engine_may_be_left_for_the_other(stack: Stack) -> None:
    states.remember(stack.settings, "compose")
    server.up("embedded", migrate=False)

    assert stack.embedded.calls == ["up migrate=False"]


def test_an_up_that_failed_half_way_can_be_looked_at_and_taken_down(stack: Stack) -> None:
    stack.embedded.error = OpsError("it died", "invoke logs")
    with pytest.raises(OpsError, match="it died"):
        server.up("embedded", migrate=False)
    server.logs("", follow=False)
    server.down()

    assert stack.embedded.calls[1:] == ["logs '' False", "down mlflow-compose"]


@pytest.mark.parametrize(
    ("used", "changed", "said"),
    [
        (True, True, "the server is down; its data is kept\n"),
        (True, False, "the server was not running\n"),
        (False, True, "the server was not running\n"),
    ],
)
def test_down_says_what_it_did(
    stack: Stack, capsys: pytest.CaptureFixture[str], used: bool, changed: bool, said: str
) -> None:
    if used:
        states.remember(stack.settings, "embedded")
    stack.embedded.changed = changed
    server.down()

    assert capsys.readouterr() == ("", said)


def test_status_is_a_line_for_each_service(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    states.remember(stack.settings, "embedded")
    server.show_status(as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "http://localhost:5050  healthy  (embedded engine)"
    assert lines[1].split() == ["web", "running", "3", "min", "5", "s", "240", "MiB"]
    assert lines[2].split() == ["db", "absent", "-", "-"]


@pytest.mark.parametrize("as_json", [True, False])
def test_status_of_an_unhealthy_server_is_shown_and_ends_with_1(
    stack: Stack, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    states.remember(stack.settings, "embedded")
    stack.embedded.healthy = False
    with pytest.raises(OpsError) as caught:
        server.show_status(as_json=as_json)

    assert caught.value.code == 1
    assert "web" in capsys.readouterr().out


def test_status_as_json_is_one_document(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    states.remember(stack.settings, "embedded")
    server.show_status(as_json=True)
    found = json.loads(capsys.readouterr().out)

    assert set(found) == {"engine", "url", "healthy", "services", "backups", "certificate"}
    assert found["services"][0]["uptime_seconds"] == 185.0


@pytest.mark.parametrize(
    "verb", [lambda: server.show_status(as_json=False), lambda: server.logs("", follow=False)]
)
def test_before_the_first_up_there_is_nothing_to_look_at(
    stack: Stack, verb: Callable[[], None]
) -> None:
    assert not stack.settings.data.exists()
    with pytest.raises(OpsError, match="there is no server here yet") as caught:
        verb()

    assert caught.value.code == 2


def test_logs_are_the_engine_s(stack: Stack) -> None:
    states.remember(stack.settings, "compose")
    server.logs("web", follow=True)

    assert stack.compose.calls == ["logs 'web' True"]


@pytest.mark.parametrize("url", ["http://x.example", "http://x.example/it's $HOME `id`"])
def test_the_lines_for_clients_can_be_evaluated_by_a_shell(
    stack: Stack, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    stack.settings = replace(
        stack.settings, public_url=url, artifact_access="direct", s3_endpoint_url="http://minio"
    )
    server.show_client_env(as_json=False)
    lines = capsys.readouterr().out
    show = 'printf "%s|" "$MLFLOW_TRACKING_URI" "$MLFLOW_S3_ENDPOINT_URL"'
    done = subprocess.run(["sh", "-c", lines + show], capture_output=True, text=True, check=True)

    assert done.stdout == f"{url}|http://minio|"


def test_what_clients_need_as_json(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert stack.settings.public_url == ""
    server.show_client_env(as_json=True)

    assert json.loads(capsys.readouterr().out) == {"MLFLOW_TRACKING_URI": "http://localhost:5050"}


def test_the_smoke_test_goes_to_the_address_given_or_to_this_stack(
    stack: Stack, server: StandInServer, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke_test(server.url)
    assert server.hosts[0] == f"127.0.0.1:{server.port}"

    server.hosts.clear()
    stack.settings = replace(stack.settings, http_port=server.port, public_url="https://x.example")
    smoke_test("")
    assert set(server.hosts) == {"x.example"}
    assert capsys.readouterr().out.count("ok  ") == 22


def test_the_bench_goes_there_too(
    stack: Stack, server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "PLAN", throughput.PLAN[:1])
    bench(server.url, "1", as_json=False)
    assert set(server.hosts) == {f"127.0.0.1:{server.port}"}

    server.hosts.clear()
    stack.settings = replace(stack.settings, http_port=server.port, public_url="https://x.example")
    bench("", "1", as_json=True)
    assert set(server.hosts) == {"x.example"}


smoke_test, bench = server.smoke_test, server.bench


@pytest.mark.parametrize(
    "url", ["x.example", "ftp://x.example", "http://joe:opensesame@x", "http://"]
)
def test_an_address_that_is_none_is_refused_and_its_password_not_shown(
    stack: Stack, url: str
) -> None:
    assert stack.settings
    with pytest.raises(OpsError) as caught:
        smoke_test(url)

    assert caught.value.code == 2
    assert "sesame" not in str(caught.value)
