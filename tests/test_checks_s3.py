"""S3 from inside the server's container: what the script says, and what is made of it."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ops import checks_s3
from ops.checks import NotChecked
from ops.hosts import Result
from ops.settings import Settings
from tests import patients
from tests.patients import IDENTITY, IN_WEB, INSPECT, containers

DEPLOY = f"invoke deploy --host {patients.NAME}"


def s3_says(code: str, step: str = "PutObject") -> dict[str, Result | str]:
    return {IN_WEB: json.dumps({"step": step, "code": code, "said": "what S3 said"})}


CASES: list[tuple[dict[str, Result | str], str, str, str]] = [
    ({}, "ok", "put, get, list and delete in s3://bucket/team", ""),
    (
        {IN_WEB: Result(1, "", "the live release keeps artifacts elsewhere\n")},
        *("fail", "the live release keeps artifacts elsewhere", DEPLOY),
    ),
    (
        s3_says("AccessDenied"),
        *("fail", "PutObject in s3://bucket/team: what", "PutObject on arn:aws:s3:::bucket/team/*"),
    ),
    (
        s3_says("AccessDenied", "ListBucket"),
        *("fail", "ListBucket in", "allow the role or user s3:ListBucket on arn:aws:s3:::bucket"),
    ),
    (
        s3_says("AccessDenied", "DeleteObject"),
        *("fail", "DeleteObject in", "then delete s3://bucket/team/.mlflow-compose-doctor-"),
    ),
    (s3_says("NoSuchBucket"), "fail", "PutObject", "make the bucket"),
    (s3_says("SignatureDoesNotMatch"), "fail", "", "S3_SECRET_ACCESS_KEY"),
    (s3_says("EndpointConnectionError"), "fail", "", "S3_ENDPOINT_URL"),
    (s3_says("NoCredentialsError"), "fail", "", "set S3_ACCESS_KEY_ID"),
    (
        s3_says("NoCredentialsError") | {IDENTITY: Result(1, "i-0123456789abcdef0\n", "")},
        *("fail", "PutObject", "aws ec2 modify-instance-metadata-options --instance-id "),
    ),
]


@pytest.fixture
def in_s3(settings: Settings) -> Settings:
    """The settings of a stack that keeps its artifacts in S3."""
    return replace(settings, artifacts_destination="s3://bucket/team")


@pytest.mark.parametrize(("changed", "state", "found", "remedy"), CASES)
def test_an_answer_makes_a_finding(
    in_s3: Settings, *, changed: dict[str, Result | str], state: str, found: str, remedy: str
) -> None:
    finding = checks_s3.s3(patients.patient(in_s3, changed))

    assert state == finding.state, finding
    assert re.search(found, finding.found), finding
    assert remedy in finding.remedy
    assert bool(finding.remedy) == (state != "ok")


def test_on_ec2_the_way_to_credentials_is_the_exact_command(settings: Settings) -> None:
    identity = Result(1, "i-0123456789abcdef0\n", "cat: /var/lib/cloud/data/instance-id: No such")
    made = patients.patient(settings, s3_says("NoCredentialsError") | {IDENTITY: identity})

    assert checks_s3.s3(made).remedy.endswith(
        "aws ec2 modify-instance-metadata-options --instance-id i-0123456789abcdef0 "
        "--http-put-response-hop-limit 2"
    )


def test_it_is_for_stacks_that_keep_artifacts_in_s3(settings: Settings, in_s3: Settings) -> None:
    (check,) = checks_s3.CHECKS

    assert check.when(in_s3)
    assert not check.when(settings)


def test_a_server_that_does_not_run_cannot_be_asked(in_s3: Settings) -> None:
    ended = containers(web={"state": {"Status": "exited"}})
    with pytest.raises(NotChecked, match="web does not run"):
        checks_s3.s3(patients.patient(in_s3, {INSPECT: ended}))


def test_each_check_has_a_key_of_its_own_and_no_secret_is_a_word(in_s3: Settings) -> None:
    made = patients.patient(in_s3)
    checks_s3.s3(made)
    checks_s3.s3(made)
    asked = [line for line in patients.lines(made) if line.startswith(IN_WEB)]
    start = f"{IN_WEB} /opt/entrypoint.sh python -I - .mlflow-compose-doctor-"

    assert len({*asked}) == 2
    assert all(re.fullmatch(re.escape(start) + "[0-9a-f]{16}", line) for line in asked)


FAKE_BOTO3 = """
import json, os
class Body:
    def read(self): return b"doctor"
class Client:
    def __getattr__(self, name):
        def call(**given):
            with open(os.environ["CALLS"], "a") as calls:
                calls.write(f"{name} {given['Bucket']} {given.get('Key') or given['Prefix']}\\n")
            if name == os.environ["BREAKS"]:
                from botocore.exceptions import ClientError
                raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, name)
            key = given.get("Prefix")
            return {"Body": Body(), "Contents": [{"Key": key}]}
        return call
def client(*_, **given):
    assert given["endpoint_url"] == "http://s3.test"
    return Client()
"""


def script(tmp_path: Path, breaks: str = "", place: str = "s3://bucket/team") -> Any:
    """Run the script that the server's container is given, with a fake boto3."""
    (tmp_path / "boto3.py").write_text(FAKE_BOTO3, "utf-8")
    calls = tmp_path / "calls"
    calls.touch()
    done = subprocess.run(
        [sys.executable, "-", ".doctor-1"],
        input=checks_s3.SCRIPT,
        env={
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "MLFLOW_ARTIFACTS_DESTINATION": place,
            "MLFLOW_S3_ENDPOINT_URL": "http://s3.test",
            "CALLS": str(calls),
            "BREAKS": breaks,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return SimpleNamespace(
        code=done.returncode, out=done.stdout, err=done.stderr, calls=calls.read_text().split("\n")
    )


def test_the_script_puts_gets_lists_and_deletes_one_key_below_the_prefix(tmp_path: Path) -> None:
    done = script(tmp_path)

    assert (done.code, done.out, done.err) == (0, "", "")
    assert done.calls == [
        *(f"{call} bucket team/.doctor-1" for call in ("put_object", "get_object")),
        *(f"{call} bucket team/.doctor-1" for call in ("list_objects_v2", "delete_object")),
        "",
    ]


@pytest.mark.parametrize(
    ("breaks", "step", "deleted"),
    [
        ("put_object", "PutObject", False),
        ("get_object", "GetObject", True),
        ("list_objects_v2", "ListBucket", True),
        ("delete_object", "DeleteObject", True),
    ],
)
def test_the_script_names_the_step_that_failed_and_deletes_what_it_put(
    tmp_path: Path, breaks: str, step: str, deleted: bool
) -> None:
    done = script(tmp_path, breaks)
    said = json.loads(done.out)

    assert (done.code, said["step"], said["code"]) == (0, step, "AccessDenied")
    assert ("delete_object bucket team/.doctor-1" in done.calls) == deleted


def test_the_script_leaves_a_server_alone_that_keeps_artifacts_in_a_volume(tmp_path: Path) -> None:
    done = script(tmp_path, place="/var/lib/mlflow/artifacts")

    assert (done.code, done.err) == (1, "the live release keeps artifacts elsewhere\n")
    assert done.calls == [""]
