"""All hosts together: the order of steps, and what happens when one fails. Hosts are doubles."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from ops import egress, rollout, stack
from ops.errors import OpsError, refusal
from ops.release import Release
from ops.rollout import Move
from ops.settings import Settings
from ops.site import Facts, Site
from tests.conftest import FakeHost, a_release

STEPS = [
    "start_database",
    "start_web",
    "test_nginx",
    "probe_from_nginx",
    "announce",
    "take_over",
    "drain",
]


class Stage:
    """What happened, in order; `fails` names the step that fails, and on which host."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails: dict[str, str] = {}
        self.error: BaseException = OpsError("boom", "mend it")
        self.lost = Event()

    def step(self, host: str, name: str) -> bool:
        self.log.append(f"{host}: {name}")
        if self.fails.get(name) == host:
            raise self.error
        return True


class Double:
    """A switch that only says what it is asked to do."""

    stage: Stage

    def __init__(self, site: Site, *_: Any) -> None:
        self.site = site
        self.live = "the old one"
        self.halt = Event()

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self.stage.step(self.site.host.name, name)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()

    @contextmanager
    def held(host: Any, *_: Any) -> Iterator[Event]:
        stage.log.append(f"{host.name}: lock")
        try:
            yield stage.lost
        finally:
            stage.log.append(f"{host.name}: unlock")

    # The class itself is asked for its methods by name: it hands them on to the double.
    class Switches(Double):
        def __init_subclass__(cls) -> None: ...

    for name in (*STEPS, "start_backups", "start_egress", "stop_old"):
        setattr(Switches, name, lambda self, *_, name=name: stage.step(self.site.host.name, name))
    Switches.stage = stage
    monkeypatch.setattr(rollout, "Switch", Switches)
    monkeypatch.setattr("ops.lease.held", held)
    monkeypatch.setattr(rollout, "recover", lambda site, _: stage.step(site.host.name, "recover"))
    monkeypatch.setattr(Site, "facts", lambda _: Facts())
    monkeypatch.setattr("ops.supply.provide", lambda *_: stage.step("all", "images"))
    monkeypatch.setattr("ops.prune.releases", lambda site, _: stage.step(site.host.name, "prune"))
    monkeypatch.setattr(
        "ops.audit.append", lambda host, _, entry: stage.step(host.name, f"({entry['result']})")
    )
    return stage


class Named(FakeHost):
    def __init__(self, name: str) -> None:
        super().__init__({"tar": ""})
        self.name = name


class Back:
    """A way back of the database that says when it is asked for, or fails."""

    retry_seconds = 7

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def mark(self) -> dict[str, Any]:
        self.stage.step("db", "mark")
        return {"before": "then"}

    def go(self, noted: dict[str, Any]) -> None:
        assert {"before": "then", "release": a_release().id} == noted
        self.stage.step("db", "restore")


@pytest.fixture
def held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is noted of writes that wait, by host."""
    found: dict[str, Any] = {}

    def begin(switch: Double, seconds: int, _: float) -> bool:
        assert 7 == seconds
        found[switch.site.host.name] = {}
        return stage.step(switch.site.host.name, "hold")

    def end(switch: Double, serving: object) -> None:
        stage.step(switch.site.host.name, f"let go to {serving}")
        found.pop(switch.site.host.name, None)

    monkeypatch.setattr("ops.hold.begin", begin)
    monkeypatch.setattr("ops.hold.note", lambda site, _, said: found.update({site.host.name: said}))
    monkeypatch.setattr("ops.hold.end", end)
    monkeypatch.setattr(Release, "__str__", lambda _: "the new one")
    return found


GUARDED = a_release(files={stack.BACKUPS: "1"})


def go(
    settings: Settings, *names: str, release: Release | None = None, back: Back | None = None
) -> list[Named]:
    hosts = [Named(name) for name in names]
    new = release or a_release()
    move = Move(release=new, files={"compose.env": ""}, secrets={}, way_back=back)
    rollout.carry_out(settings, [Site(host, settings) for host in hosts], move)
    return hosts


def test_the_steps_come_in_order_between_lock_and_unlock(settings: Settings, stage: Stage) -> None:
    (host,) = go(settings, "a")

    assert [
        "lock", "recover", "(started)", "images", "start_database", "migrate", "start_web",
        "test_nginx", "probe_from_nginx", "announce", "take_over", "drain", "stop_old", "(ok)",
        "prune", "unlock",
    ] == [line.partition(": ")[2] for line in stage.log]  # fmt: skip
    assert host.ran("tar --extract --file=- --preserve-permissions")
    assert host.given[0]


def test_the_way_out_is_there_before_the_new_server(settings: Settings, stage: Stage) -> None:
    go(settings, "a", release=a_release(files={egress.OVERLAY: "1"}))
    steps = [line.partition(": ")[2] for line in stage.log]

    at = steps.index("start_egress")
    assert ["migrate", "start_egress", "start_web"] == steps[at - 1 : at + 2]


def test_the_backup_service_starts_on_the_database_before_its_schema_is_touched(
    settings: Settings, stage: Stage
) -> None:
    go(settings, "a", release=GUARDED)
    steps = [line.partition(": ")[2] for line in stage.log]

    at = steps.index("start_backups")
    assert ["start_database", "start_backups", "migrate"] == steps[at - 1 : at + 2]


def test_a_backup_service_that_does_not_start_takes_all_back(
    settings: Settings, stage: Stage
) -> None:
    stage.fails = {"start_backups": "b"}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", "b", release=GUARDED)

    assert {"a: give_back", "b: give_back", "a: (failed: backups)"} <= set(stage.log)
    assert "a: migrate" not in stage.log


def test_every_host_is_ready_before_any_is_switched(settings: Settings, stage: Stage) -> None:
    go(settings, "a", "b")
    steps = [line.partition(": ")[2] for line in stage.log]

    assert max(i for i, step in enumerate(steps) if step == "test_nginx") < steps.index("take_over")
    assert 1 == steps.count("migrate")
    assert 2 == steps.count("take_over")


@pytest.mark.parametrize("step", STEPS)
def test_when_one_host_fails_all_go_back_and_the_record_says_where(
    settings: Settings, stage: Stage, step: str
) -> None:
    stage.fails = {step: "b"}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", "b")

    assert {"a: give_back", "b: give_back"} <= set(stage.log)
    assert any("(failed: " in line for line in stage.log)
    assert "a: (ok)" not in stage.log
    assert "a: prune" not in stage.log
    assert ["b: unlock", "a: unlock"] == stage.log[-2:]


def test_what_a_step_refuses_has_been_tried_by_then(settings: Settings, stage: Stage) -> None:
    stage.fails, stage.error = {"migrate": "a"}, refusal("half-made", "restore it")
    with pytest.raises(OpsError, match="half-made") as caught:
        go(settings, "a")

    assert (1, "restore it") == (caught.value.code, caught.value.remedy)


def test_ctrl_c_just_as_a_step_begins_does_not_wait_for_its_end(
    settings: Settings, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, waited = ThreadPoolExecutor.submit, []

    def interrupted(pool: ThreadPoolExecutor, _: Any, switch: Any) -> None:
        submit(pool, lambda: waited.append(switch.halt.wait(20)))
        raise KeyboardInterrupt

    assert stage
    move = Move(release=a_release(), files={}, secrets={})
    made = rollout.Rollout(settings, [Site(Named("a"), settings)], move)
    made.switches = [Double(made.sites[0])]  # type: ignore[list-item]
    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.each("new server", lambda _: None)

    assert [True] == waited


def test_ctrl_c_goes_back_too(settings: Settings, stage: Stage) -> None:
    stage.fails, stage.error = {"drain": "a"}, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        go(settings, "a")

    assert ["a: give_back", "a: (cancelled)", "a: unlock"] == stage.log[-3:]


def test_a_host_that_cannot_be_taken_back_does_not_keep_the_others(
    settings: Settings, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.fails = {"take_over": "a", "give_back": "a"}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", "b")

    assert "b: give_back" in stage.log
    assert "a could not be taken back: boom" in capsys.readouterr().err


def test_nothing_is_done_any_more_once_the_lock_is_lost(settings: Settings, stage: Stage) -> None:
    stage.lost.set()
    with pytest.raises(OpsError, match="the lock was lost"):
        go(settings, "a")

    assert "a: start_database" not in stage.log


# --- A database that is migrated, with a way back ---


def test_writes_wait_from_before_the_migration_until_the_old_server_is_gone(
    settings: Settings, stage: Stage, held: dict[str, Any]
) -> None:
    go(settings, "a", back=Back(stage))
    steps = [line.partition(": ")[2] for line in stage.log]

    at = steps.index("hold")
    assert ["start_database", "hold", "mark", "migrate"] == steps[at - 1 : at + 3]
    at = steps.index("stop_old")
    assert ["stop_old", "let go to the new one", "(ok)"] == steps[at : at + 3]
    assert {} == held


@pytest.mark.parametrize("step", ["migrate", *STEPS[1:], "stop_old"])
def test_what_fails_once_it_may_be_migrated_brings_the_database_back_before_anybody_writes(
    settings: Settings, stage: Stage, held: dict[str, Any], step: str
) -> None:
    stage.fails = {step: "a"}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", back=Back(stage))

    at = stage.log.index("a: give_back")
    assert ["db: restore", "a: let go to the old one"] == stage.log[at + 1 : at + 3]
    assert {} == held


@pytest.mark.parametrize(("step", "host"), [("hold", "a"), ("mark", "db")])
def test_what_fails_before_it_is_touched_leaves_the_database_alone(
    settings: Settings, stage: Stage, held: dict[str, Any], step: str, host: str
) -> None:
    stage.fails = {step: host}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", back=Back(stage))

    assert "db: restore" not in stage.log
    assert "a: migrate" not in stage.log
    assert "a: let go to the old one" in stage.log
    assert {} == held


def test_writes_go_on_waiting_where_the_database_cannot_be_brought_back(
    settings: Settings,
    stage: Stage,
    held: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage.fails = {"migrate": "a"}
    back = Back(stage)

    def go_back(_: object) -> None:
        raise OpsError("S3 is away", "wait")

    monkeypatch.setattr(back, "go", go_back)
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", back=back)

    assert "could not be taken back: S3 is away\n" in capsys.readouterr().err
    assert {"a": {"release": a_release().id, "before": "then"}} == held
    assert "a: (failed: schema)" in stage.log


def test_once_others_write_there_is_no_way_back(
    settings: Settings, stage: Stage, held: dict[str, Any]
) -> None:
    stage.fails = {"let go to the new one": "a"}
    with pytest.raises(OpsError, match="boom"):
        go(settings, "a", back=Back(stage))

    assert "a: give_back" not in stage.log
    assert "db: restore" not in stage.log
    assert ["a"] == list(held)
