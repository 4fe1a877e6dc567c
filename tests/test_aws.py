"""AWS's errors in our words; moto's server over HTTP answers, or fails as AWS does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.aws import Account, credentials_file, in_our_words, log_in, s3_compatible
from ops.errors import FAILED, REFUSED, OpsError
from ops.settings import Settings
from ops.values import Secret
from tests.aws import REGION, Aws, Call, Fault


def every(_: int, __: Call) -> bool:
    return True


def said(fault: Fault, aws: Aws, call: Callable[[Account], object], code: int) -> OpsError:
    """Return the error that a call ends with."""
    account = log_in()
    with aws.failing(fault), pytest.raises(OpsError) as caught, in_our_words(code):
        call(account)
    assert code == caught.value.code
    return caught.value


def test_the_account_says_who_and_where_we_are(aws: Aws) -> None:
    account = log_in()

    assert "123456789012" == account.id
    assert REGION == account.region
    assert "aws" == account.partition
    assert ["GetCallerIdentity"] == aws.operations


def test_a_region_that_is_given_wins(aws: Aws) -> None:
    del aws

    assert "us-west-1" == log_in("us-west-1").region


def test_another_part_of_aws_has_its_own_name(aws: Aws) -> None:
    del aws
    account = log_in("cn-north-1")

    assert "aws-cn" == account.partition
    assert "cn-northwest-1" == account.pricing.meta.region_name


def test_no_region_is_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(OpsError, match="no AWS region is set") as caught:
        log_in()

    assert REFUSED == caught.value.code
    assert not aws.calls


@pytest.fixture
def nobody(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """No credentials."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return aws


def test_no_credentials_are_refused_with_how_to_log_in(nobody: Aws) -> None:
    with pytest.raises(OpsError, match="no AWS credentials") as caught:
        log_in()

    assert REFUSED == caught.value.code
    assert "aws sso login" in caught.value.remedy
    assert not nobody.calls


def test_a_profile_that_is_not_there_is_refused(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OpsError, match="nobody") as caught:
        log_in()

    assert REFUSED == caught.value.code
    assert not aws.calls


@pytest.fixture
def sso(nobody: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A profile that was logged in by SSO and is not any more."""
    config = tmp_path / "config"
    config.write_text(
        "[profile team]\nsso_session = team\nsso_account_id = 123456789012\nsso_role_name = op\n"
        "[sso-session team]\nsso_region = eu-west-2\nsso_start_url = https://team.example.test\n",
        "utf-8",
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "team")
    return nobody


@pytest.mark.usefixtures("sso")
def test_an_expired_sso_login_is_refused_with_the_command_that_renews_it() -> None:
    with pytest.raises(OpsError, match="has expired") as caught:
        log_in()

    assert REFUSED == caught.value.code
    assert "log in again: aws sso login" == caught.value.remedy


@pytest.mark.parametrize(
    ("code", "status", "cause", "remedy"),
    [
        ("ExpiredToken", 400, "have expired", "aws sso login"),
        ("InvalidClientTokenId", 403, "does not take", "a region that is off"),
        ("AuthFailure", 401, "does not take", "a region that is off"),
        ("RequestExpired", 400, "clock", "timedatectl"),
        ("OptInRequired", 403, "says no to DescribeVpcs", "turn the region on"),
        ("VcpuLimitExceeded", 400, "says no", "Service Quotas"),
        ("Nonsense", 400, "says no to DescribeVpcs: injected", "read what AWS says"),
    ],
)
def test_what_aws_says_has_a_cause_and_a_way_out(
    aws: Aws, code: str, status: int, cause: str, remedy: str
) -> None:
    fault = Fault(every, code=code, status=status)
    error = said(fault, aws, lambda account: account.ec2.describe_vpcs(), FAILED)

    assert cause in error.cause
    assert remedy in error.remedy


def test_a_clock_that_is_wrong_is_named(aws: Aws) -> None:
    fault = Fault(every, code="SignatureDoesNotMatch", status=403, message="Signature expired: x")
    error = said(fault, aws, lambda account: account.iam.list_roles(), REFUSED)

    assert "clock" in error.cause


def test_a_busy_aws_is_asked_again_and_then_reported(aws: Aws) -> None:
    account = log_in()
    with aws.failing(Fault(lambda number, _: number < 1, code="Throttling", status=400)):
        account.ec2.describe_vpcs()

        assert 2 == len(aws.calls)
    fault = Fault(every, code="RequestLimitExceeded", status=503)
    error = said(fault, aws, lambda account: account.ec2.describe_vpcs(), FAILED)

    assert "too busy for DescribeVpcs" in error.cause


def test_a_denied_call_names_the_action_and_the_statement_of_the_policy_that_allows_it(
    aws: Aws,
) -> None:
    fault = Fault(every, code="UnauthorizedOperation", status=403)
    error = said(fault, aws, lambda account: account.ec2.describe_instances(), REFUSED)

    assert "AWS denies DescribeInstances: injected" == error.cause
    remedy = "let whom `invoke whoami` shows do ec2:DescribeInstances: "
    assert f"{remedy}statement Look of `invoke policy`" == error.remedy


@pytest.mark.parametrize(
    ("region", "remedy"),
    [("eu-wset-2", "--region eu-west-2"), ("eu-west-2", "a firewall")],
)
def test_an_aws_that_is_not_reached_is_named(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, region: str, remedy: str
) -> None:
    del aws
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://sts.{region}.localhost.invalid:1")
    with pytest.raises(OpsError, match="not reached") as caught:
        log_in(region)

    assert REFUSED == caught.value.code
    assert remedy in caught.value.remedy


def test_an_s3_server_of_one_s_own_gets_the_keys_of_the_settings() -> None:
    client = s3_compatible(
        Settings(
            s3_endpoint_url="https://s3.example.com",
            s3_access_key_id="key",
            s3_secret_access_key=Secret("secret-of-some-length"),
        )
    )

    assert "https://s3.example.com" == client.meta.endpoint_url
    assert "us-east-1" == client.meta.region_name


@pytest.mark.parametrize(
    ("code", "status", "cause", "remedy"),
    [
        ("AccessDenied", 403, "the server at x denies ListBuckets", "let the keys of .env do "),
        ("SignatureDoesNotMatch", 403, "the server at x says no to", "check the access key"),
        ("Nonsense", 400, "the server at x says no to", "read what the server at x says above"),
    ],
)
def test_an_s3_server_of_one_s_own_is_not_called_aws(
    aws: Aws, code: str, status: int, cause: str, remedy: str
) -> None:
    account = log_in()
    fault = Fault(every, code=code, status=status)
    with (
        aws.failing(fault),
        pytest.raises(OpsError) as caught,
        in_our_words(FAILED, "the server at x"),
    ):
        account.s3.list_buckets()

    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert "AWS" not in f"{caught.value.cause} {caught.value.remedy}"


# --- Whom a container is to be ---


def test_a_credentials_file_says_whom_this_machine_is_and_asks_nobody(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
    assert f"{keys}region = {REGION}\n" == credentials_file()
    assert f"{keys}region = eu-south-1\n" == credentials_file("eu-south-1")

    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    assert f"{keys}aws_session_token = a-token\nregion = {REGION}\n" == credentials_file()
    assert not aws.calls


def test_a_credentials_file_is_read_by_boto3_with_its_region(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-token")
    file = tmp_path / "credentials"
    file.write_text(credentials_file("eu-south-1"))
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    assert "eu-south-1" == log_in().region
    assert aws.calls


def test_nobody_is_an_empty_credentials_file(nobody: Aws) -> None:
    assert "" == credentials_file()
    assert not nobody.calls


def test_credentials_that_cannot_be_had_are_refused(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OpsError, match="nobody") as caught:
        credentials_file()

    assert REFUSED == caught.value.code
    assert not aws.calls
