"""What a state of the database needs in S3: looked for, and never a reason to fail a restore."""

from collections.abc import Sequence
from typing import Any

import pytest

from ops import artifacts
from ops.artifacts import Looked, located, look, report
from ops.settings import Settings
from tests.aws import Aws, Fault

SETTINGS = Settings(artifacts_destination="s3://team/mlflow")
NONE = Looked(0, [], [], {})


class Restored:
    """A restored database that names these places of logged models and of versions."""

    def __init__(self, logged: Sequence[str] = (), versions: Sequence[str] = ()) -> None:
        self.named = {"logged_models": logged, "model_versions": versions}

    def sql(self, question: str) -> list[list[str]]:
        if question.startswith("SHOW TABLES"):
            return [["runs"], *([name] for name, found in self.named.items() if found)]
        [table] = [name for name in self.named if f"FROM mlflow.{name}" in question]
        assert self.named[table]
        return [[uri] for uri in self.named[table]]


def looked(*uris: str, **more: Any) -> Looked:
    restored: Any = Restored(uris, **more)
    found = look(restored, SETTINGS)
    assert found is not None
    return found


@pytest.fixture
def s3(aws: Aws) -> Any:
    """A client; the bucket of the artifacts is there, and keeps versions."""
    client = aws.client("s3")
    where = {"LocationConstraint": "eu-west-2"}
    client.create_bucket(Bucket="team", CreateBucketConfiguration=where)
    client.put_bucket_versioning(Bucket="team", VersioningConfiguration={"Status": "Enabled"})
    return client


def put(s3: Any, key: str) -> None:
    s3.put_object(Bucket="team", Key=key, Body=b"x")


# --- Where an address leads ---


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("mlflow-artifacts:/1/models/m-7/artifacts", ("team", "mlflow/1/models/m-7/artifacts")),
        ("mlflow-artifacts://host:5000/1/a/", ("team", "mlflow/1/a")),
        ("s3://other/deep/model", ("other", "deep/model")),
        ("s3://other/", ("other", "")),
        ("s3://other", ("other", "")),
        ("s3:///x", None),
        ("models:/m-7", None),
        ("runs:/7/model", None),
        ("/var/lib/mlflow/artifacts/1", None),
        ("file:///tmp/x", None),
        ("https://example.com/x", None),
        ("s3://[x/y", None),
        ("NULL", None),
        ("", None),
    ],
)
def test_an_address_of_mlflow_s_leads_to_a_place_in_s3_or_elsewhere(
    uri: str, place: tuple[str, str] | None
) -> None:
    assert place == located(uri, SETTINGS)


# --- What is there ---


def test_what_is_there_is_counted_once_for_each_place(s3: Any) -> None:
    put(s3, "mlflow/1/models/m-7/artifacts/MLmodel")
    uri = "mlflow-artifacts:/1/models/m-7/artifacts"

    assert Looked(1, [], [], {}) == looked(uri, uri, "models:/m-7", versions=[uri])


def test_a_place_whose_name_another_one_begins_with_is_not_there(s3: Any) -> None:
    put(s3, "mlflow/1/models/m-77/MLmodel")

    assert ["s3://team/mlflow/1/models/m-7"] == looked("mlflow-artifacts:/1/models/m-7").missing


def test_what_was_deleted_can_be_had_back_and_what_never_was_cannot(s3: Any) -> None:
    put(s3, "mlflow/1/a/MLmodel")
    s3.delete_object(Bucket="team", Key="mlflow/1/a/MLmodel")
    found = looked("mlflow-artifacts:/1/a", "mlflow-artifacts:/1/b")

    assert (
        Looked(2, ["s3://team/mlflow/1/a", "s3://team/mlflow/1/b"], ["s3://team/mlflow/1/a"], {})
        == found
    )


def test_both_kinds_are_asked_for_where_mlflow_has_them(s3: Any) -> None:
    put(s3, "mlflow/x/MLmodel")

    assert 1 == looked(versions=["s3://team/mlflow/x"]).places
    assert 2 == looked("s3://team/mlflow/y", versions=["s3://team/mlflow/x"]).places
    assert looked() == NONE


def test_without_a_place_in_s3_nothing_is_asked() -> None:
    restored: Any = None

    assert look(restored, Settings()) is None


def test_a_bucket_is_reached_once_however_many_places_are_in_it(aws: Aws, s3: Any) -> None:
    for number in range(20):
        put(s3, f"mlflow/{number}/MLmodel")
    aws.calls.clear()

    assert 20 == looked(*(f"mlflow-artifacts:/{number}" for number in range(20))).places
    assert ["GetCallerIdentity", *["ListObjectsV2"] * 20] == aws.operations


# --- What cannot be seen ---


def test_a_bucket_of_others_is_said_to_be_unseen_and_the_rest_is_looked_at(
    aws: Aws, s3: Any
) -> None:
    aws.foreign_bucket("theirs")
    put(s3, "mlflow/x/MLmodel")
    found = looked("s3://theirs/model", "s3://nowhere/model", "s3://team/mlflow/x")

    assert (1, []) == (found.places, found.missing)
    assert ["nowhere", "theirs"] == sorted(found.unseen)


def test_an_s3_that_is_away_is_asked_once_and_not_for_every_place(aws: Aws, s3: Any) -> None:
    assert s3
    with aws.failing(Fault(lambda _, call: call.operation == "ListObjectsV2", "Boom", 400)):
        found = looked(*(f"mlflow-artifacts:/{number}" for number in range(20)))

    assert 1 == aws.operations.count("ListObjectsV2")
    assert (0, ["team"]) == (found.places, list(found.unseen))


def test_versions_that_may_not_be_seen_do_not_hide_what_is_missing(aws: Aws, s3: Any) -> None:
    assert s3
    fault = Fault(lambda _, call: call.operation == "ListObjectVersions", "AccessDenied", 403)
    with aws.failing(fault):
        found = looked("mlflow-artifacts:/a")

    assert (["s3://team/mlflow/a"], []) == (found.missing, found.deleted)
    assert "denies ListObjectVersions" in found.unseen["team"]


# --- What is said of it ---


def test_a_person_is_told_what_is_missing_and_what_can_be_brought_back() -> None:
    missing = [f"s3://team/{number}" for number in range(12)]
    lines = report(Looked(30, missing, missing[:1], {"theirs": "AWS denies it"}))

    assert "artifacts of 30 models looked for in S3" == lines[0]
    assert lines[1].startswith("missing: s3://team/0 (deleted; aws s3api list-object-versions")
    assert "missing: s3://team/1 (no version of it is known)" == lines[2]
    assert artifacts.SHOWN == len([line for line in lines if line.startswith("missing")])
    assert ["and 2 more", "note: not looked for in s3://theirs: AWS denies it"] == lines[-2:]
    assert ["artifacts of 0 models looked for in S3"] == report(NONE)
    assert "in a volume of the host" in report(None)[0]
