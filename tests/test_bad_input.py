"""Bad input, driven through the real program: one clear error, exit code 2, nothing changed.

`docker` is a shell script in these rows. It answers what the client 28.2 prints and takes no
command that would change anything: what it does not know ends with another exit code and message.
"""

import compileall
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import copy_project, docker_info

NOBODY = 65534
SETTINGS = "correct .env; .env.example explains every key"
EMBEDDED = ("up", "--engine", "embedded")
COMPOSE = ("up", "--engine", "compose")
SECRETS = "".join(
    f"{key}='0123456789abcdef'\n"
    for key in ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE")
)

# Runs Invoke as a user who is not root. Everything is imported while still root: the interpreter
# may be in a folder that is root's alone.
AS_NOBODY = f"""
import os, sys
import ops.server, rich.console
from invoke.main import program
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
sys.argv[0] = "invoke"
program.run()
"""

DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at "
    'unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version": '
    "dial unix /var/run/docker.sock: connect: permission denied"
)
SILENT = (
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. "
    "Is the docker daemon running?"
)


def docker(**answers: str) -> str:
    """Return a docker client as a script; `answers` are shell lines by subcommand."""
    known = {
        "version": "echo 28.2.2",
        "compose": '[ "$2" = version ] && echo 2.40.3',
        "ps": ":",
        "info": f"echo '{docker_info(root='/')}'",
        "image": "echo 'No such image' >&2; exit 1",
        "volume": "echo 'no such volume' >&2; exit 1",
    } | answers
    cases = "".join(f"{name}) {line} ;;\n" for name, line in known.items())
    return (
        f'#!/bin/sh\ncase "$1" in\n{cases}*) echo "not for this test: $*" >&2; exit 99 ;;\nesac\n'
    )


def volume_of(content: str) -> str:
    """Return a docker client whose machine has a database volume with this version file."""
    return docker(volume=":", run=f"echo '{content}'")


@dataclass(frozen=True)
class Place:
    """Where a row is run: a copy of the repository, and the only folder with programs."""

    project: Path
    programs: Path

    def add_env(self, text: str) -> None:
        with (self.project / ".env").open("a", encoding="utf-8") as file:
            file.write(text)


@contextmanager
def taken_port(place: Place) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place.add_env(f"HTTP_PORT='{other.getsockname()[1]}'\n")
        yield


@contextmanager
def other_up(place: Place) -> Iterator[None]:
    data = place.project / "data"
    data.mkdir(mode=0o700)
    with (data / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 4711 (since 12:00:00 UTC)")
        lock.flush()
        yield


@contextmanager
def during_up(place: Place) -> Iterator[None]:
    with other_up(place):
        (place.project / "data" / "engine").write_text("embedded\n", "utf-8")
        yield


@contextmanager
def env_is_a_folder(place: Place) -> Iterator[None]:
    (place.project / ".env").mkdir()
    yield


@contextmanager
def env_is_somebody_elses(place: Place) -> Iterator[None]:
    (place.project / ".env").touch(mode=0)
    yield


@contextmanager
def data_is_a_file(place: Place) -> Iterator[None]:
    (place.project / "data").write_text("not a folder", "utf-8")
    yield


@contextmanager
def data_is_mine(place: Place) -> Iterator[None]:
    data = place.project / "data"
    data.mkdir(mode=0o700)
    give_away(data)
    yield


@contextmanager
def data_is_read_only(place: Place) -> Iterator[None]:
    with data_is_mine(place):
        (place.project / "data").chmod(0o500)
        yield


@contextmanager
def data_is_somebody_elses(place: Place) -> Iterator[None]:
    (place.project / "data").mkdir(mode=0)
    yield


@contextmanager
def project_is_read_only(place: Place) -> Iterator[None]:
    with data_is_mine(place):
        place.project.chmod(0o555)
        yield


@contextmanager
def hidden_ca_file(place: Place) -> Iterator[None]:
    file = place.project / "hidden" / "ca.pem"
    file.parent.mkdir()
    file.touch()
    file.parent.chmod(0)
    place.add_env(f"BUILD_CA_FILE='{file}'\n")
    yield


@contextmanager
def compose_before(place: Place) -> Iterator[None]:
    (place.project / "data").mkdir(mode=0o700)
    (place.project / "data" / "engine").write_text("compose\n", "utf-8")
    yield


@contextmanager
def compose_v1(place: Place) -> Iterator[None]:
    old = place.programs / "docker-compose"
    old.write_text("#!/bin/sh\necho 'docker-compose version 1.29.2, build unknown'\n", "utf-8")
    old.chmod(0o755)
    yield


@contextmanager
def embedded_before(place: Place) -> Iterator[None]:
    (place.project / "data").mkdir(mode=0o700)
    (place.project / "data" / "engine").write_text("embedded\n", "utf-8")
    yield


@contextmanager
def broken_database(place: Place) -> Iterator[None]:
    folder = place.project / "data" / "embedded"
    folder.mkdir(mode=0o700, parents=True)
    (folder / "mlflow.db").write_text("This is no database, but somebody's notes.\n" * 50, "utf-8")
    yield


def give_away(path: Path) -> None:
    """Make a path the property of the user the row runs as."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def nothing(_: Place) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Row:
    """One bad input and the error it must give."""

    name: str
    cause: str
    remedy: str = SETTINGS
    env: str | bytes = ""
    words: tuple[str, ...] = EMBEDDED
    prepare: Callable[[Place], AbstractContextManager[None]] = nothing
    environ: Mapping[str, str] = field(default_factory=dict)
    docker: str = ""
    as_nobody: bool = False
    unseen: str = ""
    """What no message may show."""


def refused(env: str | bytes, cause: str, unseen: str = "") -> Row:
    """Return the row of a `.env` that must be refused as it is read."""
    return Row(env if isinstance(env, str) else repr(env), cause, env=env, unseen=unseen)


ENV_FILE = [
    refused("COLOUR='blue'", "line 1: unknown key COLOUR"),
    refused("\nHTTP_PROT='80'", "line 2: unknown key HTTP_PROT: did you mean HTTP_PORT?"),
    refused("HTTP_PORT", "line 1: HTTP_PORT has no value"),
    refused(b"HTTP_PORT='5051'\r\nWEB_WORKERS='1'\r\n", "has Windows line ends"),
    refused(b"\xef\xbb\xbfHTTP_PORT='5051'\n", "begins with a byte-order mark"),
    refused(
        "HTTP_PORT='1'\n\nHTTP_PORT='2'",
        "line 3: HTTP_PORT is set again: it is already set in line 1",
    ),
    refused("STACK_NAME='a\nb'", "STACK_NAME 'a\\nb' holds a line break"),
    refused('DATA_FOLDER="a\\nb"', "holds a line break"),
    refused('DATA_FOLDER="it\'s"', "holds a line break, control character, single quote"),
    refused("DATA_FOLDER=C:\\data", "single quote or backslash"),
    refused("DATA_FOLDER='a\x07b'", "control character"),
    refused(b"STACK_NAME='caf\xe9'\n", ".env cannot be read as UTF-8"),
    refused("WEB_WORKERS='1'\n'''", "line 2: is not KEY=value"),
    Row("a folder as .env", ".env cannot be read", prepare=env_is_a_folder),
    Row(
        "a .env of another user",
        ".env cannot be read",
        prepare=env_is_somebody_elses,
        as_nobody=True,
    ),
    refused(
        "X='1'\nHTTP_PORT='0'\nWEB_WORKERS='0'",
        "error: 3 problems in the settings\n"
        "  .env line 1: unknown key X\n"
        "  .env: HTTP_PORT '0' is not a port between 1 and 65535\n"
        "  .env: WEB_WORKERS '0' is not a number between 1 and 64\n",
    ),
    Row("an environment that is not text", "DATA_FOLDER '", environ={"DATA_FOLDER": "a\udcffb"}),
    Row(
        "a bad value in the environment",
        "environment: HTTP_PORT 'x' is not a port",
        environ={"HTTP_PORT": "x"},
    ),
]

ADDRESSES = [
    refused("PUBLIC_URL='mlflow.example.com'", "PUBLIC_URL has no scheme"),
    refused("PUBLIC_URL='https://example.com/mlflow'", "PUBLIC_URL has a path"),
    refused("PUBLIC_URL='https://example.com?a=1'", "PUBLIC_URL has a path"),
    refused(
        "PUBLIC_URL='https://Example.COM'", "has upper-case letters: write https://example.com"
    ),
    refused(
        "PUBLIC_URL='https://joe:opensesame@example.com'",
        "holds a user name or password",
        unseen="opensesame",
    ),
    refused(
        "PUBLIC_URL='HTTPS://joe:OPENsesame@Example.com/x'",
        "holds a user name or password",
        unseen="sesame",
    ),
    refused("PUBLIC_URL='https://example.com:https'", "PUBLIC_URL is not a port"),
    refused("PUBLIC_URL='https://example.com:0443'", "has a port written oddly: write :443"),
    refused("PUBLIC_URL='https://'", "PUBLIC_URL has no valid host name"),
    refused("PUBLIC_URL='https://münchen.example'", "use letters, digits, - and . (IDN as xn--…)"),
    refused("PUBLIC_URL='https://ml_flow.example'", "PUBLIC_URL has no valid host name"),
    refused("PUBLIC_URL=' https://example.com'", "PUBLIC_URL holds a space"),
    refused("PUBLIC_URL='https://[::1'", "PUBLIC_URL has no valid host name"),
    refused("HTTP_PORT='0'", "HTTP_PORT '0' is not a port between 1 and 65535"),
    refused("HTTP_PORT='70000'", "HTTP_PORT '70000' is not a port"),
    refused("HTTP_PORT='http'", "HTTP_PORT 'http' is not a port"),
    refused("HTTP_PORT='٥٠٥٠'", "HTTP_PORT '٥٠٥٠' is not a port"),
    refused("BIND_ADDRESS='localhost'", "BIND_ADDRESS 'localhost' is not an IP address"),
    Row(
        "BIND_ADDRESS of another machine",
        "BIND_ADDRESS 192.0.2.1 is no address of this machine",
        "use 127.0.0.1 (this machine only)",
        env="BIND_ADDRESS='192.0.2.1'\nTLS='off'\nAUTH='none'\nALLOW_INSECURE='true'\n",
    ),
    Row(
        "a server for others without NGINX",
        "others reach https://localhost:443, and the embedded engine has neither login nor TLS",
        "use the compose engine",
        env="BIND_ADDRESS='0.0.0.0'\n",
    ),
    refused("BIND_ADDRESS='0.0.0.0'\nAUTH='none'", "AUTH=none lets all of them in"),
    refused("BIND_ADDRESS='0.0.0.0'\nTLS='off'", "TLS=off sends what they log in with in clear"),
]

ARTIFACTS = [
    refused("ARTIFACTS_DESTINATION='http://bucket/prefix'", "is not an S3 location"),
    refused("ARTIFACTS_DESTINATION='s3://'", "names no valid bucket: ''"),
    refused("ARTIFACTS_DESTINATION='s3://Bucket/x'", "names no valid bucket: 'Bucket'"),
    refused("ARTIFACTS_DESTINATION='s3://my..bucket'", "names no valid bucket: 'my..bucket'"),
    refused("ARTIFACTS_DESTINATION='s3://bucket/a//b'", "has a prefix with an empty"),
    refused("ARTIFACTS_DESTINATION='s3://bucket//a'", "has a prefix with an empty, . or .. part"),
    refused("ARTIFACTS_DESTINATION='s3://bucket/../other'", "with an empty, . or .. part"),
    refused(
        "ARTIFACTS_DESTINATION='s3://bucket'\nS3_ENDPOINT_URL='minio:9000'",
        "S3_ENDPOINT_URL is not an http:// or https:// address",
    ),
    refused(
        "ARTIFACTS_DESTINATION='s3://bucket'\nS3_ENDPOINT_URL='http://joe:opensesame@minio'",
        "S3_ENDPOINT_URL is not an http://",
        unseen="opensesame",
    ),
    refused(
        "ARTIFACTS_DESTINATION='s3://bucket'\nS3_ENDPOINT_URL='http://minio:90000'",
        "S3_ENDPOINT_URL is not a port",
    ),
    refused("S3_ENDPOINT_URL='http://minio:9000'", "S3_ENDPOINT_URL needs ARTIFACTS_DESTINATION"),
    refused("S3_ENDPOINT_URL='http://a\"b'", "S3_ENDPOINT_URL has no valid host name"),
    refused(
        "OUTBOUND_HOSTS='a.example.com,169.254.169.254:80'",
        "holds 169.254.169.254, which is the machine itself, or what it asks who it is",
    ),
    refused("OUTBOUND_HOSTS='https://a.example.com'", "is not name[:port]: leave out the scheme"),
    refused(
        "ARTIFACT_ACCESS='Direct'",
        "ARTIFACT_ACCESS 'Direct' is not one of proxied, presigned, direct",
    ),
    refused("ARTIFACT_ACCESS='direct'", "ARTIFACT_ACCESS=direct needs ARTIFACTS_DESTINATION"),
    refused("ARTIFACT_ACCESS='presigned'", "ARTIFACT_ACCESS=presigned needs ARTIFACTS_DESTINATION"),
    refused(
        "ARTIFACT_ACCESS='presigned'\nARTIFACTS_DESTINATION='s3://bucket'",
        "ARTIFACT_ACCESS=presigned needs S3_REGION, where the bucket is",
    ),
    refused("S3_ACCESS_KEY_ID='AKIA0'", "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together"),
    refused(
        "S3_SECRET_ACCESS_KEY='opensesame'",
        "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together",
        unseen="opensesame",
    ),
]


def bucket(cause: str, remedy: str, *words: str, env: str = "") -> Row:
    """Return the row of a bucket that is refused before AWS is asked."""
    return Row(" ".join(["bucket", *words]), cause, remedy, env, ("create-bucket", *words))


BUCKETS = [
    bucket("no bucket for artifacts is named", "or set ARTIFACTS_DESTINATION=s3://"),
    bucket("no bucket for backups is named", "or set BACKUPS_DESTINATION", "--kind", "backups"),
    bucket("--name 'My_Bucket' is not 3 to 63", "correct --name", "--name", "My_Bucket"),
    bucket("the form of an IP address", "correct --name", "--name", "192.168.5.4"),
    bucket("--name 'a--ol-s3' begins or ends", "correct --name", "--name", "a--ol-s3"),
    bucket("--kind 'dumps' is not one of", "correct --kind", "--name", "abc", "--kind", "dumps"),
    bucket("are for backups", "--kind backups", "--name", "abc", "--retention-days", "30"),
    bucket(
        "--retention-days 'a month' is not a number",
        "correct --retention-days",
        *("--name", "abc", "--kind", "backups", "--retention-days", "a month"),
    ),
    bucket("is not the ARN of a key", "aws kms", "--name", "abc", "--kms-key", "alias/mine"),
    bucket(
        "--region 'eu-west-2' is for AWS",
        "set S3_REGION",
        *("--region", "eu-west-2"),
        env="ARTIFACTS_DESTINATION='s3://bucket'\nS3_ENDPOINT_URL='http://minio:9000'",
    ),
    refused(
        "ARTIFACTS_DESTINATION='s3://xn--bucket'", "names no valid bucket: 'xn--bucket' begins"
    ),
]

A_CA = f"DATABASE_CA_FILE='{__file__}'"
DATABASE = [
    refused(
        "DATABASE_HOST='db.example.com'\nMYSQL_PASSWORD='0123456789abcdef'",
        "DATABASE_HOST and DATABASE_CA_FILE go together",
        unseen="0123456789abcdef",
    ),
    refused(A_CA, "DATABASE_HOST and DATABASE_CA_FILE go together"),
    refused(f"DATABASE_HOST='db.example.com'\n{A_CA}", "DATABASE_HOST needs MYSQL_PASSWORD"),
    refused("DATABASE_HOST='mysql://db'", "DATABASE_HOST 'mysql://db' is not name[:port]"),
    refused("DATABASE_HOST='db:99999'", "DATABASE_HOST 'db:99999' is not a port"),
    refused("DATABASE_HOST='joe@db'", "DATABASE_HOST 'joe@db' is not a host as name[:port]"),
    refused("DATABASE_CA_FILE='/no/such/ca.pem'", "is not a readable file"),
    Row(
        "DATABASE_HOST on the embedded engine",
        "the embedded engine keeps everything in SQLite, but DATABASE_HOST is set",
        "invoke up --engine compose",
        env=f"DATABASE_HOST='db.example.com'\n{A_CA}\n{SECRETS}",
    ),
]

SIZES_AND_SECRETS = [
    refused("WEB_WORKERS='0'", "WEB_WORKERS '0' is not a number between 1 and 64"),
    refused("WEB_WORKERS='two'", "WEB_WORKERS 'two' is not a number"),
    refused("WEB_MEMORY_LIMIT='512'", "WEB_MEMORY_LIMIT '512' is not a size"),
    refused("NGINX_MEMORY_LIMIT='٥g'", "NGINX_MEMORY_LIMIT '٥g' is not a size"),
    refused("JOB_EXECUTION='yes'", "JOB_EXECUTION 'yes' is not one of true, false"),
    refused("STACK_NAME='my stack'", "STACK_NAME 'my stack' is not lower-case letters"),
    refused(
        "MYSQL_PASSWORD='sesame'",
        "MYSQL_PASSWORD is not at least 12 ASCII characters",
        unseen="sesame",
    ),
    refused(
        "KEK_PASSPHRASE='open sesame open'", "KEK_PASSPHRASE is not at least 12", unseen="sesame"
    ),
    refused(
        "MYSQL_ROOT_PASSWORD=\"open'sesame'open\"",
        "MYSQL_ROOT_PASSWORD holds a line break",
        unseen="sesame",
    ),
    refused(
        "BUILD_CA_FILE='/nonexistent/ca.pem'",
        "BUILD_CA_FILE '/nonexistent/ca.pem' is not a readable file",
    ),
    refused("BUILD_CA_FILE='ca.pem'", "is not a readable file, by its absolute path"),
    Row(
        "CA file in a hidden folder",
        "ca.pem' is not a readable file",
        prepare=hidden_ca_file,
        as_nobody=True,
    ),
    refused("DATA_FOLDER='~no-such-user/data'", "begins with the home folder of somebody"),
    refused("DATA_FOLDER='what?'", "holds a ?, # or %"),
]

MACHINE = [
    Row(
        "data folder is a file",
        "cannot make the data folder",
        "set DATA_FOLDER",
        prepare=data_is_a_file,
    ),
    Row(
        "data folder cannot be made",
        "cannot make the data folder /proc/data",
        "set DATA_FOLDER",
        env="DATA_FOLDER='/proc/data'\n",
    ),
    Row(
        "data folder not writable",
        "is not writable for you",
        "make it yours: sudo chown",
        prepare=data_is_read_only,
        as_nobody=True,
    ),
    Row(
        "data folder of another user",
        "data is not writable for you",
        "make it yours: sudo chown",
        prepare=data_is_somebody_elses,
        as_nobody=True,
    ),
    Row(
        ".env cannot be written",
        "cannot keep the generated secrets in .env",
        "make it yours: sudo chown",
        prepare=project_is_read_only,
        as_nobody=True,
    ),
    Row(
        "port taken, embedded",
        "something else listens on 127.0.0.1:",
        "set HTTP_PORT in .env to a free port",
        prepare=taken_port,
    ),
    Row(
        "port taken, compose",
        "something else listens on 127.0.0.1:",
        "set HTTP_PORT in .env to a free port",
        words=COMPOSE,
        prepare=taken_port,
        docker=docker(),
    ),
    Row(
        "port for root only",
        "HTTP_PORT 81 is open to root only",
        "set HTTP_PORT in .env to 1024",
        env="HTTP_PORT='81'\n",
        prepare=data_is_mine,
        as_nobody=True,
    ),
    Row(
        "two `up` at once",
        "process 4711 (since 12:00:00 UTC) is changing this stack",
        "wait for it to end",
        prepare=other_up,
    ),
    Row(
        "`down` during `up`",
        "process 4711 (since 12:00:00 UTC) is changing this stack",
        "wait for it to end",
        words=("down",),
        prepare=during_up,
    ),
    Row(
        "SQLite file that is no database",
        "mlflow.db is not a usable SQLite database",
        "restore it from a copy",
        prepare=broken_database,
    ),
    Row(
        "unknown engine",
        "there is no engine 'swarm'",
        "use --engine auto",
        words=("up", "--engine", "swarm"),
    ),
    Row(
        "logs before the first up",
        "there is no server here yet",
        "bring one up: invoke up",
        words=("logs",),
    ),
    Row(
        "status before the first up",
        "there is no server here yet",
        "bring one up: invoke up",
        words=("status",),
    ),
    Row(
        "logs of no service, compose",
        "there is no service 'nonsense'",
        "use one of db, migrate, web, nginx",
        words=("logs", "--service", "nonsense"),
        prepare=compose_before,
        docker=docker(),
    ),
    Row(
        "logs of no service, embedded",
        "the embedded engine has no service 'db'",
        "use --service web",
        words=("logs", "--service", "db"),
        prepare=embedded_before,
    ),
    Row(
        "logs of a stack that is down",
        "the stack is not running",
        "start it: invoke up",
        words=("logs",),
        prepare=compose_before,
        docker=docker(),
    ),
    Row(
        "smoke of an address without scheme",
        "the address is not an http:// or https:// address",
        "give --url as http://host:port",
        words=("smoke", "--url", "127.0.0.1:9"),
    ),
    Row(
        "bench of an address without scheme",
        "the address is not an http:// or https:// address",
        "give --url as http://host:port",
        words=("bench", "--url", "127.0.0.1:9"),
    ),
    Row(
        "bench for no time",
        "--seconds '0' is not a number between 1 and 600",
        "correct it",
        words=("bench", "--seconds", "0"),
    ),
    Row(
        "bench for a time that is no number",
        "--seconds 'a while' is not a number between 1 and 600",
        "correct it",
        words=("bench", "--seconds", "a while"),
    ),
]

DOCKER = [
    Row("no docker", "docker is not installed", "install Docker Engine", words=COMPOSE),
    Row(
        "no docker any more",
        "docker is not installed",
        "install Docker Engine",
        words=("up",),
        prepare=compose_before,
    ),
    Row(
        "no permission",
        "no permission to use Docker",
        "sudo usermod -aG docker $USER",
        words=COMPOSE,
        docker=docker(version=f"echo '{DENIED}' >&2; exit 1"),
    ),
    Row(
        "no engine",
        f"no Docker Engine answers: {SILENT}",
        "sudo systemctl start docker",
        words=COMPOSE,
        docker=docker(version=f"echo '{SILENT}' >&2; exit 1"),
    ),
    Row(
        "Compose v1 only",
        "docker has only Compose v1; Compose v2 is needed",
        "docker-compose-plugin",
        words=COMPOSE,
        prepare=compose_v1,
        docker=docker(compose="echo 'unknown flag: --short' >&2; exit 125"),
    ),
    Row(
        "no Compose",
        "docker has no Compose; Compose v2 is needed",
        "docker-compose-plugin",
        words=COMPOSE,
        docker=docker(compose="echo 'unknown flag: --short' >&2; exit 125"),
    ),
    Row(
        "no disk space",
        "the stack needs 4.0 GiB; /proc has 0 B free",
        "free some space",
        words=COMPOSE,
        docker=docker(info=f"echo '{docker_info(root='/proc')}'"),
    ),
    Row(
        "volume without its secrets",
        "the volume mlflow-compose_db is there, but .env lacks MYSQL_PASSWORD",
        "put back the .env",
        words=COMPOSE,
        docker=docker(volume=":"),
    ),
    Row(
        "volume of MySQL 8.0",
        "was made by 8.0, this stack runs MySQL 9.7",
        "dump it with the server that made it",
        env=SECRETS,
        words=COMPOSE,
        docker=volume_of("8.0.36"),
    ),
    Row(
        "volume of MySQL 8.4",
        "was made by 8.4, this stack runs MySQL 9.7",
        "dump it with the server that made it",
        env=SECRETS,
        words=COMPOSE,
        docker=volume_of(
            '{"file_format":"1","upgrade_history":[{"date":"2026-05-02 10:00:00",'
            '"version":"8.4.6","maturity":"LTS","initialize":true}]}'
        ),
    ),
    Row(
        "volume of MariaDB",
        "was made by MariaDB 11.4.2",
        "dump it with the server that made it",
        env=SECRETS,
        words=COMPOSE,
        docker=volume_of("11.4.2-MariaDB"),
    ),
    Row(
        "volume of something else",
        "this stack runs MySQL 9.7",
        "dump it with the server that made it",
        env=SECRETS,
        words=COMPOSE,
        docker=volume_of(""),
    ),
]

ROWS = [
    *ENV_FILE,
    *ADDRESSES,
    *ARTIFACTS,
    *BUCKETS,
    *DATABASE,
    *SIZES_AND_SECRETS,
    *MACHINE,
    *DOCKER,
]


@dataclass(frozen=True)
class Outcome:
    """What the program did."""

    code: int
    out: str
    err: str
    before: dict[str, tuple[int, bytes]]
    after: dict[str, tuple[int, bytes]]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return name, mode and content of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        readable = path.is_file() and os.access(path, os.R_OK)
        content = path.read_bytes() if readable else b""
        found[str(path.relative_to(folder))] = (path.stat().st_mode, content)
    return found


def drive(row: Row, template: Path, place: Place, port: int) -> Outcome:
    """Run a row's command in a project of its own, on a free port unless the row is about ports."""
    shutil.copytree(template, place.project, copy_function=os.link)
    place.programs.mkdir()
    if row.env:
        text = row.env.encode() if isinstance(row.env, str) else row.env
        (place.project / ".env").write_bytes(text)
    if row.docker:
        client = place.programs / "docker"
        client.write_text(row.docker, "utf-8")
        client.chmod(0o755)
    nobody = row.as_nobody and os.geteuid() == 0
    program = ("-c", AS_NOBODY) if nobody else ("-m", "invoke")
    with row.prepare(place):
        before = tree(place.project)
        given = before.get(".env", (0, b""))[1]
        done = subprocess.run(
            [sys.executable, *program, *row.words],
            cwd=place.project,
            env={
                "PATH": str(place.programs),
                "HOME": str(place.project),
                "LANG": "C.UTF-8",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PIP_NO_INDEX": "1",  # a row that is taken for good must not reach the network
                **({} if b"HTTP_PORT" in given else {"HTTP_PORT": str(port)}),
                **row.environ,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        after = tree(place.project)
    return Outcome(done.returncode, done.stdout, done.stderr, before, after)


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, "Future[Outcome]"]]:
    """Every row, driven at the same time: each has a folder of its own."""
    # Not pytest's own folder, which is closed to the users some rows run as.
    base = Path(tempfile.mkdtemp(prefix="mlflow-compose-bad-input-"))
    base.chmod(0o755)
    template = copy_project(base / "template")
    compileall.compile_dir(template, quiet=2)
    with ThreadPoolExecutor(os.cpu_count()) as pool, socket.socket() as reserved:
        # Bound and not listening: nobody else gets the port, and it is free to the program.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        places = [Place(base / f"{i}", base / f"{i}-programs") for i in range(len(ROWS))]
        yield {
            row.name: pool.submit(drive, row, template, place, port)
            for row, place in zip(ROWS, places, strict=True)
        }
    for folder, names, _ in os.walk(base):
        for name in names:  # opened from the top: the walk goes into them next
            Path(folder, name).chmod(0o700)
    shutil.rmtree(base)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_bad_input_gives_one_error_and_changes_nothing(
    row: Row, outcomes: dict[str, "Future[Outcome]"]
) -> None:
    outcome = outcomes[row.name].result()

    assert "Traceback" not in outcome.err, outcome.err
    assert (2, "") == (outcome.code, outcome.out), outcome.err
    lines = outcome.err.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert sum(line.startswith("  try: ") for line in lines) == 1
    cause, _, remedy = outcome.err.partition("  try: ")
    assert row.cause in cause
    assert row.remedy in remedy
    assert remedy.strip()
    assert not row.unseen or row.unseen not in outcome.err

    new = outcome.after.keys() - outcome.before.keys()
    assert new <= {"data", "data/lock"}
    assert outcome.before == {name: outcome.after[name] for name in outcome.before}


def test_the_table_has_at_least_forty_rows_with_names_of_their_own() -> None:
    assert len(ROWS) >= 40
    assert len(ROWS) == len({row.name for row in ROWS})
