"""What is wanted of a bucket: flags and settings as one wish, or one refusal."""

from dataclasses import replace

import pytest

from ops.bucket_wishes import Given, Wish, understood
from ops.errors import REFUSED, OpsError
from ops.settings import Settings

HERE = Settings(artifacts_destination="s3://team-artifacts/mlflow")
BOTH = replace(HERE, backups_destination="s3://team-backups/mlflow")
KEY = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def refused(given: Given, settings: Settings = HERE) -> OpsError:
    with pytest.raises(OpsError) as caught:
        understood(given, settings)
    assert REFUSED == caught.value.code
    return caught.value


def test_without_a_name_it_is_the_bucket_of_the_artifacts() -> None:
    assert Wish(name="team-artifacts", kind="artifacts", prefix="mlflow/") == understood(
        Given(), HERE
    )


def test_without_a_name_it_is_the_bucket_of_the_backups() -> None:
    found = understood(Given(kind="backups"), BOTH)

    assert ("team-backups", "mlflow/", 30) == (found.name, found.prefix, found.days)
    assert found == understood(Given("team-backups", "backups"), BOTH)


def test_another_bucket_has_backups_at_its_top() -> None:
    whole = replace(HERE, backups_destination="s3://team-backups")

    assert "" == understood(Given("other", "backups"), BOTH).prefix
    assert "" == understood(Given("team-artifacts", "backups"), BOTH).prefix
    assert "" == understood(Given(kind="backups"), whole).prefix


def test_another_bucket_has_artifacts_anywhere() -> None:
    whole = replace(HERE, artifacts_destination="s3://team-artifacts")

    assert Wish(name="other", kind="artifacts") == understood(Given("other"), HERE)
    assert Wish(name="team-artifacts", kind="artifacts") == understood(Given(), whole)


def test_backups_are_locked_for_thirty_days_unless_somebody_says_more() -> None:
    plain = understood(Given("dumps", "backups"), HERE)
    strict = understood(Given("dumps", "backups", lock="compliance", retention_days="365"), HERE)

    assert ("GOVERNANCE", 30, "") == (plain.lock, plain.days, plain.prefix)
    assert ("COMPLIANCE", 365) == (strict.lock, strict.days)


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_a_key_says_where_it_is(partition: str) -> None:
    arn = KEY.replace("arn:aws:", f"arn:{partition}:")

    assert "eu-west-2" == understood(Given(kms_key=arn), HERE).key_region
    assert "" == understood(Given(), HERE).key_region


@pytest.mark.parametrize(
    "key", ["alias/mlflow", KEY.rpartition("/")[2], KEY.replace(":key/", ":alias/"), KEY + " "]
)
def test_a_key_is_taken_by_its_arn_only(key: str) -> None:
    error = refused(Given(kms_key=key))

    assert f"--kms-key {key!r} is not the ARN of a key" == error.cause
    assert "aws kms describe-key" in error.remedy


def test_a_bucket_has_to_be_named() -> None:
    artifacts, backups = refused(Given(), Settings()), refused(Given(kind="backups"))

    assert "no bucket for artifacts is named" == artifacts.cause
    assert "ARTIFACTS_DESTINATION" in artifacts.remedy
    assert "no bucket for backups is named" == backups.cause
    assert "give --name, or set BACKUPS_DESTINATION=s3://… in .env" == backups.remedy


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (Given("Team"), "--name 'Team' is not 3 to 63 of a-z"),
        (Given("team-s3alias"), "--name 'team-s3alias' begins or ends with what S3 keeps"),
        (Given(kind="models"), "--kind 'models' is not one of artifacts, backups"),
        (Given("dumps", "backups", lock="none"), "--lock 'none' is not one of governance, comp"),
        (Given("dumps", "backups", retention_days="0"), "'0' is not a number between 1 and 36500"),
        (Given("dumps", "backups", retention_days="36501"), "is not a number between"),
        (Given("dumps", "backups", retention_days="1.5"), "is not a number between"),
        (Given(lock="governance"), "--lock and --retention-days are for backups"),
        (Given(retention_days="30"), "--lock and --retention-days are for backups"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Given, cause: str) -> None:
    assert cause in refused(given).cause
