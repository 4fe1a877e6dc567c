"""Who AWS takes us for. moto knows one user; where credentials come from is botocore's to say."""

import json
import sys
from pathlib import Path

import pytest

from ops import caller
from ops.settings import Settings
from tests.aws import Aws
from tests.test_tasks import invoke

SECRET = "a-secret-of-some-length"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a project without a `.env`, found by the task."""
    found = Settings(root=tmp_path)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))
    return found


def shown(capsys: pytest.CaptureFixture[str], region: str = "") -> dict[str, str]:
    caller.show(region, as_json=True)
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("settings")
def test_a_script_reads_account_region_identity_and_where_the_credentials_came_from(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {
        "account": "123456789012",
        "region": "us-west-1",
        "partition": "aws",
        "arn": "arn:aws:sts::123456789012:user/moto",
        "credentials": "env",
    } == shown(capsys, "us-west-1")
    assert ["GetCallerIdentity"] == aws.operations


@pytest.mark.usefixtures("settings", "aws")
def test_a_person_reads_the_same_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    caller.show("", as_json=False)

    assert "account     123456789012\nregion      eu-west-2\n" in capsys.readouterr().out


@pytest.mark.usefixtures("settings", "aws")
@pytest.mark.parametrize(
    ("lines", "credentials"),
    [
        (f"aws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n", "config-file"),
        ("credential_process = {program}\n", "custom-process"),
        ("role_arn = arn:aws:iam::123456789012:role/ops\nsource_profile = keys\n", "assume-role"),
    ],
)
def test_a_profile_is_named_with_the_way_it_gets_credentials_and_no_key_is_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    credentials: str,
) -> None:
    made = {"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": SECRET}
    (tmp_path / "program.py").write_text(f"print('''{json.dumps(made)}''')", "utf-8")
    program = f"{sys.executable} {tmp_path / 'program.py'}"
    keys = f"[profile keys]\naws_access_key_id = AKIA\naws_secret_access_key = {SECRET}\n"
    config = tmp_path / "config"
    config.write_text(f"[profile team]\n{lines.format(program=program)}{keys}", "utf-8")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "team")
    caller.show("", as_json=True)
    said = capsys.readouterr()

    found = json.loads(said.out)
    assert (credentials, "team") == (found["credentials"], found["profile"])
    assert SECRET not in said.out + said.err


@pytest.mark.usefixtures("aws")
def test_an_s3_server_of_one_s_own_has_other_keys_which_are_named_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "ARTIFACTS_DESTINATION='s3://team'\nS3_ENDPOINT_URL='https://s3.example.com'\n"
    keys = f"S3_ACCESS_KEY_ID='AKIA'\nS3_SECRET_ACCESS_KEY='{SECRET}'\n"
    load = Settings.load
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: load(tmp_path, {})))
    (tmp_path / ".env").write_text(place, "utf-8")
    assert "https://s3.example.com, with the credentials above" in shown(capsys)["s3"]

    (tmp_path / ".env").write_text(place + keys, "utf-8")
    caller.show("", as_json=True)
    said = capsys.readouterr().out
    assert "https://s3.example.com, with S3_ACCESS_KEY_ID of .env" in json.loads(said)["s3"]
    assert "AKIA" not in said
    assert SECRET not in said


def test_without_credentials_a_script_gets_one_error_and_exit_code_2(project: Path) -> None:
    done = invoke(
        project,
        "whoami",
        "--json",
        AWS_DEFAULT_REGION="eu-west-2",
        AWS_EC2_METADATA_DISABLED="true",
    )

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("error: there are no AWS credentials: ")
    assert 2 == len(done.stderr.splitlines())
