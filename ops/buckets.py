"""A bucket as we reach it: whose it has to be, what it says of itself, how it is made."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, TypeVar

from ops.aws import log_in, s3_compatible
from ops.errors import refusal
from ops.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Bucket", "Lacking", "find", "make", "reach"]

T = TypeVar("T")

DEFAULT_REGION = "us-east-1"
OWNED = "BucketOwnerEnforced"
PASSING = {"OperationAborted", "NoSuchBucket"}
"""What S3 says while a new bucket or a change is not known everywhere yet."""


class Lacking(Exception):  # noqa: N818 - it is an answer
    """The server has no such thing; says so."""


class Named(TypedDict):
    """Which bucket a call is for, and whose it has to be."""

    Bucket: str
    ExpectedBucketOwner: NotRequired[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket that may not be there yet: of an account, or on an S3-compatible server."""

    s3: "S3Client"
    name: str
    region: str
    owner: str = ""
    """The account that has to own it; a server of one's own has none."""

    partition: str = "aws"
    server: str = ""
    patience: float = 60
    """For how many seconds what should pass is waited for."""

    def __str__(self) -> str:
        """Return it as ARTIFACTS_DESTINATION has it."""
        return f"s3://{self.name}"

    @property
    def arn(self) -> str:
        """Its name in policies."""
        return f"arn:{self.partition}:s3:::{self.name}"

    @property
    def whom(self) -> str:
        """Who is asked."""
        return f"the server at {self.server}" if self.server else "AWS"

    @property
    def named(self) -> Named:
        """What every call says of it; S3 refuses all of them for another account's bucket."""
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
        if self.owner:
            return {"Bucket": self.name, "ExpectedBucketOwner": self.owner}
        return {"Bucket": self.name}

    @property
    def lacking(self) -> Lacking:
        """What to raise where there is no such thing."""
        return Lacking(f"{self.whom} has no such thing")

    def ask(self, call: Callable[..., Any], part: str, none: str) -> dict[str, Any] | None:
        """Return an answer that has to have a part; None where the code `none` says there is none.

        Raises `Lacking` where a server does not know the question. Some do not say so: `rclone
        serve s3` lists the objects instead, and the part is not there.
        """
        try:
            answer: dict[str, Any] = call(**self.named)
        except self.s3.exceptions.ClientError as error:
            if code(error) == none:
                return None
            self._check_known(error)
            raise
        if self.server and answer.get(part) in (None, {}):
            raise self.lacking
        return answer

    def patiently(self, act: Callable[[], T]) -> T:
        """Do something, and do it again while S3 says that it is still busy.

        Raises `Lacking` where a server does not know how.
        """
        end, pause = time.monotonic() + self.patience, 0.1
        while True:
            try:
                return act()
            except self.s3.exceptions.ClientError as error:
                self._check_known(error)
                if code(error) not in PASSING or time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 5)

    def _check_known(self, error: Any) -> None:  # noqa: ANN401 - a ClientError
        if self.server and unknown(error):
            raise self.lacking from error


def code(error: Any) -> str:  # noqa: ANN401 - a ClientError
    """Return the one word that S3 has for an error."""
    return str(error.response["Error"]["Code"])


def unknown(error: Any) -> bool:  # noqa: ANN401 - a ClientError
    """Return whether a server says that it has no such call: not implemented, or not allowed."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return code(error) in ("NotImplemented", "MethodNotAllowed") or status in (405, 501)


def reach(name: str, region: str, settings: Settings) -> Bucket:
    """Return a bucket of the account we are logged in to, or of the server at S3_ENDPOINT_URL."""
    server = settings.s3_endpoint_url
    if not server:
        account = log_in(region or settings.s3_region)
        return Bucket(
            s3=account.s3,
            name=name,
            region=account.region,
            owner=account.id,
            partition=account.partition,
        )
    if region:
        raise refusal(
            f"--region {region!r} is for AWS, and S3_ENDPOINT_URL is set to {server}",
            "set S3_REGION in .env to the region of that server",
        )
    region = settings.s3_region or DEFAULT_REGION
    return Bucket(s3=s3_compatible(settings), name=name, region=region, server=server)


def find(bucket: Bucket) -> str | None:
    """Return the region of a bucket, None where there is none; refuses what is not to be ours."""
    try:
        answer = bucket.s3.head_bucket(**bucket.named)
    except bucket.s3.exceptions.ClientError as error:
        there = error.response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "")
        if code(error) == "404":
            return None
        if code(error) == "403":
            raise _not_ours(bucket) from error
        if there and code(error) in ("301", "400"):
            raise _elsewhere(bucket, there) from error
        raise
    there = answer.get("BucketRegion", "")
    if there and there != bucket.region and not bucket.server:
        raise _elsewhere(bucket, there)
    return bucket.region


def _not_ours(bucket: Bucket) -> Exception:
    if bucket.server:
        return refusal(
            f"{bucket.whom} does not let these keys to {bucket}",
            "correct S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY in .env, or take another --name",
        )
    return refusal(
        f"{bucket} is taken: it is not of account {bucket.owner}, or closed to whom we are there",
        "take another --name: all accounts share them; "
        "if it is yours, let whom `invoke whoami` shows do s3:ListBucket",
    )


def _elsewhere(bucket: Bucket, there: str) -> Exception:
    return refusal(
        f"{bucket} is in {there}, not in {bucket.region}, and a bucket does not move",
        f"give --region {there}, or another --name for a new one",
    )


def make(bucket: Bucket, *, lock: bool) -> None:
    """Make a bucket and wait until it is there; one of ours that has come up meanwhile is fine."""
    options: dict[str, Any] = {}
    if bucket.region != DEFAULT_REGION:  # which S3 does not take by its name
        options["CreateBucketConfiguration"] = {"LocationConstraint": bucket.region}
    if not bucket.server:
        options["ObjectOwnership"] = OWNED
    if lock:
        options["ObjectLockEnabledForBucket"] = True
    try:
        bucket.s3.create_bucket(Bucket=bucket.name, **options)
    except bucket.s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    except bucket.s3.exceptions.BucketAlreadyExists as error:
        raise _not_ours(bucket) from error
    except bucket.s3.exceptions.ClientError as error:
        if not (lock and bucket.server and unknown(error)):
            raise
        make(bucket, lock=False)
        return
    waiter = bucket.s3.get_waiter("bucket_exists")
    waiter.wait(**bucket.named, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
