"""Where backups are kept: a place in a bucket. Nothing there is ever overwritten or deleted by us.

Every object is written under a name that is not taken (`If-None-Match: *`), with a checksum that S3
compares, and, where the bucket can, locked until its time is over. An upload that failed leaves
nothing: S3 is told to forget its parts, and the bucket's lifecycle ends those of a killed one.
"""

import base64
import hashlib
import io
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ops import buckets
from ops.aws import in_our_words
from ops.buckets import Bucket, Lacking, code
from ops.errors import FAILED, REFUSED, OpsError, refusal
from ops.settings import Settings

__all__ = ["Entry", "Vault", "reach"]

PART = 16 * 1024**2
PARTS = 9000
"""S3 takes 10,000 parts; what is compressed worse than was thought has room to grow.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

AT_ONCE = 2
"""Parts on their way at a time: more take memory, and a second one hides the first one's wait."""

TAKEN = {"PreconditionFailed", "412"}
MISSING = {"NoSuchKey", "404"}
ENDED = {*TAKEN, "NoSuchUpload"}
"""What S3 says when it is told a second time to put the parts of an upload together."""

BUSY = "ConditionalRequestConflict"
"""What S3 says while an earlier call for the same name, which we gave up, is still at work."""

PAUSES = (1.0, 3.0)
"""In seconds, before it is asked again."""

GOVERNANCE = "GOVERNANCE"
"""The lock that a person with a right of its own can lift."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An object: its name below the place, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Vault:
    """The place in a bucket; names are relative to it."""

    bucket: Bucket
    prefix: str = ""

    @property
    def s3(self) -> Any:  # noqa: ANN401 - options are put together, and typed dictionaries cannot be
        """The client of S3."""
        return self.bucket.s3

    def __str__(self) -> str:
        """Return it as BACKUPS_DESTINATION has it."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")

    def key(self, name: str) -> str:
        """Return the key of a name."""
        return f"{self.prefix}{name}"

    @cached_property
    def lock(self) -> str:
        """The mode in which objects are locked: the bucket's own; "" where it can lock nothing.

        Who may not ask for it gets an error and writes nothing, rather than something that has no
        lock where it should have one.
        """
        part, none = "ObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"
        try:
            with self.asking():
                found = self.bucket.ask(self.s3.get_object_lock_configuration, part, none)
        except Lacking:
            return ""
        config = (found or {}).get(part, {})
        mode: str = config.get("Rule", {}).get("DefaultRetention", {}).get("Mode", "")
        # Without a rule of its own a bucket takes the locks that come with what is written.
        return mode or (GOVERNANCE if config.get("ObjectLockEnabled") == "Enabled" else "")

    @contextmanager
    def asking(self, code: int = FAILED) -> Iterator[None]:
        """Have what S3 or the way to it says in our words."""
        with in_our_words(code, self.bucket.whom):
            yield

    def _kept(self, until: datetime) -> dict[str, Any]:
        if not self.lock:
            return {}
        return {"ObjectLockMode": self.lock, "ObjectLockRetainUntilDate": until}

    def put(self, name: str, data: bytes, until: datetime) -> None:
        """Write a small object; one of this name that is there already is left as it is.

        Names say what is in them, or a random part makes them ours: a name that is taken was
        written by a call of ours whose answer got lost.
        """
        given = {**self.bucket.named, "Key": self.key(name), **self._kept(until)}
        given |= {"Body": data, "ChecksumAlgorithm": "SHA256", "IfNoneMatch": "*"}
        with self.asking():
            for pause in (*PAUSES, None):
                try:
                    self.s3.put_object(**given)
                except self.s3.exceptions.ClientError as error:
                    if code(error) == BUSY and pause is not None:
                        time.sleep(pause)
                        continue
                    if code(error) not in TAKEN:
                        raise
                return

    @contextmanager
    def writing(self, name: str, size: int, until: datetime) -> "Iterator[Upload]":
        """Yield a stream into a new object of about `size` bytes; it is there when all went well.

        Otherwise nothing is.
        """
        given = {**self.bucket.named, "Key": self.key(name)}
        s3 = self.s3
        with self.asking():
            begun = s3.create_multipart_upload(
                **given, **self._kept(until), ChecksumAlgorithm="SHA256"
            )
        part = {**given, "UploadId": begun["UploadId"]}
        upload = Upload(s3, part, max(PART, -(-size // PARTS)))
        try:
            with self.asking():
                yield upload
                parts = upload.finish()
                try:
                    s3.complete_multipart_upload(
                        **part, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
                    )
                except s3.exceptions.ClientError as error:
                    if not (lost(error) and Entry(name, upload.sent) in self.list(name)):
                        raise
        except BaseException:
            upload.stop()
            try:
                s3.abort_multipart_upload(**part)
            except Exception:  # noqa: BLE001, S110 - the first error says more; lifecycle does the rest
                pass
            raise

    def read(self, name: str) -> bytes:
        """Return a small object; refuses one that is not there."""
        with self.reading(name) as stream:
            data: bytes = stream.read()
        return data

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """Yield a stream of an object's bytes; refuses one that is not there."""
        with self.asking():
            try:
                found = self.s3.get_object(**self.bucket.named, Key=self.key(name))
            except self.s3.exceptions.ClientError as error:
                if code(error) in MISSING:
                    raise refusal(
                        f"{self}/{name} is not there",
                        "see what is: invoke list-backups",
                    ) from error
                raise
            with found["Body"] as stream:
                yield stream

    def list(self, below: str, after: str = "") -> Iterator[Entry]:
        """Yield the objects whose names begin with `below`, in the order of their names."""
        pages = self.s3.get_paginator("list_objects_v2")
        start = {"StartAfter": self.key(after)} if after else {}
        with self.asking():
            for page in pages.paginate(**self.bucket.named, Prefix=self.key(below), **start):
                for entry in page.get("Contents", []):
                    yield Entry(entry["Key"].removeprefix(self.prefix), entry["Size"])


class Upload:
    """A stream into an object, part by part; some parts are on their way while more comes."""

    def __init__(self, s3: Any, given: dict[str, Any], size: int) -> None:  # noqa: ANN401 - a client
        self.s3, self.given, self.size = s3, given, size
        self.waiting = io.BytesIO()
        self.pool = ThreadPoolExecutor(AT_ONCE)
        self.parts: list[Future[dict[str, Any]]] = []
        self.sent = 0

    def write(self, data: bytes) -> int:
        """Take bytes; waits while enough of them are on their way."""
        self.waiting.write(data)
        if self.waiting.tell() >= self.size:
            self._send()
        return len(data)

    def _send(self) -> None:
        if len(self.parts) >= AT_ONCE:
            self.parts[-AT_ONCE].result()
        data, self.waiting = self.waiting.getvalue(), io.BytesIO()
        self.sent += len(data)
        self.parts.append(self.pool.submit(self._part, len(self.parts) + 1, data))

    def _part(self, number: int, data: bytes) -> dict[str, Any]:
        checksum = _sum(data)
        done = self.s3.upload_part(
            **self.given, PartNumber=number, Body=data, ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": checksum}

    def finish(self) -> list[dict[str, Any]]:
        """Send the rest, wait for all of it, and return the parts as S3 wants them named."""
        if self.waiting.tell() or not self.parts:
            self._send()
        try:
            return [part.result() for part in self.parts]
        finally:
            self.pool.shutdown()

    def stop(self) -> None:
        """Send nothing more."""
        self.pool.shutdown(cancel_futures=True)


def lost(error: Any) -> bool:  # noqa: ANN401 - a ClientError
    """Return whether an earlier try may have put the parts together, and only its answer got lost.

    A first try that meets an object there has met somebody else's.
    """
    return code(error) in ENDED and error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0


def reach(settings: Settings, status: int = REFUSED) -> Vault:
    """Return the place of BACKUPS_DESTINATION; refuses without one, or where it cannot be reached.

    `status` is the exit code of an error on the way there.
    """
    if not settings.backups_destination:
        raise refusal(
            "this stack has no place for backups",
            "set BACKUPS_DESTINATION in .env; then: invoke create-bucket --kind backups",
        )
    name, _, prefix = settings.backups_destination.removeprefix("s3://").partition("/")
    place = Vault(buckets.reach(name, "", settings), f"{prefix}/" if prefix else "")
    with in_our_words(status, place.bucket.whom):
        try:
            # Not HeadBucket: a host may list below the prefix only, and that call names none.
            place.s3.list_objects_v2(**place.bucket.named, Prefix=place.key("logs/"), MaxKeys=1)
        except place.s3.exceptions.NoSuchBucket as error:
            raise OpsError(
                f"the bucket of BACKUPS_DESTINATION is not there: {place.bucket}",
                f"make it: invoke create-bucket --kind backups --name {name}",
                status,
            ) from error
    return place


def _sum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
