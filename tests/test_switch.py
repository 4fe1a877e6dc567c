"""One host's way to a release and back: the commands, in order. Docker is faked."""

import json
from dataclasses import replace
from typing import Any

import pytest

from ops import stack, switch
from ops.errors import OpsError
from ops.hosts import Result
from ops.release import Release
from ops.settings import Settings
from ops.site import Facts, Site
from ops.switch import Switch
from tests.conftest import FakeHost, a_container, a_release

OLD, NEW = a_release(), a_release(id="20261124T020304Z")
LABELS = {"com.docker.compose.config-hash": "", "mlflow-compose.release": ""}


def inspected(service: str, release: str = "", **state: Any) -> dict[str, Any]:
    """Return a container as `docker inspect` shows it."""
    labels = {"com.docker.compose.service": service, "mlflow-compose.release": release}
    networks = state.pop("networks", ())
    health = state.pop("health", "healthy")
    return {
        "Id": f"id-of-{release or service}",
        "Image": "sha256:1",
        "Config": {"Labels": LABELS | labels},
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "StartedAt": "2026-11-24T01:02:03Z",
            "Health": {"Status": health},
        }
        | state,
        "HostConfig": {"PortBindings": {}},
        "NetworkSettings": {"Networks": dict.fromkeys(networks)},
        "Mounts": [],
    }


class Engine(FakeHost):
    """A host whose containers are these; they can be told to change after some looks."""

    def __init__(self, found: list[dict[str, Any]], **more: Result | str) -> None:
        answers: dict[str, Result | str] = {
            "docker ps": "x\n",
            "cat": "",
            "mkdir": "",
            "docker compose": "",
            "docker stop": "",
            "docker rm": "",
            "docker logs": "what it said\n",
            "docker image inspect": "sha256:1\n",
            "docker network connect": "",
            "ln": "",
            "tee": "",
            "chmod": "",
            "mv": "",
            "rm": "",
        }
        super().__init__(answers | {key.replace("_", " "): text for key, text in more.items()})
        self.found = [found]
        self.pointer = self.serving = OLD.web
        self.stubborn = False

    def run(self, words: Any, **more: Any) -> Result:
        line = " ".join(words)
        if words[0] == "ln":
            self.pointer = f"web-{words[2].lower()}"
        if line.endswith("-s reload") and not self.stubborn:
            self.serving = self.pointer
        if "8081/release" in line:
            self.lines.append(line)
            return Result(0, f"{self.serving}\n", "")
        if words[:2] == ("docker", "inspect"):
            now = self.found[0] if len(self.found) == 1 else self.found.pop(0)
            return Result(0, json.dumps(now), "")
        return super().run(words, **more)

    def did(self) -> list[str]:
        """Return what was done, without where the files are."""
        lines = [line.rpartition("compose.yaml ")[2] for line in self.lines]
        return [line for line in lines if not line.startswith(("docker ps", "docker logs"))]


BOTH = [
    inspected("db"),
    inspected("nginx"),
    inspected("web", OLD.web),
    inspected("web", NEW.web),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(switch, "CONFIRM_SECONDS", 0.05)
    monkeypatch.setattr(switch, "LOOKUP_SECONDS", 0)


def a_switch(settings: Settings, host: FakeHost, *services: str) -> Switch:
    found = [a_container(name) for name in services or ("db", "web", "nginx")]
    facts = Facts(live=OLD, containers=found)
    return Switch(Site(host, settings), facts, NEW, OLD)


def test_the_new_server_starts_beside_the_old_one_and_nothing_else_is_touched(
    settings: Settings,
) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).start_web()

    assert ["up --detach --no-deps --no-recreate --scale=web=2 web"] == host.did()


def test_a_new_way_out_starts_beside_the_old_one(settings: Settings) -> None:
    host = Engine([*BOTH, inspected("egress", NEW.web)])
    a_switch(settings, host, "db", "web", "egress").start_egress()

    assert ["up --detach --no-deps --no-recreate --scale=egress=2 egress"] == host.did()


def test_a_new_way_out_that_does_not_get_well_is_an_error(settings: Settings) -> None:
    host = Engine([*BOTH, inspected("egress", NEW.web, health="unhealthy")])
    with pytest.raises(OpsError, match="the new server's way out does not get well"):
        a_switch(settings, host).start_egress()


def test_a_server_s_way_out_goes_with_it(settings: Settings) -> None:
    ways = [{**inspected("egress", each), "Id": f"way-of-{each}"} for each in (OLD.web, NEW.web)]
    forward, back = Engine([*BOTH, *ways]), Engine([*BOTH, *ways])
    a_switch(settings, forward).stop_old()
    a_switch(settings, back).give_back(0)

    assert f"docker rm --force --volumes id-of-{OLD.web} way-of-{OLD.web}" == forward.did()[-1]
    assert f"docker rm --force --volumes id-of-{NEW.web} way-of-{NEW.web}" == back.did()[-1]


def of_networks(settings: Settings, host: FakeHost, **networks: tuple[str, ...]) -> Switch:
    """Return a switch away from containers on these networks."""
    found = [a_container(name, networks=where) for name, where in networks.items()]
    return Switch(Site(host, settings), Facts(live=OLD, containers=found), NEW, OLD)


def test_a_database_that_a_release_has_elsewhere_stays_in_reach_of_the_server_that_serves(
    settings: Settings,
) -> None:
    host = Engine([inspected("db", networks=("s_database",)), *BOTH[1:]])
    of_networks(
        settings, host, db=("s_backend",), web=("s_frontend", "s_backend"), nginx=("s_frontend",)
    ).start_database()

    assert "docker network connect --alias db s_backend id-of-db" in host.did()


def test_an_nginx_that_an_earlier_release_has_elsewhere_still_reaches_the_server_that_serves(
    settings: Settings,
) -> None:
    host = Engine([BOTH[0], inspected("nginx", networks=("s_frontend",)), *BOTH[2:]])
    of_networks(
        settings, host, web=("s_server", "s_database"), nginx=("s_frontend", "s_server")
    ).test_nginx()

    assert "docker network connect --alias nginx s_server id-of-nginx" in host.did()


def test_who_is_where_it_was_is_connected_to_nothing(settings: Settings) -> None:
    host = Engine([inspected("db", networks=("s_database",)), *BOTH[1:]])
    of_networks(
        settings, host, db=("s_database",), web=("s_server", "s_database"), nginx=("s_frontend",)
    ).start_database()

    assert not [line for line in host.did() if "network connect" in line]


def test_the_first_server_is_the_only_one(settings: Settings) -> None:
    host = Engine(BOTH)
    a_switch(settings, host, "db").start_web()

    assert ["up --detach --no-deps --no-recreate --scale=web=1 web"] == host.did()


def test_a_server_is_waited_for(settings: Settings) -> None:
    host = Engine(BOTH)
    host.found = [[inspected("web", NEW.web, health="starting")]] * 3 + [BOTH]
    a_switch(settings, host).wait_healthy("web")

    assert 1 == len(host.found)


@pytest.mark.parametrize(
    "sick",
    [
        [inspected("web", NEW.web, Status="exited", ExitCode=1)],
        [inspected("web", NEW.web, Status="restarting")],
        [inspected("web", NEW.web, health="unhealthy")],
    ],
)
def test_a_server_that_cannot_come_is_an_error_with_its_last_words(
    settings: Settings, sick: list[dict[str, Any]]
) -> None:
    with pytest.raises(OpsError, match="what it said"):
        a_switch(settings, Engine(sick)).wait_healthy("web")


def test_a_server_that_is_gone_is_an_error(settings: Settings) -> None:
    with pytest.raises(OpsError, match="is gone"):
        a_switch(settings, Engine(BOTH[:3])).wait_healthy("web")


def test_nginx_tests_the_configuration_before_anything_points_at_it(settings: Settings) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).test_nginx()

    assert [
        "config --hash nginx",
        "docker image inspect '--format={{.Id}}' nginx:1.30",
        "up --detach --no-deps --wait --wait-timeout=300 nginx",
        f"exec --no-TTY nginx nginx -q -t -c /etc/nginx/releases/{NEW.id}/nginx/nginx.conf",
    ] == host.did()


def test_the_log_of_an_nginx_that_is_to_be_replaced_is_kept_first(settings: Settings) -> None:
    host = Engine(BOTH, docker_image_inspect="sha256:2\n", bash="")
    a_switch(settings, host).test_nginx()
    [kept] = [n for n, line in enumerate(host.lines) if "access id-of-nginx" in line]

    assert kept < next(n for n, line in enumerate(host.lines) if line.endswith("=300 nginx"))


def test_a_configuration_nginx_refuses_is_an_error_with_its_reason(settings: Settings) -> None:
    host = Engine(BOTH)
    line = " ".join(Site(host, settings).compose(NEW, "exec"))
    host.answers[line] = Result(1, "", 'unknown directive "x"')
    with pytest.raises(OpsError, match="unknown directive"):
        a_switch(settings, host).test_nginx()


def test_the_pointer_moves_before_nginx_is_told_and_nginx_has_to_confirm(
    settings: Settings,
) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).take_over()
    done = host.did()
    top = f"{settings.stack_name}/releases"

    assert [
        f"ln -sfn {NEW.id} {top}/.live",
        f"mv -T {top}/.live {top}/live",
        f"rm -f {top}/next.conf",
        "exec --no-TTY nginx nginx -c /etc/nginx/releases/live/nginx/nginx.conf -s reload",
    ] == done[:4]
    assert 3 == len([line for line in done if "8081/release" in line])


def test_nginx_looks_the_new_server_up_before_anything_points_at_it(settings: Settings) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).announce()
    done = host.did()

    file = f"{settings.stack_name}/releases/next.conf"
    assert [f"tee {file}", f"chmod 644 {file}"] == done[:2]
    assert f"server {NEW.web}:5000 resolve down;\n" == host.given[0].decode()
    assert done[2].endswith("-s reload")
    assert not host.ran("ln -sfn")


def test_an_nginx_that_goes_on_as_before_is_an_error(settings: Settings) -> None:
    host = Engine(BOTH)
    host.stubborn = True
    with pytest.raises(OpsError, match="goes on with its old configuration"):
        a_switch(settings, host).take_over()


def test_the_old_server_has_time_for_what_is_under_way(settings: Settings) -> None:
    host = Engine(BOTH)
    line = " ".join(Site(host, settings).compose(NEW, "exec", "--no-TTY", "nginx", "sh"))
    host.answers[line] = "1\n"

    assert not a_switch(settings, host).drain(0, 0)
    host.answers[line] = "0\n"
    assert a_switch(settings, host).drain(60, 0)


def test_a_new_server_that_dies_while_the_old_one_drains_is_an_error(settings: Settings) -> None:
    host = Engine(BOTH)
    host.found = [BOTH, BOTH, [inspected("web", NEW.web, Status="exited")]]
    with pytest.raises(OpsError, match="does not get well"):
        a_switch(settings, host).drain(60, 60)


def test_a_move_that_is_called_off_waits_for_nothing(settings: Settings) -> None:
    host = Engine([inspected("web", NEW.web, health="starting")])
    moved = a_switch(settings, host)
    moved.halt.set()
    with pytest.raises(OpsError, match="called off"):
        moved.wait_healthy("web")
    host.found = [BOTH]
    with pytest.raises(OpsError, match="called off"):
        moved.drain(600, 600)


def test_every_server_but_the_new_one_is_stopped_and_removed(settings: Settings) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).stop_old()

    assert [
        f"docker stop -t 30 id-of-{OLD.web}",
        f"docker rm --force --volumes id-of-{OLD.web}",
    ] == host.did()


def test_going_back_points_at_the_old_release_before_the_new_server_goes(
    settings: Settings,
) -> None:
    host = Engine(BOTH)
    moved = a_switch(settings, host)
    moved.pointed = True
    host.pointer = host.serving = NEW.web
    moved.give_back(0)
    done = host.did()
    told = [line.split()[0] for line in done if line.startswith(("tee", "ln")) or "reload" in line]

    assert ["tee", "exec", "ln", "exec"] == told
    assert host.ran(f"ln -sfn {OLD.id}")
    assert f"docker rm --force --volumes id-of-{NEW.web}" == done[-1]
    assert f"id-of-{OLD.web}" not in " ".join(done)


def test_going_back_before_the_switch_only_removes_the_new_server(settings: Settings) -> None:
    host = Engine(BOTH)
    a_switch(settings, host).give_back(0)

    done = [" ".join(line.split()[:2]) for line in host.did()]
    assert ["rm -f", "docker stop", "docker rm"] == done


def test_what_a_dead_deploy_left_is_removed_after_nginx_was_told(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    host = Engine(BOTH)
    found = [a_container("nginx"), a_container("web", release=OLD.web)]
    left = a_container("web", release=NEW.web, identity=f"id-of-{NEW.web}")
    switch.recover(Site(host, settings), Facts(live=OLD, containers=[*found, left]))
    done = host.did()

    assert "-s reload" in done[1]
    assert f"docker rm --force --volumes id-of-{NEW.web}" == done[-1]
    assert "unfinished deploy" in capsys.readouterr().err


def test_nothing_left_means_nothing_done(settings: Settings) -> None:
    host = Engine(BOTH)
    facts = Facts(live=OLD, containers=[a_container("web", release=OLD.web)])
    switch.recover(Site(host, settings), facts)

    assert [] == host.lines


def test_a_compose_line_that_fails_shows_what_it_and_the_sick_service_said(
    settings: Settings,
) -> None:
    log = "".join(f"line {number}\n" for number in range(10))
    host = Engine([inspected("db", health="unhealthy")], docker_logs=log)
    line = " ".join(Site(host, settings).compose(NEW, "up"))
    host.answers[line] = Result(1, "", "Error: no space left on device\n")
    with pytest.raises(OpsError) as caught:
        a_switch(settings, host).start_database()

    for said in ("no space left on device", "db is running unhealthy:", "line 0", "line 9"):
        assert said in caught.value.cause


ELSEWHERE = replace(NEW, files={**NEW.files, stack.EXTERNAL_DATABASE: "1"})


def test_a_database_elsewhere_is_not_started_and_the_own_one_goes_once_nobody_asks_it(
    settings: Settings,
) -> None:
    host = Engine(BOTH)
    moved = a_switch(settings, host)
    moved.new = ELSEWHERE
    moved.start_database()
    assert [] == host.lines

    moved.stop_old()
    assert f"docker stop -t 30 id-of-{OLD.web} id-of-db" in host.did()


# --- The backup service ---

GUARDED: dict[str, Any] = {
    "files": {**NEW.files, stack.BACKUPS: "1"},
    "variables": {"DB_VOLUME": "mlflow-compose_db"},
}
OLD_GUARDED = replace(OLD, **GUARDED, secrets=["backup_client-old", "kek_passphrase-1"])
NEW_GUARDED = replace(
    NEW, **GUARDED, secrets=["backup_client-new", "web_client-new", "kek_passphrase-1"]
)


def from_to(settings: Settings, host: Engine, old: Release, new: Release) -> Switch:
    """Return the way between two releases; the passwords are the names of their files."""
    for name in ("backup_client-old", "backup_client-new", "web_client-new"):
        text = f'[client]\nuser = somebody\npassword = "password-{name}"\n'
        host.answers[f"cat {settings.stack_name}/secrets/{name}"] = text
    services = [a_container(name) for name in old.services]
    return Switch(Site(host, settings), Facts(live=old, containers=services), new, old)


def compose_lines(host: Engine, release: Release) -> list[str]:
    """Return what Compose was told for a release, by its first words, options left out."""
    mine = [line for line in host.lines if f"/{release.id}/compose.env" in line]
    words = [line.rpartition(".yaml ")[2].rpartition("database.env ")[2] for line in mine]
    return [*dict.fromkeys(word.partition(" '")[0] for word in words)]


def test_the_users_of_mysql_have_the_passwords_of_their_release(settings: Settings) -> None:
    host = Engine(BOTH)
    moved = from_to(settings, host, OLD, NEW_GUARDED)
    moved.start_database()
    moved.start_backups()

    assert [
        "up --detach --no-deps --wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        "up --detach --no-deps --wait --wait-timeout=300 dump backup",
    ] == compose_lines(host, NEW_GUARDED)
    for name in ("backup_client-new", "web_client-new"):
        assert f"IDENTIFIED BY 'password-{name}'".encode() in host.given[-1]
        assert f"password-{name}" not in " ".join(host.lines)


def test_a_release_of_an_earlier_version_made_no_user_of_mysql(settings: Settings) -> None:
    host = Engine(BOTH)
    from_to(settings, host, OLD, NEW).start_database()

    assert ["up --detach --no-deps --wait --wait-timeout=300 db"] == compose_lines(host, NEW)


def test_the_file_that_names_the_volume_is_there_before_compose_reads_it(
    settings: Settings,
) -> None:
    host = Engine(BOTH)
    from_to(settings, host, OLD, NEW_GUARDED).start_database()
    env = f"{settings.stack_name}/database.env"
    wrote = next(i for i, line in enumerate(host.lines) if line.startswith("mv") and env in line)
    read = next(i for i, line in enumerate(host.lines) if f"--env-file {env}" in line)

    assert b"DB_VOLUME=mlflow-compose_db\n" == host.given[0]
    assert wrote < read


def test_a_volume_that_a_restore_named_stays_named(settings: Settings) -> None:
    host = Engine(BOTH, cat="DB_VOLUME=mlflow-compose_db-2\n")
    from_to(settings, host, OLD, NEW_GUARDED).start_database()

    assert b"DB_VOLUME=mlflow-compose_db-2\n" == host.given[0]


def test_a_backup_service_that_the_new_release_has_not_is_removed(settings: Settings) -> None:
    host = Engine([*BOTH, inspected("dump"), inspected("backup")])
    from_to(settings, host, OLD_GUARDED, NEW).stop_old()

    assert f"docker rm --force --volumes id-of-{OLD.web} id-of-dump id-of-backup" in host.did()


def test_a_backup_service_that_the_new_release_has_stays(settings: Settings) -> None:
    host = Engine([*BOTH, inspected("dump"), inspected("backup")])
    from_to(settings, host, OLD_GUARDED, NEW_GUARDED).stop_old()

    assert "id-of-backup" not in " ".join(host.did())


def test_going_back_brings_mysql_and_the_backup_service_back_as_they_were(
    settings: Settings,
) -> None:
    host = Engine([*BOTH, inspected("dump"), inspected("backup")])
    moved = from_to(settings, host, OLD_GUARDED, NEW_GUARDED)
    moved.start_database()
    moved.start_backups()
    host.given.clear()
    moved.give_back(0)

    assert [
        "up --detach --no-deps --wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        "up --detach --no-deps --wait --wait-timeout=300 dump backup",
    ] == compose_lines(host, OLD_GUARDED)
    assert b"IDENTIFIED BY 'password-backup_client-old'" in host.given[-1]
    assert not host.ran("docker rm", "id-of-backup")


def test_going_back_to_a_release_without_a_backup_service_removes_it(settings: Settings) -> None:
    host = Engine([*BOTH, inspected("dump"), inspected("backup")])
    moved = from_to(settings, host, OLD, NEW_GUARDED)
    moved.start_database()
    moved.give_back(0)

    assert host.ran("docker rm --force --volumes id-of-dump id-of-backup")
    assert ["up --detach --no-deps --wait --wait-timeout=300 db"] == compose_lines(host, OLD)


def test_going_back_from_the_first_release_leaves_its_database_alone(settings: Settings) -> None:
    host = Engine(
        [inspected("db"), inspected("dump"), inspected("backup"), inspected("web", NEW.web)]
    )
    moved = from_to(settings, host, OLD, NEW_GUARDED)
    moved.live = None
    moved.start_database()
    moved.give_back(0)

    assert host.ran("docker rm --force --volumes id-of-dump id-of-backup")
    assert not host.ran("docker rm", "id-of-db")


def test_a_release_of_an_older_version_needs_no_file_for_the_volume(settings: Settings) -> None:
    host = Engine(BOTH)
    found = [a_container("nginx"), a_container("web", release=OLD.web)]
    left = a_container("web", release=NEW.web, identity=f"id-of-{NEW.web}")
    switch.recover(Site(host, settings), Facts(live=OLD, containers=[*found, left]))

    assert host.ran("-s reload")
    assert not host.ran("database.env")
