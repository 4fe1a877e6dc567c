"""A secret replaced: the order, and what is left when it is cut off. Files are real."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import envfile, rotation
from ops.errors import OpsError
from ops.rotation import Change
from ops.settings import Settings
from ops.values import Secret

KEY, OLD = "MYSQL_PASSWORD", "the-old-password"


class Cut(BaseException):
    """A `kill -9`: nothing that is written for after it happens."""


class World:
    """What accepts secrets and what comes with one; `cut` ends everything before that many acts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.accepts, self.server = {OLD}, OLD
        self.acts: list[str] = []
        self.cut = 10_000

    def act(self, name: str) -> None:
        assert self.server in self.accepts, f"kept out before {name}"
        if len(self.acts) >= self.cut:
            raise Cut
        self.acts.append(name)

    def admit(self, change: Change) -> None:
        self.act("asked")
        self.accepts.add(change.new.reveal())
        self.act("admitted")

    def take(self, change: Change) -> None:
        self.act("taking")
        self.server = in_env(self.settings)
        assert change.new.reveal() == self.server
        self.act("taken")

    def dismiss(self, change: Change) -> None:
        self.act("dismissing")
        self.accepts.discard(change.old.reveal())
        self.act("dismissed")


@pytest.fixture
def here(project: Path) -> Settings:
    (project / ".env").write_text(f"STACK_NAME=x\n{KEY}='{OLD}'\n")
    return Settings.load(project, {})


def in_env(settings: Settings) -> str:
    found = Settings.load(settings.root, {}).mysql_password
    assert found is not None
    return found.reveal()


def rotate(world: World) -> bool:
    with rotation.begun(world.settings, KEY, "") as (change, before):
        rotation.carry_out(world.settings, change, world)
    return before


def journal(settings: Settings) -> Path:
    return settings.data / "rotation" / "unfinished.json"


def test_the_new_one_is_let_in_kept_taken_and_then_the_old_one_is_refused(here: Settings) -> None:
    world = World(here)

    assert not rotate(world)
    assert ["asked", "admitted", "taking", "taken", "dismissing", "dismissed"] == world.acts
    assert {in_env(here)} == world.accepts == {world.server}
    assert OLD != world.server
    assert 32 == len(world.server)
    assert not journal(here).exists()
    assert "STACK_NAME=x\n" in (here.root / ".env").read_text()


@pytest.mark.parametrize("writes", [True, False], ids=["an act", "a write"])
@pytest.mark.parametrize("point", range(7))
def test_wherever_it_is_cut_off_the_same_command_ends_it_and_nobody_was_kept_out(
    here: Settings, monkeypatch: pytest.MonkeyPatch, point: int, writes: bool
) -> None:
    world = World(here)
    if writes:
        world.cut = point
    else:
        cut_write(monkeypatch, point)
    try:
        rotate(world)
    except Cut:
        assert OLD in world.accepts or world.server != OLD
        secrets = journal(here).read_text() if journal(here).exists() else ""
        assert all(each in secrets or each == in_env(here) for each in world.accepts)
    monkeypatch.undo()
    world.cut = 10_000
    rotate(world)

    assert {in_env(here)} == world.accepts == {world.server}
    assert OLD != world.server
    assert not journal(here).exists()


def cut_write(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    """Cut everything off instead of a file's write: before it for even points, else after it."""
    write: Callable[..., None] = envfile.write_private
    count = iter(range(100))

    def cut(*given: object, **more: object) -> None:
        mine = next(count) == point // 2
        if mine and point % 2 == 0:
            raise Cut
        write(*given, **more)
        if mine:
            raise Cut

    monkeypatch.setattr("ops.envfile.write_private", cut)


def test_one_that_was_cut_off_goes_on_with_the_same_secrets(here: Settings) -> None:
    world = World(here)
    world.cut = 2
    with pytest.raises(Cut):
        rotate(world)
    before = json.loads(journal(here).read_text())

    assert 0o600 == journal(here).stat().st_mode & 0o777
    assert (KEY, OLD) == (before["key"], before["old"])
    world.cut = 10_000
    assert rotate(world)
    assert before["new"] == in_env(here)


def test_a_step_that_fails_leaves_the_old_one_in_use_and_says_so(here: Settings) -> None:
    class Broken(World):
        def take(self, _: Change) -> None:
            raise OpsError("the new server does not get well", "see why")

    broken = Broken(here)
    with pytest.raises(OpsError, match="does not get well"):
        rotate(broken)

    assert OLD == broken.server
    assert OLD in broken.accepts
    assert journal(here).exists()


@pytest.mark.parametrize(("key", "hosts"), [("SESSION_KEY", ""), (KEY, "ubuntu@h")])
def test_another_secret_or_place_waits_for_one_that_is_not_finished(
    here: Settings, key: str, hosts: str
) -> None:
    world = World(here)
    world.cut = 2
    with pytest.raises(Cut):
        rotate(world)
    with (
        pytest.raises(OpsError, match="rotation of MYSQL_PASSWORD is not finished") as caught,
        rotation.begun(here, key, hosts),
    ):
        pass

    assert (2, f"first: invoke rotate-secret {KEY}") == (caught.value.code, caught.value.remedy)


def test_up_and_deploy_say_that_one_was_cut_off_and_how_to_go_on(
    here: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    rotation.remind(here)
    assert not here.data.exists()

    world = World(here)
    world.cut = 2
    with pytest.raises(Cut), rotation.begun(here, KEY, "ubuntu@h") as (change, _):
        rotation.carry_out(here, change, world)
    capsys.readouterr()
    rotation.remind(here)
    said = capsys.readouterr().err
    assert f"the rotation of {KEY} was cut off" in said
    assert said.endswith(f": invoke rotate-secret {KEY} --host ubuntu@h\n")

    with rotation.begun(here, KEY, "ubuntu@h"):
        pass
    rotation.remind(here)
    assert not capsys.readouterr().err


def test_up_and_deploy_wait_for_one_that_is_at_work(here: Settings) -> None:
    with (
        rotation.begun(here, KEY, ""),
        pytest.raises(OpsError, match="is changing this stack") as caught,
    ):
        rotation.remind(here)

    assert 2 == caught.value.code


def test_only_one_at_a_time(here: Settings) -> None:
    with (
        rotation.begun(here, KEY, ""),
        pytest.raises(OpsError, match="is changing this stack"),
        rotation.begun(here, KEY, ""),
    ):
        pass


def test_nothing_is_left_where_it_was_refused_before_it_began(here: Settings) -> None:
    with pytest.raises(OpsError), rotation.begun(here, KEY, ""):
        raise OpsError("not now", "later", 2)

    assert not journal(here).exists()
    assert OLD == in_env(here)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": 1}'])
def test_a_file_that_makes_no_sense_is_not_taken_away(here: Settings, text: str) -> None:
    journal(here).parent.mkdir(parents=True)
    journal(here).write_text(text)
    with pytest.raises(OpsError, match="makes no sense"), rotation.begun(here, KEY, ""):
        pass

    assert text == journal(here).read_text()


def test_a_change_shows_no_secret() -> None:
    change = Change(KEY, Secret("aaa"), Secret("bbb"))

    assert "aaa" not in repr(change)
    assert Change(KEY, Secret("bbb"), Secret("aaa")) == change.back
