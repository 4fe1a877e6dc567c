"""The verb: what it prints, how it ends, and that it changes nothing."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ops import checks_door, doctor, fleet, host_keys
from ops import patient as patient_module
from ops.checks import Finding, fail, ok, warn
from ops.errors import OpsError
from ops.host_keys import HostKey
from ops.hosts import Result
from ops.settings import Settings
from tests import patients
from tests.conftest import FakeHost, StandInServer, docker_info

READING = {
    *("true", "date", "id", "df", "cat", "find", "readlink"),
    *("docker version", "docker info", "docker compose version", "docker image inspect"),
    *("docker ps", "docker inspect", "docker exec", "sh -c", "git --version", "git -C"),
}

KEY = HostKey("ssh-ed25519", b"x")


class Reached(FakeHost):
    """A host whose front door is a real server's."""

    name = patients.NAME
    server: StandInServer
    local: FakeHost

    @contextmanager
    def forward(self, *_: object) -> Iterator[int]:
        yield self.server.port


@pytest.fixture
def host(settings: Settings, server: StandInServer, monkeypatch: pytest.MonkeyPatch) -> Reached:
    """A healthy host, known, behind an address; this machine is healthy too."""
    server.name = "localhost:5050"
    found = Reached(patients.healthy())
    found.server = server
    found.local = FakeHost(
        patients.healthy() | {"git --version": "git version 2.47\n", "git -C": "0123456789ab\n"}
    )

    @contextmanager
    def connect(*_: object) -> Iterator[Reached]:
        yield found

    monkeypatch.setattr(patient_module, "connect", connect)
    monkeypatch.setattr(doctor, "LocalHost", lambda: found.local)
    monkeypatch.setattr(Settings, "load", lambda: settings)
    for name in ("192.0.2.7", "192.0.2.8", "gone"):
        host_keys.pin(settings, name, [KEY])
    monkeypatch.setattr(checks_door, "BLOCK", 10**4)
    return found


def rows(capsys: pytest.CaptureFixture[str], hosts: str = patients.NAME) -> list[dict[str, Any]]:
    doctor.doctor(hosts, as_json=True)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_all_is_well_on_a_healthy_host(host: Reached, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys)

    assert host.lines
    assert [row for row in found if row["state"] != "ok"] == []
    assert [set(row) for row in found] == [{"host", "check", "state", "found", "remedy"}] * len(
        found
    )
    assert [row["check"] for row in found if row["host"] == "this machine"] == [
        *("settings", "docker", "git", "disk")
    ]
    assert len([row for row in found if row["host"] == patients.NAME]) == 21


def test_nothing_is_changed_anywhere(
    host: Reached, server: StandInServer, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(settings.root.rglob("*"))
    rows(capsys)

    assert host.local.lines
    for line in [*host.lines, *host.local.lines]:
        assert any(line.startswith(start) for start in READING), line
    inside = [shlex.split(line)[4:6] for line in host.lines if line.startswith("docker exec")]
    assert inside == [["sh", "-c"]] * 2
    assert not any((server.artifacts, server.experiments, server.runs, server.models))
    assert sorted(settings.root.rglob("*")) == before


def test_without_a_host_only_this_machine_is_looked_at(
    host: Reached, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {row["host"] for row in rows(capsys, "")} == {"this machine"}
    assert host.lines == []


def test_the_host_of_the_settings_is_looked_at(
    host: Reached, monkeypatch: pytest.MonkeyPatch, settings: Settings, capsys: Any
) -> None:
    assert host.lines == []
    monkeypatch.setattr(Settings, "load", lambda: settings_for(settings))

    assert {row["host"] for row in rows(capsys, "")} == {"this machine", "ann@192.0.2.8"}


def settings_for(settings: Settings) -> Settings:
    return Settings(root=settings.root, deploy_host="ann@192.0.2.8")


def test_each_finding_is_a_line_with_its_remedy_below(
    host: Reached, capsys: pytest.CaptureFixture[str]
) -> None:
    host.answers["sh -c"] = "tar\n"
    host.answers["docker info"] = docker_info(memory=1300 * 1024**2)
    with pytest.raises(OpsError, match="1 check failed") as caught:
        doctor.doctor(patients.NAME, as_json=False)
    out = capsys.readouterr().out

    assert caught.value.code == 1
    assert "\x1b" not in out
    assert out.startswith("this machine:\nok    settings       defaults; there is no .env yet\n")
    assert f"\n{patients.NAME}:\nok    host key       ssh-ed25519 {KEY.fingerprint}\n" in out
    assert "\nok    docker         28.2 with Compose 2.40\n" in out
    assert "\nfail  tools          missing: tar\n      try: run there: sudo apt-get install" in out
    assert (
        "\nwarn  memory         1.3 GiB; system and stack may take 1.4 GiB\n      try: take a"
        in out
    )


def test_warnings_alone_are_no_failure(host: Reached, capsys: pytest.CaptureFixture[str]) -> None:
    host.answers["docker info"] = docker_info(memory=1500 * 1024**2)

    assert {row["state"] for row in rows(capsys)} == {"ok", "warn"}


def test_a_new_host_is_looked_at_as_far_as_there_is_anything(
    host: Reached, capsys: pytest.CaptureFixture[str]
) -> None:
    host.answers[patients.RELEASES] = Result(1, "", "no such folder")
    host.answers["docker ps"] = ""
    states = {row["check"]: row for row in rows(capsys)}

    assert states["port"]["found"] == "5050 is free"
    assert states["release"]["found"].startswith("not checked: nothing is deployed")
    assert states["100 MB"]["found"] == "not checked: see front door"
    assert {row["state"] for row in states.values()} == {"ok", "skip"}


def test_a_host_that_cannot_be_reached_does_not_hide_another(
    host: Reached, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def connect(given: str, _: Settings) -> Iterator[Reached]:
        if given == "gone":
            raise OpsError("cannot reach gone: no answer in 10 s", "allow port 22")
        yield host

    monkeypatch.setattr(patient_module, "connect", connect)
    with pytest.raises(OpsError, match="1 check failed"):
        doctor.doctor(f"gone,{patients.NAME}", as_json=True)
    found = json.loads(capsys.readouterr().out)
    gone = {row["check"]: row for row in found if row["host"] == "gone"}

    assert (gone["ssh"]["state"], gone["ssh"]["remedy"]) == ("fail", "allow port 22")
    assert gone["clock"]["found"] == "not checked: see ssh"
    assert {row["state"] for row in found if row["host"] == patients.NAME} == {"ok"}


def test_with_wrong_settings_no_host_is_asked_anything(
    host: Reached, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> Settings:
        raise OpsError("2 problems in the settings\n  .env: A\n  .env: B", "correct .env", 2)

    monkeypatch.setattr(Settings, "load", load)
    with pytest.raises(OpsError) as caught:
        doctor.doctor(patients.NAME, as_json=False)
    out = capsys.readouterr().out

    assert caught.value.code == 1
    assert out.startswith(
        "this machine:\nfail  settings       2 problems in the settings\n"
        "        .env: A\n        .env: B\n      try: correct .env\n"
    )
    assert "\nskip  ssh            not checked: see settings\n" in out
    assert host.lines == []


def test_a_host_given_twice_is_refused(host: Reached) -> None:
    with pytest.raises(OpsError, match="the host a is given twice") as caught:
        doctor.doctor("a,b,a", as_json=False)

    assert caught.value.code == 2
    assert host.lines == []
    assert fleet.addresses(" a, b,") == ["a", "b"]


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, environ: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    doctor.show("memory", fail("x" * 200, "y"))
    doctor.show("memory", ok("[bold]well[/bold]"))
    doctor.show("memory", warn("odd", "z"))
    out = capsys.readouterr().out

    assert ("\x1b[31mfail" in out) == coloured
    assert ("\x1b[33mwarn" in out) == coloured
    assert ("\x1b" in out) == coloured
    assert f"{'x' * 200}\n      try: y\n" in out
    assert "[bold]well[/bold]" in out


def test_what_a_host_says_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show("release", Finding("ok", "by \x07eve"))

    assert "\x07" not in capsys.readouterr().out
