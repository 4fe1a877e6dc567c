"""The command line, as a person and a script meet it."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from tests.conftest import ROOT, StandInServer

NAMES = [
    *("add-user", "audit", "backup", "backup-key", "bench", "build", "client-env", "create-bucket"),
    *("deploy", "doctor", "down", "drill", "exec", "grant", "hosts"),
    *("list-backups", "list-users", "logs", "policy", "prepare", "provision", "push"),
    *("releases", "remove-user", "restore", "revoke", "rollback", "rotate-secret"),
    *("set-password", "smoke", "status", "terminate", "token", "trust", "tunnel", "up"),
    *("upgrade", "verify", "whoami"),
]


def invoke(project: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "invoke", *words],
        cwd=project,
        env={"PATH": "/nonexistent", "LANG": "C.UTF-8", "HOME": str(project), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_tasks_are_these() -> None:
    assert sorted(Collection.from_module(tasks).task_names) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_explained_in_one_sentence_and_each_flag_has_help(name: str) -> None:
    task = Collection.from_module(tasks)[name]
    doc = inspect.getdoc(task.body) or ""
    flags = list(inspect.signature(task.body).parameters)[1:]

    assert len(doc.splitlines()) == 1
    assert doc.endswith((".", '"'))
    assert doc[0].isupper()
    assert {key.replace("-", "_") for key in task.help} == {flag.rstrip("_") for flag in flags}
    assert all(task.help.values())


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_task_shows_every_flag(name: str) -> None:
    done = invoke(ROOT, "--help", name)
    task = Collection.from_module(tasks)[name]

    assert done.returncode == 0
    for flag in task.help:
        assert f"--{flag}" in done.stdout


def test_a_task_s_body_is_short() -> None:
    functions = [
        node
        for node in ast.parse(inspect.getsource(tasks)).body
        if isinstance(node, ast.FunctionDef)
    ]

    assert len(NAMES) <= len(functions)
    for function in functions:
        _doc, *statements = function.body
        assert len(statements) <= 4, function.name


def test_the_list_of_tasks_is_whole() -> None:
    done = invoke(ROOT, "--list")

    assert done.returncode == 0
    assert all(name in done.stdout for name in NAMES)


def test_the_list_of_tasks_is_quick_as_nothing_is_imported_for_it_but_the_tasks() -> None:
    script = (
        "import sys; from invoke.main import program; before = {*sys.modules}; "
        "program.run(['invoke', '--list'], exit=False); "
        "added = {name.partition('.')[0] for name in {*sys.modules} - before}; "
        "print(*sorted(added - sys.stdlib_module_names), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ["tasks"] == done.stderr.split()


def test_results_are_on_stdout_and_all_else_on_stderr(project: Path) -> None:
    done = invoke(project, "client-env")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "export MLFLOW_TRACKING_URI=http://localhost:5050\n"

    done = invoke(project, "down")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "the server was not running\n"
    assert not (project / ".env").exists()
    assert not (project / "data").exists()


def test_the_smoke_test_as_a_script_meets_it(project: Path, server: StandInServer) -> None:
    done = invoke(project, "smoke", "--url", server.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 11

    server.broken["POST /runs/set-tag"] = (500, b"boom")
    done = invoke(project, "smoke", "--url", server.url)
    assert done.returncode == 1
    assert done.stderr.startswith("error: set a tag: HTTP 500: boom\n  try: ")
    assert "Traceback" not in done.stderr


def test_the_environment_is_read_as_settings(project: Path) -> None:
    done = invoke(project, "client-env", "--json", PUBLIC_URL="https://x.example")

    assert done.stdout == '{\n  "MLFLOW_TRACKING_URI": "https://x.example"\n}\n'


def test_tasks_work_from_a_folder_below_the_repository(project: Path) -> None:
    (project / ".env").write_text("HTTP_PORT='6000'\n", "utf-8")
    done = invoke(project / "nginx" / "snippets", "client-env")

    assert done.stdout == "export MLFLOW_TRACKING_URI=http://localhost:6000\n"
    assert not (project / "nginx" / "snippets" / "data").exists()


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a;id", "a\nb"])
def test_a_host_that_is_none_is_refused(project: Path, host: str) -> None:
    done = invoke(project, "trust", f"--host={host}")

    assert done.returncode == 2
    assert done.stderr.startswith(f"error: --host {host!r} is not a host")
    assert not (project / "data").exists()
