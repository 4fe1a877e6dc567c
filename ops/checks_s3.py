"""The check of S3 from where it counts: inside the server's container, with its credentials."""

import json
import re
import secrets

from ops.checks import Check, Finding, fail, ok
from ops.patient import Patient

__all__ = ["CHECKS"]

# Read by the Python of the server's container, with the environment the server has.
SCRIPT = """
import json, os, sys
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

place = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
if place.scheme != "s3":
    sys.exit("the live release keeps artifacts elsewhere")
name = {"Bucket": place.netloc}
key = "/".join(filter(None, (place.path.strip("/"), sys.argv[1])))
once = Config(connect_timeout=5, read_timeout=15, retries={"total_max_attempts": 2})
step = "PutObject"
try:
    s3 = boto3.client(
        "s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None, config=once
    )
    s3.put_object(**name, Key=key, Body=b"doctor")
    try:
        step = "GetObject"
        assert s3.get_object(**name, Key=key)["Body"].read() == b"doctor"
        step = "ListBucket"
        listed = s3.list_objects_v2(**name, Prefix=key).get("Contents", [])
        assert [entry["Key"] for entry in listed] == [key]
    finally:
        before, step = step, "DeleteObject"
        s3.delete_object(**name, Key=key)
        step = before
except (BotoCoreError, ClientError, AssertionError) as error:
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "") or type(error).__name__
    said = str(error) or "something else came back"
    print(json.dumps({"step": step, "code": code, "said": said}))
"""

IDENTITY = ("cat", "/sys/class/dmi/id/board_asset_tag", "/var/lib/cloud/data/instance-id")
"""Where an EC2 instance says its id without being asked over the network; the first on Nitro."""


def s3(patient: Patient) -> Finding:
    """Put, get, list and delete an object from inside the server's container."""
    key = f".mlflow-compose-doctor-{secrets.token_hex(8)}"
    words = ("/opt/entrypoint.sh", "python", "-I", "-", key)
    done = patient.inside("web", words, SCRIPT)
    place = patient.settings.artifacts_destination
    if done.code != 0:
        said = done.err.strip().splitlines() or ["no reason given"]
        return fail(said[-1], f"bring the settings there: invoke deploy --host {patient.given}")
    if not done.out.strip():
        return ok(f"put, get, list and delete in {place}")
    error = json.loads(done.out)
    found = f"{error['step']} in {place}: {error['said']}"
    return fail(found, _remedy(patient, error["code"], error["step"], key))


def _remedy(patient: Patient, code: str, step: str, key: str) -> str:
    place = patient.settings.artifacts_destination
    if code in ("NoCredentialsError", "CredentialRetrievalError"):
        return _credentials_remedy(patient)
    if code == "NoSuchBucket":
        return "make the bucket: invoke create-bucket; or correct ARTIFACTS_DESTINATION in .env"
    if code in ("AccessDenied", "403", "Forbidden"):
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        arn = bucket if step == "ListBucket" else "/".join(filter(None, (bucket, prefix, "*")))
        left = f"; then delete {place}/{key}" if step == "DeleteObject" else ""
        return f"allow the role or user s3:{step} on arn:aws:s3:::{arn}{left}"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return "correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env, then deploy"
    return "check S3_ENDPOINT_URL and S3_REGION in .env, and the host's way out to S3"


def _credentials_remedy(patient: Patient) -> str:
    """Say how a container gets credentials: on EC2 its question must pass Docker's bridge."""
    instance = re.search(r"\bi-[0-9a-f]{8,17}\b", patient.host.run(IDENTITY).out)
    if instance is None:
        return "set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env, then deploy"
    return (
        "give the instance a role; if it has one, let containers ask for it: "
        f"aws ec2 modify-instance-metadata-options --instance-id {instance[0]} "
        "--http-put-response-hop-limit 2"
    )


CHECKS: list[Check[Patient]] = [
    Check(
        "s3",
        s3,
        needs=("release",),
        when=lambda settings: settings.artifacts_destination.startswith("s3://"),
    ),
]
