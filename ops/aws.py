"""AWS as this machine reaches it: boto3's own chain of credentials, and its errors in our words."""

import difflib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ops.errors import REFUSED, OpsError, refusal
from ops.permissions import allowed_by
from ops.settings import Settings

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

__all__ = [
    "Account",
    "credentials_file",
    "in_our_words",
    "log_in",
    "patiently",
    "s3_compatible",
    "tolerating",
]

ATTEMPTS = 5
LOG_IN = "log in to AWS: aws configure, or aws sso login; then see: invoke whoami"
PATIENCE_SECONDS = 60.0
SHOWN_CHARACTERS = 200
NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError"),
    *("ProfileNotFound", "CredentialRetrievalError"),
}
EXPIRED = {"UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
SKEWED = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
THROTTLED = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown"}

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
REMEDIES = {
    "OptInRequired": "turn the region on in the account's settings, or take another: --region",
    "VcpuLimitExceeded": "ask for more vCPUs: Service Quotas, EC2, Running On-Demand instances",
    "InstanceLimitExceeded": "ask for more: Service Quotas, EC2, Running On-Demand instances",
    "AddressLimitExceeded": "release an address, or ask for more: Service Quotas, Elastic IPs",
    "VolumeLimitExceeded": "delete a volume, or ask for more: Service Quotas, Amazon EBS",
    "MaxVolumeLimitExceeded": "delete a volume, or ask for more: Service Quotas, Amazon EBS",
    "SecurityGroupLimitExceeded": "delete a group, or ask for more: Service Quotas, Amazon VPC",
    "LimitExceeded": "remove what is not needed, or ask for more: Service Quotas",
    "TooManyBuckets": "delete a bucket, or ask for more: Service Quotas, Amazon S3",
    "InsufficientInstanceCapacity": "try again later, or take another --instance-type",
    "Unsupported": "take another --instance-type, or another --region",
    "InvalidInstanceType": "take a type of this region: aws ec2 describe-instance-type-offerings",
    "BucketAlreadyExists": "choose another name: bucket names are shared by all accounts",
    "NoSuchBucket": "make it: invoke create-bucket",
    "InvalidBucketAclWithObjectOwnership": (
        "take what its ACL grants to others out of it: aws s3api put-bucket-acl --acl private"
    ),
    "InvalidAccessKeyId": "check the access key and its secret",
    "SignatureDoesNotMatch": "check the access key and its secret",
    "OperationAborted": "wait a minute: S3 is still busy with an earlier change of this bucket",
}


@dataclass(frozen=True)
class Account:
    """An account and a region, and who AWS takes this machine for."""

    session: "boto3.Session"
    id: str
    arn: str
    region: str
    attempts: int = ATTEMPTS

    @property
    def partition(self) -> str:
        """The part of AWS: aws, aws-cn, aws-us-gov."""
        return self.arn.split(":")[1]

    @property
    def source(self) -> str:
        """Where the credentials came from, as botocore has it: env, sso, assume-role, iam-role."""
        found = self.session.get_credentials()
        return found.method if found else ""

    @cached_property
    def ec2(self) -> "EC2Client":
        """Machines, their disks and addresses."""
        return self.session.client("ec2", config=_config(self.attempts))

    @cached_property
    def ecr(self) -> "ECRClient":
        """The registry of images."""
        return self.session.client("ecr", config=_config(self.attempts))

    @cached_property
    def iam(self) -> "IAMClient":
        """Roles and what they may do."""
        return self.session.client("iam", config=_config(self.attempts))

    @cached_property
    def s3(self) -> "S3Client":
        """Buckets."""
        return self.session.client("s3", config=_config(self.attempts))

    @cached_property
    def ssm(self) -> "SSMClient":
        """Public parameters: which machine images are the newest."""
        return self.session.client("ssm", config=_config(self.attempts))

    @cached_property
    def pricing(self) -> "PricingClient":
        """The price list, which three regions keep for all."""
        # https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
        where = "cn-northwest-1" if self.partition == "aws-cn" else "us-east-1"
        return self.session.client("pricing", region_name=where, config=_config(self.attempts))


def log_in(region: str = "", attempts: int = ATTEMPTS) -> Account:
    """Find out who AWS takes this machine for; refuses without credentials or a region.

    Each call is made as often as `attempts` says before it counts as failed.
    """
    import boto3

    with in_our_words(REFUSED):
        session = boto3.Session(region_name=region or None)
        if not session.region_name:
            raise refusal(
                "no AWS region is set",
                "give --region, or: export AWS_DEFAULT_REGION=eu-central-1",
            )
        who = session.client("sts", config=_config(attempts)).get_caller_identity()
        return Account(session, who["Account"], who["Arn"], session.region_name, attempts)


def s3_compatible(settings: Settings) -> "S3Client":
    """Return a client of the S3 server at S3_ENDPOINT_URL, with the keys of `.env` if any."""
    import boto3

    secret = settings.s3_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region or "us-east-1",
        aws_access_key_id=settings.s3_access_key_id or None,
        aws_secret_access_key=secret.reveal() if secret else None,
        config=_config(ATTEMPTS),
    )


def credentials_file(region: str = "") -> str:
    """Return whom this machine is for AWS, as a credentials file for a process that cannot look.

    Empty where there are no credentials. What is temporary among them is not renewed there.
    """
    import boto3

    with in_our_words(REFUSED):
        session = boto3.Session(region_name=region or None)
        found = session.get_credentials()
        if found is None:
            return ""
        keys = found.get_frozen_credentials()
    given = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
        "region": session.region_name,
    }
    return "".join(["[default]\n", *(f"{key} = {each}\n" for key, each in given.items() if each)])


def _config(attempts: int) -> Any:  # noqa: ANN401 - botocore has no types of its own
    """Return how calls are made: tried again with growing, random pauses when AWS is busy."""
    # https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html
    from botocore.config import Config

    return Config(
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )


@contextmanager
def in_our_words(code: int, whom: str = "AWS") -> Iterator[None]:
    """Turn what AWS or the way to it says into an error with a way out and this exit code.

    `whom` is the name of who was asked, where that is an S3-compatible server.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _refused_by_aws(error, code, whom) from error
    except BotoCoreError as error:
        raise _not_asked(error, code, whom) from error
    except ResponseParserError as error:
        cause = f"what answered is not {whom}: {str(error)[:SHOWN_CHARACTERS]}"
        raise OpsError(cause, "look for a proxy on the way that answers by itself", code) from error


@contextmanager
def tolerating(*codes: str) -> Iterator[None]:
    """Go on where AWS says one of these: what was asked for is so already."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response["Error"].get("Code") not in codes:
            raise


def patiently(call: Callable[[], object], not_yet: str) -> None:
    """Make a call until AWS no longer says that it does not know what was just made.

    `not_yet` is a pattern of what it says. Gives up after a minute with the error itself.
    """
    from botocore.exceptions import ClientError

    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            call()
        except ClientError as error:
            if not re.search(not_yet, str(error), re.IGNORECASE) or time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return


def _refused_by_aws(error: Any, code: int, whom: str) -> OpsError:  # noqa: ANN401 - a ClientError
    said = error.response["Error"]
    kind, text = said.get("Code", ""), said.get("Message", "") or str(error)
    call = f"{error.operation_name}: {text}"
    if kind in DENIED:
        needed = f"let whom `invoke whoami` shows do {allowed_by(error.operation_name)}"
        remedy = needed if whom == "AWS" else "let the keys of .env do it there"
        return OpsError(f"{whom} denies {call}", remedy, code)
    if kind.startswith("ExpiredToken"):
        return OpsError("the AWS credentials have expired", LOG_IN, code)
    if kind in ("InvalidClientTokenId", "AuthFailure", "UnrecognizedClientException"):
        remedy = f"{LOG_IN}; a region that is off in the account says the same"
        return OpsError(f"AWS does not take these credentials: {text}", remedy, code)
    if kind in SKEWED or "Signature expired" in text or "Signature not yet current" in text:
        remedy = "set this machine's clock: timedatectl set-ntp true"
        return OpsError(f"the clock of this machine is not AWS's: {text}", remedy, code)
    if kind in THROTTLED:
        return OpsError(f"{whom} is too busy for {call}", "try again in a minute", code)
    remedy = REMEDIES.get(kind, f"read what {whom} says above")
    return OpsError(f"{whom} says no to {call}", remedy, code)


def _not_asked(error: Any, code: int, whom: str) -> OpsError:  # noqa: ANN401 - a BotoCoreError
    kind = type(error).__name__
    if kind in EXPIRED or (kind == "CredentialRetrievalError" and "sso" in str(error).lower()):
        return OpsError(f"the AWS login has expired: {error}", "log in again: aws sso login", code)
    if kind in NO_CREDENTIALS:
        return OpsError(f"there are no AWS credentials: {error}", LOG_IN, code)
    if kind == "InvalidRegionError":
        return OpsError(f"that is no AWS region: {error}", "write it as eu-central-1", code)
    if kind == "EndpointConnectionError":
        return OpsError(f"{whom} was not reached: {error}", _reach(str(error)), code)
    if kind == "WaiterError":
        return OpsError(f"{whom} did not get there in time: {error}", "try the same again", code)
    cause = f"{whom} was not to be asked: {error}"
    return OpsError(cause, "check the way to it, and try again", code)


def _reach(text: str) -> str:
    """Return what to do about an address that does not answer: often the region is misspelt."""
    import boto3

    found = re.search(r"\.([a-z]{2}(?:-[a-z]+)+-\d+)\.", text)
    session = boto3.Session()
    regions = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    ]
    if found and found[1] not in regions:
        near = difflib.get_close_matches(found[1], regions, n=1)
        return f"take a region of AWS: --region {near[0] if near else 'eu-central-1'}"
    return "check the way to it: a proxy, a firewall, the name server"
