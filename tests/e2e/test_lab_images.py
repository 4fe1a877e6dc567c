"""What the images of the stack promise, official or stand-in: the same tests hold for both."""

import contextlib
import gzip
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import lab

PYTHON, PYTHON_FULL = "python:3.13-slim", "python:3.13"
MYSQL, NGINX = "mysql:9.7", "nginx:1.30"
pytestmark = pytest.mark.usefixtures("the_lab")

Run = Callable[..., str]


def docker(*words: str, expect: int | None = 0) -> str:
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert expect is None or expect == done.returncode, f"{words}:\n{done.stdout}{done.stderr}"
    return f"{done.stdout}{done.stderr}".strip()


def once(image: str, *words: str, options: tuple[str, ...] = (), expect: int | None = 0) -> str:
    return docker("run", "--rm", *options, image, *words, expect=expect)


@pytest.fixture
def start() -> Iterator[Run]:
    """Start containers that are gone, with their volumes, after the test."""
    made: list[str] = []

    def run(image: str, *words: str, options: tuple[str, ...] = ()) -> str:
        made.append(f"lab-test-{uuid.uuid4().hex[:8]}")
        docker("run", "--detach", "--name", made[-1], *options, image, *words)
        return made[-1]

    yield run
    if made:
        docker("rm", "--force", "--volumes", *made)


def until(question: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "too late"
        time.sleep(0.2)


def readable(path: Path) -> Path:
    """Open a folder of pytest, which is closed to others, to the users inside containers."""
    for folder in (path, *path.parents):
        if folder.stat().st_uid == 0 and "pytest-" in str(folder):
            folder.chmod(0o755)
    return path


# python


def test_python_and_pip_live_in_usr_local() -> None:
    script = (
        "import sys, sysconfig; print(sys.executable, sys.prefix, sysconfig.get_path('purelib'))"
    )

    assert once(PYTHON, "python", "-c", script) == (
        "/usr/local/bin/python /usr/local /usr/local/lib/python3.13/site-packages"
    )
    for program in ("python", "python3", "pip"):
        assert once(PYTHON, "sh", "-c", f"command -v {program}") == f"/usr/local/bin/{program}"


def test_python_may_be_installed_into_and_makes_environments() -> None:
    said = once(PYTHON, "pip", "install", "--no-index", "no-such-thing", expect=1)
    made = "python -m venv /tmp/env && /tmp/env/bin/python -m pip --version"

    assert "externally-managed" not in said
    assert "/tmp/env" in once(PYTHON, "sh", "-c", made)


def test_python_has_certificates_and_no_compiler() -> None:
    once(PYTHON, "test", "-s", "/etc/ssl/certs/ca-certificates.crt")
    once(PYTHON, "sh", "-c", "! command -v cc && ! command -v gcc")
    once(PYTHON, "python", "-c", "import bz2, ctypes, lzma, sqlite3, ssl, zlib")


def test_the_full_python_is_the_same_one_and_compiles_for_mysql() -> None:
    ask = ("python", "-c", "import sys, sysconfig; print(*sys.version_info[:2], sys.executable)")
    headers = "-I$(python -c 'import sysconfig; print(sysconfig.get_path(\"include\"))')"
    source = r"printf '#include <Python.h>\n#include <mysql.h>\nint main(void) { return 0; }'"
    compiled = f"{source} | gcc -I/usr/include/mariadb {headers} -x c - -lmariadb -o /tmp/it"

    assert once(PYTHON_FULL, *ask) == once(PYTHON, *ask)
    once(PYTHON_FULL, "sh", "-c", f"{compiled} && /tmp/it")
    once(PYTHON_FULL, "sh", "-c", "ls /usr/lib/*/libmariadb3/plugin/caching_sha2_password.so")


# mysql


def mysql(container: str, statement: str, *options: str) -> str:
    words = ["exec", "--env", "MYSQL_PWD=root-word", container, "mysql", "--batch", "--silent"]
    return docker(*words, "--user=root", *options, f"--execute={statement}")


def answers(container: str) -> bool:
    """Ask over TCP, as a health check does: only the final server listens there."""
    words = ["exec", "--env", "MYSQL_PWD=root-word", container, "mysqladmin", "--host=127.0.0.1"]
    with contextlib.suppress(AssertionError):
        docker(*words, "--user=root", "ping")
        return True
    return False


@pytest.fixture(scope="module")
def database(the_lab: lab.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server made with secrets in files, scripts of every kind and an option."""
    assert the_lab
    folder = tmp_path_factory.mktemp("mysql")
    scripts = folder / "initdb.d"
    scripts.mkdir()
    (scripts / "1.sql").write_text("CREATE TABLE steps (step INT); INSERT INTO steps VALUES (1);")
    (scripts / "2.sql.gz").write_bytes(gzip.compress(b"INSERT INTO steps VALUES (2);"))
    packed = subprocess.run(
        ["docker", "run", "--rm", "-i", "--entrypoint", "zstd", MYSQL, "-c"],
        input=b"INSERT INTO steps VALUES (3);",
        capture_output=True,
        check=True,
    )
    (scripts / "3.sql.zst").write_bytes(packed.stdout)
    (scripts / "4.sh").write_text(
        "if mysqladmin --host=127.0.0.1 ping; then step=5; else step=4; fi\n"
        'docker_process_sql <<<"INSERT INTO steps VALUES ($step)"\n'
    )
    (folder / "root").write_text("root-word")
    (folder / "root").chmod(0o600)  # as its owner, root, only
    (folder / "app").write_text("app-word\n")
    (folder / "more.cnf").write_text("[mysqld]\nmax_connections=77\n")
    readable(scripts)
    name = f"lab-test-{uuid.uuid4().hex[:8]}"
    words = ["run", "--detach", "--name", name, "--volume", f"{name}:/var/lib/mysql"]
    words += ["--volume", f"{scripts}:/docker-entrypoint-initdb.d:ro"]
    words += ["--volume", f"{folder}/root:/run/secrets/root:ro"]
    words += ["--volume", f"{folder}/app:/run/secrets/app:ro"]
    words += ["--volume", f"{folder}/more.cnf:/etc/mysql/conf.d/more.cnf:ro"]
    words += ["--env", "MYSQL_ROOT_PASSWORD_FILE=/run/secrets/root"]
    words += ["--env", "MYSQL_DATABASE=ml_flow", "--env", "MYSQL_USER=app"]
    words += ["--env", "MYSQL_PASSWORD_FILE=/run/secrets/app"]
    docker(*words, MYSQL, "--innodb-buffer-pool-size=64M")
    try:
        until(lambda: answers(name))
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", name)


def test_mysql_reads_secrets_that_only_root_can_read(database: str) -> None:
    """The entrypoint reads them before it leaves root, official and stand-in alike."""
    assert mysql(database, "SELECT 1") == "1"


def test_mysql_makes_the_database_and_a_user_bound_to_it(database: str) -> None:
    grants = mysql(database, "SHOW GRANTS FOR app")

    assert "GRANT ALL PRIVILEGES ON `ml\\_flow`.* TO `app`@`%`" in grants.replace("\\\\", "\\")
    words = ["exec", "--env", "MYSQL_PWD=app-word", database, "mysql", "--host=127.0.0.1"]
    docker(*words, "--user=app", "--execute=SELECT 1", "ml_flow")


def test_mysql_runs_initial_scripts_in_order_and_off_the_network(database: str) -> None:
    """A 5 would mean that the temporary server answered over TCP."""
    assert mysql(database, "SELECT step FROM ml_flow.steps").split() == ["1", "2", "3", "4"]


def test_mysql_takes_options_from_its_command_and_from_conf_d(database: str) -> None:
    said = mysql(
        database, "SELECT @@innodb_buffer_pool_size, @@max_connections, @@socket, @@datadir"
    )

    assert said.split() == ["67108864", "77", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/"]


def test_mysql_knows_time_zones_and_can_clone(database: str) -> None:
    mysql(database, "INSTALL PLUGIN clone SONAME 'mysql_clone.so'")
    mysql(database, "CLONE LOCAL DATA DIRECTORY '/var/lib/mysql-files/copy'")

    assert mysql(database, "SELECT CONVERT_TZ('2026-01-01', 'UTC', 'Europe/Paris')")
    docker("exec", database, "test", "-d", "/var/lib/mysql-files/copy/mysql")


def test_mysql_runs_as_user_999_and_owns_its_files(database: str) -> None:
    assert docker("exec", database, "stat", "--format=%u", "/proc/1") == "999"
    assert docker("exec", database, "stat", "--format=%u:%g", "/var/lib/mysql/mysql") == "999:999"


def test_mysql_keeps_the_history_of_its_upgrades(database: str) -> None:
    assert '"9.7.' in docker("exec", database, "cat", "/var/lib/mysql/mysql_upgrade_history")


@pytest.mark.parametrize("program", ["mysqldump", "mysqladmin", "zstd", "gzip", "openssl", "find"])
def test_mysql_has_the_tool(program: str) -> None:
    once(MYSQL, "-c", f"command -v {program}", options=("--entrypoint", "bash"))


@pytest.mark.parametrize("program", ["mysqlbinlog", "mysqlcheck", "mysqlimport", "ibd2sdi"])
def test_mysql_lacks_the_tool_in_its_path(program: str) -> None:
    once(MYSQL, "-c", f"! command -v {program}", options=("--entrypoint", "bash"))


def test_mysql_hides_mysqlbinlog_with_the_shell() -> None:
    """Official images have the shell too, which Debian does not package."""
    program = "/usr/libexec/mysqlsh/mysqlbinlog"

    assert "Ver 9.7" in once(MYSQL, "--version", options=("--entrypoint", program))


def test_mysql_stand_in_has_no_tar() -> None:
    """The official image promises none: nothing here may come to rely on one."""
    if lab.is_stand_in(MYSQL):
        once(MYSQL, "-c", "! command -v tar", options=("--entrypoint", "bash"))


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ((), "password option is not specified"),
        (("MYSQL_ROOT_PASSWORD=a", "MYSQL_ROOT_PASSWORD_FILE=/etc/hostname"), "exclusive"),
        (("MYSQL_ROOT_PASSWORD=a", "MYSQL_USER=root"), "MYSQL_USER"),
        (("MYSQL_ROOT_PASSWORD_FILE=/nowhere",), "/nowhere"),
    ],
)
def test_mysql_refuses_to_start_without_a_clear_choice(
    environ: tuple[str, ...], complaint: str
) -> None:
    options = tuple(word for pair in environ for word in ("--env", pair))

    assert complaint in once(MYSQL, options=options, expect=1)


def test_mysql_takes_a_filled_data_directory_as_it_is(start: Run) -> None:
    """Also without any password setting; and it stops cleanly when told to."""
    volume = f"lab-test-{uuid.uuid4().hex[:8]}"
    data = ("--volume", f"{volume}:/var/lib/mysql")
    try:
        first = start(MYSQL, options=(*data, "--env", "MYSQL_ROOT_PASSWORD=root-word"))
        until(lambda: answers(first))
        mysql(first, "CREATE DATABASE kept")
        docker("stop", first)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", first) == "0"
        second = start(MYSQL, options=data)
        until(lambda: answers(second))
        assert "kept" in mysql(second, "SHOW DATABASES")
    finally:
        docker("rm", "--force", "--volumes", first, second)
        docker("volume", "rm", volume)


def test_mysql_can_choose_a_random_root_password(start: Run) -> None:
    name = start(MYSQL, options=("--env", "MYSQL_RANDOM_ROOT_PASSWORD=yes"))
    until(lambda: "GENERATED ROOT PASSWORD: " in docker("logs", name))


# nginx


def get(container: str, path: str) -> str:
    words = ["exec", container, "curl", "--silent", "--show-error", "--retry-connrefused"]
    return docker(*words, "--retry", "20", "--retry-delay", "1", f"http://127.0.0.1{path}")


def test_nginx_serves_its_default_page_and_logs_to_docker(start: Run) -> None:
    name = start(NGINX)

    assert "<h1>" in get(name, "/")
    assert '"GET / HTTP/1.1" 200' in docker("logs", name)
    form = "{{.Config.StopSignal}} {{.State.Status}}"
    assert docker("inspect", "--format", form, name) == "SIGQUIT running"
    docker("stop", name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"


def test_nginx_workers_run_as_user_101() -> None:
    assert once(NGINX, "id", "--user", "nginx") == "101"
    assert "user  nginx;" in once(NGINX, "nginx", "-T")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A template with variables of ours and of nginx, and one that nobody sets."""
    folder = tmp_path / "templates"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "note.txt.template").write_text("${WORD} $MY_WORD ${UNSET_WORD} $uri")
    (folder / "site.conf.template").write_text(
        "server {\n  listen 8080;\n  location / {\n"
        '    default_type text/plain;\n    return 200 "${WORD} $uri";\n  }\n}\n'
    )
    return readable(folder)


def rendered(template: Path, output: Path, *environ: str) -> str:
    """Render the templates into a folder of this machine and give the note among them."""
    output.mkdir()
    options = ["--volume", f"{template}:/etc/nginx/templates:ro"]
    options += ["--volume", f"{output}:/etc/nginx/conf.d"]
    options += [word for pair in environ for word in ("--env", pair)]
    once(NGINX, "nginx", "-V", options=(*options,))
    return (output / "below" / "note.txt").read_text()


def test_nginx_renders_only_variables_that_are_defined(template: Path, tmp_path: Path) -> None:
    note = rendered(template, tmp_path / "out", "WORD=hello", "MY_WORD=you")

    assert note == "hello you ${UNSET_WORD} $uri"


def test_nginx_renders_only_what_the_filter_lets_through(template: Path, tmp_path: Path) -> None:
    environ = ("WORD=hello", "MY_WORD=you", "NGINX_ENVSUBST_FILTER=^MY_")

    assert rendered(template, tmp_path / "out", *environ) == "${WORD} you ${UNSET_WORD} $uri"


def test_nginx_starts_with_the_old_configuration_where_it_cannot_write(template: Path) -> None:
    options = ("--volume", f"{template}:/etc/nginx/templates:ro", "--user", "101:101")
    said = once(NGINX, "nginx", "-V", options=options)

    assert "ERROR: /etc/nginx/templates exists, but /etc/nginx/conf.d is not writable" in said
    assert "nginx version: nginx/1.30." in said


def test_nginx_runs_on_a_read_only_filesystem_as_nobody_special(start: Run, template: Path) -> None:
    options = ["--read-only", "--user", "101:101", "--cap-drop", "ALL", "--env", "WORD=hello"]
    for path in ("/var/cache/nginx", "/run", "/etc/nginx/conf.d"):
        options += ["--tmpfs", f"{path}:uid=101,gid=101"]
    name = start(NGINX, options=(*options, "--volume", f"{template}:/etc/nginx/templates:ro"))

    assert get(name, ":8080/here") == "hello /here"


def test_nginx_runs_its_scripts_only_with_the_exec_bit(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "40-name.envsh").write_text("export LATER=carried\n")
    (scripts / "41-say.sh").write_text('#!/bin/sh\necho "said: $LATER"\n')
    (scripts / "42-never.sh").write_text("#!/bin/sh\necho never\n")
    for name in ("40-name.envsh", "41-say.sh"):
        (scripts / name).chmod(0o755)
    options = []
    for path in readable(scripts).iterdir():
        options += ["--volume", f"{path}:/docker-entrypoint.d/{path.name}:ro"]
    said = once(NGINX, "nginx", "-t", options=(*options,))

    assert "said: carried" in said
    assert "Ignoring /docker-entrypoint.d/42-never.sh, not executable" in said
    assert "\nnever" not in said


def test_nginx_does_not_start_when_a_script_fails(tmp_path: Path) -> None:
    script = readable(tmp_path) / "40-fail.sh"
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o755)
    mount = ("--volume", f"{script}:/docker-entrypoint.d/40-fail.sh:ro")

    once(NGINX, "nginx", "-t", options=mount, expect=7)
