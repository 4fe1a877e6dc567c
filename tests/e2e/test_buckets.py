"""`invoke create-bucket` on the lab's S3 server, which has buckets and objects and little else."""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import lab
from tests.e2e.conftest import Project, s3_client, s3_settings

LACKING = "skipped: public access, ownership, encryption, versioning, old versions"


@dataclass(frozen=True)
class Place:
    """A project whose artifacts are to be in a bucket that is not there yet."""

    project: Project
    bucket: str
    s3: Any

    def names(self) -> list[str]:
        return [found["Name"] for found in self.s3.list_buckets()["Buckets"]]


@pytest.fixture(scope="module")
def place(make_project: Callable[..., Project], the_lab: lab.Lab) -> Iterator[Place]:
    bucket = f"e2e-{secrets.token_hex(6)}"
    given = s3_settings(the_lab, "s3://mlflow-artifacts")
    given["ARTIFACTS_DESTINATION"] = f"s3://{bucket}/team"
    s3 = s3_client(the_lab.s3)
    made = Place(make_project("buckets", **given), bucket, s3)
    yield made
    for name in {bucket, f"{bucket}-backups"} & {*made.names()}:
        for entry in s3.list_objects_v2(Bucket=name).get("Contents", []):
            s3.delete_object(Bucket=name, Key=entry["Key"])
        s3.delete_bucket(Bucket=name)


def test_a_bucket_is_made_once_and_takes_objects(place: Place) -> None:
    before = place.names()
    absent = place.project.invoke("create-bucket", "--check", expect=1)
    assert f"s3://{place.bucket} is not as it should be: bucket, " in absent.stderr
    assert before == place.names()

    made = place.project.invoke("create-bucket", "--yes")
    assert f"s3://{place.bucket}\n" == made.stdout
    assert {place.bucket} == {*place.names()} - {*before}
    assert LACKING in made.stderr
    assert "is reached without TLS: to require it would lock everybody out" in made.stderr

    place.s3.put_object(Bucket=place.bucket, Key="team/model", Body=b"bytes")
    again = place.project.invoke("create-bucket")
    fine = place.project.invoke("create-bucket", "--check", "--json")
    assert f"s3://{place.bucket} is as it should be, but for what is skipped" in again.stderr
    assert {"fine", "skipped"} == {each["state"] for each in json.loads(fine.stdout)["aspects"]}
    answer = place.s3.get_object(Bucket=place.bucket, Key="team/model")
    assert b"bytes" == answer["Body"].read()


def test_a_bucket_for_backups_has_no_lock_there_and_is_told_so(place: Place) -> None:
    name = f"{place.bucket}-backups"
    words = ("create-bucket", "--kind", "backups", "--name", name)
    place.project.invoke(*words, "--yes")
    again = place.project.invoke(*words)

    assert f"s3://{name}\n" == again.stdout
    assert (
        f"{LACKING.replace('versioning', 'versioning, object lock')}, live backups" in again.stderr
    )


def test_keys_that_the_server_does_not_know_make_no_bucket(place: Place) -> None:
    before = place.names()
    refused = place.project.invoke(
        *("create-bucket", "--name", f"{place.bucket}-other", "--yes"),
        environ={"S3_SECRET_ACCESS_KEY": "not-the-one-it-knows"},
        expect=2,
    )

    assert "does not let these keys to s3://" in refused.stderr
    assert before == place.names()
