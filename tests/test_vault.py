"""The place of backups: what is written stays, what failed leaves nothing."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops import seals, vault
from ops.errors import OpsError
from ops.settings import Settings
from ops.vault import PART, Upload, Vault
from tests.aws import Aws, Fault
from tests.stored import BUCKET, PLACE, PUBLIC, a_vault, names
from tests.test_buckets import of, once

UNTIL = datetime.now(UTC) + timedelta(days=14)


def uploads(place: Vault) -> list[Any]:
    found: list[Any] = place.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return found


def write(place: Vault, name: str, data: bytes) -> None:
    with place.writing(name, len(data), UNTIL) as upload:
        for begin in range(0, len(data), 1_000_003):
            upload.write(data[begin : begin + 1_000_003])


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART + 7])
def test_a_stream_becomes_an_object_of_the_same_bytes(aws: Aws, size: int) -> None:
    place, data = a_vault(aws), os.urandom(size)
    write(place, "daily/x/base", data)

    assert place.read("daily/x/base") == data
    assert uploads(place) == []
    assert [(each.name, each.size) for each in place.list("")] == [("daily/x/base", size)]


def test_nothing_is_written_over(aws: Aws) -> None:
    place = a_vault(aws)
    place.put("x", b"first", UNTIL)
    place.put("x", b"second", UNTIL)
    with pytest.raises(OpsError):
        write(place, "x", b"third")

    assert place.read("x") == b"first"
    assert uploads(place) == []


def test_what_is_written_is_locked_until_its_time_where_the_bucket_locks(aws: Aws) -> None:
    place = a_vault(aws, locked=True)
    sent: dict[str, str] = {}
    # moto forgets the lock of what comes in parts, so what it is sent is looked at.
    place.s3.meta.events.register(
        "before-call.s3.CreateMultipartUpload", lambda params, **_: sent.update(params["headers"])
    )
    place.put("small", b"x", UNTIL)
    write(place, "large", b"x")

    found = place.s3.head_object(Bucket=BUCKET, Key=place.key("small"))
    assert found["ObjectLockMode"] == sent["x-amz-object-lock-mode"] == "GOVERNANCE"
    assert abs(found["ObjectLockRetainUntilDate"] - UNTIL) < timedelta(seconds=2)
    kept = datetime.fromisoformat(sent["x-amz-object-lock-retain-until-date"])
    assert abs(kept - UNTIL) < timedelta(seconds=2)


def write_twice(upload: Upload) -> None:
    upload.write(bytes(PART + 5))
    upload.write(None)  # type: ignore[arg-type]


def test_an_upload_that_fails_leaves_neither_object_nor_parts(aws: Aws) -> None:
    place = a_vault(aws)
    with pytest.raises(TypeError), place.writing("x", 3 * PART, UNTIL) as upload:
        write_twice(upload)

    assert names(place) == []
    assert uploads(place) == []


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
def test_a_part_that_s3_refuses_ends_the_upload(aws: Aws, operation: str) -> None:
    place = a_vault(aws)
    fault = Fault(lambda _, call: call.operation == operation, "AccessDenied", 403)
    with aws.failing(fault), pytest.raises(OpsError, match="denies"):
        write(place, "x", bytes(2 * PART))

    assert names(place) == []
    assert uploads(place) == []


def test_a_passing_fault_is_waited_out(aws: Aws) -> None:
    place = a_vault(aws)
    once: list[int] = []

    def first(_: int, call: Any) -> bool:
        hit = call.operation in ("UploadPart", "PutObject") and len(once) < 2
        once.extend([1] * hit)
        return hit

    with aws.failing(Fault(first, "SlowDown", 503)):
        write(place, "x", b"data")
        place.put("y", b"data", UNTIL)

    assert len(once) == 2
    assert names(place) == ["x", "y"]


def test_a_small_object_whose_answer_got_lost_is_there_once(aws: Aws) -> None:
    place = a_vault(aws)
    hits: list[int] = []

    def first(_: int, call: Any) -> bool:
        hit = call.operation == "PutObject" and not hits
        hits.extend([1] * hit)
        return hit

    with aws.failing(Fault(first, "InternalError", 500, done=True)):
        place.put("x", b"data", UNTIL)

    assert place.read("x") == b"data"


@pytest.mark.parametrize("again", [None, "NoSuchUpload"])
def test_an_upload_whose_last_answer_got_lost_is_done(aws: Aws, again: str | None) -> None:
    place, data = a_vault(aws), os.urandom(PART + 5)
    if again:  # what S3 says when it is told once more
        first: list[int] = []

        def later(_: int, call: Any) -> bool:
            hit: bool = call.operation == "CompleteMultipartUpload"
            first.extend([1] * hit)
            return hit and len(first) > 1

        aws.faults.append(Fault(later, again, 404))
    fault = Fault(once("CompleteMultipartUpload"), "InternalError", 500, done=True)
    aws.faults.append(fault)
    write(place, "daily/x/base", data)

    assert place.read("daily/x/base") == data
    assert uploads(place) == []


def test_an_upload_that_went_away_before_it_was_complete_is_an_error(aws: Aws) -> None:
    place = a_vault(aws)

    lost = Fault(once("CompleteMultipartUpload"), "InternalError", 500)
    aws.faults += [lost, Fault(of("CompleteMultipartUpload"), "NoSuchUpload", 404)]
    with pytest.raises(OpsError, match="CompleteMultipartUpload"):
        write(place, "x", b"data")

    assert names(place) == []


def test_of_two_of_one_name_the_first_stays_also_where_an_answer_got_lost(aws: Aws) -> None:
    place = a_vault(aws)
    place.put("x", b"first one", UNTIL)
    aws.faults.append(Fault(once("CompleteMultipartUpload"), "InternalError", 500))
    with pytest.raises(OpsError):
        write(place, "x", b"second")

    assert place.read("x") == b"first one"
    assert uploads(place) == []


def test_a_conflict_at_the_end_of_an_upload_is_an_error_and_leaves_nothing(aws: Aws) -> None:
    place = a_vault(aws)
    fault = Fault(once("CompleteMultipartUpload"), "ConditionalRequestConflict", 409)
    with aws.failing(fault), pytest.raises(OpsError, match="CompleteMultipartUpload"):
        write(place, "x", b"data")

    assert names(place) == []
    assert uploads(place) == []


def test_a_small_object_in_conflict_with_a_call_of_our_own_is_written_again(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = a_vault(aws)
    monkeypatch.setattr(vault, "PAUSES", (0.0, 0.0))
    with aws.failing(Fault(once("PutObject"), "ConditionalRequestConflict", 409)):
        place.put("x", b"data", UNTIL)
    assert place.read("x") == b"data"

    always = Fault(lambda _, call: call.operation == "PutObject", "ConditionalRequestConflict", 409)
    with aws.failing(always), pytest.raises(OpsError, match="PutObject"):
        place.put("y", b"data", UNTIL)
    assert 3 == aws.operations.count("PutObject")


def test_parts_that_arrive_in_another_order_are_put_together_in_theirs(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, data = a_vault(aws), os.urandom(5 * 6 * 1024**2)
    monkeypatch.setattr(vault, "PART", 6 * 1024**2)
    send = Upload._part

    def late(self: Upload, number: int, part: bytes) -> dict[str, Any]:
        time.sleep(0.2 * (number % 2))
        return send(self, number, part)

    monkeypatch.setattr(Upload, "_part", late)
    write(place, "x", data)

    assert place.read("x") == data


@pytest.mark.parametrize("code", ["ExpiredToken", "InternalError"])
def test_what_s3_says_in_the_middle_of_a_stream_is_heard_through_the_seal(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    place = a_vault(aws)
    monkeypatch.setattr(vault, "PART", 6 * 1024**2)
    monkeypatch.setattr("time.sleep", lambda _: None)
    status = 400 if code == "ExpiredToken" else 500
    fault = Fault(lambda _, call: call.fields.get("partNumber") == "2", code, status)
    block = os.urandom(1024**2)
    with (
        aws.failing(fault),
        pytest.raises(OpsError, match="expired" if status == 400 else "UploadPart"),
        place.writing("x", 10**9, UNTIL) as upload,
    ):
        seals.seal(seals.Chunks(block for _ in range(100)), upload, [PUBLIC])

    assert names(place) == []
    assert uploads(place) == []


def test_an_order_to_stop_leaves_neither_object_nor_parts(aws: Aws) -> None:
    place = a_vault(aws)

    def ordered() -> Iterator[bytes]:
        yield os.urandom(2 * PART)
        raise SystemExit(143)

    with pytest.raises(SystemExit), place.writing("x", 10**9, UNTIL) as upload:
        seals.seal(seals.Chunks(ordered()), upload, [PUBLIC])

    assert names(place) == []
    assert uploads(place) == []


def test_what_s3_says_of_the_lock_is_said_in_our_words(aws: Aws) -> None:
    place = a_vault(aws, locked=True)
    denied = Fault(lambda _, call: call.operation == "GetObjectLockConfiguration", "AccessDenied")
    with aws.failing(denied), pytest.raises(OpsError, match="denies"):
        place.put("x", b"data", UNTIL)

    place.put("x", b"data", UNTIL)
    assert names(place) == ["x"]


def test_very_large_streams_have_parts_that_are_large_enough() -> None:
    for size in (1, 10**9, 150 * 10**9, 10**12):
        part = max(PART, -(-size // vault.PARTS))
        assert -(-size // part) <= 9000


def test_what_is_not_there_is_refused_by_its_name(aws: Aws) -> None:
    place = a_vault(aws)
    with pytest.raises(OpsError, match=f"s3://{BUCKET}/stack/daily/x is not there"):
        place.read("daily/x")


def test_names_are_listed_in_order_below_a_prefix(aws: Aws) -> None:
    place = a_vault(aws)
    for name in ("logs/2", "logs/1", "daily/1"):
        place.put(name, b"", UNTIL)

    assert names(place, "logs/") == ["logs/1", "logs/2"]
    assert [each.name for each in place.list("logs/", after="logs/1")] == ["logs/2"]


def test_without_a_place_or_a_bucket_it_is_refused(aws: Aws) -> None:
    with pytest.raises(OpsError, match="no place for backups") as none:
        vault.reach(Settings())
    with pytest.raises(OpsError, match="is not there") as gone:
        vault.reach(PLACE)

    assert [none.value.code, gone.value.code] == [2, 2]
    del aws


SCRIPT = """
import resource, sys
sys.path.insert(0, {root!r})
from ops.seals import Chunks, seal
from ops.vault import Upload

class S3:
    def upload_part(self, **given):
        return {{"ETag": "x"}}

import os
block = os.urandom(1024**2)
upload = Upload(S3(), {{}}, 16 * 1024**2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seal(Chunks(block for _ in range({count})), upload, [{key!r}])
upload.finish()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_what_is_stored() -> None:
    from tests.conftest import ROOT
    from tests.stored import PUBLIC

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    grown = []
    for count in (100, 400):
        script = SCRIPT.format(root=str(ROOT), key=PUBLIC, count=count)
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        grown.append(int(done.stdout) / 1024)

    assert max(grown) < 130
    assert grown[1] < grown[0] + 40
