"""The place of backups: what is written stays, what failed leaves nothing."""

import os
import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops import vault
from ops.errors import OpsError
from ops.settings import Settings
from ops.vault import PART, Upload, Vault
from tests.aws import Aws, Fault
from tests.stored import BUCKET, PLACE, a_vault, names

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
