"""A dry run: all of a deploy is printed, in order, and nothing is done."""

from pathlib import Path

import pytest

from tests.conftest import BACKUPS
from tests.test_tasks import invoke

IN_ORDER = [
    "this machine$ docker build",
    ": send mlflow-compose/web:",
    "$ bash -c",  # the lock
    "$ tee --append mlflow-compose/audit.jsonl",
    "$ tar --extract",
    "--wait --wait-timeout=300 db",
    "--no-TTY migrate",
    "--scale=web=2 web",
    "nginx -q -t -c",
    "exec --no-TTY nginx curl --fail",
    "$ tee mlflow-compose/releases/next.conf",
    "-s reload",
    "$ ln -sfn",
    "-s reload",
    "$ docker stop",
    "$ docker rm",
    "$ tee --append mlflow-compose/audit.jsonl",
]


def files(project: Path) -> set[Path]:
    return {path for path in project.rglob("*") if "__pycache__" not in path.parts}


def test_a_deploy_is_printed_step_by_step_and_nothing_is_built_written_or_connected_to(
    project: Path,
) -> None:
    before = files(project)
    done = invoke(project, "--dry", "deploy", "--host", "ubuntu@host.invalid")

    assert done.returncode == 0, done.stderr
    at = 0
    for step in IN_ORDER:
        assert step in done.stdout[at:], f"{step} is not there, or not after what goes before it"
        at = done.stdout.index(step, at) + len(step)
    assert before == files(project)
    asked = [line for line in done.stdout.splitlines() if line.endswith("8081/release")]
    assert len(asked) == 1


def test_several_hosts_are_printed_each_by_its_name(project: Path) -> None:
    (project / "ca.pem").touch()
    environ = {
        "DATABASE_HOST": "db.invalid",
        "DATABASE_CA_FILE": str(project / "ca.pem"),
        "MYSQL_PASSWORD": "0123456789abcdef",
        "ARTIFACTS_DESTINATION": "s3://bucket",
    }
    done = invoke(project, "--dry", "deploy", "--host", "a.invalid,b.invalid", **environ)

    assert done.returncode == 0, done.stderr
    for name in ("a.invalid", "b.invalid"):
        assert f"{name}$ ln -sfn" in done.stdout
    assert "300 db" not in done.stdout
    assert "0123456789abcdef" not in done.stdout
    assert done.stdout.count("--no-TTY migrate") == 1


def test_with_a_registry_the_image_goes_by_way_of_it(project: Path) -> None:
    done = invoke(
        project, "--dry", "deploy", "--host", "a.invalid", REGISTRY="registry.invalid:5000/team"
    )

    assert "this machine$ docker image push registry.invalid:5000/team/web:" in done.stdout
    assert "a.invalid$ docker image pull registry.invalid:5000/team/web:" in done.stdout
    assert ": send " not in done.stdout


def test_a_command_for_a_host_is_printed_as_it_would_be_run(project: Path) -> None:
    hosts = ("--host", "a.invalid", "--host", "b.invalid,c.invalid")
    done = invoke(project, "exec", "--dry", *hosts, "--", "docker", "ps")

    assert 0 == done.returncode
    lines = [f"{name}.invalid$ sh -c 'docker ps'" for name in "abc"]
    assert lines == done.stdout.splitlines()


GUARDED = {
    "BACKUPS_DESTINATION": "s3://my-backups/mlflow",
    "BACKUP_RECIPIENTS": BACKUPS["backup_recipients"],
    "S3_REGION": BACKUPS["s3_region"],
}


def test_the_services_of_backups_are_printed_too(project: Path) -> None:
    done = invoke(project, "--dry", "deploy", "--host", "a.invalid", **GUARDED)

    assert done.returncode == 0, done.stderr
    at = 0
    for step in (
        "docker build --tag mlflow-compose/web:",
        "docker build --tag mlflow-compose/backup:",
        ": send mlflow-compose/web:",
        ": send mlflow-compose/backup:",
        "$ tar --extract",
        "--wait --wait-timeout=300 db",
        "exec --no-TTY db sh -c",
        "--wait --wait-timeout=300 dump backup",
        "--no-TTY migrate",
    ):
        assert step in done.stdout[at:], f"{step} is not there, or not after what goes before it"
        at = done.stdout.index(step, at) + len(step)


def test_a_place_for_backups_without_a_key_is_refused_before_anything_is_printed(
    project: Path,
) -> None:
    given = {**GUARDED, "BACKUP_RECIPIENTS": ""}
    for words in (("--dry", "deploy"), ("deploy",)):
        done = invoke(project, *words, "--host", "a.invalid", **given)

        assert (2, "") == (done.returncode, done.stdout)
        assert "names no key to encrypt for" in done.stderr


@pytest.mark.parametrize(
    "task",
    [
        *("up", "down", "smoke", "build", "push", "rollback", "tunnel", "trust", "prepare"),
        *("backup", "restore", "drill", "backup-key", "upgrade"),
    ],
)
def test_a_task_that_has_no_dry_run_refuses_one_instead_of_doing_it(
    project: Path, task: str
) -> None:
    before = files(project)
    done = invoke(project, "--dry", task)

    assert (2, "") == (done.returncode, done.stdout)
    assert "error: this task has no dry run" in done.stderr
    assert before == files(project)
