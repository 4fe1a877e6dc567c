"""The table of what our calls to AWS need, held against the calls that our tasks make.

Each scenario plays a task against moto over HTTP, which records what it is asked. What a task asks
for has to be in the table under the task's name, and what stands there has to be asked for by that
task. Who adds a call to AWS adds its row, and a scenario here that makes it.
"""

import ast
import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paramiko
import pytest
from boto3.s3.transfer import TransferConfig
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.loaders import Loader

from ops import (
    builds,
    caller,
    create_bucket,
    deploys,
    ec2_hosts,
    generations,
    policies,
    provision,
    smoke,
    stack,
    supply,
    trust,
)
from ops.buckets import make, reach
from ops.ec2_part import tagged
from ops.errors import OpsError
from ops.front_door import FrontDoor
from ops.permissions import CALLS, allowed_by
from ops.scopes import INSTANCE, OPERATOR
from ops.settings import Settings
from ops.site import Facts
from tests.aws import REGION, Aws, Fault, loader, running
from tests.conftest import ROOT, SIZE, StandInServer, a_release, with_test_secrets
from tests.ec2 import PRICES, asked, held, ready
from tests.iam import allows
from tests.ssh_server import SshServer
from tests.synthetic_images import EngineDouble
from tests.test_ecr import MANIFEST

ECR = "123456789012.dkr.ecr.eu-west-2.amazonaws.com/team"
BACKUPS = "s3://team-backups/mlflow"
SERVICES = ("ec2", "ecr", "iam", "pricing", "s3", "ssm", "sts")
ELSEWHERE = {"server": "MLflow's own calls; tests/e2e/test_permissions.py records them"}
ENGINE = {
    "docker version": "28.2",
    "docker compose version": "2.40",
    "docker image inspect": "sha256:7\n",
    "docker image tag": "",
    "docker --config": "",
    "docker pull": "",
    "docker run": "c0ffee\n",
    "git": "abc\n",
    "mktemp": "/tmp/docker-abc\n",
    "rm": "",
}


@dataclass
class Stage:
    """Where a task is played: an empty AWS, a folder, a Docker Engine that has every image."""

    aws: Aws
    root: Path
    patch: pytest.MonkeyPatch
    engine: EngineDouble

    def settings(self, **fields: Any) -> Settings:
        """Have the task find these settings."""
        found = with_test_secrets(replace(Settings(root=self.root), **fields))
        self.patch.setattr(Settings, "load", classmethod(lambda _: found))
        return found

    @property
    def asked(self) -> set[str]:
        """What was asked of AWS: by us, and of ECR by Docker, which shows in its command lines."""
        line = "docker --config .* (image (?:push|pull)) "
        docker = [re.match(line, each) for each in self.engine.lines]
        return {*self.aws.operations, *(f"docker {found[1]}" for found in docker if found)}


# --- Scenarios. What they set up by a client of their own they take off the record. ---


def whoami(stage: Stage) -> None:
    stage.settings()
    caller.show("", as_json=True)


def policy(stage: Stage) -> None:
    stage.settings(registry=ECR, artifacts_destination="s3://team-artifacts")
    for whose in ("operator", "ci", "instance"):
        policies.show(whose, [], "", "", "")


def push(stage: Stage) -> None:
    """The first one breaks off half-way, the second completes the repository."""
    stage.settings(root=ROOT, registry=ECR)
    half_way = Fault(lambda _, call: call.operation == "PutLifecyclePolicy")
    with stage.aws.failing(half_way), suppress(OpsError):
        builds.push("")
    builds.push("")


def push_what_is_there(stage: Stage) -> None:
    in_ecr(stage, stack.web_image(stage.settings(root=ROOT, registry=ECR)))
    builds.push("")


def deploy(stage: Stage) -> None:
    """Of a deploy, the two steps that have to do with images; the others have not with AWS."""
    settings = stage.settings(root=ROOT, registry=ECR)
    move = deploys.planned(settings, SIZE, stage.engine, [Facts()], migrate=False)
    supply.provide(settings, stage.engine, [stage.engine], move.release)


def rollback(stage: Stage) -> None:
    settings = stage.settings(root=ROOT, registry=ECR)
    supply.provide(settings, stage.engine, [stage.engine], a_release(image=f"{ECR}/web:older"))


def trust_a_host(stage: Stage) -> None:
    """An instance at the address has a console that tells of another key."""
    client = stage.aws.client("ec2")
    vpc = client.create_vpc(CidrBlock="127.0.0.0/16")["Vpc"]["VpcId"]
    subnet = client.create_subnet(VpcId=vpc, CidrBlock="127.0.0.0/24")["Subnet"]["SubnetId"]
    where = {"SubnetId": subnet, "PrivateIpAddress": "127.0.0.1"}
    client.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, **where)
    stage.aws.console("-----BEGIN SSH HOST KEY FINGERPRINTS-----")
    stage.aws.calls.clear()
    stage.settings()
    host = SshServer(stage.root, [paramiko.ECDSAKey.generate()], [])
    try:
        with suppress(OpsError):
            trust.establish(host.address, "")
    finally:
        host.close()


def smoke_test(stage: Stage) -> None:
    """A stack whose clients write to S3 themselves."""
    stage.aws.client("s3", "us-east-1").create_bucket(Bucket="team-artifacts")
    stage.aws.calls.clear()
    server = StandInServer()
    server.artifact_root = "s3://team-artifacts/mlflow"
    try:
        place = {"artifacts_destination": server.artifact_root, "artifact_access": "direct"}
        smoke.run(FrontDoor(server.url), stage.settings(**place))
    finally:
        server.close()


def a_host(stage: Stage, **given: Any) -> None:
    stage.aws.prices(*PRICES)
    provision.provision(asked(**given), yes=True)


def provisioned(stage: Stage) -> None:
    """Make a host, change all that can be put right, and put it right."""
    stage.patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    with_folder(stage)
    a_host(stage)
    calls = list(stage.aws.calls)
    ec2 = stage.aws.client("ec2")
    [identity] = held(stage.aws)["machines"]
    ec2.modify_instance_metadata_options(InstanceId=identity, HttpPutResponseHopLimit=1)
    ec2.stop_instances(InstanceIds=[identity])
    ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip", "mlflow"))
    (stage.root / ".env").unlink()  # the bucket, which the role must not reach any more
    stage.aws.calls[:] = calls
    a_host(stage, ssm=True, ssh_from="")


def with_folder(stage: Stage) -> None:
    """Have a folder whose settings the tasks read, and can write."""
    ready(stage.aws)
    load = Settings.load.__func__  # type: ignore[attr-defined]
    stage.patch.setattr(Settings, "load", classmethod(lambda cls: load(cls, stage.root, {})))
    (stage.root / ".env").write_text("ARTIFACTS_DESTINATION='s3://team-artifacts'\n", "utf-8")


def list_hosts(stage: Stage) -> None:
    stage.settings()
    ec2_hosts.show("", as_json=True)


def terminated(stage: Stage) -> None:
    stage.patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    with_folder(stage)
    a_host(stage, ssm=True, ssh_from="")
    stage.aws.calls.clear()
    ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=True)


def make_buckets(stage: Stage) -> None:
    """A new one, and one that is there with nothing of what it should have."""
    stage.aws.client("s3").create_bucket(
        Bucket="team-backups", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    stage.aws.calls.clear()
    stage.settings()
    for name, kind in (("team-artifacts", "artifacts"), ("team-backups", "backups")):
        given = create_bucket.Given(name, kind, "", "", "", "")
        create_bucket.create(given, check=False, yes=True, as_json=True)


# --- Stand-ins for tasks that are still to come: their calls, by a client. When such a task is
# there, it takes the place of its stand-in, and the table has to say what it really asks for. ---

MEGABYTES = 12
"""More than one part, of which S3 takes none below 5 MiB."""


def with_backups(stage: Stage) -> Any:
    """Have a bucket for backups and one for artifacts; return a client."""
    stage.settings(artifacts_destination="s3://team-artifacts", backups_destination=BACKUPS)
    for name, lock in (("team-backups", True), ("team-artifacts", False)):
        make(reach(name, "", Settings()), lock=lock)
    client = stage.aws.client("s3")
    for key in ("mlflow/daily/a/manifest.json", "mlflow/daily/a/base.tar.zst.age"):
        client.put_object(Bucket="team-backups", Key=key, Body=b"{}")
    stage.aws.calls.clear()
    return client


def backup_service(stage: Stage) -> None:
    """Write a backup and a log with locks of their own, and one that breaks; read them; list."""
    client = with_backups(stage)
    until = generations.kept_until("daily", datetime.now(UTC))
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    base, log = "mlflow/daily/b/base.tar.zst.age", "mlflow/logs/uuid/binlog.000001/0-9-c-d.zst.age"

    def upload() -> None:
        body = io.BytesIO(os.urandom(MEGABYTES << 20))
        client.upload_fileobj(body, "team-backups", base, ExtraArgs=lock, Config=parts)

    upload()
    stage.aws.faults.append(Fault(lambda _, call: call.operation == "UploadPart"))
    with suppress(ClientError):
        upload()
    stage.aws.faults.clear()
    client.put_object(Bucket="team-backups", Key=log, Body=b"x", **lock)
    read_backups(client)
    client.list_objects_v2(Bucket="team-backups", Prefix="mlflow/logs/")


def read_backups(client: Any) -> None:
    """List, and look at and fetch what is there."""
    pages = client.get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket="team-backups", Prefix="mlflow/daily/"):
        for found in page["Contents"]:
            client.head_object(Bucket="team-backups", Key=found["Key"])
            client.get_object(Bucket="team-backups", Key=found["Key"])


def reader(stage: Stage) -> None:
    read_backups(with_backups(stage))


def drill(stage: Stage) -> None:
    """Leave evidence, which the lock of the bucket is for."""
    client = with_backups(stage)
    read_backups(client)
    client.put_object(Bucket="team-backups", Key="mlflow/drills/a.json", Body=b"{}")


STAND_INS: dict[str, Callable[[Stage], None]] = {
    "backup service": backup_service,
    "list-backups": reader,
    "verify": reader,
    "restore": reader,
    "drill": drill,
}

SCENARIOS: list[tuple[str, Callable[[Stage], None]]] = [
    ("whoami", whoami),
    ("policy", policy),
    ("push", push),
    ("push", push_what_is_there),
    ("deploy", deploy),
    ("rollback", rollback),
    ("trust", trust_a_host),
    ("smoke", smoke_test),
    ("provision", provisioned),
    ("hosts", list_hosts),
    ("create-bucket", make_buckets),
    ("terminate", terminated),
    *STAND_INS.items(),
]


def in_ecr(stage: Stage, image: str) -> None:
    """Have an image in ECR."""
    client = stage.aws.client("ecr")
    client.create_repository(repositoryName="team/web")
    tag = image.rpartition(":")[2]
    client.put_image(repositoryName="team/web", imageManifest=MANIFEST, imageTag=tag)
    stage.aws.calls.clear()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What each task asks AWS for."""
    found: dict[str, set[str]] = {}
    for task, play in SCENARIOS:
        root = tmp_path_factory.mktemp(task)
        with running() as aws, pytest.MonkeyPatch.context() as patch:
            patch.setattr("botocore.session.create_loader", lambda _: loader())
            patch.setattr("sys.stdin", io.StringIO())
            for name, value in {**aws.environ, "HOME": str(root)}.items():
                patch.setenv(name, value)
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "SSH_AUTH_SOCK"):
                patch.delenv(name, raising=False)
            engine = EngineDouble(ENGINE)
            patch.setattr(builds, "LocalHost", lambda engine=engine: engine)
            stage = Stage(aws, root, patch, engine)
            play(stage)
            found.setdefault(task, set()).update(stage.asked)
    return found


def test_what_a_task_asks_aws_for_is_in_the_table(recorded: dict[str, set[str]]) -> None:
    lacking = [
        f"{task}: {operation}"
        for task, operations in recorded.items()
        for operation in sorted(operations)
        if operation not in CALLS or task not in CALLS[operation].tasks
    ]

    assert [] == lacking


def test_what_is_in_the_table_is_asked_for(recorded: dict[str, set[str]]) -> None:
    surplus = [
        f"{task}: {operation}"
        for operation, call in CALLS.items()
        for task in call.tasks
        if task not in ELSEWHERE and operation not in recorded.get(task, set())
    ]

    assert [] == surplus


@pytest.mark.parametrize("task", STAND_INS)
def test_what_is_asked_of_backups_is_allowed_there(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    STAND_INS[task](Stage(aws, tmp_path, monkeypatch, EngineDouble(ENGINE)))
    whose = INSTANCE if task == "backup service" else OPERATOR
    names = {"partition": ["aws"], "bucket": ["team-backups"]}
    document = policies.document(whose, names | policies.places(Settings.load()))
    assert document is not None
    for call in aws.calls:
        needed = {
            action
            for scope, actions in CALLS[call.operation].needs.items()
            for action in actions
            if whose in scope.policies and scope.sid.startswith(("Backups", "Buckets", "Drills"))
        }
        arn = f"arn:aws:s3:::{call.fields['path'].strip('/')}"
        context = {"s3:prefix": call.fields["prefix"]} if "prefix" in call.fields else {}
        assert needed, call
        for action in needed:
            assert allows(document, action, arn, context), (action, call)


def test_a_call_that_no_scenario_makes_is_in_the_table_too() -> None:
    """What the code calls is looked up among the operations that botocore knows."""
    models = [Loader().load_service_model(service, "service-2") for service in SERVICES]
    known = {xform_name(name): name for model in models for name in model["operations"]}
    called = {
        known[name]
        for path in (ROOT / "ops").glob("*.py")
        if re.search(r"from ops\.aws import|import boto3", path.read_text("utf-8"))
        for name in names(path)
        if name in known
    }

    assert {"GetCallerIdentity", "PutLifecyclePolicy"} <= called
    assert set() == called - set(CALLS)


def names(path: Path) -> set[str]:
    """Return what a module calls as a method, and its strings: paginators go by name."""
    tree = ast.parse(path.read_text("utf-8"))
    methods = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return methods | {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# --- What the table says ---


def test_an_action_is_written_as_iam_has_it() -> None:
    for call in CALLS.values():
        for actions in call.needs.values():
            for action in actions:
                assert re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", action)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("DescribeInstances", "ec2:DescribeInstances: statement Look of `invoke policy`"),
        (
            "CreateRepository",
            "ecr:CreateRepository and ecr:TagResource: statement NewRepository of `invoke policy`",
        ),
        ("DeleteEverything", "the call DeleteEverything"),
    ],
)
def test_a_call_is_known_by_its_actions_and_the_statement_that_allows_them(
    operation: str, said: str
) -> None:
    assert said == allowed_by(operation)
