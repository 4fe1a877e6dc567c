"""The lab itself: a second one is brought up beside the first, used, broken, and taken down."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from tests import lab

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[2]
NAME = "mlflow-lab-test"
PYTHON, RCLONE = "python:3.13-slim", "mlflow-lab/rclone:latest"
MEBIBYTE = 1 << 20
FETCH = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())"


def run(*words: str, expect: int | None = 0) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert expect is None or expect == done.returncode, f"{words}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Second:
    """A lab with a name and a state folder of its own, driven by its command line."""

    state: Path

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "MLFLOW_LAB_NAME": NAME, "MLFLOW_LAB_STATE": str(self.state)}

    def call(self, *words: str) -> str:
        line = [sys.executable, "-m", "tests.lab", *words]
        done = subprocess.run(
            line, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def up(self, hosts: int = 0) -> lab.Lab:
        said = json.loads(self.call("up", "--hosts", str(hosts)))
        found = tuple(lab.Host(**host) for host in said["hosts"])
        return lab.Lab(hosts=found, s3=lab.S3(**said["s3"]), registry=said["registry"])

    def killed(self, seconds: float, *words: str) -> None:
        """Start the command line and kill it outright after a while."""
        line = [sys.executable, "-m", "tests.lab", *words]
        with subprocess.Popen(
            line, cwd=ROOT, env=self.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGKILL)

    def ids(self) -> set[str]:
        """Give everything of this lab that the engine knows, by id and start."""
        containers = self.parts("container").values()
        form = "{{.Id}} {{.State.StartedAt}}"
        started = run("docker", "inspect", "--format", form, *containers).splitlines()
        return {*started, *self.parts("volume"), *self.parts("network").values()}

    def parts(self, kind: str) -> dict[str, str]:
        """Map the names of this lab's containers, volumes or networks to ids."""
        every = ["--all"] if kind == "container" else []
        key = {"container": "{{.Names}} {{.ID}}", "volume": "{{.Name}} {{.Name}}"}
        words = ["--filter", f"label=mlflow-compose.lab={NAME}", *every]
        form = key.get(kind, "{{.Name}} {{.ID}}")
        said = run("docker", kind, "ls", *words, "--format", form).splitlines()
        return dict(line.split(" ") for line in said)


@pytest.fixture(scope="module")
def second(the_lab: lab.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second]:
    assert the_lab  # the first lab is up and has to survive
    made = Second(tmp_path_factory.mktemp("lab") / "state")
    made.call("down")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def pair(second: Second) -> lab.Lab:
    """The second lab with two hosts."""
    return second.up(hosts=2)


@pytest.fixture(scope="module")
def s3(pair: lab.Lab) -> "S3Client":
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=pair.s3.endpoint,
        aws_access_key_id=pair.s3.access_key,
        aws_secret_access_key=pair.s3.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
    )
    client.create_bucket(Bucket="lab-test")
    return client


def ssh(host: lab.Host, *words: str) -> str:
    options = ["-o", f"UserKnownHostsFile={host.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
    options += ["-o", "BatchMode=yes", "-i", host.key, "-p", str(host.port)]
    return run("ssh", *options, f"{host.user}@{host.address}", *words)


# S3


def test_a_large_object_goes_up_in_parts_and_comes_back_whole(s3: "S3Client") -> None:
    data = os.urandom(50 * MEBIBYTE)
    parts = TransferConfig(multipart_threshold=8 * MEBIBYTE, multipart_chunksize=8 * MEBIBYTE)
    s3.upload_fileobj(io.BytesIO(data), "lab-test", "models/large.bin", Config=parts)
    back = io.BytesIO()
    s3.download_fileobj("lab-test", "models/large.bin", back, Config=parts)

    assert sha256(back.getvalue()).digest() == sha256(data).digest()
    assert s3.head_object(Bucket="lab-test", Key="models/large.bin")["ContentLength"] == len(data)


def test_a_container_on_another_network_reaches_s3_under_the_same_url(s3: "S3Client") -> None:
    s3.put_object(Bucket="lab-test", Key="hello", Body=b"from the test")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "lab-test", "Key": "hello"})
    run("docker", "network", "create", f"{NAME}-elsewhere")
    try:
        for network in ("bridge", f"{NAME}-elsewhere"):
            words = ["docker", "run", "--rm", "--network", network, PYTHON, "python", "-c", FETCH]
            assert run(*words, url) == "from the test"
    finally:
        run("docker", "network", "rm", f"{NAME}-elsewhere")


def test_s3_refuses_a_stranger(pair: lab.Lab) -> None:
    stranger: S3Client = boto3.client(
        "s3",
        endpoint_url=pair.s3.endpoint,
        aws_access_key_id=pair.s3.access_key,
        aws_secret_access_key="wrong",
        region_name="us-east-1",
    )

    with pytest.raises(stranger.exceptions.ClientError, match="SignatureDoesNotMatch"):
        stranger.list_buckets()


# hosts and registry


def test_every_host_runs_containers_of_its_own(pair: lab.Lab) -> None:
    for host in pair.hosts:
        lab.load_image(host, RCLONE)
        assert "rclone v" in ssh(host, "docker", "run", "--rm", RCLONE, "version")
        assert ssh(host, "sudo", "-n", "id", "-u") == "0"
        assert ssh(host, "docker", "compose", "version", "--short").startswith("2.")


def test_a_host_reaches_its_neighbour_and_s3(pair: lab.Lab, s3: "S3Client") -> None:
    first, other = pair.hosts
    serve = ["serve", "http", "--addr", ":8080", "/"]
    lab.load_image(other, RCLONE)
    ssh(other, "docker", "run", "--detach", "--name", "web", "--publish", "80:8080", RCLONE, *serve)
    s3.put_object(Bucket="lab-test", Key="hello", Body=b"from the test")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "lab-test", "Key": "hello"})

    page = ["curl", "--silent", "--retry", "10", "--retry-connrefused"]
    assert "rclone" in ssh(first, *page, f"http://{other.address}/")
    assert ssh(first, "curl", "--silent", f"'{url}'") == "from the test"


def test_an_image_travels_through_the_registry(pair: lab.Lab) -> None:
    image = f"{pair.registry}/tools/rclone:1"
    run("docker", "tag", RCLONE, image)
    run("docker", "push", "--quiet", image)
    run("docker", "image", "rm", image)
    run("docker", "pull", "--quiet", image)
    run("docker", "image", "rm", image)

    assert "rclone v" in ssh(pair.hosts[0], "docker", "run", "--rm", image, "version")


# life


def test_a_second_up_is_quick_and_changes_nothing(pair: lab.Lab, second: Second) -> None:
    before = second.ids()
    start = time.monotonic()
    again = second.up()

    assert again == pair
    assert time.monotonic() - start < 3
    assert second.ids() == before


def test_what_stopped_comes_back_with_its_keys_and_data(
    pair: lab.Lab, second: Second, s3: "S3Client"
) -> None:
    s3.put_object(Bucket="lab-test", Key="kept", Body=b"still here")
    serve = ["serve", "http", "--addr", ":8080", "/"]
    lab.load_image(pair.hosts[1], RCLONE)
    ssh(
        pair.hosts[1],
        "docker",
        "run",
        "--detach",
        "--name=kept",
        "--restart=always",
        RCLONE,
        *serve,
    )
    names = second.parts("container")
    run("docker", "kill", *names)

    assert second.up(hosts=2) == pair
    assert s3.get_object(Bucket="lab-test", Key="kept")["Body"].read() == b"still here"
    assert ssh(pair.hosts[1], "docker", "version", "--format", "{{.Server.Os}}") == "linux"
    assert (
        ssh(pair.hosts[1], "docker", "inspect", "--format='{{.State.Status}}'", "kept") == "running"
    )
    assert second.parts("container") == names


def test_two_ups_at_once_agree(pair: lab.Lab, second: Second) -> None:
    line = [sys.executable, "-m", "tests.lab", "up"]
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(
                subprocess.Popen(
                    line, cwd=ROOT, env=second.environ, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(2)
        ]
        said = [json.loads(process.communicate()[0]) for process in both]

    assert said[0] == said[1]
    assert said[0]["s3"]["secret_key"] == pair.s3.secret_key


def test_down_leaves_nothing_and_the_first_lab_alone(
    pair: lab.Lab, second: Second, the_lab: lab.Lab
) -> None:
    assert pair.hosts
    second.call("down")

    for kind in ("container", "volume", "network"):
        assert second.parts(kind) == {}
    assert not second.state.exists()
    assert "rclone v" in run("docker", "run", "--rm", RCLONE, "version")
    assert lab.up().s3 == the_lab.s3


@pytest.mark.parametrize("seconds", [0.3, 0.9])
def test_a_killed_up_is_followed_by_a_good_one(second: Second, seconds: float) -> None:
    second.killed(seconds, "up", "--hosts", "1")
    made = second.up(hosts=1)

    assert ssh(made.hosts[0], "docker", "version", "--format", "{{.Server.Os}}") == "linux"
    second.call("down")


@pytest.mark.parametrize("seconds", [0.4, 1.2])
def test_a_killed_up_is_followed_by_a_clean_down(second: Second, seconds: float) -> None:
    second.killed(seconds, "up", "--hosts", "1")
    second.call("down")

    for kind in ("container", "volume", "network"):
        assert second.parts(kind) == {}
    assert not second.state.exists()
