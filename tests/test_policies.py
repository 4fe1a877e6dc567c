"""The policies: what they say, and that IAM takes them."""

from dataclasses import replace
from typing import Any

import pytest

from ops import policies
from ops.settings import Settings

S3 = Settings(artifacts_destination="s3://team-artifacts/mlflow")
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


def test_a_bucket_without_a_prefix_is_the_host_s_as_a_whole() -> None:
    found = statements(policies.instance(Settings(artifacts_destination="s3://whole"), "aws-cn"))

    assert {"ArtifactsBucket", "Artifacts"} == set(found)
    assert ["arn:aws-cn:s3:::whole"] == found["ArtifactsBucket"]["Resource"]
    assert "Condition" not in found["ArtifactsBucket"]
    assert ["arn:aws-cn:s3:::whole/*"] == found["Artifacts"]["Resource"]


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
    ],
)
def test_a_host_with_its_artifacts_elsewhere_needs_no_policy(fields: dict[str, Any]) -> None:
    assert None is policies.instance(replace(Settings(), **fields), "aws")
