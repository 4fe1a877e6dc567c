"""ECR as moto has it, over HTTP. What it must be seen to do there, tests ask it by a client."""

import json
from typing import Any

import pytest

from ops import ecr
from ops.ecr import Repository
from ops.errors import FAILED, REFUSED, OpsError
from ops.scopes import TAG
from ops.settings import PARSERS
from tests.aws import REGION, Aws, Fault

OURS = Repository("123456789012", REGION, "team/web")
THEIRS = Repository("999999999999", REGION, "team/web")
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/team/web:1"
OCI = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI})


def made(aws: Aws) -> dict[str, Any]:
    """Return what can be seen of the repository."""
    client = aws.client("ecr")
    found: dict[str, Any] = client.describe_repositories(repositoryNames=["team/web"])
    found = found["repositories"][0]
    tags = client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    return found | {"tags": tags}


def rules(aws: Aws) -> list[dict[str, Any]]:
    found = aws.client("ecr").get_lifecycle_policy(repositoryName="team/web")
    text: list[dict[str, Any]] = json.loads(found["lifecyclePolicyText"])["rules"]
    return text


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        (IMAGE, OURS),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/web:1",
            Repository("123456789012", "cn-north-1", "web"),
        ),
        ("registry.example.com:5000/team/web:1", None),
        ("123456789012.dkr.ecr.eu-west-2.amazonaws.com.example.com/web:1", None),
        ("mlflow-compose/web:1", None),
    ],
)
def test_a_name_leads_to_a_repository_in_ecr_or_not(
    image: str, repository: Repository | None
) -> None:
    assert repository == ecr.find(image)


def test_a_repository_that_is_not_there_is_made_with_tags_that_stay_and_a_scan(aws: Aws) -> None:
    ecr.make(OURS, "team")
    found = made(aws)

    assert "IMMUTABLE" == found["imageTagMutability"]
    assert {"scanOnPush": True} == found["imageScanningConfiguration"]
    assert {"encryptionType": "AES256"} == found["encryptionConfiguration"]
    assert [{"Key": TAG, "Value": "team"}] == found["tags"]


def test_it_keeps_more_images_than_any_host_can_go_back_to(aws: Aws) -> None:
    ecr.make(OURS, "team")
    [rule] = rules(aws)

    assert {
        "tagStatus": "tagged",
        "tagPatternList": ["*"],
        "countType": "imageCountMoreThan",
        "countNumber": 500,
    } == rule["selection"]
    assert 100 == PARSERS["KEEP_RELEASES"]("100")
    with pytest.raises(ValueError, match="between 1 and 100"):
        PARSERS["KEEP_RELEASES"]("101")


def test_a_second_time_nothing_is_changed(aws: Aws) -> None:
    ecr.make(OURS, "team")
    aws.calls.clear()
    ecr.make(OURS, "team")

    assert ["GetCallerIdentity", "DescribeRepositories", "GetLifecyclePolicy"] == aws.operations


def test_a_repository_of_somebody_else_s_making_stays_as_it_is(aws: Aws) -> None:
    aws.client("ecr").create_repository(repositoryName="team/web")
    before = made(aws)
    aws.calls.clear()
    ecr.make(OURS, "team")

    assert "PutLifecyclePolicy" not in aws.operations
    assert "CreateRepository" not in aws.operations
    assert before == made(aws)


def test_a_lifecycle_policy_that_was_changed_stays_so(aws: Aws) -> None:
    ecr.make(OURS, "team")
    own = {**ecr.LIFECYCLE, "selection": {**ecr.LIFECYCLE["selection"], "countNumber": 7}}
    aws.client("ecr").put_lifecycle_policy(
        repositoryName="team/web", lifecyclePolicyText=json.dumps({"rules": [own]})
    )
    ecr.make(OURS, "team")

    assert [own] == rules(aws)


def test_one_that_was_made_half_way_is_completed(aws: Aws) -> None:
    fault = Fault(lambda _, call: call.operation == "PutLifecyclePolicy")
    with aws.failing(fault), pytest.raises(OpsError, match="PutLifecyclePolicy") as caught:
        ecr.make(OURS, "team")
    assert FAILED == caught.value.code

    ecr.make(OURS, "another-stack")
    with pytest.raises(aws.client("ecr").exceptions.LifecyclePolicyNotFoundException):
        rules(aws)
    ecr.make(OURS, "team")
    assert 1 == len(rules(aws))


def test_one_that_somebody_makes_in_the_same_moment_is_left_to_them(aws: Aws) -> None:
    taken = Fault(
        lambda _, call: call.operation == "CreateRepository",
        code="RepositoryAlreadyExistsException",
    )
    with aws.failing(taken):
        ecr.make(OURS, "team")

    assert "PutLifecyclePolicy" not in aws.operations


def test_a_registry_of_another_account_is_not_ours_to_change(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.make(THEIRS, "team")

    assert ["GetCallerIdentity"] == aws.operations
    assert "of account 999999999999, and we are of 123456789012" in capsys.readouterr().err


def test_looking_that_is_denied_is_refused_with_the_statement_that_allows_it(aws: Aws) -> None:
    denied = Fault(lambda _, call: call.operation == "DescribeRepositories", "AccessDenied")
    with aws.failing(denied), pytest.raises(OpsError) as caught:
        ecr.make(OURS, "team")

    assert REFUSED == caught.value.code
    assert "ecr:DescribeRepositories: statement Repository of" in caught.value.remedy


def test_what_a_tag_stands_for_is_known_by_its_digest(aws: Aws) -> None:
    assert "" == ecr.digest(OURS, "1")
    client = aws.client("ecr")
    client.create_repository(repositoryName="team/web")
    assert "" == ecr.digest(OURS, "1")
    put = client.put_image(repositoryName="team/web", imageManifest=MANIFEST, imageTag="1")

    assert put["image"]["imageId"]["imageDigest"] == ecr.digest(OURS, "1")


def test_the_password_is_the_one_of_the_token_and_not_shown(aws: Aws) -> None:
    del aws
    secret = ecr.password(OURS)

    assert "123456789012-auth-token" == secret.reveal()
    assert "auth-token" not in repr(secret)
