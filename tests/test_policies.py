"""The policies: what they say, and that IAM takes them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops import policies
from ops.errors import REFUSED, OpsError
from ops.generations import DAYS
from ops.settings import Settings
from tests.aws import Aws
from tests.iam import allows

ECR = "999999999999.dkr.ecr.eu-central-1.amazonaws.com/team"
S3 = Settings(artifacts_destination="s3://team-artifacts/mlflow")
BACKUPS = Settings(backups_destination="s3://team-backups/mlflow")
BOTH = replace(S3, backups_destination="s3://team-backups/mlflow")
KEY = "arn:aws:kms:eu-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"


def statements(document: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the statements of a policy by their ids."""
    assert document is not None
    return {each["Sid"]: each for each in document["Statement"]}


def test_a_host_may_use_its_artifacts_and_nothing_else() -> None:
    assert {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ArtifactsFolder",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": ["arn:aws:s3:::team-artifacts"],
                "Condition": {"StringLike": {"s3:prefix": ["mlflow/*"]}},
            },
            {
                "Sid": "Artifacts",
                "Effect": "Allow",
                "Action": [
                    "s3:AbortMultipartUpload",
                    "s3:DeleteObject",
                    "s3:GetObject",
                    "s3:PutObject",
                ],
                "Resource": ["arn:aws:s3:::team-artifacts/mlflow/*"],
            },
        ],
    } == policies.instance(S3, "aws")


@pytest.mark.parametrize(
    ("action", "where", "context", "allowed"),
    [
        ("GetObject", "team-artifacts/mlflow/1/run/artifacts/model", {}, True),
        ("GetObject", "team-artifacts/other/secret", {}, False),
        ("GetObject", "team-artifacts/mlflow-of-others/secret", {}, False),
        ("PutObject", "team-artifacts-2/mlflow/x", {}, False),
        ("DeleteObjectVersion", "team-artifacts/mlflow/x", {}, False),
        ("ListBucket", "team-artifacts", {"s3:prefix": "mlflow/1/"}, True),
        ("ListBucket", "team-artifacts", {"s3:prefix": ""}, False),
        ("ListBucket", "team-artifacts", {}, False),
        ("PutBucketPolicy", "team-artifacts", {}, False),
    ],
)
def test_outside_of_its_prefix_a_host_may_do_nothing(
    action: str, where: str, context: dict[str, str], allowed: bool
) -> None:
    document = policies.instance(S3, "aws")
    assert document is not None

    assert allowed == allows(document, f"s3:{action}", f"arn:aws:s3:::{where}", context)


def test_a_bucket_without_a_prefix_is_the_host_s_as_a_whole() -> None:
    found = statements(policies.instance(Settings(artifacts_destination="s3://whole"), "aws-cn"))

    assert {"ArtifactsBucket", "Artifacts"} == set(found)
    assert ["arn:aws-cn:s3:::whole"] == found["ArtifactsBucket"]["Resource"]
    assert "Condition" not in found["ArtifactsBucket"]
    assert ["arn:aws-cn:s3:::whole/*"] == found["Artifacts"]["Resource"]


def test_a_star_in_a_prefix_is_a_star_and_no_pattern() -> None:
    found = statements(policies.instance(Settings(artifacts_destination="s3://team/m*"), "aws"))

    assert ["arn:aws:s3:::team/m${*}/*"] == found["Artifacts"]["Resource"]
    condition = {"StringLike": {"s3:prefix": ["m${*}/*"]}}
    assert condition == found["ArtifactsFolder"]["Condition"]
    document = {"Statement": [found["Artifacts"]]}
    assert allows(document, "s3:GetObject", "arn:aws:s3:::team/m*/x")
    assert not allows(document, "s3:GetObject", "arn:aws:s3:::team/mine/x")


def test_a_host_with_backups_may_write_and_read_them_and_neither_delete_nor_unlock_any() -> None:
    assert {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "BackupsList",
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": ["arn:aws:s3:::team-backups"],
                "Condition": {"StringLike": {"s3:prefix": ["mlflow/*"]}},
            },
            {
                "Sid": "BackupsWrite",
                "Effect": "Allow",
                "Action": ["s3:AbortMultipartUpload", "s3:PutObject", "s3:PutObjectRetention"],
                "Resource": [f"arn:aws:s3:::team-backups/mlflow/{each}/*" for each in DAYS],
            },
            {
                "Sid": "BackupsRead",
                "Effect": "Allow",
                "Action": ["s3:GetObject"],
                "Resource": ["arn:aws:s3:::team-backups/mlflow/*"],
            },
            {
                "Sid": "BackupsLock",
                "Effect": "Allow",
                "Action": ["s3:GetBucketObjectLockConfiguration"],
                "Resource": ["arn:aws:s3:::team-backups"],
            },
        ],
    } == policies.instance(BACKUPS, "aws")


def test_a_host_s_rights_to_artifacts_and_to_backups_stand_side_by_side() -> None:
    both, one = policies.instance(BOTH, "aws"), policies.instance(S3, "aws")

    assert statements(one).items() <= statements(both).items()
    assert statements(policies.instance(BACKUPS, "aws")).items() <= statements(both).items()
    assert 6 == len(statements(both))


def test_backups_at_the_top_of_a_bucket_are_listed_by_their_folders() -> None:
    document = policies.instance(Settings(backups_destination="s3://team-b"), "aws")
    assert document is not None
    bucket = "arn:aws:s3:::team-b"

    assert allows(document, "s3:ListBucket", bucket, {"s3:prefix": "daily/"})
    assert allows(document, "s3:PutObject", f"{bucket}/daily/a/manifest.json")


BACKUP_RIGHTS = [
    ("GetObject", "team-backups/mlflow/daily/a/manifest.json", "both"),
    ("PutObject", "team-backups/mlflow/drills/a.json", "operator"),
    ("PutObject", "team-backups/mlflow/daily/a/manifest.json", "instance"),
    ("PutObjectRetention", "team-backups/mlflow/daily/a/manifest.json", "instance"),
    ("PutObjectRetention", "team-backups/mlflow/drills/a.json", "operator"),
    ("AbortMultipartUpload", "team-backups/mlflow/daily/a/base.tar.zst.age", "instance"),
    ("PutObject", "team-backups/other/daily/a/manifest.json", "nobody"),
    ("GetObject", "team-backups/mlflow-of-others/daily/a/manifest.json", "nobody"),
    *(
        (action, "team-backups/mlflow/daily/a/manifest.json", "nobody")
        for action in (
            "DeleteObject",
            "DeleteObjectVersion",
            "BypassGovernanceRetention",
            "PutObjectLegalHold",
        )
    ),
    ("GetBucketObjectLockConfiguration", "team-backups", "both"),
    ("GetBucketObjectLockConfiguration", "team-artifacts", "operator"),
    ("ListBucketVersions", "team-artifacts", "operator"),
    # What could end backups early, and is the bucket's own: not for a host.
    ("PutBucketObjectLockConfiguration", "team-backups", "operator"),
    ("PutLifecycleConfiguration", "team-backups", "operator"),
    ("PutBucketVersioning", "team-backups", "operator"),
    ("PutBucketPolicy", "team-backups", "operator"),
    ("DeleteBucket", "team-backups", "nobody"),
]


@pytest.mark.parametrize(("action", "where", "who"), BACKUP_RIGHTS)
@pytest.mark.usefixtures("aws")
def test_who_may_do_what_with_backups(
    settings: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    action: str,
    where: str,
    who: str,
) -> None:
    settings(
        artifacts_destination="s3://team-artifacts/mlflow",
        artifact_access="direct",
        backups_destination="s3://team-backups/mlflow",
    )
    for whose in ("instance", "operator"):
        document = {"Statement": [*shown(capsys, whose).values()]}
        allowed = allows(document, f"s3:{action}", f"arn:aws:s3:::{where}")
        assert (who in (whose, "both")) == allowed


@pytest.mark.usefixtures("aws")
def test_the_flag_names_artifacts_and_backups_stay_where_the_settings_have_them(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(backups_destination="s3://team-backups/mlflow")
    found = shown(capsys, "instance", ["other/place"])
    assert ["arn:aws:s3:::other/place/*"] == found["Artifacts"]["Resource"]
    assert "arn:aws:s3:::team-backups/mlflow/logs/*" in found["BackupsWrite"]["Resource"]
    found = shown(capsys, "operator", ["other/place"])
    assert ["arn:aws:s3:::other", "arn:aws:s3:::team-backups"] == found["Buckets"]["Resource"]
    assert ["arn:aws:s3:::team-backups/mlflow/drills/*"] == found["Drills"]["Resource"]

    settings(
        backups_destination="s3://team-backups/mlflow", s3_endpoint_url="https://s3.example.com"
    )
    assert {"ArtifactsFolder", "Artifacts"} == set(shown(capsys, "instance", ["other/place"]))


def test_a_key_of_one_s_own_may_be_used_for_s3_only() -> None:
    found = statements(policies.instance(S3, "aws", KEY))["Key"]

    assert [KEY] == found["Resource"]
    assert ["kms:Decrypt", "kms:GenerateDataKey"] == found["Action"]
    assert {"StringLike": {"kms:ViaService": ["s3.*"]}} == found["Condition"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "artifacts_destination": "s3://team-artifacts/mlflow",
            "s3_endpoint_url": "https://s3.example.com",
        },
        {
            "backups_destination": "s3://team-backups/mlflow",
            "s3_endpoint_url": "https://s3.example.com",
        },
    ],
)
def test_a_host_with_all_its_objects_elsewhere_needs_no_policy(fields: dict[str, Any]) -> None:
    assert None is policies.instance(replace(Settings(), **fields), "aws")


# --- invoke policy ---


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have the task find these settings."""

    def have(**fields: Any) -> None:
        found = Settings(root=tmp_path, **fields)
        monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))

    return have


def shown(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, dict[str, Any]]:
    given: tuple[Any, ...] = ("operator", [], "", "", "")
    policies.show(*words, *given[len(words) :])
    return statements(json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("aws")
def test_an_operator_s_policy_names_account_region_and_repository(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(registry=ECR)
    found = shown(capsys, "operator")

    machines, _images = found["Machines"]["Resource"]
    assert "arn:aws:ec2:eu-west-2:123456789012:instance/*" == machines
    arn = "arn:aws:ecr:eu-central-1:999999999999:repository/team/web"
    assert [arn] == found["Repository"]["Resource"] == found["OurRepository"]["Resource"]
    mine = {"StringEquals": {"aws:RequestTag/mlflow-compose": ["mlflow-compose"]}}
    assert mine == found["NewRepository"]["Condition"]


@pytest.mark.usefixtures("aws")
def test_what_nothing_speaks_of_is_left_out_and_said(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings()
    policies.show("operator", [], "", "", "")
    said = capsys.readouterr()

    found = set(statements(json.loads(said.out)))
    assert {"Look", "Machines"} <= found
    assert not found & {"Key", "Registry", "Repository", "NewRepository", "SmokeTest"}
    assert "name nothing for it: BackupsRead, Buckets, Drills, Key, NewRepos" in said.err


@pytest.mark.usefixtures("aws")
def test_a_smoke_test_that_writes_to_s3_itself_may_write_its_own_object_only(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(artifacts_destination="s3://team-artifacts/mlflow")
    assert "SmokeTest" not in shown(capsys)

    settings(artifacts_destination="s3://team-artifacts/mlflow", artifact_access="direct")
    found = shown(capsys)["SmokeTest"]
    assert ["arn:aws:s3:::team-artifacts/mlflow/*/smoke.bin"] == found["Resource"]
    assert ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"] == found["Action"]


@pytest.mark.usefixtures("aws")
def test_ci_may_push_and_pull_in_one_repository_and_make_none(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(registry=ECR, artifacts_destination="s3://team-artifacts", artifact_access="direct")
    found = shown(capsys, "ci")

    assert {"Registry", "Repository"} == set(found)
    assert ["ecr:GetAuthorizationToken"] == found["Registry"]["Action"]
    assert {"ecr:PutImage", "ecr:GetDownloadUrlForLayer"} <= set(found["Repository"]["Action"])
    assert not [each for each in found["Repository"]["Action"] if "Create" in each]


@pytest.mark.usefixtures("aws")
def test_flags_win_over_the_settings(
    settings: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(registry=ECR, artifacts_destination="s3://team-artifacts")
    found = shown(capsys, "instance", ["other/place/"], "", KEY)
    assert ["arn:aws:s3:::other/place/*"] == found["Artifacts"]["Resource"]
    assert [KEY] == found["Key"]["Resource"]

    found = shown(capsys, "operator", [], "second", "", "us-west-1")
    assert "second" in json.dumps(found["OurRepository"]["Condition"])
    assert "arn:aws:ec2:us-west-1:123456789012:instance/*" in found["Machines"]["Resource"]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("nobody",), "no policy for 'nobody'"),
        (("ci",), "ci needs nothing of AWS"),
        (("instance",), "a host needs nothing of AWS"),
        (("instance", ["a-bucket", "b-bucket"]), "one place for its artifacts"),
        (("operator", ["UPPER"]), "--bucket 'UPPER' names no valid bucket"),
        (("operator", ["b-bucket/?"]), "characters that are unsafe"),
        (("operator", [], "a*"), "--name 'a*' is not"),
        (("operator", [], "", "alias/mine"), "--kms-key 'alias/mine' is not a key's ARN"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_what_no_policy_can_be_made_of_is_refused(
    settings: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    words: tuple[Any, ...],
    cause: str,
) -> None:
    settings()
    with pytest.raises(OpsError, match=re.escape(cause)) as caught:
        shown(capsys, *words)

    assert REFUSED == caught.value.code
    assert "" == capsys.readouterr().out


# --- What IAM takes ---

LONGEST: dict[str, Any] = {
    "stack_name": "n" * 41,
    "artifacts_destination": f"s3://{'b' * 63}/{'p' * 20}",
    "artifact_access": "direct",
    "backups_destination": f"s3://{'c' * 63}/{'q' * 20}",
    "registry": f"123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/{'r' * 100}",
}
WITHOUT_A_RESOURCE: dict[str, str] = {}
"""Actions that change something and that IAM lets nobody limit to a resource, with the reason."""


@pytest.fixture(params=["operator", "ci", "instance"])
def printed(
    request: pytest.FixtureRequest,
    aws: Aws,
    settings: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """Each policy, with the longest names there can be, and prefixes of some length."""
    assert aws.url
    settings(**LONGEST)
    key = KEY.replace("eu-west-2", "us-gov-west-1")
    policies.show(request.param, [], "", key, "us-gov-west-1")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_policy_is_of_the_form_that_iam_has(printed: dict[str, Any], aws: Aws) -> None:
    """moto checks the grammar as IAM does, but for the form of a Sid and the size."""
    assert {"Version", "Statement"} == set(printed)
    sids = [each["Sid"] for each in printed["Statement"]]
    assert len(sids) == len(set(sids))
    for each in printed["Statement"]:
        assert set(each) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert re.fullmatch("[A-Za-z0-9]+", each["Sid"])
        assert "Allow" == each["Effect"]
        assert not re.search("[{}]", json.dumps([each["Resource"], *each.get("Condition", {})]))
    assert 6144 > len(re.sub(r"\s", "", json.dumps(printed)))

    iam = aws.client("iam")
    made = iam.create_policy(PolicyName="ours", PolicyDocument=json.dumps(printed))["Policy"]
    assert "ours" == made["PolicyName"]


def test_nothing_is_allowed_by_a_pattern_and_no_change_on_everything(
    printed: dict[str, Any],
) -> None:
    for each in printed["Statement"]:
        for action in each["Action"]:
            assert "*" not in action
            reads = re.match("[a-z0-9-]+:(Describe|Get|List|BatchGet|BatchCheck)", action)
            if "*" in each["Resource"] and not reads and "Condition" not in each:
                assert action in WITHOUT_A_RESOURCE, f"{each['Sid']}: {action}"
