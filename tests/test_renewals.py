"""What each secret needs: MySQL is a model with two passwords a user, as the real one has them."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from ops import accounts, premises, renewals, rotation, secret_files
from ops.errors import OpsError
from ops.front_door import FrontDoor, RequestError
from ops.hosts import Result
from ops.premises import Place
from ops.rotation import Change
from ops.settings import GENERATED, Settings
from ops.values import Secret
from tests.conftest import FakeHost

USERS = {
    "mlflow": "MYSQL_PASSWORD",
    "web": "MYSQL_WEB_PASSWORD",
    "backup": "BACKUP_PASSWORD",
}
NEW = Secret("the-new-password-of-32-characters")
ALTER = re.compile(
    r"ALTER USER '(?P<user>\w+)'@'(%|localhost)'"
    r"( IDENTIFIED BY '(?P<new>[^']+)')?(?P<retain> RETAIN CURRENT PASSWORD)?"
    r"(?P<discard> DISCARD OLD PASSWORD)?;"
)


class Machine(FakeHost):
    """A machine with MySQL and with a job; each user has a password, and perhaps an older one."""

    def __init__(self, users: Mapping[str, str]) -> None:
        super().__init__({})
        self.users = {name: [password] for name, password in users.items()}
        self.unlogged: list[str] = []
        self.jobs: list[dict[str, str]] = []
        self.job_ends = Result(0, "", "")

    def run(self, words: Any, *, stdin: bytes = b"", **_: Any) -> Result:
        self.lines.append(" ".join(words))
        if words[:2] == ("compose", "run"):
            self.jobs.append(json.loads(stdin))
            return self.job_ends
        user, (password, sql) = words[-1], stdin.decode().split("\n", 1)
        if password not in self.users[user]:
            return Result(1, "", f"ERROR 1045 (28000): Access denied for user '{user}'")
        for found in ALTER.finditer(sql):
            known = self.users[found["user"]]
            assert user == "root"
            if found["discard"]:
                del known[1:]
            elif found["retain"]:
                known[:] = [found["new"], known[0]]
            else:
                known[0] = found["new"]
            assert "SET SESSION sql_log_bin = 0;" in sql[: found.start()]
        return Result(0, "", "")


class Stage:
    """A stack on one machine whose servers are brought to `.env` without doing anything."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.brought = 0
        self.door: Any = None
        self.authorities: list[Secret | None] = []
        self.fails = False

    def require_current(self) -> None:
        """It is."""

    @contextmanager
    def reached(self) -> Iterator[Place]:
        @contextmanager
        def door(settings: Settings) -> Iterator[FrontDoor]:
            assert settings.admin_password is not None
            self.authorities.append(settings.ca_secret)
            yield cast("FrontDoor", Door(self.door, settings.admin_password.reveal()))

        yield Place(self.machine, lambda *words: ("compose", *words), door)

    def bring(self) -> None:
        self.brought += 1
        if self.fails:
            raise OpsError("the new server does not get well", "see why")


class Server:
    """MLflow's part of it: a password, which is remembered for some looks."""

    def __init__(self, password: str) -> None:
        self.password, self.before, self.looks = password, "", 2
        self.status = 0


class Door:
    """A front door with a login."""

    def __init__(self, server: Server, password: str) -> None:
        self.server, self.password = server, password

    def answers(self) -> None:
        if self.server.looks:
            self.server.looks -= 1
            raise RequestError(0, "certificate verify failed")

    def call(
        self, method: str, path: str, body: Mapping[str, str], version: str = "2.0"
    ) -> dict[str, str]:
        it = self.server
        assert version == "2.0"
        if it.status:
            raise RequestError(it.status, "no")
        if self.password == it.before and it.looks:
            it.looks -= 1
        elif self.password != it.password:
            raise RequestError(401, "no such user name and password")
        if method == "PATCH":
            assert (path, body["username"]) == ("/users/update-password", "admin")
            assert body["current_password"] == it.password
            it.before, it.password = it.password, body["password"]
        return {}


@pytest.fixture
def basic(guarded: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with every secret in use, kept in a real `.env`."""
    found = replace(guarded, auth="basic", tls="private-ca", allow_insecure=True)
    (found.root / ".env").write_text("")
    monkeypatch.setattr(renewals, "POLL_SECONDS", 0)
    return found


def revealed(settings: Settings, key: str) -> str:
    return secret_files.revealed(getattr(settings, key.lower()))


def a_change(settings: Settings, key: str) -> Change:
    return Change(key, Secret(revealed(settings, key)), NEW)


def stage(settings: Settings) -> Stage:
    names = {"root": "MYSQL_ROOT_PASSWORD", **USERS}
    return Stage(Machine({name: revealed(settings, key) for name, key in names.items()}))


def steps(settings: Settings, where: Stage, key: str) -> rotation.Steps:
    return renewals.kinds(settings, where)[key]


def test_there_is_a_way_for_each_generated_secret(settings: Settings) -> None:
    assert {*GENERATED} == {*renewals.kinds(settings, stage(settings))}


@pytest.mark.parametrize(("key", "user"), [(key, user) for user, key in USERS.items()])
def test_a_user_of_mysql_has_both_passwords_until_the_new_one_is_taken(
    basic: Settings, key: str, user: str
) -> None:
    where, change = stage(basic), a_change(basic, key)
    it, users = steps(basic, where, key), where.machine.users
    for _ in range(2):  # whoever is cut off does it again
        it.admit(change)
        assert [NEW.reveal(), change.old.reveal()] == users[user]
    it.take(change)
    for _ in range(2):
        it.dismiss(change)
        assert [NEW.reveal()] == users[user]

    assert 1 == where.brought
    assert not where.machine.ran(NEW.reveal())
    assert not where.machine.ran(change.old.reveal())


@pytest.mark.parametrize("left", [["third", "old"], ["old", "third"]])
def test_what_a_deploy_that_failed_has_left_does_not_cost_the_server_its_password(
    basic: Settings, left: list[str]
) -> None:
    where, change = stage(basic), a_change(basic, "MYSQL_WEB_PASSWORD")
    users = where.machine.users
    users["web"] = [each.replace("old", change.old.reveal()) for each in left]
    it = steps(basic, where, "MYSQL_WEB_PASSWORD")
    it.admit(change)

    assert [NEW.reveal(), change.old.reveal()] == users["web"]


def test_in_the_end_the_new_one_is_good_also_where_going_back_put_it_second(
    basic: Settings,
) -> None:
    where, change = stage(basic), a_change(basic, "MYSQL_WEB_PASSWORD")
    where.machine.users["web"] = [change.old.reveal(), NEW.reveal()]
    it = steps(basic, where, "MYSQL_WEB_PASSWORD")
    it.admit(change)
    it.dismiss(change)

    assert [NEW.reveal()] == where.machine.users["web"]


def test_the_deploy_s_own_way_to_give_passwords_leaves_both_good(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "MYSQL_WEB_PASSWORD")
    steps(basic, where, "MYSQL_WEB_PASSWORD").admit(change)
    root = secret_files.root_password(basic)
    accounts.provide(where.machine, (), root, {"web": NEW})

    assert [NEW.reveal(), change.old.reveal()] == where.machine.users["web"]


def test_the_old_password_has_to_be_refused(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "MYSQL_PASSWORD")
    same = replace(change, old=NEW)
    it = steps(basic, where, "MYSQL_PASSWORD")
    it.admit(change)
    with pytest.raises(OpsError, match="the old MYSQL_PASSWORD is still accepted"):
        it.dismiss(same)


def test_a_mysql_that_is_down_is_not_taken_for_one_that_refuses(basic: Settings) -> None:
    class Down(Machine):
        def run(self, *_: Any, **__: Any) -> Result:
            return Result(1, "", "ERROR 2002 (HY000): Can't connect to local MySQL server")

    where = Stage(Down({}))
    with pytest.raises(OpsError, match="MySQL does not answer mlflow"):
        steps(basic, where, "MYSQL_PASSWORD").admit(a_change(basic, "MYSQL_PASSWORD"))


def test_root_changes_his_own_and_comes_with_either_when_it_is_repeated(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "MYSQL_ROOT_PASSWORD")
    it = steps(basic, where, "MYSQL_ROOT_PASSWORD")
    for _ in range(2):
        it.admit(change)
    it.take(change)
    it.dismiss(change)

    assert [NEW.reveal()] == where.machine.users["root"]
    with pytest.raises(OpsError, match="still accepted"):
        it.dismiss(change.back)


def test_in_a_mysql_elsewhere_the_user_changes_his_own_password(basic: Settings) -> None:
    away = replace(basic, database_host="db.example.test")
    where, change = stage(away), a_change(away, "MYSQL_PASSWORD")
    it = steps(away, where, "MYSQL_PASSWORD")
    it.admit(change)
    it.take(change)
    it.dismiss(change)

    assert ["admit", "dismiss"] == [each["do"] for each in where.machine.jobs]
    assert {"do": "admit", "old": change.old.reveal(), "new": NEW.reveal()} == where.machine.jobs[0]
    assert where.machine.ran("compose run --rm --no-deps --no-TTY migrate python -I -c")
    assert not where.machine.ran(NEW.reveal())


def test_what_the_job_refuses_is_our_error(basic: Settings) -> None:
    away = replace(basic, database_host="db.example.test")
    where = stage(away)
    where.machine.job_ends = Result(2, "", "error: mlflow may not\n  try: GRANT it\n")
    with pytest.raises(OpsError, match="mlflow may not") as caught:
        steps(away, where, "MYSQL_PASSWORD").admit(a_change(away, "MYSQL_PASSWORD"))

    assert ("GRANT it", 2) == (caught.value.remedy, caught.value.code)


@pytest.mark.parametrize(
    ("key", "lock"), [("KEK_PASSPHRASE", "gateway"), ("WEBHOOK_KEY", "webhooks")]
)
def test_what_is_locked_is_locked_anew_before_and_after_the_new_server(
    basic: Settings, key: str, lock: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where, change = stage(basic), a_change(basic, key)
    where.machine.job_ends = Result(0, "note: 1 of secrets stay so\n", "")
    it = steps(basic, where, key)
    it.admit(change)
    it.take(change)
    it.dismiss(change)
    [one, two] = where.machine.jobs

    assert one == two
    assert lock == one["do"]
    assert 1 == where.brought
    assert "1 of secrets stay so" in capsys.readouterr().err
    assert (
        f"# an earlier {key}, for backups of then: {change.old.reveal()}\n"
        in (basic.root / ".env").read_text()
    )


def test_a_key_of_webhooks_is_given_as_mlflow_takes_it(basic: Settings) -> None:
    where = stage(basic)
    steps(basic, where, "WEBHOOK_KEY").admit(a_change(basic, "WEBHOOK_KEY"))

    assert secret_files.webhook_key(basic) == where.machine.jobs[0]["old"]


def test_a_new_server_that_does_not_come_leaves_what_the_old_one_can_open(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "KEK_PASSPHRASE")
    it = steps(basic, where, "KEK_PASSPHRASE")
    it.admit(change)
    where.fails = True
    with pytest.raises(OpsError, match="does not get well"):
        it.take(change)

    assert [NEW.reveal(), change.old.reveal()] == [each["new"] for each in where.machine.jobs]


def test_the_admin_s_password_is_changed_by_the_server_which_may_remember_the_old_one(
    basic: Settings,
) -> None:
    where, change = stage(basic), a_change(basic, "ADMIN_PASSWORD")
    where.door = Server(change.old.reveal())
    it = steps(basic, where, "ADMIN_PASSWORD")
    for _ in range(2):
        it.admit(change)
        assert NEW.reveal() == where.door.password
    it.take(change)
    it.dismiss(change)

    assert 0 == where.door.looks


def test_an_old_password_that_is_remembered_for_ever_is_an_error(
    basic: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewals, "CACHE_SECONDS", 0)
    where, change = stage(basic), a_change(basic, "ADMIN_PASSWORD")
    where.door = Server(change.old.reveal())
    with pytest.raises(OpsError, match="the old ADMIN_PASSWORD is still accepted"):
        steps(basic, where, "ADMIN_PASSWORD").dismiss(change)


def test_a_server_that_is_away_is_not_taken_for_one_that_refuses(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "ADMIN_PASSWORD")
    where.door = Server(change.old.reveal())
    where.door.status = 502
    with pytest.raises(OpsError, match="does not say who admin is"):
        steps(basic, where, "ADMIN_PASSWORD").dismiss(change)


def test_an_admin_who_has_another_password_is_an_error(basic: Settings) -> None:
    where = stage(basic)
    where.door = Server("set by hand, long ago")
    with pytest.raises(OpsError, match="the server knows admin by another password"):
        steps(basic, where, "ADMIN_PASSWORD").admit(a_change(basic, "ADMIN_PASSWORD"))


def test_where_people_log_in_at_a_provider_the_migration_job_sets_the_admin_s_password(
    basic: Settings,
) -> None:
    company = replace(basic, auth="oidc")
    where, change = stage(company), a_change(company, "ADMIN_PASSWORD")
    where.door = Server(change.old.reveal())
    it = steps(company, where, "ADMIN_PASSWORD")
    it.admit(change)
    assert change.old.reveal() == where.door.password

    it.take(change)
    assert 1 == where.brought
    where.door.before, where.door.password = change.old.reveal(), NEW.reveal()
    it.dismiss(change)
    assert 0 == where.door.looks


def test_there_an_old_one_that_stays_good_is_an_error_too(
    basic: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewals, "CACHE_SECONDS", 0)
    company = replace(basic, auth="oidc")
    where, change = stage(company), a_change(company, "ADMIN_PASSWORD")
    where.door = Server(change.old.reveal())
    with pytest.raises(OpsError, match="the old ADMIN_PASSWORD is still accepted"):
        steps(company, where, "ADMIN_PASSWORD").dismiss(change)


def test_a_new_ca_is_seen_at_the_front_door_before_it_is_said_to_be_in_use(
    basic: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, change = stage(basic), a_change(basic, "CA_SECRET")
    where.door = Server(revealed(basic, "ADMIN_PASSWORD"))
    it = steps(basic, where, "CA_SECRET")
    it.admit(change)
    it.take(change)
    it.dismiss(change)

    assert (1, 0) == (where.brought, where.door.looks)
    assert [NEW] == where.authorities
    where.door.looks = 100
    monkeypatch.setattr(renewals, "CACHE_SECONDS", 0)
    with pytest.raises(OpsError, match="no answer at the front door"):
        it.dismiss(change)


def test_one_needs_only_be_taken_into_use(basic: Settings) -> None:
    where, change = stage(basic), a_change(basic, "SESSION_KEY")
    it = steps(basic, where, "SESSION_KEY")
    it.admit(change)
    it.take(change)
    it.dismiss(change)

    assert 1 == where.brought
    assert [] == where.machine.lines


# --- The task ---


@pytest.fixture
def staged(basic: Settings, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """The stack that the task finds, with its settings in `.env`."""
    values = {key: revealed(basic, key) for key in GENERATED}
    values |= {"AUTH": "basic", "TLS": "private-ca", "PUBLIC_URL": "https://mlflow.example.test"}
    values |= {"BACKUPS_DESTINATION": "s3://my-backups/mlflow", "S3_REGION": "eu-central-1"}
    values |= {"BACKUP_RECIPIENTS": basic.backup_recipients}
    basic.keep(values)
    load = Settings.load
    monkeypatch.setattr(Settings, "load", classmethod(lambda _, root=basic.root: load(root, {})))
    found = stage(basic)
    found.door = Server(revealed(basic, "ADMIN_PASSWORD"))
    monkeypatch.setattr(premises, "premises", lambda *_: found)
    return found


@pytest.mark.parametrize("key", GENERATED)
def test_each_secret_is_replaced_by_one_command(
    staged: Stage, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = revealed(Settings.load(), key)
    renewals.rotate(key.lower(), "", yes=True)
    after = revealed(Settings.load(), key)

    assert before != after
    assert 1 == staged.brought
    said = capsys.readouterr()
    assert f"{key} is a new one" in said.err
    assert after not in said.out + said.err


def test_one_that_was_cut_off_is_not_asked_again_whether_all_is_current(
    staged: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged.fails = True
    with pytest.raises(OpsError, match="does not get well"):
        renewals.rotate("MYSQL_PASSWORD", "", yes=False)
    staged.fails = False

    def refused(_: Stage) -> None:
        raise AssertionError

    monkeypatch.setattr(Stage, "require_current", refused)
    renewals.rotate("MYSQL_PASSWORD", "", yes=False)

    assert "was cut off: it goes on" in capsys.readouterr().err
    assert [revealed(Settings.load(), "MYSQL_PASSWORD")] == staged.machine.users["mlflow"]


def test_a_new_ca_is_agreed_to_first(staged: Stage) -> None:
    with pytest.raises(OpsError, match="nobody is here to agree"):
        renewals.rotate("CA_SECRET", "", yes=False)

    assert 0 == staged.brought


@pytest.mark.usefixtures("staged")
@pytest.mark.parametrize("key", ["", "S3_SECRET_ACCESS_KEY", "mysql"])
def test_a_secret_that_is_not_ours_is_refused(key: str) -> None:
    with pytest.raises(OpsError, match="there is no generated secret") as caught:
        renewals.rotate(key, "", yes=True)

    assert 2 == caught.value.code


@pytest.mark.usefixtures("staged")
def test_one_that_the_environment_sets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_KEY", "x" * 20)
    with pytest.raises(OpsError, match="the environment sets SESSION_KEY"):
        renewals.rotate("SESSION_KEY", "", yes=True)


def test_one_without_use_or_not_made_yet_is_refused(settings: Settings) -> None:
    with pytest.raises(OpsError, match="has no use for CA_SECRET"):
        renewals.check(replace(settings, tls="off"), "CA_SECRET")
    with pytest.raises(OpsError, match="was not made yet"):
        renewals.check(replace(settings, mysql_password=None), "MYSQL_PASSWORD")
