"""The compose engine. Docker's answers come from the fake host; the front door is a real server."""

import json
import os
import socket
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops import compose, stack
from ops.containers import age, containers
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from tests.conftest import FAILS, SIZE, FakeHost, StandInServer, docker_info

HASHES = {name: f"hash-of-{name}" for name in stack.SERVICES}
STARTED = "2026-11-23T10:24:32.244353762Z"


def entry(
    service: str, state: str = "running", health: str = "healthy", code: int = 0
) -> dict[str, Any]:
    """Return a container as `docker inspect` of 28.2 shows it, cut to what is read."""
    return {
        "Id": f"id-of-{service}",
        "Config": {
            "Labels": {
                "com.docker.compose.service": service,
                "com.docker.compose.config-hash": HASHES[service],
            }
        },
        "State": {
            "Status": state,
            "ExitCode": code,
            "StartedAt": STARTED,
            **({"Health": {"Status": health}} if health else {}),
        },
        "HostConfig": {"PortBindings": {}},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
        "Image": "sha256:0",
    }


ALL = [entry("db"), entry("migrate", "exited", ""), entry("web"), entry("nginx")]


def listening(found: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the container with the port it publishes, if it is NGINX and no other was given."""
    if found["Id"] != "id-of-nginx" or found["HostConfig"]["PortBindings"]:
        return found
    place = {"HostIp": settings.bind_address, "HostPort": str(settings.http_port)}
    return {**found, "HostConfig": {"PortBindings": {"8080/tcp": [place]}}}


def docker(settings: Settings, found: list[dict[str, Any]], **more: Result | str) -> FakeHost:
    """Return a machine with Docker, these containers and nothing else unless `more` says so."""
    line = " ".join(stack.compose(settings))
    found = [listening(each, settings) for each in found]
    history = {"upgrade_history": [{"version": f"{stack.MYSQL_SERIES}.1"}]}
    answers: dict[str, Result | str] = {
        "docker ps": "".join(f"{each['Id']}\n" for each in found),
        "docker inspect": json.dumps(found),
        "docker image inspect": "[]",
        "docker info": docker_info(root="/"),
        "docker volume inspect": FAILS,
        "docker run": json.dumps(history),
        "docker build": "",
        "docker logs": "",
        "bash": "",
        f"{line} config": "".join(f"{name} {text}\n" for name, text in HASHES.items()),
        f"{line} up": "",
        f"{line} exec": "",
        f"{line} run": "",
        f"{line} stop": "",
        f"{line} down": "",
    }
    return FakeHost(answers | {key.replace("_", " "): value for key, value in more.items()})


@pytest.fixture
def ready(settings: Settings, server: StandInServer) -> Settings:
    """Settings whose front door answers."""
    return replace(settings, http_port=server.port)


def changes(host: FakeHost) -> list[str]:
    """Return the subcommands that change something, in order."""
    words = [line.split("compose.yaml ")[-1].removeprefix("docker ") for line in host.lines]
    verbs = ("up", "run --rm --no-TTY", "stop", "down", "build")
    return [word for word in words if word.startswith(verbs)]


ALL_UP = "up --detach --remove-orphans --wait --wait-timeout=300"


def up(settings: Settings, host: FakeHost) -> bool:
    return compose.up(settings, host, migrate=False)


def test_the_first_up_builds_starts_the_database_migrates_and_starts_the_rest(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    host = docker(ready, [], docker_image_inspect=FAILS)

    assert up(ready, host)
    root, wait = ready.root, "up --detach --wait --wait-timeout=300"
    assert changes(host) == [
        f"build --tag {stack.web_image(ready)} --file {root}/mlflow/Dockerfile {root}",
        f"{wait} db",
        "run --rm --no-TTY migrate",
        ALL_UP,
    ]
    assert host.environs[0] == {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    users = host.given[-1]
    assert b"'web'@'%' IDENTIFIED BY 'mysql-web-password-1'" in users
    assert b"'backup'" not in users


def test_with_a_database_elsewhere_none_is_started_and_none_is_looked_for(
    ready: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    (tmp_path / "ca.pem").write_text("the CA\n", "utf-8")
    there = replace(ready, database_host="db", database_ca_file=str(tmp_path / "ca.pem"))
    host = docker(there, [])

    assert up(there, host)
    overlay = "external-database.yaml "
    assert [each.partition(overlay)[2] for each in host.lines if overlay in each] == [
        "run --rm --no-TTY migrate",
        ALL_UP,
    ]
    assert not host.ran("docker volume")


def test_a_migration_that_refuses_a_database_elsewhere_leaves_a_running_server_alone(
    ready: Settings, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("the CA\n", "utf-8")
    there = replace(ready, database_host="db", database_ca_file=str(tmp_path / "ca.pem"))
    host = docker(there, ALL[1:])
    host.answers[f"{' '.join(stack.compose(there))} run"] = Result(2, "", "error: a\n  try: b\n")
    with pytest.raises(OpsError, match="a"):
        up(there, host)

    assert not host.ran(" stop ")
    assert not host.ran(" down")


def test_an_image_that_is_there_is_not_built_again(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    host = docker(ready, [])
    up(ready, host)

    assert not host.ran("docker build")


def test_up_with_migrate_says_so_to_the_job(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    host = docker(ready, [])
    compose.up(ready, host, migrate=True)

    assert "run --rm --no-TTY migrate python -I /opt/migration.py --existing" in changes(host)


def test_a_second_up_of_a_healthy_stack_changes_nothing(ready: Settings) -> None:
    write(ready)
    host = docker(ready, ALL)

    assert not up(ready, host)
    assert changes(host) == []


def test_an_up_on_another_machine_changes_what_follows_from_it(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    write(ready)
    host = docker(ready, ALL, docker_info=docker_info(root="/", cores=1))

    assert up(ready, host)
    env = (stack.folder(ready) / "compose.env").read_text("utf-8")
    assert "WEB_WORKERS='1'\n" in env
    assert "DB_BUFFER_POOL='512M'\n" in env


def write(settings: Settings) -> None:
    settings.data.mkdir(mode=0o700)
    compose.write_files(settings, SIZE)


@pytest.mark.parametrize(
    "found",
    [
        [],
        ALL[:3],
        [*ALL[:3], entry("nginx", health="unhealthy")],
        [*ALL[:3], entry("nginx", health="starting")],
        [*ALL[:3], entry("nginx", "exited")],
        [ALL[0], entry("migrate", "exited", "", code=1), *ALL[2:]],
        [ALL[0], entry("migrate", "running", ""), *ALL[2:]],
    ],
)
def test_a_stack_that_is_not_whole_and_healthy_is_changed(
    ready: Settings, found: list[dict[str, Any]]
) -> None:
    write(ready)
    host = docker(ready, found)

    assert not compose.unchanged(ready, SIZE, host, containers(ready, host))


def test_a_stack_of_other_settings_files_or_secrets_is_changed(ready: Settings) -> None:
    write(ready)
    host = docker(ready, ALL)
    found = containers(ready, host)
    (secret,) = (stack.folder(ready) / "secrets").glob("kek_passphrase-*")

    assert compose.unchanged(ready, SIZE, host, found)
    assert not compose.unchanged(ready, replace(SIZE, web_workers=3), host, found)
    assert not compose.unchanged(replace(ready, kek_passphrase=None), SIZE, host, found)
    secret.unlink()
    assert not compose.unchanged(ready, SIZE, host, found)


@pytest.mark.parametrize("hashes", ["", "db other\n", "nonsense\n", "a b c\n"])
def test_a_stack_whose_description_changed_is_changed(ready: Settings, hashes: str) -> None:
    write(ready)
    host = docker(ready, ALL)
    host.answers[" ".join(stack.compose(ready, "config"))] = hashes

    assert not compose.unchanged(ready, SIZE, host, containers(ready, host))


def test_the_rendered_files_are_for_this_user_and_the_containers_only(
    ready: Settings, zero_umask: None
) -> None:
    assert zero_umask is None
    write(ready)
    folder = stack.folder(ready)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for file in compose.rendered(ready, SIZE):
        assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_nginx_which_is_another_user_gets_into_its_folders_whatever_the_umask(
    ready: Settings,
) -> None:
    before = os.umask(0o077)
    try:
        write(ready)
    finally:
        os.umask(before)
    releases = stack.folder(ready) / "releases"
    folders = [path for path in (releases, *releases.rglob("*")) if path.is_dir()]

    assert len(folders) > 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}


def test_only_files_that_differ_are_written_again(ready: Settings) -> None:
    write(ready)
    numbers = {file: file.stat().st_ino for file in compose.rendered(ready, SIZE)}
    env = stack.folder(ready) / "compose.env"
    compose.write_files(ready, replace(SIZE, web_workers=3))
    again = {file: file.stat().st_ino for file in numbers}

    assert [file for file in numbers if numbers[file] != again[file]] == [env]


# --- Refusals ---


def refused(settings: Settings, host: FakeHost) -> OpsError:
    with pytest.raises(OpsError) as caught:
        up(settings, host)
    assert caught.value.code == 2
    assert changes(host) == []
    assert [path.name for path in settings.data.iterdir()] in (["lock"], ["lock", "compose"])
    return caught.value


@pytest.fixture
def closed(settings: Settings) -> Settings:
    """Settings with a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return replace(settings, http_port=listening.getsockname()[1])


def test_a_port_that_is_taken_is_refused(ready: Settings) -> None:
    assert "is taken" in refused(ready, docker(ready, [])).cause


def test_a_new_port_that_is_taken_is_refused_while_the_stack_runs(
    closed: Settings, server: StandInServer
) -> None:
    write(closed)
    moved = replace(closed, http_port=server.port)
    host = docker(moved, [*ALL[:3], listening(ALL[3], closed)])
    with pytest.raises(OpsError, match=f"port {server.port} is taken"):
        up(moved, host)

    assert changes(host) == []


def test_the_own_nginx_on_the_port_is_no_reason_to_refuse(ready: Settings) -> None:
    write(ready)
    host = docker(ready, [*ALL[:2], entry("web", "exited"), ALL[3]])

    assert up(ready, host)


def test_a_full_disk_is_refused(closed: Settings) -> None:
    host = docker(closed, [], docker_info=docker_info(root="/proc"))

    assert refused(closed, host).cause == "the stack needs 256 MiB; /proc has 0 B free"


def test_building_needs_more_room_than_running(closed: Settings) -> None:
    host = docker(closed, [], docker_info=docker_info(root="/proc"), docker_image_inspect=FAILS)

    assert refused(closed, host).cause == "the stack needs 4.0 GiB; /proc has 0 B free"


def test_a_volume_without_its_secrets_is_refused(closed: Settings) -> None:
    host = docker(closed, [], docker_volume_inspect="[]")
    error = refused(replace(closed, mysql_password=None), host)

    assert "the volume mlflow-compose_db is there, but .env lacks MYSQL_PASSWORD" in error.cause


def history(*versions: str) -> str:
    """Return mysql_upgrade_history as MySQL since 8.4 writes it."""
    entries = [{"date": "2026-03-15 22:02:35", "version": each} for each in versions]
    return json.dumps({"file_format": "1", "upgrade_history": entries})


@pytest.mark.parametrize(
    ("content", "series"),
    [
        (history("9.7.0"), "9.7"),
        (history("8.4.6", "9.7.2"), "9.7"),
        (history("8.4.6"), "8.4"),
        (history("9.7.0", "26.1.0"), "26.1"),
        ("8.0.36", "8.0"),
        ("5.7.44\n", "5.7"),
        ("11.4.2-MariaDB", "MariaDB 11.4.2"),
        ("10.11.6-MariaDB-1:10.11.6+maria~ubu2204", "MariaDB 10.11.6"),
        ("", ""),
        ("garbage", ""),
        ("null", ""),
        ("[]", ""),
        ("17", ""),
        ('{"upgrade_history": []}', ""),
        ('{"upgrade_history": [{"version": 9.7}]}', ""),
        ('{"upgrade_history": "9.7"}', ""),
    ],
)
def test_the_series_that_used_a_volume_last(content: str, series: str) -> None:
    assert compose.volume_series(content) == series


@pytest.mark.parametrize("content", [history("8.4.6"), "8.0.36", "11.4.2-MariaDB", "garbage", ""])
def test_a_volume_of_another_server_is_refused(closed: Settings, content: str) -> None:
    host = docker(closed, [], docker_volume_inspect="[]", docker_run=content)
    error = refused(closed, host)

    assert f"this stack runs MySQL {stack.MYSQL_SERIES}" in error.cause
    assert "foreign volume" in error.remedy
    assert host.ran("docker run", "--network=none", ":/volume:ro")


@pytest.mark.parametrize("content", ["empty\n", history("9.7.0"), history("8.4.6", "9.7.0")])
def test_an_empty_volume_and_one_of_this_mysql_are_taken(closed: Settings, content: str) -> None:
    host = docker(closed, [], docker_volume_inspect="[]", docker_run=content)

    compose.check(closed, host, [], Path("/"))


def test_the_volume_of_a_running_database_is_not_looked_at(closed: Settings) -> None:
    host = docker(closed, ALL[:1], docker_volume_inspect="[]")
    compose.check(closed, host, containers(closed, host), Path("/"))

    assert not host.ran("docker run")


# The script that reads a volume, by a real shell, on a folder.


def read_volume(files: Mapping[str, str], settings: Settings) -> str:
    volume = settings.root / "volume"
    volume.mkdir()
    for name, text in files.items():
        (volume / name).write_text(text, "utf-8")
    script = compose.READ_VOLUME.replace("/volume", str(volume))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_empty_volume_is_read_as_empty(settings: Settings) -> None:
    assert read_volume({}, settings) == "empty"


@pytest.mark.parametrize(
    ("files", "series"),
    [
        ({"mysql_upgrade_history": history("9.7.0"), "ibdata1": "x"}, "9.7"),
        ({"mysql_upgrade_info": "8.0.36", "ibdata1": "x"}, "8.0"),
        ({"mariadb_upgrade_info": "11.4.2-MariaDB"}, "MariaDB 11.4.2"),
        ({"ibdata1": "x"}, ""),
        ({".hidden": "x"}, ""),
    ],
)
def test_a_volume_is_read_by_its_version_file(
    settings: Settings, files: Mapping[str, str], series: str
) -> None:
    assert compose.volume_series(read_volume(files, settings)) == series


def test_the_history_counts_where_an_older_version_file_is_left(settings: Settings) -> None:
    files = {"mysql_upgrade_history": history("8.4.6", "9.7.0"), "mysql_upgrade_info": "8.0.36"}

    assert compose.volume_series(read_volume(files, settings)) == "9.7"


# --- Failures ---


def test_a_failed_build_names_the_settings_for_proxies_and_private_cas(closed: Settings) -> None:
    failed = Result(1, "", "#9 ERROR: SSL: CERTIFICATE_VERIFY_FAILED\n")
    host = docker(closed, [], docker_image_inspect=FAILS, docker_build=failed)
    with pytest.raises(OpsError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        up(closed, host)

    assert caught.value.code == 1
    assert "BUILD_CA_FILE" in caught.value.remedy
    assert "BUILD_PIP_CONFIG_FILE" in caught.value.remedy
    assert not host.ran(" up --detach")


REFUSAL = Result(2, "", "error: it is half-migrated\n  try: restore the copy\n")


def refused_by_job(settings: Settings, found: list[dict[str, Any]]) -> FakeHost:
    host = docker(settings, found)
    host.answers[" ".join(stack.compose(settings, "run"))] = REFUSAL
    with pytest.raises(OpsError, match="it is half-migrated") as caught:
        up(settings, host)
    assert (caught.value.code, caught.value.remedy) == (2, "restore the copy")
    assert "up --detach --wait --wait-timeout=300" not in changes(host)
    return host


def test_a_job_that_refuses_leaves_an_absent_stack_absent(closed: Settings) -> None:
    assert changes(refused_by_job(closed, []))[-1] == "down"


def test_a_job_that_refuses_leaves_a_stopped_stack_stopped(closed: Settings) -> None:
    stopped = [entry(name, "exited", "") for name in stack.SERVICES]

    assert changes(refused_by_job(closed, stopped))[-1] == "stop db"


def test_a_job_that_refuses_leaves_a_running_stack_running(closed: Settings) -> None:
    host = refused_by_job(closed, [*ALL[:3], entry("nginx", "exited", "")])

    assert not {"stop", "down"} & {*changes(host)}


def test_a_start_that_fails_shows_what_the_guilty_service_said(closed: Settings) -> None:
    bad = [*ALL[:2], entry("web", "exited", "unhealthy"), ALL[3]]
    host = docker(closed, [], docker_logs=Result(0, "", "ModuleNotFoundError: MySQLdb\n"))
    wait = " ".join(stack.compose(closed, "up", "--detach", "--wait", "--wait-timeout=300"))
    host.answers[wait] = Result(1, "", "container web exited (1)\n")
    host.answers[f"{wait} db"] = ""
    begin = containers(closed, host)
    host.answers["docker ps"] = "id-of-web\n"
    host.answers["docker inspect"] = json.dumps(bad)
    error = compose.start_failure(closed, host, ("docker", "compose", "up"), "container web exited")

    assert begin == []
    assert error.code == 1
    assert "web is exited unhealthy:" in error.cause
    assert "ModuleNotFoundError: MySQLdb" in error.cause
    assert error.remedy == "invoke logs"


# --- Down, status, logs ---


def test_down_removes_containers_and_keeps_volumes(ready: Settings) -> None:
    write(ready)
    host = docker(ready, ALL)

    assert compose.down(ready, host)
    assert changes(host) == ["down"]


def test_the_access_log_is_kept_before_its_container_goes(ready: Settings) -> None:
    write(ready)
    for act in (compose.down, up):
        host = docker(ready, [*ALL[:2], entry("web", "exited"), ALL[3]])
        act(ready, host)
        kept = next(n for n, line in enumerate(host.lines) if "access id-of-nginx" in line)
        replaced = next(n for n, line in enumerate(host.lines) if line.endswith(("down", ALL_UP)))
        assert kept < replaced


def test_down_of_nothing_is_no_change(ready: Settings) -> None:
    host = docker(ready, [])

    assert not compose.down(ready, host)
    assert changes(host) == []


def test_status_of_a_healthy_stack(ready: Settings) -> None:
    rows = [
        {"ID": f"id-of-{name}", "MemUsage": f"{used} / 23.54GiB"}
        for name, used in (("db", "512.5MiB"), ("web", "1.5GiB"), ("nginx", "3.25KiB"))
    ]
    host = docker(ready, ALL, docker_stats="\n".join(json.dumps(row) for row in rows))
    status = compose.status(ready, host)
    found = {each.name: each for each in status.services}

    assert status.healthy
    assert [each.name for each in status.services] == list(stack.SERVICES)
    assert [found[name].memory_bytes for name in stack.SERVICES] == [
        int(512.5 * 1024**2),
        None,
        int(1.5 * 1024**3),
        3328,
    ]
    assert found["migrate"].state == "exited"
    assert found["migrate"].uptime_seconds is None
    assert found["db"].state == "running healthy"
    assert found["db"].uptime_seconds == pytest.approx(age(STARTED), abs=5)


def test_status_of_nothing_is_not_healthy(closed: Settings) -> None:
    status = compose.status(closed, docker(closed, []))

    assert not status.healthy
    assert {each.state for each in status.services} == {"absent"}


def test_a_stack_whose_door_does_not_answer_is_not_healthy(closed: Settings) -> None:
    assert not compose.status(closed, docker(closed, ALL, docker_stats="")).healthy


def test_logs_become_compose_s_own(ready: Settings) -> None:
    host = docker(ready, ALL)
    compose.logs(ready, host, service="web", follow=True)

    assert host.lines[-1].endswith("logs --tail=500 --no-color --follow web")


def test_a_docker_that_fails_is_an_error_with_its_words(ready: Settings) -> None:
    with pytest.raises(OpsError, match="Cannot connect"):
        compose.running(ready, docker(ready, [], docker_ps=Result(1, "", "Cannot connect")))


# --- With backups ---


@pytest.fixture
def guarded_ready(guarded: Settings, server: StandInServer) -> Settings:
    """Settings with a place for backups whose front door answers."""
    return replace(guarded, http_port=server.port)


def done(host: FakeHost) -> list[str]:
    """Return what was done by Compose, in order, by its first words."""
    lines = [line.partition("backups.yaml ")[2] for line in host.lines]
    return [line for line in lines if line.startswith(("up", "exec", "run", "rm"))]


def test_the_backup_service_s_user_is_there_before_it_starts(
    guarded_ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    host = docker(guarded_ready, [], docker_image_inspect=FAILS)
    up(guarded_ready, host)

    assert [*dict.fromkeys(line.partition(" '")[0] for line in done(host))] == [
        "up --detach --wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        "run --rm --no-TTY migrate",
        ALL_UP,
    ]
    assert b"'backup-password-1'" in host.given[-1]
    for name in (stack.web_image(guarded_ready), stack.backup_image(guarded_ready)):
        assert host.ran(f"docker build --tag {name}")


def test_a_place_for_backups_without_a_key_is_refused_before_anything_is_looked_at(
    guarded_ready: Settings,
) -> None:
    host = FakeHost({})
    with pytest.raises(OpsError, match="names no key") as caught:
        up(replace(guarded_ready, backup_recipients=""), host)

    assert caught.value.code == 2
    assert not guarded_ready.data.exists()


def test_a_stack_that_is_there_may_be_backed_up_from_now_on(
    guarded_ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.preflight.port_free", lambda *_: None)
    before = replace(guarded_ready, backup_password=None)
    host = docker(before, [], docker_volume_inspect="[]")

    assert up(before, host)
    assert "BACKUP_PASSWORD='" in (before.root / ".env").read_text("utf-8")
    host = docker(before, [], docker_volume_inspect="[]")
    with pytest.raises(OpsError, match="lacks MYSQL_PASSWORD"):
        up(replace(before, mysql_password=None), host)


def restored(settings: Settings, name: str) -> None:
    folder = stack.folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / compose.VOLUME).write_text(f"{name}\n", "utf-8")


def test_the_volume_of_a_restore_is_the_one_of_the_database(closed: Settings) -> None:
    assert compose.database_volume(closed) == "mlflow-compose_db"
    restored(closed, "mlflow-compose_db-2")
    host = docker(closed, [], docker_volume_inspect="[]", docker_run=history("8.4.6"))

    env = compose.rendered(closed, SIZE)[stack.folder(closed) / "compose.env"]
    assert "DB_VOLUME='mlflow-compose_db-2'\n" in env
    with pytest.raises(OpsError, match=r"the volume mlflow-compose_db-2 was made by 8\.4"):
        compose.check(closed, host, [], Path("/"))


def test_a_stack_is_brought_up_on_the_volume_that_is_named_now(guarded_ready: Settings) -> None:
    restored(guarded_ready, "mlflow-compose_db-2")
    host = docker(guarded_ready, [])
    compose.bring_up(guarded_ready, host)

    assert [*dict.fromkeys(line.partition(" '")[0] for line in done(host))] == [
        "up --detach --wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        ALL_UP,
    ]
    env = (stack.folder(guarded_ready) / "compose.env").read_text("utf-8")
    assert "DB_VOLUME='mlflow-compose_db-2'\n" in env
