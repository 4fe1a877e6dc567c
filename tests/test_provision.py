"""Making a host on EC2: from an empty account and back, twice, and what is refused on the way."""

import stat
from pathlib import Path
from typing import Any

import pytest

from ops import ec2_hosts, provision
from ops.errors import FAILED, REFUSED, OpsError
from ops.provision import Asked
from ops.settings import Settings
from tests.aws import REGION, Aws, Fault
from tests.ec2 import HOST_KEY, asked, changing, held, ready

LABEL = "mlflow-compose-mlflow"


@pytest.fixture
def cloud(aws: Aws) -> Aws:
    """An empty account in which a host can be made."""
    return ready(aws)


def make(**given: Any) -> None:
    provision.provision(asked(**given), yes=True)


def machine(cloud: Aws) -> Any:
    """Return the one machine of the account."""
    ec2 = cloud.client("ec2")
    [identity] = held(cloud)["machines"]
    return ec2.describe_instances(InstanceIds=[identity])["Reservations"][0]["Instances"][0]


def test_an_empty_account_gets_a_host_and_is_empty_again_twice(
    cloud: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        cloud.prices(0.05, 0.09, 0.005)
        make()
        address = capsys.readouterr().out.strip()

        assert {
            *("roles", "profiles", "keys", "groups"),
            *("volumes", "machines", "addresses"),
        } == set(held(cloud))
        assert address in Settings.load().deploy_hosts
        assert f"{address.partition('@')[2]} {HOST_KEY}\n" in (
            folder / "data" / "known_hosts"
        ).read_text("utf-8")

        cloud.calls.clear()
        make()

        assert "nothing to do" in capsys.readouterr().err
        assert [] == changing(cloud.operations)

        ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=True)

        assert {} == held(cloud)
        assert [] == Settings.load().deploy_hosts
        assert HOST_KEY not in (folder / "data" / "known_hosts").read_text("utf-8")


def test_the_plan_says_what_is_made_and_what_it_costs(
    cloud: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del cloud, folder
    make()
    said = capsys.readouterr().err

    assert f"the host mlflow in {REGION}, account 123456789012:" in said
    assert "open port 22 to 203.0.113.7/32" in said
    assert "the server there has 2 workers in 1152 MiB, MySQL 1152 MiB" in said
    assert "t3.medium: 36.50 USD a month" in said
    assert "about 46 USD a month" in said
    assert "its role reaches no bucket: ARTIFACTS_DESTINATION is not set" in said
    assert "invoke prepare --host ubuntu@" in said
    assert "--data-device /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol" in said


def test_the_key_is_made_here_and_only_its_public_half_leaves(cloud: Aws, folder: Path) -> None:
    make()
    key = folder / "data" / "keys" / "mlflow"
    [call] = [each for each in cloud.calls if each.operation == "ImportKeyPair"]

    assert 0o600 == stat.S_IMODE(key.stat().st_mode)
    assert str(key) == Settings.load().deploy_key
    assert "PublicKeyMaterial" in call.fields
    assert not [each for each in cloud.calls if "PRIVATE" in str(each.fields)]


def test_the_data_volume_outlives_its_machine_and_is_taken_up_again(
    cloud: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del folder
    make()
    ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=False)
    [kept] = held(cloud)["volumes"]

    assert ["volumes"] == list(held(cloud))
    assert f"its data is kept: {kept}" in capsys.readouterr().err
    cloud.prices(0.05, 0.09, 0.005)
    make()

    volume = cloud.client("ec2").describe_volumes(VolumeIds=[kept])["Volumes"][0]
    assert machine(cloud)["InstanceId"] == volume["Attachments"][0]["InstanceId"]


@pytest.fixture
def amazon_s_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto load the policies that are Amazon's own."""
    monkeypatch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")


@pytest.mark.usefixtures("amazon_s_policies", "folder")
def test_a_host_without_any_open_port_is_reached_through_session_manager(
    cloud: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    make(ssm=True, ssh_from="", elastic_ip=False)
    said = capsys.readouterr()
    identity = machine(cloud)["InstanceId"]
    attached = cloud.client("iam").list_attached_role_policies(RoleName=LABEL)

    assert f"ubuntu@{identity}" == said.out.strip()
    assert f"  Host {identity}\n    ProxyCommand aws ssm start-session --region" in said.err
    assert "open port 22" not in said.err
    assert "AmazonSSMManagedInstanceCore" == attached["AttachedPolicies"][0]["PolicyName"]


def test_the_role_reaches_the_bucket_of_the_settings_and_follows_it(
    cloud: Aws, folder: Path
) -> None:
    (folder / ".env").write_text("ARTIFACTS_DESTINATION='s3://one/a'\n", "utf-8")
    make()
    iam = cloud.client("iam")
    before = str(iam.get_role_policy(RoleName=LABEL, PolicyName="mlflow-compose"))
    Settings.load().keep({"ARTIFACTS_DESTINATION": "s3://two/b"})
    make()
    after = str(iam.get_role_policy(RoleName=LABEL, PolicyName="mlflow-compose"))

    assert "arn:aws:s3:::one/a/" in before
    assert "arn:aws:s3:::two/b/" in after
    assert ":::one" not in after


def test_without_a_price_list_the_plan_says_so_and_goes_on(
    cloud: Aws, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del folder
    denied = Fault(
        lambda _, call: call.operation == "GetProducts", code="AccessDeniedException", status=400
    )
    with cloud.failing(denied):
        make()

    assert "what it costs is not known: AWS denies GetProducts" in capsys.readouterr().err
    assert 1 == len(held(cloud)["machines"])


def test_a_console_that_tells_no_key_leaves_it_to_trust(
    cloud: Aws, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provision, "CONSOLE_SECONDS", 0)
    cloud.console("no keys here")
    make()

    assert "later: invoke trust --host ubuntu@" in capsys.readouterr().err
    assert not (folder / "data" / "known_hosts").exists()


# --- Refused, with nothing changed ---


def refused(cloud: Aws, cause: str, remedy: str = "", **given: Any) -> None:
    """Ask for a host, which has to be refused before anything was changed."""
    before = held(cloud)
    cloud.calls.clear()
    with pytest.raises(OpsError) as caught:
        make(**given)

    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert REFUSED == caught.value.code
    assert [] == changing(cloud.operations)
    assert before == held(cloud)


@pytest.mark.parametrize(
    ("given", "cause", "remedy"),
    [
        ({"name": "My Host"}, "--name 'My Host'", "a name such as"),
        ({"name": "a" * 41}, "at most 40", "a name such as"),
        ({"system": "windows"}, "--system 'windows' is not one of ubuntu", "take one of those"),
        ({"system": "debian", "ssm": True, "ssh_from": ""}, "no agent", "--system ubuntu"),
        ({"ssm": True}, "--ssm opens no port", "leave one of them out"),
        ({"disk": 5}, "--disk 5 is not between 10 and 16384", "correct it"),
        ({"data": 99999}, "--data 99999", "correct it"),
        ({"ssh_from": "0.0.0.0/0"}, "let everybody try", "--ssm"),
        ({"ssh_from": "nowhere"}, "--ssh-from: 'nowhere'", "203.0.113.0/24"),
        ({"web_from": "10.0.0.1/8"}, "--web-from: 10.0.0.1/8 has host bits set", "networks"),
        ({"instance_type": "t3.nope"}, "knows no instance type 't3.nope'", "t3.medium"),
        ({"instance_type": "t4g.medium"}, "t4g.medium is arm64", "t3.medium"),
        ({"instance_type": "t3.micro"}, "t3.micro has 1.0 GiB", "t3.medium"),
        ({"instance_type": "m3.large"}, "before Nitro", "t3.medium"),
        ({"subnet": "subnet-0123456789abcdef0"}, "has no subnet", "describe-subnets"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_input_is_refused(
    cloud: Aws, given: dict[str, Any], cause: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")  # also where the tests run on arm64
    refused(cloud, cause, remedy, **given)


@pytest.mark.usefixtures("folder")
def test_an_account_without_a_default_vpc_is_refused(cloud: Aws) -> None:
    ec2 = cloud.client("ec2")
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    refused(cloud, "has no default VPC", "create-default-vpc")


@pytest.mark.usefixtures("folder")
def test_a_region_that_is_off_is_refused(cloud: Aws) -> None:
    off = Fault(lambda _, call: call.operation == "DescribeVolumes", "OptInRequired", 401)
    with cloud.failing(off), pytest.raises(OpsError, match="no to DescribeVolumes") as caught:
        make()

    assert REFUSED == caught.value.code
    assert "turn the region on" in caught.value.remedy
    assert {} == held(cloud)


@pytest.mark.usefixtures("folder")
def test_a_quota_that_is_reached_leaves_nothing_behind(cloud: Aws) -> None:
    full = Fault(lambda _, call: call.operation == "RunInstances", "VcpuLimitExceeded")
    with cloud.failing(full), pytest.raises(OpsError, match="RunInstances") as caught:
        make()

    assert FAILED == caught.value.code
    assert "Service Quotas" in caught.value.remedy
    assert {} == held(cloud)


def test_a_key_that_will_not_do_is_refused(cloud: Aws, folder: Path) -> None:
    Settings.load().keep({"DEPLOY_KEY": str(folder / "gone")})
    refused(cloud, "cannot read the key", "correct DEPLOY_KEY")


@pytest.mark.usefixtures("folder")
def test_another_type_or_system_than_the_machine_has_is_refused(cloud: Aws) -> None:
    make()
    refused(cloud, "is a t3.medium, and --instance-type is t3.large", instance_type="t3.large")
    refused(cloud, "runs ubuntu, and --system is debian", system="debian")


def test_a_key_pair_of_another_folder_is_refused(cloud: Aws, folder: Path) -> None:
    make()
    (folder / "data" / "keys" / "mlflow").unlink()
    (folder / ".env").unlink()
    refused(cloud, "is another than this folder's", "DEPLOY_KEY")


@pytest.mark.usefixtures("folder")
def test_nobody_to_ask_is_refused(cloud: Aws) -> None:
    with pytest.raises(OpsError, match="nobody is here to agree") as caught:
        provision.provision(asked(), yes=False)

    assert REFUSED == caught.value.code
    assert [] == changing(cloud.operations)


def test_the_address_of_this_machine_is_asked_for_and_its_absence_named(
    cloud: Aws, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del folder
    monkeypatch.setattr(provision, "CHECK_ADDRESS", "http://127.0.0.1:1")
    refused(cloud, "which address this machine comes from", "--ssh-from", ssh_from="")


def test_the_flags_are_those_of_the_task() -> None:
    import inspect

    import tasks

    given = list(inspect.signature(tasks.provision.body).parameters)
    assert ["c", *Asked.__dataclass_fields__, "yes"] == given
