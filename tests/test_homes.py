"""Where a database is at home: here with a faked Docker, and on a host that is a double."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ops import compose, homes, stack
from ops.errors import OpsError
from ops.homes import LocalHome, SiteHome
from ops.images import Image
from ops.settings import Settings
from ops.site import Facts, Site
from tests.conftest import FakeHost, a_container, a_release

FIRST, RESTORED = "mlflow-compose_db", "mlflow-compose_db-2"
LIVE = a_release(
    files={stack.BASE: "1", stack.BACKUPS: "1"},
    variables={"DB_VOLUME": FIRST},
    secrets=["backup_client-1"],
)
ALL = ("db", "web", "nginx", "dump", "backup")


class Starts:
    """What `bring_up` was called with; it fails where the test says so."""

    def __init__(self) -> None:
        self.on: list[str] = []
        self.fails_on = ""

    def __call__(self, settings: Settings, _: Any) -> None:
        volume = compose.database_volume(settings)
        self.on.append(volume)
        if volume == self.fails_on:
            raise OpsError("boom", "mend it")


@pytest.fixture
def local(guarded: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """This machine, with a Docker that does what it is told."""
    host = FakeHost({"docker stop": "", "docker rm": ""})
    monkeypatch.setattr(homes, "LocalHost", lambda: host)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: guarded))
    guarded.data.mkdir(mode=0o700)
    return host


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    made = Starts()
    monkeypatch.setattr("ops.compose.bring_up", made)
    return made


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let these services run."""

    def run(*names: str, state: str = "running") -> None:
        found = [a_container(name, state=state) for name in names]
        monkeypatch.setattr(homes, "containers", lambda *_: found)

    return run


# --- This machine ---


def test_commands_run_in_the_services_of_this_machine(
    guarded: Settings, local: FakeHost, running: Callable[..., None]
) -> None:
    home = LocalHome(guarded)
    running("db", "web")

    assert home.host is local
    assert home.inside("db") == stack.compose(guarded, "exec", "--no-TTY", "db")
    assert home.runs("db")
    assert not home.runs("backup")
    running("backup", state="exited")
    assert not home.runs("backup")


def test_another_volume_becomes_the_database_once_nothing_has_the_first_one(
    guarded: Settings, local: FakeHost, starts: Starts, running: Callable[..., None]
) -> None:
    running(*ALL)
    home = LocalHome(guarded)
    assert home.volume() == FIRST
    assert home.take(RESTORED, "a")

    assert home.volume() == RESTORED
    assert starts.on == [RESTORED]
    assert local.lines == [
        "docker stop id-of-db id-of-web id-of-dump id-of-backup",
        "docker rm --force --volumes id-of-db id-of-web id-of-dump id-of-backup",
    ]


def test_where_nothing_runs_the_volume_is_named_and_nothing_is_started(
    guarded: Settings, local: FakeHost, starts: Starts, running: Callable[..., None]
) -> None:
    running()
    home = LocalHome(guarded)

    assert not home.take(RESTORED, "a")
    assert home.volume() == RESTORED
    assert not starts.on
    assert not local.lines


@pytest.mark.usefixtures("local")
def test_a_volume_that_mysql_does_not_take_is_taken_back(
    guarded: Settings, starts: Starts, running: Callable[..., None]
) -> None:
    running(*ALL)
    starts.fails_on = RESTORED
    home = LocalHome(guarded)
    with pytest.raises(OpsError, match="boom"):
        home.take(RESTORED, "a")

    assert home.volume() == FIRST
    assert starts.on == [RESTORED, FIRST]


@pytest.mark.usefixtures("local")
def test_ctrl_c_while_the_old_one_stops_has_it_started_again(
    guarded: Settings,
    starts: Starts,
    running: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running(*ALL)
    home = LocalHome(guarded)
    monkeypatch.setattr(home, "_stop", once_interrupted(home._stop))
    with pytest.raises(KeyboardInterrupt):
        home.take(RESTORED, "a")

    assert home.volume() == FIRST
    assert starts.on == [FIRST]


def once_interrupted(act: Callable[[], None]) -> Callable[[], None]:
    """Return what is interrupted the first time."""
    times: list[int] = []

    def interrupted() -> None:
        times.append(1)
        if len(times) == 1:
            raise KeyboardInterrupt
        act()

    return interrupted


@pytest.mark.usefixtures("local", "starts")
def test_secrets_that_a_restore_made_meanwhile_are_used(
    guarded: Settings, running: Callable[..., None]
) -> None:
    running(*ALL)
    home = LocalHome(replace(guarded, backup_password=None))
    home.take(RESTORED, "a")

    assert home.settings.backup_password is not None


def test_the_images_of_a_restore_are_built_and_fetched(
    guarded: Settings, local: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Any] = []
    monkeypatch.setattr("ops.compose.build", lambda *_: got.append("ours"))
    monkeypatch.setattr("ops.supply.base", lambda *words: got.append(words[1:3]))

    assert LocalHome(guarded).images() == stack.backup_image(guarded)
    assert got == ["ours", ([local], f"mysql:{stack.MYSQL_SERIES}")]


@pytest.mark.usefixtures("local")
def test_two_do_not_change_this_machine_s_stack_at_a_time(guarded: Settings) -> None:
    second = LocalHome(guarded).kept()
    with LocalHome(guarded).kept(), pytest.raises(OpsError), second:
        pass


def test_without_a_host_it_is_this_machine(guarded: Settings, local: FakeHost) -> None:
    with homes.home(guarded, "") as found:
        assert isinstance(found, LocalHome)
        assert found.host is local


# --- A host ---


class Remote(FakeHost):
    """A host that keeps what it is told of the volume."""

    def __init__(self) -> None:
        super().__init__({"docker": "", "mkdir": "", "tee": "", "mv": ""})
        self.answers["cat mlflow-compose/secrets/"] = 'password = "a-password"\n'
        self.env = self.fails_on = ""

    def run(self, words: Any, **more: Any) -> Any:
        if words[0] == "tee":
            self.env = more["stdin"].decode()
        if words == ("cat", "mlflow-compose/database.env"):
            self.answers["cat mlflow-compose/database.env"] = self.env
        if words[-1] == "db" and "up" in words and self.fails_on and self.fails_on in self.env:
            raise OpsError("boom", "mend it")
        return super().run(words, **more)

    def did(self) -> list[str]:
        """Return what Compose was told, and which volume was named, in order."""
        words = [line.rpartition("database.env ")[2] for line in self.lines]
        verbs = ("rm", "up", "exec")
        mine = ["", *(word.partition(" '")[0] for word in words if word.startswith(verbs))]
        # MySQL is asked more than once.
        return [now for last, now in pairwise(mine) if (last, now[:4]) != (now, "exec")]


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Remote:
    host = Remote()
    found = [a_container(name) for name in ALL]
    monkeypatch.setattr(Site, "facts", lambda _: Facts(live=LIVE, containers=found))
    return host


def lives(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let another release be live, or none."""
    live = replace(LIVE, **fields) if fields else None
    monkeypatch.setattr(Site, "facts", lambda _: Facts(live=live))


def test_commands_run_in_the_services_of_the_live_release(
    guarded: Settings, remote: Remote
) -> None:
    home = SiteHome(Site(remote, guarded))

    assert home.host is remote
    assert home.inside("backup") == home.site.compose(LIVE, "exec", "--no-TTY", "backup")
    assert home.runs("backup")
    assert not home.runs("migrate")


def test_nothing_runs_where_no_release_is_live(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch)
    home = SiteHome(Site(remote, guarded))

    assert not home.runs("db")
    assert not home.take(RESTORED, "a")
    assert home.volume() == RESTORED
    assert not remote.did()


def test_on_a_host_all_is_stopped_the_volume_named_and_all_started(
    guarded: Settings, remote: Remote
) -> None:
    home = SiteHome(Site(remote, guarded))
    assert home.volume() == FIRST
    assert home.take(RESTORED, "a")

    assert home.volume() == RESTORED
    assert remote.did() == [
        "rm --stop --force backup dump web db",
        "up --detach --no-deps --wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        "up --detach --no-deps --wait --wait-timeout=300 dump backup",
        "up --detach --no-deps --wait --wait-timeout=300 web",
    ]


def test_on_a_host_no_server_is_started_on_data_that_it_does_not_fit(
    guarded: Settings, remote: Remote
) -> None:
    home = SiteHome(Site(remote, guarded))
    assert not home.take(RESTORED, "of-another-release")

    assert home.volume() == RESTORED
    assert remote.did()[-1] == "up --detach --no-deps --wait --wait-timeout=300 dump backup"


def test_on_a_host_a_volume_that_mysql_does_not_take_is_taken_back(
    guarded: Settings, remote: Remote
) -> None:
    home = SiteHome(Site(remote, guarded))
    remote.fails_on = RESTORED
    with pytest.raises(OpsError, match="boom"):
        home.take(RESTORED, "a")

    assert home.volume() == FIRST
    assert remote.did()[:2] == ["rm --stop --force backup dump web db"] * 2
    assert remote.did()[-1].endswith(" web")


def test_on_a_host_ctrl_c_while_the_old_one_stops_has_it_started_again(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = SiteHome(Site(remote, guarded))
    monkeypatch.setattr(home, "_stop", once_interrupted(home._stop))
    with pytest.raises(KeyboardInterrupt):
        home.take(RESTORED, "a")

    assert home.volume() == FIRST
    assert remote.did()[0] == "rm --stop --force backup dump web db"
    assert remote.did()[-1].endswith(" web")


def test_a_stack_without_a_backup_service_gets_none(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives(monkeypatch, files={stack.BASE: "1"})
    SiteHome(Site(remote, guarded)).take(RESTORED, "a")

    assert remote.did()[0] == "rm --stop --force web db"
    assert "backup" not in " ".join(remote.did())


@pytest.mark.parametrize(
    "fields",
    [{"variables": {}}, {"files": {stack.BASE: "1", stack.EXTERNAL_DATABASE: "1"}}],
    ids=["of an older version", "with its database elsewhere"],
)
def test_a_release_that_takes_no_restored_database_is_refused(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    lives(monkeypatch, **fields)
    with pytest.raises(OpsError, match="takes no restored database") as caught:
        SiteHome(Site(remote, guarded)).kept().__enter__()

    assert (caught.value.code, remote.lines) == (2, [])
    assert "invoke deploy --host" in caught.value.remedy


@pytest.mark.parametrize("live", [True, False])
def test_a_host_is_locked_while_its_database_is_brought_back(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    if not live:
        lives(monkeypatch)
    locked: list[str] = []

    @contextmanager
    def held(_: Any, top: str, who: dict[str, str]) -> Iterator[None]:
        locked.append(f"{top}: {who['what']}")
        yield

    monkeypatch.setattr("ops.lease.held", held)
    with SiteHome(Site(remote, guarded)).kept():
        assert locked == ["mlflow-compose: restore"]


@pytest.mark.parametrize("there", [True, False])
def test_a_host_is_given_the_images_it_lacks(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    given: list[str] = []
    name = stack.backup_image(guarded)
    image = Image("sha256:2", (), 0, "", "") if there else None
    monkeypatch.setattr("ops.images.image", lambda *_: image)
    monkeypatch.setattr("ops.builds.identities", lambda *_: {name: "sha256:2"})
    monkeypatch.setattr("ops.supply.own", lambda *words: given.append(" ".join(words[3:])))
    monkeypatch.setattr("ops.supply.base", lambda *words: given.append(words[2]))

    assert SiteHome(Site(remote, guarded)).images() == name
    assert given == [*([] if there else [f"{name} sha256:2"]), f"mysql:{stack.MYSQL_SERIES}"]


def reach(monkeypatch: pytest.MonkeyPatch, settings: Settings, host: FakeHost) -> None:
    @contextmanager
    def reached(_: Settings, hosts: str) -> Iterator[list[Site]]:
        yield [Site(host, settings) for _ in hosts.split(",")]

    monkeypatch.setattr("ops.fleet.reach", reached)


def test_with_a_host_it_is_there(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(monkeypatch, guarded, remote)
    with homes.home(guarded, "a") as found:
        assert found.host is remote


def test_a_database_is_brought_back_to_one_host_at_a_time(
    guarded: Settings, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(monkeypatch, guarded, remote)
    with (
        pytest.raises(OpsError, match="several hosts are given") as caught,
        homes.home(guarded, "a,b"),
    ):
        pass

    assert caught.value.code == 2


@pytest.mark.usefixtures("local", "zero_umask")
def test_the_file_that_names_the_volume_is_its_owner_s_alone(
    guarded: Settings, running: Callable[..., None]
) -> None:
    running()
    LocalHome(guarded).take(RESTORED, "a")
    file: Path = stack.folder(guarded) / compose.VOLUME

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
