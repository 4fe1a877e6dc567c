"""The sheet followed word by word: a host is gone, and stock tools bring its database back.

`age`, `zstd`, `tar`, `mysqlbinlog` and `mysql` are the real ones; `aws` is a stand-in with the two
commands of the sheet, over boto3, because the real one is as large as all else together.
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import lab
from tests.e2e.conftest import Project, output, s3_settings, wait_for
from tests.e2e.test_backups import bases, listed
from tests.e2e.test_rotation_here import USERS, let_in
from tests.e2e.workload import Workload

AWS = """#!{python}
import os, sys
import boto3

s3 = boto3.client("s3")
verb, recursive = sys.argv[2], "--recursive" in sys.argv
place, *target = [each for each in sys.argv[3:] if not each.startswith("--")]
bucket, _, prefix = place.removeprefix("s3://").partition("/")
found = []
for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
    found += [entry["Key"] for entry in page.get("Contents", [])]
if verb == "ls" and recursive:
    print("\\n".join(f"2026-01-01 00:00:00          1 {{key}}" for key in found))
elif verb == "ls":
    folders = sorted({{key.removeprefix(prefix).split("/")[0] + "/" for key in found}})
    print("\\n".join(f"                           PRE {{name}}" for name in folders))
else:
    for key in found:
        path = os.path.join(target[0], key.removeprefix(prefix))
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        s3.download_file(bucket, key, path)
"""


@pytest.fixture(scope="module")
def gone(
    make_project: Callable[..., Project],
    the_lab: lab.Lab,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Project, Workload, str]:
    """A stack that was backed up, changed once more, and lost; the workload, and its passphrase."""
    project = make_project(
        "sheet",
        **s3_settings(the_lab, "s3://mlflow-artifacts/sheet"),
        BACKUPS_DESTINATION=f"s3://mlflow-artifacts/sheet-stored-{time.time_ns()}",
        WEB_WORKERS="1",
    )
    project.invoke("backup-key")
    project.invoke("up", "--engine", "compose")
    # The sheet takes the newest, which is to be the copy that is ordered here.
    wait_for(lambda: {"base", "dump"} == {each["kind"] for each in listed(project)}, 90, "backups")
    project.invoke("backup")
    workload = Workload(
        {**project.environ, "MLFLOW_TRACKING_URI": project.url},
        tmp_path_factory.mktemp("sheet") / "record.json",
    )
    workload.log(megabytes=1)
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    project.invoke("smoke")
    wait_for(lambda: bases(project)[-1]["restores_to"] > now, 60, "the logs in S3")
    time.sleep(10)
    passphrase = re.findall(r"KEK_PASSPHRASE=.*", (project.root / ".env").read_text("utf-8"))[0]
    return project, workload, passphrase


def test_stock_tools_bring_a_lost_database_back(
    gone: tuple[Project, Workload, str], the_lab: lab.Lab, tmp_path: Path
) -> None:
    project, workload, passphrase = gone
    sheet = project.invoke("backup-key", "--sheet").stdout
    blocks = re.findall(r"```bash\n(.*?)```", sheet, re.DOTALL)
    project.invoke("down")
    output("docker", "volume", "rm", f"{project.name}_db", f"{project.name}_spool")
    (tmp_path / "bin").mkdir()
    aws = tmp_path / "bin" / "aws"
    aws.write_text(AWS.format(python=sys.executable), "utf-8")
    aws.chmod(0o755)
    output("docker", "rm", "--force", "restore")
    keys = {
        "AWS_ACCESS_KEY_ID": the_lab.s3.access_key,
        "AWS_SECRET_ACCESS_KEY": the_lab.s3.secret_key,
        "AWS_ENDPOINT_URL": the_lab.s3.endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
    }

    script = f"cd {tmp_path}\n" + "\n".join(blocks)
    words = ["env", *(f"{key}={value}" for key, value in keys.items())]
    words += [f"HOME={project.environ['HOME']}", "bash", "-c", script]
    path = f"{tmp_path}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    said = output("env", f"PATH={path}", *words)

    assert "DAMAGED" not in said
    assert "MISSING" not in said
    made = re.findall(r"^MYSQL_(?:ROOT_)?PASSWORD='.*'$", said, re.MULTILINE)
    assert len(made) == 2
    before = {key: project.secret(key) for key in USERS}
    project.unset(*USERS, "KEK_PASSPHRASE")
    with (project.root / ".env").open("a", encoding="utf-8") as file:
        file.write("\n".join([*made, passphrase]) + "\n")
    # Two more users are made by `up`, with new passwords.
    project.invoke("up")
    workload.verify()
    project.invoke("smoke")
    for key, user in USERS.items():
        assert not let_in(project, user, before[key]), f"{user} comes in as before"
