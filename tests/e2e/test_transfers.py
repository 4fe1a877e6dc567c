"""Which way large artifacts go, with MLflow's own client: through the server, or to S3 itself."""

import json
import os
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ops import access_log
from ops.access_log import Request
from tests import lab
from tests.e2e.asking import API, Answer, Door, User, ask, let_in
from tests.e2e.conftest import ROOT, Project, output, s3_client, s3_settings, wait_for

Measured = Callable[[str], None]

pytestmark = pytest.mark.usefixtures("impatient")

MIB = 1024**2
LARGE = 60
"""MiB of a file that is large by `EARLY`."""

EARLY = {"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(10 * MIB)}
"""What makes a client take a file for a large one that MLflow sends in one piece."""

TOLD = ("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD")
"""How a client is told to ask for addresses; newer ones ask the server whether it has some."""

PROXY = "/api/2.0/mlflow-artifacts"

SEND_AND_FETCH = """
import hashlib, os, sys, tempfile
from mlflow import MlflowClient

def checksum(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

client, megabytes = MlflowClient(), int(sys.argv[1])
run = client.create_run("0").info
with open("large.bin", "wb") as file:
    for _ in range(megabytes):
        file.write(os.urandom(1024**2))
sent = checksum("large.bin")
client.log_artifact(run.run_id, "large.bin", "a folder")
os.remove("large.bin")
back = client.download_artifacts(run.run_id, "a folder/large.bin", tempfile.mkdtemp(dir="."))
assert checksum(back) == sent
print(run.artifact_uri)
"""

# PSS counts what processes share once: https://docs.kernel.org/filesystems/proc.html
WATCH_MEMORY = """
import os, select, sys
peak = 0
while True:
    total = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:  # ended, or Docker's own, on its way to become a health check
            continue
    peak = max(peak, total)
    if select.select([sys.stdin], [], [], 0.1)[0]:
        print(peak // 1024)
        break
"""


@pytest.fixture(scope="module")
def signing(make_project: Callable[..., Project], the_lab: lab.Lab) -> Iterator[Project]:
    """A stack with a login that signs addresses of its place in S3, up; files are gone after."""
    project = make_project(
        "transfers",
        **s3_settings(the_lab, "s3://mlflow-artifacts/transfers"),
        ARTIFACT_ACCESS="presigned",
        TLS="private-ca",
        AUTH="basic",
        WEB_WORKERS="2",
    )
    project.invoke("up", "--engine", "compose")
    yield project
    client = s3_client(the_lab.s3)
    found = client.list_objects_v2(Bucket="mlflow-artifacts", Prefix="transfers/")
    for each in found.get("Contents", []):
        client.delete_object(Bucket="mlflow-artifacts", Key=each["Key"])


@pytest.fixture(scope="module")
def carrying(signing: Project) -> Project:
    """The same stack, once it carries all artifacts itself."""
    signing.set(ARTIFACT_ACCESS="proxied")
    signing.invoke("up", "--engine", "compose")
    return signing


def there_and_back(project: Project, folder: Path, megabytes: int, **changed: str | None) -> str:
    """Have a client send a file, fetch it and compare; return where its run keeps artifacts.

    Its environment is that of `invoke client-env`, with what is changed in it.
    """
    wanted = project.client_environ() | changed
    done = subprocess.run(
        [sys.executable, "-c", SEND_AND_FETCH, str(megabytes)],
        env={name: value for name, value in wanted.items() if value is not None},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    for file in folder.rglob("large.bin"):
        file.unlink()
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@contextmanager
def passing(project: Project) -> Iterator[list[Request]]:
    """Fill a list with the requests that NGINX logs meanwhile."""
    door, mark = Door.of(project), f"/version-{uuid.uuid4().hex}"
    found: list[Request] = []

    def logged() -> list[Request]:
        lines = output("docker", "logs", project.container("nginx")).splitlines()
        return list(filter(None, map(access_log.parse, lines)))

    before = len(logged())
    yield found
    ask(door, door.admin, "GET", mark)
    wait_for(lambda: any(each.path == mark for each in logged()), 10, "the log has the last line")
    found += [each for each in logged()[before:] if each.path != mark]


def carried(requests: list[Request]) -> float:
    """Return the MiB that passed NGINX, in both directions."""
    return sum(each.bytes_in + each.bytes_out for each in requests) / MIB


# --- Addresses are signed ---


@pytest.mark.parametrize("told", [True, False], ids=["told by client-env", "asks the server"])
def test_a_large_file_goes_to_s3_itself_and_back_with_no_byte_of_it_through_the_server(
    signing: Project, the_lab: lab.Lab, tmp_path: Path, measured: Measured, *, told: bool
) -> None:
    without = {} if told else dict.fromkeys(TOLD)
    with passing(signing) as requests:
        place = there_and_back(signing, tmp_path, LARGE, **EARLY, **without)

    kinds = [each.path.removeprefix(PROXY).split("/")[1:3] for each in requests]
    assert ["mpu", "create"] in kinds
    assert ["mpu", "complete"] in kinds
    assert carried(requests) < 1
    measured(f"{LARGE} MiB up and down, {carried(requests) * 1024:.0f} KiB of it through NGINX")
    key = f"transfers{place.removeprefix('mlflow-artifacts:')}/a folder/large.bin"
    kept = s3_client(the_lab.s3).head_object(Bucket="mlflow-artifacts", Key=key)
    assert LARGE * MIB == kept["ContentLength"]


@pytest.fixture(scope="module")
def users(signing: Project) -> dict[str, User | None]:
    """Somebody of each kind, for the experiment 0 and a file in it."""
    door = Door.of(signing)
    let_in(door, door.admin)
    found: dict[str, User | None] = {"stranger": None}
    for role, permission in {"editor": "EDIT", "reader": "READ", "outsider": ""}.items():
        user = f"{role}-{uuid.uuid4().hex[:8]}", secrets.token_urlsafe(16)
        body = dict(zip(("username", "password"), user, strict=True))
        assert 200 == ask(door, door.admin, "POST", f"{API}/users/create", body).status
        if permission:
            what = {"resource_type": "experiment", "resource_id": "0", "permission": permission}
            grant = {"username": user[0], **what}
            path = "/api/3.0/mlflow/users/permissions/grant"
            assert 200 == ask(door, door.admin, "POST", path, grant).status
        let_in(door, user)
        found[role] = user
    assert 200 == ask(door, door.admin, "PUT", f"{PROXY}/artifacts/0/kept.txt", b"text").status
    return found


def begin(door: Door, user: User | None, parts: int = 2) -> Answer:
    """Ask for addresses to send a file to."""
    body = {"path": "new.bin", "num_parts": parts}
    return ask(door, user, "POST", f"{PROXY}/mpu/create/0/new", body)


@pytest.mark.parametrize(
    ("role", "upload", "download"),
    [("editor", 200, 200), ("reader", 403, 200), ("outsider", 403, 403), ("stranger", 401, 401)],
)
def test_who_may_write_gets_addresses_to_send_to_and_who_may_read_to_fetch_from(
    role: str, upload: int, download: int, *, signing: Project, users: dict[str, User | None]
) -> None:
    door = Door.of(signing)
    begun = begin(door, users[role])
    asked = ask(door, users[role], "GET", f"{PROXY}/presigned/0/kept.txt")

    assert (upload, download) == (begun.status, asked.status)
    addresses = [each["url"] for each in begun.json["credentials"]] if upload == 200 else []
    addresses += [asked.json["url"]] if download == 200 else []
    lifetimes = [int(parse_qs(urlsplit(each).query)["X-Amz-Expires"][0]) for each in addresses]
    assert [3600] * (2 * (upload == 200)) + [300] * (download == 200) == lifetimes
    for verb in ("complete", "abort"):
        body = {"path": "new.bin", "upload_id": "x", "parts": [{"part_number": 1, "etag": "x"}]}
        refused = ask(door, users[role], "POST", f"{PROXY}/mpu/{verb}/0/new", body).status
        assert (refused == upload) == (upload != 200)
    if upload == 200:
        body = {"path": "new.bin", "upload_id": begun.json["upload_id"]}
        assert 200 == ask(door, users[role], "POST", f"{PROXY}/mpu/abort/0/new", body).status


@pytest.mark.parametrize("parts", [0, -1, 10_001, 2**40])
def test_nobody_has_the_server_sign_more_addresses_than_s3_takes_parts(
    signing: Project, parts: int
) -> None:
    door = Door.of(signing)
    refused = begin(door, door.admin, parts)

    assert 400 == refused.status
    assert "S3 takes 1 to 10000" in refused.json["message"]
    assert refused.seconds < 10


def test_no_signed_address_is_in_a_log(signing: Project) -> None:
    door = Door.of(signing)
    address = ask(door, door.admin, "GET", f"{PROXY}/presigned/0/kept.txt").json["url"]
    signature = re.search("X-Amz-Signature=([0-9a-f]{64})", address)
    assert signature
    written = ""
    for service in ("nginx", "web", "egress"):
        words = ("docker", "logs", signing.container(service))
        done = subprocess.run(words, capture_output=True, check=True, text=True)
        written += done.stdout + done.stderr

    assert "presigned/0/kept.txt" in written
    assert "X-Amz-Signature" not in written


# --- The server carries everything ---


def test_all_of_a_large_file_passes_the_server(
    carrying: Project, tmp_path: Path, measured: Measured
) -> None:
    assert not {*TOLD} & {*carrying.client_environ()}
    with passing(carrying) as requests:
        there_and_back(carrying, tmp_path, LARGE, **EARLY)

    assert not [each for each in requests if "/mpu/" in each.path or "/presigned/" in each.path]
    assert sum(each.bytes_in for each in requests) > LARGE * MIB
    assert sum(each.bytes_out for each in requests) > LARGE * MIB
    measured(f"{LARGE} MiB up and down, {carried(requests):.0f} MiB through NGINX")


def test_a_client_that_insists_on_addresses_gets_none_and_takes_the_other_way(
    carrying: Project, tmp_path: Path
) -> None:
    with passing(carrying) as requests:
        there_and_back(carrying, tmp_path, LARGE, **EARLY, **dict.fromkeys(TOLD, "true"))

    asked = [each for each in requests if "/mpu/" in each.path or "/presigned/" in each.path]
    assert [501, 501] == [each.status for each in asked]
    assert carried(requests) > 2 * LARGE


def test_the_memory_of_the_server_does_not_grow_with_a_transfer(
    carrying: Project, tmp_path: Path, measured: Measured
) -> None:
    # The server hands a file on to S3 before it answers; on a busy machine that takes its time.
    patient = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "900"}
    peaks = {}
    for megabytes in (50, 500):
        words = ("docker", "exec", "--interactive", carrying.container("web"), "python", "-c")
        with subprocess.Popen(
            [*words, WATCH_MEMORY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watch:
            there_and_back(carrying, tmp_path, megabytes, **patient)
            peaks[megabytes] = int(watch.communicate("\n", timeout=60)[0])
    measured(f"MiB of `web` at most, by MiB of the file: {json.dumps(peaks)}")

    assert 100 < peaks[500] < peaks[50] + 64


# --- What MLflow does with a place ---

READ_CLASSES = """
from mlflow.store.artifact import artifact_repository_registry as registry
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository
from mlflow_compose.artifacts import Carried, repository
assert registry.get_registered_artifact_repositories()["s3"] is repository
special = {*vars(S3ArtifactRepository)} & {*vars(ArtifactRepository)} - {*vars(object)}
print(sorted(special - {*vars(Carried)}))
"""


def test_a_place_that_signs_nothing_does_all_else_as_mlflow_does_in_s3() -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_CLASSES],
        env=os.environ | {"PYTHONPATH": str(ROOT / "mlflow" / "plugin")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stdout.strip()
