"""`invoke create-bucket` and `--check` against moto's server: what changes, and what never does."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ops.bucket_aspects import DRIFT, Step
from ops.bucket_wishes import Wish, understood
from ops.buckets import Bucket
from ops.create_bucket import Given, carry_out, create, look
from ops.errors import FAILED, REFUSED, OpsError
from ops.permissions import CALLS
from ops.settings import Settings
from tests.aws import REGION, Aws, Call, Fault
from tests.test_bucket_rules import KEY, THEIRS
from tests.test_buckets import lists_objects, of, server_settings

ARTIFACTS = Given("team")
BACKUPS = Given("team", "backups")

A_NEW_ONE = [
    "HeadBucket",
    *("HeadBucket", "CreateBucket", "HeadBucket"),
    *("GetPublicAccessBlock", "PutPublicAccessBlock"),
    "GetBucketOwnershipControls",
    *("GetBucketEncryption", "PutBucketEncryption"),
    "GetBucketVersioning",
    *("GetObjectLockConfiguration", "PutObjectLockConfiguration"),
    *("GetBucketLifecycleConfiguration", "GetObjectLockConfiguration"),
    "PutBucketLifecycleConfiguration",
    *("GetBucketTagging", "PutBucketTagging"),
    *("GetBucketPolicy", "PutBucketPolicy"),
]
"""Every call that makes a bucket for backups: looked at first, then changed, closed at once."""

LOOKS = 1
"""How many of them are made before anything is changed."""


def writes(operation: str) -> bool:
    return operation.startswith(("Put", "Create", "Delete"))


@pytest.fixture(autouse=True)
def settings(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that the verb finds, and nobody to ask."""
    del aws
    found = Settings(root=tmp_path, artifacts_destination="s3://team/mlflow")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return found


def run(given: Given = ARTIFACTS, **flags: bool) -> OpsError | None:
    """Run the verb; return the error it ended with, if any."""
    try:
        create(given, **({"check": False, "yes": True, "as_json": False} | flags))
    except OpsError as error:
        return error
    return None


def drifted(given: Given = ARTIFACTS) -> list[str]:
    """Return what `--check` says is not as it should be; it ends with exit code 1 for that."""
    error = run(given, check=True)
    if error is None:
        return []
    assert FAILED == error.code
    return error.cause.partition("is not as it should be: ")[2].split(", ")


@dataclass(frozen=True)
class Case:
    """A bucket that is looked at and changed as the verb does it, logged in to only once."""

    bucket: Bucket
    wish: Wish

    def look(self) -> list[Step]:
        return look(self.bucket, self.wish)

    def drift(self) -> list[str]:
        return [step.aspect.name for step in self.look() if step.state == DRIFT]

    def change(self) -> None:
        carry_out(self.bucket, self.look())


@pytest.fixture
def case(aws: Aws, settings: Settings) -> Callable[[Given], Case]:
    """Make a case of what is given."""
    bucket = Bucket(s3=aws.client("s3"), name="team", region=REGION, owner="123456789012")
    named = replace(settings, backups_destination="s3://team", backup_recipients="age1x")
    return lambda given: Case(bucket, understood(given, named))


# --- New, and once more ---


@pytest.mark.parametrize("given", [ARTIFACTS, BACKUPS], ids=["artifacts", "backups"])
def test_a_second_time_nothing_differs_and_nothing_is_written(aws: Aws, given: Given) -> None:
    assert None is run(given)
    aws.calls.clear()

    assert None is run(given)
    assert [] == drifted(given)
    assert [] == [call for call in aws.operations if writes(call)]
    assert 16 < len(aws.operations)


def test_a_new_bucket_is_closed_before_anything_else_is_done_to_it(aws: Aws) -> None:
    run(BACKUPS)

    assert ["GetCallerIdentity", *A_NEW_ONE] == aws.operations


def test_every_call_has_its_line_in_the_policy_and_says_whose_the_bucket_is(aws: Aws) -> None:
    run(BACKUPS)
    run(ARTIFACTS)

    assert {*aws.operations} <= {*CALLS}
    assert {"CreateBucket", "GetCallerIdentity"} == {
        call.operation
        for call in aws.calls
        if call.fields.get("ExpectedBucketOwner") != "123456789012"
    }


def test_what_it_is_like_is_what_aws_shows(aws: Aws) -> None:
    run(Given("team", "backups", lock="governance", retention_days="60"))
    s3 = aws.client("s3")
    lock = s3.get_object_lock_configuration(Bucket="team")["ObjectLockConfiguration"]

    assert {"Mode": "GOVERNANCE", "Days": 60} == {
        key: value for key, value in lock["Rule"]["DefaultRetention"].items() if value
    }
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    assert {"NoncurrentDays": 61} == rules[1]["NoncurrentVersionExpiration"]
    assert "Enabled" == s3.get_bucket_versioning(Bucket="team")["Status"]


# --- What a person sees ---

PLAN = """\
s3://team in eu-west-2:
  bucket          none -> in eu-west-2
  public access   none -> blocked
  ownership       none -> BucketOwnerEnforced
  encryption      none -> AES256
  versioning      none -> enabled
  old versions    none -> deleted after 90 days, unfinished uploads after 7
  tags            none -> mlflow-compose=artifacts
  TLS             none -> required
"""


def test_the_plan_is_shown_first_and_the_bucket_is_the_result(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run()
    out, err = capsys.readouterr()

    assert "s3://team\n" == out
    assert err.startswith(PLAN)
    assert "bucket: done\npublic access: done\n" in err
    run()
    out, err = capsys.readouterr()
    assert ("s3://team\n", "s3://team is as it should be\n") == (out, err)


def test_check_prints_what_differs_and_changes_nothing(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    error = run(check=True)

    assert error is not None
    assert (FAILED, "run the same without --check") == (error.code, error.remedy)
    assert "s3://team is not as it should be: bucket, public access," in error.cause
    assert (PLAN, "") == capsys.readouterr()
    assert ["GetCallerIdentity", "HeadBucket"] == aws.operations


def test_scripts_get_every_aspect_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    for check, state in [(True, "drift"), (False, "done"), (True, "fine")]:
        run(as_json=True, check=check)
        document = json.loads(capsys.readouterr().out)

        assert ("team", REGION) == (document["bucket"], document["region"])
        assert 9 == len(document["aspects"])
        versions = document["aspects"][4]
        assert ("versioning", state) == (versions["aspect"], versions["state"])
        assert "enabled" == (versions["wanted"] or versions["now"])


def test_a_person_who_says_yes_gets_the_bucket(
    answer: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("yes\n")

    assert None is run(yes=False)
    assert "(type yes to go on) " in capsys.readouterr().err
    assert [] == drifted()


@pytest.mark.parametrize("said", ["no\n", "y\n", "\n", "", "team\n"])
def test_a_person_who_says_anything_else_gets_nothing(
    aws: Aws, answer: Callable[[str], None], said: str
) -> None:
    answer(said)
    error = run(yes=False)

    assert error is not None
    assert (REFUSED, "not confirmed; nothing was changed") == (error.code, error.cause)
    assert [] == [call for call in aws.operations if writes(call)]


def test_where_nobody_is_there_to_ask_nothing_is_changed(aws: Aws) -> None:
    error = run(yes=False)

    assert error is not None
    assert (REFUSED, "repeat with --yes") == (error.code, error.remedy)
    assert [] == [call for call in aws.operations if writes(call)]


COMPLIANCE = Given("team", "backups", lock="compliance")


def test_compliance_is_typed_by_a_person_and_no_flag_stands_for_it(
    aws: Aws, answer: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for said in (None, "yes\n", "Team\n"):
        if said is not None:
            answer(said)
        error = run(COMPLIANCE)

        assert error is not None
        assert REFUSED == error.code
    assert [] == [call for call in aws.operations if writes(call)]
    assert "for good: what is written from then on cannot be deleted" in capsys.readouterr().err

    answer("team\n")
    assert None is run(COMPLIANCE, yes=False)
    assert [] == drifted(COMPLIANCE)
    assert [] == drifted(BACKUPS)


def test_a_longer_lock_where_compliance_is_there_is_typed_too(
    aws: Aws, answer: Callable[[str], None]
) -> None:
    answer("team\n")
    run(COMPLIANCE)
    answer("yes\n")
    aws.calls.clear()
    error = run(Given("team", "backups", retention_days="31"))

    assert error is not None
    assert REFUSED == error.code
    assert [] == [call for call in aws.operations if writes(call)]


# --- Drift ---

S3 = Any


def put_policy(s3: S3, *statements: dict[str, Any]) -> None:
    policy = {"Version": "2012-10-17", "Statement": statements}
    s3.put_bucket_policy(Bucket="team", Policy=json.dumps(policy))


def put_rules(s3: S3, *rules: dict[str, Any]) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket="team", LifecycleConfiguration={"Rules": [*rules]})


def half_open(s3: S3) -> None:
    s3.put_public_access_block(
        Bucket="team", PublicAccessBlockConfiguration={"BlockPublicAcls": True}
    )


def acls_count(s3: S3) -> None:
    s3.put_bucket_ownership_controls(
        Bucket="team", OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )


def suspended(s3: S3) -> None:
    s3.put_bucket_versioning(Bucket="team", VersioningConfiguration={"Status": "Suspended"})


def policy_of_theirs(s3: S3) -> None:
    put_policy(s3, THEIRS)


def tls_allowed_instead(s3: S3) -> None:
    (ours,) = json.loads(s3.get_bucket_policy(Bucket="team")["Policy"])["Statement"]
    put_policy(s3, ours | {"Condition": {"Bool": {"aws:SecureTransport": "true"}}})


def rules_of_theirs(s3: S3) -> None:
    older = {"ID": "logs", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 9}}
    put_rules(s3, older)


def rule_disabled(s3: S3) -> None:
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    put_rules(s3, rules[0], rules[1] | {"Status": "Disabled"})


def kept_too_short(s3: S3) -> None:
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    short = {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    put_rules(s3, rules[0], rules[1] | short)


def ends_too_early(s3: S3) -> None:
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    put_rules(s3, *rules[:2], rules[2] | {"Expiration": {"Days": 1}}, *rules[3:])


def ends_never(s3: S3) -> None:
    put_rules(s3, *s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"][:2])


def other_tags(s3: S3) -> None:
    s3.put_bucket_tagging(Bucket="team", Tagging={"TagSet": [{"Key": "team", "Value": "vision"}]})


def short_lock(s3: S3) -> None:
    config = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}},
    }
    s3.put_object_lock_configuration(Bucket="team", ObjectLockConfiguration=config)


def no_retention(s3: S3) -> None:
    s3.put_object_lock_configuration(
        Bucket="team", ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )


DRIFTS: list[tuple[Given, Callable[[S3], object], list[str]]] = [
    (ARTIFACTS, lambda s3: s3.delete_public_access_block(Bucket="team"), ["public access"]),
    (ARTIFACTS, half_open, ["public access"]),
    (ARTIFACTS, acls_count, ["ownership"]),
    (ARTIFACTS, lambda s3: s3.delete_bucket_encryption(Bucket="team"), ["encryption"]),
    (ARTIFACTS, suspended, ["versioning"]),
    (ARTIFACTS, lambda s3: s3.delete_bucket_policy(Bucket="team"), ["TLS"]),
    (ARTIFACTS, policy_of_theirs, ["TLS"]),
    (ARTIFACTS, tls_allowed_instead, ["TLS"]),
    (ARTIFACTS, lambda s3: s3.delete_bucket_lifecycle(Bucket="team"), ["old versions"]),
    (ARTIFACTS, rules_of_theirs, ["old versions"]),
    (ARTIFACTS, rule_disabled, ["old versions"]),
    (ARTIFACTS, kept_too_short, ["old versions"]),
    (ARTIFACTS, other_tags, ["tags"]),
    (BACKUPS, short_lock, ["object lock"]),
    (BACKUPS, no_retention, ["object lock"]),
    (BACKUPS, ends_too_early, ["old versions"]),
    (BACKUPS, ends_never, ["old versions"]),
]


@pytest.mark.parametrize(
    ("given", "drift", "names"),
    DRIFTS,
    ids=[f"{number}-{names[0]}" for number, (*_, names) in enumerate(DRIFTS)],
)
def test_a_drifted_bucket_converges(
    aws: Aws,
    case: Callable[[Given], Case],
    given: Given,
    drift: Callable[[S3], object],
    names: list[str],
) -> None:
    bucket = case(given)
    bucket.change()
    assert [] == bucket.drift()
    drift(aws.client("s3"))

    assert names == bucket.drift()
    aws.calls.clear()
    bucket.change()
    assert 1 == len([call for call in aws.operations if writes(call)])
    assert [] == bucket.drift()


def test_check_says_so_before_and_after(aws: Aws) -> None:
    run()
    half_open(aws.client("s3"))
    suspended(aws.client("s3"))

    assert ["public access", "versioning"] == drifted()
    run()
    assert [] == drifted()


def test_a_bucket_made_by_hand_converges(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="team", CreateBucketConfiguration={"LocationConstraint": REGION})
    before = drifted(BACKUPS)

    assert ["public access", "ownership", "encryption", "versioning", "object lock"] == before[:5]
    assert None is run(BACKUPS)
    assert [] == drifted(BACKUPS)


def test_what_is_theirs_outlives_it(aws: Aws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="team", CreateBucketConfiguration={"LocationConstraint": REGION})
    for change in (policy_of_theirs, rules_of_theirs, other_tags):
        change(s3)
    run()

    assert THEIRS in json.loads(s3.get_bucket_policy(Bucket="team")["Policy"])["Statement"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    assert ("logs", {"Prefix": "logs/"}) == (rules[0]["ID"], rules[0]["Filter"])
    assert {"Key": "team", "Value": "vision"} in s3.get_bucket_tagging(Bucket="team")["TagSet"]


# --- Stronger things ---


def test_what_is_stronger_stays_and_counts_as_good(aws: Aws) -> None:
    run(BACKUPS)
    s3 = aws.client("s3")
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    s3.put_bucket_encryption(
        Bucket="team",
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )
    config = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}},
    }
    s3.put_object_lock_configuration(Bucket="team", ObjectLockConfiguration=config)
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    longer = {"NoncurrentVersionExpiration": {"NoncurrentDays": 365}}
    put_rules(s3, rules[0], rules[1] | longer, *rules[2:])
    aws.calls.clear()

    assert [] == drifted(BACKUPS)
    assert None is run(BACKUPS)
    assert [] == [call for call in aws.operations if writes(call)]


def test_a_longer_lock_of_theirs_keeps_old_versions_longer(
    aws: Aws, case: Callable[[Given], Case]
) -> None:
    backups = case(BACKUPS)
    backups.change()
    config = {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 365}},
    }
    aws.client("s3").put_object_lock_configuration(Bucket="team", ObjectLockConfiguration=config)

    assert ["old versions"] == backups.drift()
    backups.change()
    assert [] == backups.drift()


def test_a_rule_that_deletes_live_artifacts_is_told_and_left(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is done; it ends with exit code 1 as long as the rule is there."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="team", CreateBucketConfiguration={"LocationConstraint": REGION})
    theirs = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": ""}}
    put_rules(s3, theirs | {"Expiration": {"Days": 30}})
    for _ in range(2):
        error = run()

        assert error is not None
        assert (FAILED, "live artifacts in s3://team are deleted by tidy after 30 days") == (
            error.code,
            error.cause,
        )
        line = "live artifacts  deleted by tidy after 30 days -> kept (yours to change)\n"
        assert line in capsys.readouterr().err
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    assert ("tidy", {"Days": 30}) == (rules[0]["ID"], rules[0]["Expiration"])
    error = run(check=True)
    assert error is not None
    assert FAILED == error.code
    assert "Enabled" == s3.get_bucket_versioning(Bucket="team")["Status"]


# --- What goes wrong ---

FAULTS = [
    (number, done)
    for number, operation in enumerate(A_NEW_ONE)
    for done in (False, True)
    if not done or writes(operation)
]


@pytest.mark.parametrize(
    ("number", "done"),
    FAULTS,
    ids=[f"{number}-{A_NEW_ONE[number]}{'-done' * done}" for number, done in FAULTS],
)
def test_after_a_fault_in_any_call_the_same_command_goes_on(
    aws: Aws, case: Callable[[Given], Case], number: int, *, done: bool
) -> None:
    bucket = case(BACKUPS)
    with aws.failing(Fault(lambda at, _: at == number, done=done)):
        with pytest.raises(OpsError) as caught:
            bucket.change()

        assert number + 1 == len(aws.calls)
    assert (REFUSED if number < LOOKS else FAILED) == caught.value.code
    goes_on = "the same command, which goes on from there" in caught.value.remedy
    assert (number >= LOOKS) == goes_on

    bucket.change()
    assert [] == bucket.drift()


def test_a_fault_before_anything_is_changed_ends_with_2(aws: Aws) -> None:
    for number in (0, 1):
        with aws.failing(Fault(lambda at, _, number=number: at == number)):  # type: ignore[misc]
            error = run()

        assert error is not None
        assert REFUSED == error.code


def test_a_bucket_that_was_made_and_no_more_is_said_to_be_there(aws: Aws) -> None:
    with aws.failing(Fault(of("PutPublicAccessBlock"), "Boom")):
        error = run()

    assert error is not None
    assert error.cause.startswith("AWS says no to PutPublicAccessBlock: injected\n")
    assert "s3://team is there, not done yet: public access, ownership, encryption," in error.cause


def denied(_: int, call: Call) -> bool:
    return call.operation == "PutBucketEncryption"


def test_a_denied_call_names_its_right(aws: Aws) -> None:
    with aws.failing(Fault(denied, "AccessDenied", 403)):
        error = run()

    assert error is not None
    assert "AWS denies PutBucketEncryption" in error.cause
    assert "s3:PutEncryptionConfiguration: statement Buckets of `invoke policy`" in error.remedy


def test_grants_of_an_acl_have_to_go_first(aws: Aws) -> None:
    """S3 turns no ACL off that lets others in; moto does."""
    run()
    acls_count(aws.client("s3"))
    word = "InvalidBucketAclWithObjectOwnership"
    with aws.failing(Fault(of("PutBucketOwnershipControls"), word)):
        error = run()

    assert error is not None
    assert FAILED == error.code
    assert "aws s3api put-bucket-acl --acl private" in error.remedy


def test_a_bucket_of_another_account_is_not_touched(aws: Aws) -> None:
    foreign = aws.foreign_bucket("team")
    for check in (False, True):
        error = run(check=check)

        assert error is not None
        assert REFUSED == error.code
        assert "s3://team is taken" in error.cause
    assert [] == [call for call in aws.operations if writes(call)]
    assert (None, None, None) == (foreign.policy, foreign.encryption, foreign.ownership_rule)


def test_a_bucket_that_another_account_takes_meanwhile_is_not_touched(aws: Aws) -> None:
    """It is there when ours is made, and was not when we looked."""

    def too_early(at: int, call: Call) -> bool:
        return call.operation == "HeadBucket" and at < 3

    foreign = aws.foreign_bucket("team")
    with aws.failing(Fault(too_early, "NotFound", 404)):
        error = run()

    assert error is not None
    assert (REFUSED, True) == (error.code, "s3://team is taken" in error.cause)
    assert "goes on from there" not in error.remedy
    assert ["CreateBucket"] == [call for call in aws.operations if writes(call)]
    assert (None, None, None) == (foreign.policy, foreign.encryption, foreign.ownership_rule)


def test_a_bucket_that_changes_hands_meanwhile_is_not_touched(
    aws: Aws, case: Callable[[Given], Case]
) -> None:
    ours = case(ARTIFACTS)
    ours.change()
    aws.client("s3").delete_public_access_block(Bucket="team")
    steps = ours.look()
    aws.client("s3").delete_bucket(Bucket="team")
    foreign = aws.foreign_bucket("team")
    with pytest.raises(OpsError, match="AWS denies GetPublicAccessBlock") as caught:
        carry_out(ours.bucket, steps)

    assert FAILED == caught.value.code
    assert None is foreign.public_access_block


BAD: list[tuple[Given, str, str]] = [
    (Given("Team"), "--name 'Team'", "correct --name"),
    (Given("new.bucket"), "the new name 'new.bucket' holds a dot", "write - instead"),
    (Given("team-123456789012-eu-west-2-an"), "ends with -an", "another ending"),
    (Given("team", kind="models"), "--kind 'models'", "correct --kind"),
    (Given(kind="backups"), "no bucket for backups is named", "give --name"),
    (Given("team", kms_key="alias/mine"), "is not the ARN of a key", "aws kms describe-key"),
    (
        Given("team", region="us-west-1", kms_key=KEY),
        "--kms-key is in eu-west-2, and s3://team in us-west-1",
        "take a key of us-west-1",
    ),
    (Given("team", lock="governance"), "are for backups", "--kind backups"),
]


ANSWERS = [
    ("GetCallerIdentity", "ExpiredToken", REFUSED, "have expired", "aws sso login"),
    ("GetCallerIdentity", "InvalidClientTokenId", REFUSED, "does not take", "a region that is off"),
    ("HeadBucket", "403", REFUSED, "s3://team is taken", "s3:ListBucket"),
    ("CreateBucket", "AccessDenied", FAILED, "AWS denies CreateBucket", "do s3:CreateBucket and "),
    ("CreateBucket", "TooManyBuckets", FAILED, "says no to CreateBucket", "Service Quotas"),
]


@pytest.mark.parametrize(("operation", "word", "code", "cause", "remedy"), ANSWERS)
def test_what_aws_refuses_is_one_error_and_leaves_nothing_behind(
    aws: Aws, operation: str, *, word: str, code: int, cause: str, remedy: str
) -> None:
    with aws.failing(Fault(of(operation), word, 403)):
        error = run()

        assert operation == aws.operations[-1]
    assert error is not None
    assert code == error.code
    assert cause in error.cause
    assert remedy in error.remedy
    assert [] == aws.client("s3").list_buckets()["Buckets"]


def test_without_credentials_nothing_is_asked(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = run()

    assert error is not None
    assert (REFUSED, True) == (error.code, "no AWS credentials" in error.cause)
    assert [] == aws.operations


@pytest.mark.parametrize(("given", "cause", "remedy"), BAD, ids=[cause for _, cause, _ in BAD])
def test_bad_input_is_refused_and_nothing_is_changed(
    aws: Aws, given: Given, cause: str, remedy: str
) -> None:
    error = run(given)

    assert error is not None
    assert REFUSED == error.code
    assert cause in error.cause
    assert remedy in error.remedy
    assert [] == [call for call in aws.operations if writes(call)]


def test_a_dot_in_the_name_of_a_bucket_that_is_there_is_fine(aws: Aws) -> None:
    aws.client("s3").create_bucket(
        Bucket="old.bucket", CreateBucketConfiguration={"LocationConstraint": REGION}
    )

    assert None is run(Given("old.bucket"))


def test_a_bucket_elsewhere_stays_as_it_is(aws: Aws) -> None:
    run(Given("team", region="us-west-1"))
    aws.calls.clear()
    error = run()

    assert error is not None
    assert (REFUSED, "give --region us-west-1, or another --name for a new one") == (
        error.code,
        error.remedy,
    )
    assert [] == [call for call in aws.operations if writes(call)]


# --- Servers that are not AWS ---


@pytest.fixture
def on_server(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """A server that has no more than `rclone serve s3`: buckets, and objects in them."""
    found = server_settings(aws)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))
    answered = {each for each in A_NEW_ONE if each.startswith("Get")}
    for operation in answered:
        aws.answers[operation] = lists_objects
    aws.answers["GetBucketVersioning"] = lambda _: (
        "application/xml",
        b"<VersioningConfiguration/>",
    )
    unknown = of("ListObjectVersions", "PutBucketVersioning")
    with aws.failing(Fault(unknown, "NotImplemented", 501)):
        yield aws


@pytest.mark.parametrize("given", [ARTIFACTS, BACKUPS], ids=["artifacts", "backups"])
def test_what_a_server_does_not_have_is_skipped_and_said(
    on_server: Aws, given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    assert None is run(given)
    for check in (False, True):
        err = capsys.readouterr().err

        assert f"the server at {on_server.url} has no such thing\n" in err
        assert "skipped: public access, ownership, encryption, versioning, " in err
        assert f"skipped: TLS: the server at {on_server.url} is reached without TLS" in err
        assert None is run(given, check=check)
    assert ["CreateBucket"] == [call for call in on_server.operations if writes(call)]
    assert "s3://team is as it should be, but for what is skipped\n" in capsys.readouterr().err


def test_what_a_server_has_is_brought_about(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    found = server_settings(aws)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))

    with aws.failing(Fault(of("PutBucketEncryption"), "NotImplemented", 501)):
        assert None is run()
    assert ["encryption"] == drifted()
    assert {""} == {call.fields.get("ExpectedBucketOwner") for call in aws.calls}


def test_a_key_of_aws_is_of_no_use_to_a_server(on_server: Aws) -> None:
    error = run(Given("team", kms_key=KEY))

    assert error is not None
    assert (REFUSED, "leave --kms-key out") == (error.code, error.remedy)
    assert [] == on_server.operations


# --- The program ---


def program(project: Path, aws: Aws, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "invoke", "create-bucket", *words],
        cwd=project,
        env={"PATH": "/nonexistent", "LANG": "C.UTF-8", "HOME": str(project), **aws.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_the_program_makes_a_bucket_and_checks_it(project: Path, aws: Aws) -> None:
    alone = program(project, aws, "--name", "team")
    made = program(project, aws, "--name", "team", "--yes")
    fine = program(project, aws, "--name", "team", "--check", "--json")

    assert (2, "") == (alone.returncode, alone.stdout)
    assert alone.stderr.startswith(PLAN)
    assert alone.stderr.endswith(
        "error: nobody is here to agree to it; nothing was changed\n  try: repeat with --yes\n"
    )
    assert (0, "s3://team\n") == (made.returncode, made.stdout)
    assert 0 == fine.returncode
    assert {"fine"} == {each["state"] for each in json.loads(fine.stdout)["aspects"]}


def test_the_program_ends_with_1_where_a_bucket_has_drifted(project: Path, aws: Aws) -> None:
    done = program(project, aws, "--name", "team", "--check")

    assert (1, PLAN) == (done.returncode, done.stdout)
    assert done.stderr.startswith("error: s3://team is not as it should be: bucket, ")


def test_the_program_has_no_dry_run_of_it(project: Path, aws: Aws) -> None:
    done = program(project, aws, "--name", "team", "--dry")

    assert 2 == done.returncode
    assert "this task has no dry run" in done.stderr
    assert [] == aws.operations
