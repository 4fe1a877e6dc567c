"""The compose engine: the full stack in containers on one machine."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ops import (
    access_files,
    accounts,
    certificate_state,
    certificates,
    console,
    egress,
    envfile,
    front_door,
    images,
    jobs,
    nginx,
    preflight,
    protection,
    secret_files,
    sizing,
    stack,
)
from ops.containers import Container, age, containers, last_words, memory
from ops.errors import OpsError, refusal
from ops.hosts import Host, LocalHost, failure
from ops.settings import Settings
from ops.sizing import Size
from ops.states import Service, Status, remember

__all__ = ["down", "logs", "running", "status", "up"]

IMAGES_SIZE = 4 * 1024**3
"""Disk the three images take, unpacked, with what building them needs."""

RUNNING_SIZE = 256 * 1024**2
"""Disk below which MySQL is better not started: its redo log alone takes 100 MB."""

VOLUME = "volume"
"""The file in the stack's folder that names the volume of the database after a restore."""

HASH = ("config", "--hash", "nginx")

START_SECONDS = 300
SEE_LOGS = "invoke logs"
UNKNOWN_SERVER = "something that is not MySQL 8.4 or newer"

# Written by the servers themselves: MySQL since 8.4, MySQL up to 8.0 when it was upgraded, MariaDB.
# https://dev.mysql.com/doc/refman/9.7/en/upgrade-process.html
READ_VOLUME = """
cd /volume || exit 1
[ -n "$(ls -A)" ] || { echo empty; exit 0; }
for name in mysql_upgrade_history mysql_upgrade_info mariadb_upgrade_info; do
    if [ -f "$name" ]; then exec cat "$name"; fi
done
"""


def up(settings: Settings, host: LocalHost, *, migrate: bool) -> bool:
    """Bring the stack up and wait until it answers; return False when nothing had to change."""
    settings.require_for_backups()
    certificates.require_given(settings)
    with preflight.only_one(settings.data):
        engine = images.engine(host)
        size = sizing.size(settings, [engine.machine])
        found = containers(settings, host)
        if unchanged(settings, size, host, found):
            front_door.wait(front_door.local(settings), START_SECONDS, lambda: None)
            return False
        check(settings, host, found, Path(engine.root))

        remember(settings, "compose")
        settings = settings.with_secrets()
        write_files(settings, size)
        build(settings, host)
        if not settings.database_host:
            start_database(settings, host)
        run_migration(settings, host, found, existing=migrate)
        start_all(settings, host)
        forget_secrets(settings, host)
    return True


def start_all(settings: Settings, host: LocalHost) -> None:
    """Start what does not run yet and wait until it answers."""
    folder, hashed = str(stack.folder(settings)), stack.compose(settings, *HASH)
    access_files.keep_replaced(host, folder, containers(settings, host), hashed)
    with console.progress("starting the server and NGINX") as detail:
        # Not one of ours any more: a backup service, or a database that is elsewhere now.
        words = stack.compose(
            *(settings, "up", "--detach", "--remove-orphans"),
            *("--wait", f"--wait-timeout={START_SECONDS}"),
        )
        done = host.follow(words, detail)
        if done.code != 0:
            raise start_failure(settings, host, words, done.err)
        front_door.wait(front_door.local(settings), START_SECONDS, lambda: None)


def bring_up(settings: Settings, host: LocalHost) -> None:
    """Start the stack as it is described, on the volume of the database that is named now."""
    size = sizing.size(settings, [images.engine(host).machine])
    write_files(settings, size)
    start_database(settings, host)
    start_all(settings, host)


def unchanged(settings: Settings, size: Size, host: LocalHost, found: list[Container]) -> bool:
    """Say whether the stack runs, healthy, exactly as these settings describe it."""
    if settings.missing_secrets() or not all(container.good for container in found):
        return False
    if {container.service for container in found} != set(stack.services(settings)):
        return False
    for file, text in rendered(settings, size).items():
        if not file.exists() or file.read_text("utf-8") != text:
            return False
    wanted = host.run(stack.compose(settings, "config", "--hash", "*")).out.splitlines()
    return set(wanted) == {f"{container.service} {container.config_hash}" for container in found}


def check(settings: Settings, host: LocalHost, found: list[Container], root: Path) -> None:
    """Refuse what would fail half-way: nothing has been touched when this returns.

    `root` is the folder of Docker's data.
    """
    for port in sorted({settings.http_port, settings.site_port}):
        wanted = f"{settings.bind_address}:{port}"
        if not any(wanted in c.listens and c.state == "running" for c in found):
            preflight.port_free(settings.bind_address, port)
    have_image = all(
        host.run(("docker", "image", "inspect", name)).code == 0
        for name in stack.own_images(settings)
    )
    needed = RUNNING_SIZE if have_image else IMAGES_SIZE
    preflight.disk_space(root, needed, "the stack")
    volume = database_volume(settings)
    own = not settings.database_host
    there = own and host.run(("docker", "volume", "inspect", volume)).code == 0
    lost = settings.lost_secrets()
    if there and lost:
        raise refusal(
            f"the volume {volume} is there, but .env lacks {', '.join(lost)}",
            "put back the .env this volume was made with",
        )
    if settings.missing_secrets():
        preflight.env_file(settings.root)
    if there and not any(c.service == "db" and c.state == "running" for c in found):
        check_volume(volume, host)


def check_volume(volume: str, host: LocalHost) -> None:
    """Refuse a database volume that this MySQL cannot take, or would change for ever."""
    words = (
        *("docker", "run", "--rm", "--network=none", "--entrypoint=sh"),
        *(f"--volume={volume}:/volume:ro", f"mysql:{stack.MYSQL_SERIES}", "-c", READ_VOLUME),
    )
    # It may have to fetch the image first.
    out = host.check(words, "look at the volume; nothing was changed", deadline=1800).strip()
    if out == "empty":
        return
    series = volume_series(out)
    if series != stack.MYSQL_SERIES:
        raise refusal(
            f"the volume {volume} was made by {series or UNKNOWN_SERVER}, "
            f"this stack runs MySQL {stack.MYSQL_SERIES}",
            "dump it with the server that made it and load the dump into a new volume "
            "(docs/runbook.md, 'foreign volume'), or set STACK_NAME in .env for a stack of its own",
        )


def volume_series(text: str) -> str:
    """Return the release series of the server that used a data folder last; "" if unknown."""
    try:
        version = str(json.loads(text)["upgrade_history"][-1]["version"])
    except (ValueError, LookupError, TypeError):
        version = text.strip()
    if "MariaDB" in version:
        return f"MariaDB {version.partition('-')[0]}"
    found = re.match(r"(\d+\.\d+)\.\d+", version)
    return found[1] if found else ""


def rendered(settings: Settings, size: Size) -> dict[Path, str]:
    """Return every file Compose reads besides the repository's, with its content."""
    folder = stack.folder(settings)
    variables = stack.compose_env(settings, size) | stack.local_env(settings)
    variables["DB_VOLUME"] = database_volume(settings)
    files = {folder / "compose.env": stack.render_env(variables)}
    for name, text in secret_files.files(settings).items():
        files[folder / "secrets" / name] = text
    site = folder / "releases" / nginx.LIVE / "nginx"
    configuration = nginx.files(settings.root, stack.site(settings))
    for name, text in (configuration | nginx.identity("web")).items():
        files[site / name] = text
    for name, text in egress.files(settings.root, settings).items():
        files[folder / "egress" / name] = text
    return files


def database_volume(settings: Settings) -> str:
    """Return the volume of the database on this machine: the first one, or a restored one."""
    chosen = stack.folder(settings) / VOLUME
    return chosen.read_text("utf-8").strip() if chosen.exists() else stack.database_volume(settings)


def write_files(settings: Settings, size: Size) -> None:
    """Write what differs from what is there; a secret that changed lies beside the old one.

    The folder is this user's alone (0700). The files in it are readable to all (0444), as are the
    folders that NGINX and the proxy look into, because the processes in the containers have other
    user numbers and Compose mounts what is there as it is.
    """
    folder, wanted = stack.folder(settings), rendered(settings, size)
    folder.mkdir(mode=0o700, exist_ok=True)
    for file, text in wanted.items():
        if not file.exists() or file.read_text("utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            envfile.write_private(file, text, 0o444)
    for top in (folder / "releases", folder / "egress"):
        for path in (top, *top.rglob("*")) if top.exists() else ():
            if path.is_dir():
                path.chmod(0o755)  # the umask may have taken bits away
            elif path not in wanted:  # NGINX reads whatever lies in conf.d
                path.unlink()


def forget_secrets(settings: Settings, host: LocalHost) -> None:
    """Remove secret files of earlier settings, but for those a container would miss at its start.

    The database keeps the ones it was made with: Compose does not replace a container for a file.
    """
    folder = stack.folder(settings) / "secrets"
    wanted = {str(folder / name) for name in secret_files.files(settings)}
    for container in containers(settings, host):
        wanted.update(container.mounts)
    for file in folder.iterdir():
        if str(file) not in wanted:
            file.unlink()


def build(settings: Settings, host: LocalHost, *names: str) -> None:
    """Build our images, or these of them, unless those of the same content are there."""
    for image in names or stack.own_images(settings):
        if host.run(("docker", "image", "inspect", image)).code != 0:
            build_one(settings, host, image)


def build_one(settings: Settings, host: LocalHost, image: str) -> None:
    """Build an image."""
    words = stack.build(settings, image)
    with console.progress(f"building {image} (once)") as detail:
        done = host.follow(words, detail, {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"})
    if done.code != 0:
        raise failure(
            words,
            done.code,
            done.err,
            "behind a proxy or a private CA, set BUILD_PIP_CONFIG_FILE and BUILD_CA_FILE in .env",
        )


def start_database(settings: Settings, host: LocalHost) -> None:
    """Start MySQL and wait until it takes connections."""
    with console.progress("starting the database") as detail:
        words = stack.compose(
            settings, "up", "--detach", "--wait", f"--wait-timeout={START_SECONDS}", "db"
        )
        done = host.follow(words, detail)
    if done.code != 0:
        raise start_failure(settings, host, words, done.err)
    inside = stack.compose(settings, "exec", "--no-TTY", "db")
    root = secret_files.root_password(settings)
    accounts.provide(host, inside, root, secret_files.passwords(settings))


def run_migration(
    settings: Settings, host: LocalHost, found: list[Container], *, existing: bool
) -> None:
    """Run the migration job; where it refuses, leave the stack as it was found."""
    job = ("python", "-I", "/opt/migration.py", "--existing") if existing else ()
    try:
        jobs.migrate(host, stack.compose(settings, "run", "--rm", "--no-TTY", "migrate", *job))
    except OpsError:
        if settings.database_host and found:
            raise
        if not any(c.service == "db" and c.state == "running" for c in found):
            undo = ("stop", "db") if found else ("down",)
            host.run(stack.compose(settings, *undo), deadline=600)
        raise


def start_failure(
    settings: Settings, host: LocalHost, words: tuple[str, ...], output: str
) -> OpsError:
    """Return the error for a stack that did not come up, with what the guilty service said."""
    bad = [c for c in containers(settings, host) if not c.good and c.service != "migrate"]
    said = [line for container in bad[:1] for line in last_words(host, container)]
    return failure(words, 1, output, SEE_LOGS, said)


def down(settings: Settings, host: LocalHost) -> bool:
    """Stop and remove the containers and networks; data stays. False when there were none."""
    with preflight.only_one(settings.data):
        found = containers(settings, host)
        if not found:
            return False
        access_files.keep(host, str(stack.folder(settings)), found)
        words = stack.compose(settings, "down")
        with console.progress("stopping the stack") as detail:
            done = host.follow(words, detail)
        if done.code != 0:
            raise failure(words, done.code, done.err, SEE_LOGS)
    return True


def running(settings: Settings, host: LocalHost) -> bool:
    """Say whether any container of the stack runs."""
    return any(container.state == "running" for container in containers(settings, host))


def status(settings: Settings, host: LocalHost) -> Status:
    """Return the state of the stack on this machine."""
    found = services(settings, host, stack.services(settings))
    backups = None
    if settings.backups_destination:
        backups = protection.read(host, stack.compose(settings, "exec", "--no-TTY", "backup"))
    certificate = None
    if "certificates" in stack.services(settings):
        inside = stack.compose(settings, "exec", "--no-TTY", "certificates")
        certificate = certificate_state.read(host, inside)
    return Status.of_containers(
        settings.url,
        found,
        answers=_answers(settings),
        backups=backups,
        certificate=certificate,
    )


def services(settings: Settings, host: Host, names: Sequence[str]) -> tuple[Service, ...]:
    """Return the state of each of these services."""
    found = containers(settings, host)
    used = memory(host, [c for c in found if c.state == "running"])
    states = []
    for name in names:
        container = next((c for c in found if c.service == name), None)
        if container is None:
            states.append(Service(name, "absent", healthy=False))
            continue
        up_now = container.state == "running"
        states.append(
            Service(
                name,
                f"{container.state} {container.health}".strip(),
                healthy=container.good,
                uptime_seconds=age(container.started_at) if up_now else None,
                memory_bytes=used.get(container.identity),
            )
        )
    return tuple(states)


def _answers(settings: Settings) -> bool:
    try:
        front_door.local(settings).answers()
    except front_door.RequestError:
        return False
    return True


def logs(settings: Settings, host: LocalHost, *, service: str, follow: bool) -> None:
    """Show the services' logs; with `follow`, until Ctrl-C."""
    names = stack.services(settings)
    if service and service not in names:
        raise refusal(f"there is no service {service!r}", f"use one of {', '.join(names)}")
    if not containers(settings, host):
        raise refusal("the stack is not running", "start it: invoke up")
    colours = [] if sys.stdout.isatty() else ["--no-color"]
    words = ("logs", "--tail=500", *colours, *(["--follow"] if follow else []))
    host.replace(stack.compose(settings, *words, *([service] if service else [])))
