"""The configuration files as the real programs read them."""

import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, output

FILE = "/etc/nginx/releases/live/nginx/nginx.conf"
GIXY = str(Path(sys.executable).with_name("gixy"))


def test_nginx_finds_no_fault_with_its_configuration(stack: Project) -> None:
    said = output(
        "docker", "exec", stack.container("nginx"), "sh", "-c", f"nginx -t -c {FILE} 2>&1"
    )

    assert "syntax is ok" in said
    assert "[warn]" not in said


def test_gixy_finds_no_known_mistake_in_the_nginx_configuration(
    stack: Project, tmp_path: Path
) -> None:
    dump = tmp_path / "nginx.conf"
    dump.write_text(
        output("docker", "exec", stack.container("nginx"), "nginx", "-T", "-c", FILE), "utf-8"
    )

    # The Host header is passed on as it came on purpose: MLflow checks it against its own list.
    output(GIXY, "-l", "--skips", "host_spoofing", str(dump))


@pytest.mark.parametrize(
    ("service", "user"), [("db", "999"), ("web", "10001"), ("nginx", "101"), ("egress", "33")]
)
def test_a_service_is_nobody_special_and_cannot_become_more(
    stack: Project, service: str, user: str
) -> None:
    said = output("docker", "exec", stack.container(service), "cat", "/proc/1/status")
    status = dict(line.split(":\t", 1) for line in said.splitlines())

    assert status["Uid"].split() == [user] * 4
    assert status["NoNewPrivs"] == "1"
    assert {int(status[kind], 16) for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


@pytest.mark.parametrize(
    ("service", "places"),
    [
        ("db", ["/run/mysqld", "/tmp", "/var/lib/mysql"]),
        ("web", ["/tmp", "/var/lib/mlflow/artifacts"]),
        ("nginx", ["/run", "/var/cache/nginx"]),
        ("egress", ["/usr/local/apache2/logs"]),
    ],
)
def test_a_service_may_write_where_it_has_to_and_nowhere_else(
    stack: Project, service: str, places: list[str]
) -> None:
    # Of other file systems it lists where they are mounted; /dev and /proc are Docker's own.
    find = "find / -xdev -type d -writable 2>/dev/null | sort"

    assert output("docker", "exec", stack.container(service), "sh", "-c", find).split() == places


def test_no_program_in_our_image_makes_who_starts_it_root(stack: Project) -> None:
    find = "find / -xdev -type f -perm /6000 2>/dev/null || true"

    assert not output("docker", "exec", stack.container("web"), "sh", "-c", find)


@pytest.mark.parametrize(
    ("user", "secret", "options", "said"),
    [
        ("mlflow", "mysql_password", "--host=127.0.0.1", ""),
        ("mlflow", "mysql_password", "--host=127.0.0.1 --ssl-mode=DISABLED", "secure"),
        ("root", "mysql_root_password", "--host=127.0.0.1", "Access denied"),
    ],
)
def test_mysql_takes_who_comes_over_tls_and_root_from_inside_only(
    stack: Project, user: str, secret: str, options: str, said: str
) -> None:
    script = (
        f'MYSQL_PWD="$(cat /run/secrets/{secret})" mysql --user={user} {options} '
        "--execute='SELECT 1' 2>&1 || true"
    )
    answer = output("docker", "exec", stack.container("db"), "sh", "-c", script)

    assert said in answer
    assert bool(said) == ("ERROR" in answer)


CHANGE_TABLES = """
import os, sqlalchemy as sa
engine = sa.create_engine(os.environ["MLFLOW_BACKEND_STORE_URI"])
for words in ("CREATE TABLE mine (a INT)", "DROP TABLE runs", "ALTER TABLE runs ADD a INT"):
    with engine.connect() as connection:
        try:
            connection.execute(sa.text(words))
        except sa.exc.OperationalError as error:
            print(error.orig.args[1].partition(" ")[0])
"""


def test_the_server_changes_no_table(stack: Project) -> None:
    said = output("docker", "exec", stack.container("web"), "python", "-c", CHANGE_TABLES)

    assert said.split() == ["CREATE", "DROP", "ALTER"]
