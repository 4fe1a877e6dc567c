"""The checks of this repository: lint, test, e2e; bench measures, lock renews the requirements."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "test"]

DEV = ("--require-hashes", "-r", "requirements-dev.txt")
CLIENT = ("--require-hashes", "-r", "tests/e2e/tools/client.txt")
TOOLS = ("client", "identity", "old-client", "scanners", "figures")
SHELL = (".ci/run", "mlflow/entrypoint.sh")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, mypy, and the linters of Dockerfiles, shell, compose files and NGINX."""
    session.install(*DEV)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run(
        "hadolint", *(f"{name}/Dockerfile" for name in ("mlflow", "backup", "certificates"))
    )
    session.run("shellcheck", *SHELL)
    rendered = Path(session.create_tmp())
    session.run("python", "-m", "tests.rendered", str(rendered))
    files = [str(path) for path in sorted(rendered.glob("compose-*.yaml"))]
    session.run("compose-lint", "--strict-config", "--fail-on=low", "--skip-suppressed", *files)
    for path in sorted(rendered.glob("nginx-*.conf")):
        session.run("gixy", "-l", str(path))


@nox.session
def test(session: nox.Session) -> None:
    """Everything that needs no network and no Docker; minutes, on every core."""
    session.install(*DEV)
    # Some take 40 s where the lab is built beside them.
    session.run("pytest", "--ignore=tests/e2e", "-n=auto", "--timeout=180", *session.posargs)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """The promises of this repository, kept by real parts: Docker, or a Debian to put it on."""
    session.install(*DEV)
    session.install(*CLIENT)
    # Much of it is waiting. What must not run side by side, tests/e2e/conftest.py says.
    options = ("-n=2", "--timeout=900", "--durations=15")
    session.run("pytest", "tests/e2e", *options, *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure side by side with what others do: `nox -s bench -- deploy`, `backup`, `server`."""
    session.install(*DEV)
    session.install(*CLIENT)
    files = [f"tests/e2e/bench_{name}.py" for name in session.posargs or ["deploy"]]
    collect = ("-o", "python_files=bench_*.py", "-o", "python_functions=bench_*")
    session.run("pytest", *files, *collect, "--timeout=3600")


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Compile the requirements anew; `nox -s lock -- --upgrade` takes newer versions."""
    session.install(*DEV)
    for name in (
        *("mlflow/requirements", "mlflow/driver", "mlflow/driver-build"),
        *("backup/requirements", "certificates/requirements"),
        *("requirements", "requirements-dev"),
        *(f"tests/e2e/tools/{tool}" for tool in TOOLS),
    ):
        # What clients alone need.
        left_out = ("--excludes=mlflow/excludes.txt",) if name == "mlflow/requirements" else ()
        session.run(
            *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes"),
            *("--python-version=3.11", "--custom-compile-command=nox -s lock"),
            *(*left_out, f"--output-file={name}.txt", f"{name}.in", *session.posargs),
        )
