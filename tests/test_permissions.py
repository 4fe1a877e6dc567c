"""The table of what our calls to AWS need, held against the calls that our tasks make.

Each scenario plays a task against moto over HTTP, which records what it is asked. What a task asks
for has to be in the table under the task's name, and what stands there has to be asked for by that
task. Who adds a call to AWS adds its row, and a scenario here that makes it.
"""

import argparse
import ast
import io
import json
import re
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from botocore import xform_name
from botocore.loaders import Loader

from ops import (
    artifacts,
    backups,
    builds,
    caller,
    create_bucket,
    deploys,
    drill,
    ec2_hosts,
    evidence,
    fetching,
    keeper,
    manifest,
    policies,
    provision,
    restore,
    smoke,
    stack,
    supply,
    trust,
    vault,
)
from ops.buckets import make, reach
from ops.ec2_part import tagged
from ops.envfile import write_private
from ops.errors import OpsError
from ops.front_door import FrontDoor
from ops.manifest import Manifest
from ops.permissions import CALLS, allowed_by
from ops.scopes import INSTANCE, OPERATOR
from ops.settings import Settings
from ops.shipping import Shipper
from ops.site import Facts
from ops.vault import Vault
from tests.aws import REGION, Aws, Fault, loader, running
from tests.conftest import ROOT, SIZE, StandInServer, a_release, with_test_secrets
from tests.ec2 import PRICES, asked, held, ready
from tests.iam import allows
from tests.ssh_server import SshServer
from tests.stored import BUCKET, PLACE, PRIVATE, PUBLIC, FakeDonor, a_base, a_donor, a_vault, told
from tests.stored import names as stored_names
from tests.synthetic_images import EngineDouble
from tests.test_buckets import of
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


# --- Backups. MySQL and the place of the stack are doubles: they ask nothing of AWS. ---


@dataclass
class WithBackups:
    """A MySQL that is a double, the place of its backups, and one backup there with what followed.

    The place has a lock for each object and no rule of its own, as a bucket of one's own may.
    """

    settings: Settings
    donor: FakeDonor
    made: Manifest
    key: str


def with_backups(stage: Stage) -> WithBackups:
    settings = stage.settings(
        artifacts_destination="s3://team-artifacts",
        backups_destination=BACKUPS,
        backup_recipients=PUBLIC,
    )
    for name, lock in (("team-backups", True), ("team-artifacts", False)):
        make(reach(name, "", Settings()), lock=lock)
    place, donor = vault.reach(settings), a_donor(stage.root)
    donor.commit("binlog.000001", range(1, 4))
    made = a_base(place, donor)
    numbers, now = range(4, 9), datetime.now(UTC)
    moments = [round(now.timestamp() * 1e6)] * len(numbers)
    donor.commit("binlog.000002", numbers, 3, moments=moments)
    double: Any = donor
    Shipper(place, double, donor.uuid, donor.data, settings.recipients).ship(now)
    name = evidence.name(now.strftime(manifest.TIME), "ok")
    document = {"backup": made.id, "result": "ok", "finished": now.isoformat()}
    place.put(name, json.dumps(document).encode(), now + timedelta(days=1))
    key = stage.root / "key"
    write_private(key, PRIVATE, 0o600)
    stage.aws.calls.clear()
    return WithBackups(settings, donor, made, str(key))


def backup_service(stage: Stage) -> None:
    """The service begins, ships, looks, takes bases of which one breaks off, and begins again."""
    found = with_backups(stage)
    for name, path in (("DATA", found.donor.data), ("SPOOL", found.donor.spool)):
        stage.patch.setattr(keeper, name, path)
    stage.patch.setattr(keeper, "LOCK", found.donor.spool / "lock")
    stage.patch.setenv("KEK_FINGERPRINT", "f" * 32)
    stage.patch.setattr(keeper, "Donor", lambda _: found.donor)
    service = keeper.Keeper(found.settings)
    found.donor.commit("binlog.000002", range(4, 12), 3)
    shipper = service.begin()
    assert shipper.ship(datetime.now(UTC))
    service.look(shipper)
    assert service.state["proven"]
    fault = Fault(lambda _, call: call.operation == "UploadPart")
    stage.aws.faults.append(fault)
    service.take(shipper.vault, manifest.BASE)
    assert "UploadPart" in service.state["base_error"]
    stage.aws.faults.remove(fault)
    service.take(shipper.vault, manifest.BASE)
    assert "base_error" not in service.state
    service.begin()
    assert service.last is not None
    fetch(stage, found, service.last)


def fetch(stage: Stage, found: WithBackups, made: Manifest) -> None:
    """Unpack a backup as a restore does: in a container on the host, and with its role."""
    folder = stage.root / "restore"
    for name in ("data", "logs"):
        (folder / name).mkdir(parents=True)
        stage.patch.setattr(fetching, name.upper(), folder / name)
    stage.patch.setattr(fetching, "CREDENTIALS", folder / "credentials")
    given = json.dumps({"key": PRIVATE, "credentials": ""})
    stage.patch.setattr("sys.stdin", io.StringIO(given))
    fetching.fetch(found.settings, argparse.Namespace(id=made.id, to="last"), told)


def order_a_backup(stage: Stage) -> None:
    """The service, which makes it, does not run."""
    with_backups(stage)
    stage.patch.setattr(backups, "home", at_home(runs=lambda _: False))
    with pytest.raises(OpsError, match="does not run"):
        backups.backup("", manifest.BASE)


def at_home(**fields: Any) -> Callable[..., Any]:
    """Return what stands for the place of a stack: nothing of it is asked of AWS."""
    return lambda *_: nullcontext(SimpleNamespace(host=SimpleNamespace(name="here"), **fields))


def list_backups(stage: Stage) -> None:
    with_backups(stage)
    backups.show(as_json=True)


def verify(stage: Stage) -> None:
    with_backups(stage)
    backups.verify("")


def restored(stage: Stage) -> None:
    """What a restore asks for from a person's machine, and an upgrade, which makes one.

    The backup itself is fetched by the host.
    """
    found = with_backups(stage)
    place, now = vault.reach(found.settings), datetime.now(UTC)
    assert found.made == restore.choose(place, restore.Asked(identity=found.made.id)).backup
    assert found.made == restore.choose(place, restore.Asked(at=now.isoformat())).backup
    assert found.made == restore.choose(place, restore.Asked()).backup
    look_for_artifacts(found.settings)


def look_for_artifacts(settings: Settings) -> artifacts.Looked:
    """Look for what a database names: a model whose artifacts are gone."""
    rows = {"SHOW": [["model_versions"]], "SELE": [["mlflow-artifacts:/1/models/m-1/artifacts"]]}
    database: Any = SimpleNamespace(sql=lambda text: rows[text.strip()[:4]])
    found = artifacts.look(database, settings)
    assert found is not None
    assert 1 == len(found.missing)
    return found


def drilled(stage: Stage) -> None:
    """A drill that finds artifacts missing, and leaves evidence of it."""
    found = with_backups(stage)

    def proven(*_: Any) -> dict[str, Any]:
        return {"artifacts": asdict(look_for_artifacts(found.settings))}

    here = at_home(drilling=nullcontext, volume=lambda: "db")
    scratch = SimpleNamespace(sweep=lambda _: None, check_room=lambda: None)
    stage.patch.setattr(drill, "home", here)
    stage.patch.setattr(drill, "Scratch", lambda *_: scratch)
    stage.patch.setattr(drill, "proven", proven)
    drill.drill(restore.Asked(key=found.key), "", as_json=True)


OF_BACKUPS: dict[str, Callable[[Stage], None]] = {
    "backup service": backup_service,
    "backup": order_a_backup,
    "list-backups": list_backups,
    "verify": verify,
    "restore": restored,
    "upgrade": restored,
    "drill": drilled,
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
    *OF_BACKUPS.items(),
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


@pytest.mark.parametrize("task", OF_BACKUPS)
def test_what_is_asked_of_buckets_for_backups_is_allowed_there(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    OF_BACKUPS[task](Stage(aws, tmp_path, monkeypatch, EngineDouble(ENGINE)))
    whose = INSTANCE if task == "backup service" else OPERATOR
    names = {"partition": ["aws"], "bucket": ["team-backups", "team-artifacts"]}
    document = policies.document(whose, names | policies.places(Settings.load()))
    assert document is not None
    calls = [call for call in aws.calls if "path" in call.fields]
    for call in calls:
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
    assert calls


# --- The lock of what is written ---


def write(place: Vault, how: str) -> None:
    until = datetime.now(UTC) + timedelta(days=14)
    if how == "put":
        place.put("daily/a/manifest.json", b"{}", until)
        return
    with place.writing("daily/a/base.tar.zst.age", 1, until) as upload:
        upload.write(b"x")


@pytest.mark.parametrize("how", ["put", "writing"])
def test_who_may_not_see_whether_a_bucket_locks_writes_nothing_and_hears_of_the_right(
    aws: Aws, how: str
) -> None:
    place = a_vault(aws, locked=True)
    denied = Fault(of("GetObjectLockConfiguration"), "AccessDenied", 403, "Access Denied")
    with aws.failing(denied), pytest.raises(OpsError) as caught:
        write(place, how)

    assert "AWS denies GetObjectLockConfiguration: Access Denied" == caught.value.cause
    right = "s3:GetBucketObjectLockConfiguration: statement Buckets of `invoke policy`, "
    assert f"{right}statement BackupsLock of `invoke policy --for instance`" in caught.value.remedy
    assert [] == stored_names(place)
    assert "Uploads" not in place.s3.list_multipart_uploads(Bucket=BUCKET)
    write(place, how)  # as soon as the right is there
    assert 1 == len(stored_names(place))


def test_whether_a_bucket_locks_is_asked_once(aws: Aws) -> None:
    place = a_vault(aws, locked=True)
    for how in ("put", "writing", "put"):
        write(place, how)

    assert 1 == aws.operations.count("GetObjectLockConfiguration")


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_can_lock_and_has_no_rule_takes_locks_that_a_person_can_lift() -> None:
    make(reach(BUCKET, "", Settings()), lock=True)
    place = vault.reach(PLACE)
    write(place, "put")

    found = place.s3.head_object(Bucket=BUCKET, Key=place.key("daily/a/manifest.json"))
    assert "GOVERNANCE" == found["ObjectLockMode"]
    assert found["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=13)


def test_a_bucket_without_object_lock_is_written_to_without_locks(aws: Aws) -> None:
    place = a_vault(aws)
    write(place, "put")

    found = place.s3.head_object(Bucket=BUCKET, Key=place.key("daily/a/manifest.json"))
    assert "ObjectLockMode" not in found


# --- What is called without a scenario ---


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
        (
            "ListObjectVersions",
            "s3:ListBucketVersions: statement Buckets of `invoke policy`",
        ),
        (
            "DeleteObjects",
            "s3:DeleteObject: statement Artifacts of `invoke policy --for instance`",
        ),
        ("DeleteEverything", "the call DeleteEverything"),
    ],
)
def test_a_call_is_known_by_its_actions_and_the_statement_that_allows_them(
    operation: str, said: str
) -> None:
    assert said == allowed_by(operation)
