"""The machine of a host, with moto's EC2."""

from typing import Any

import pytest

from ops.aws import Account
from ops.ec2_firewall import Firewall
from ops.ec2_instance import Instance
from ops.ec2_key import KeyPair
from ops.ec2_part import Wanted, label, tagged
from ops.ec2_role import Role
from ops.ec2_volume import DataVolume
from ops.errors import OpsError
from tests.aws import Aws, Fault
from tests.ec2 import held, made, ready, wanted


@pytest.fixture
def want(account: Account, aws: Aws) -> Wanted:
    """What a machine is to be, with all that it needs."""
    ready(aws)
    image = aws.client("ssm").get_parameter(Name="any")["Parameter"]["Value"]
    want = wanted(aws, image=image)
    parts = [part(account, "mlflow") for part in (Role, KeyPair, Firewall, DataVolume)]
    for part in parts:
        part.look()
        part.make(want)
    return want


@pytest.fixture
def instance(account: Account) -> Instance:
    volume = DataVolume(account, "mlflow")
    volume.look()
    return Instance(volume)


def machine(aws: Aws) -> Any:
    [identity] = held(aws)["machines"]
    found = aws.client("ec2").describe_instances(InstanceIds=[identity])
    return found["Reservations"][0]["Instances"][0]


def test_the_machine_is_guarded_encrypted_and_lets_containers_have_its_role(
    instance: Instance, want: Wanted, aws: Aws
) -> None:
    made(instance, want)
    found, ec2 = machine(aws), aws.client("ec2")
    volumes = {each["VolumeId"]: each for each in ec2.describe_volumes()["Volumes"]}
    [data] = [each for each in volumes.values() if each["Size"] == want.data_gib]
    guarded = ec2.describe_instance_attribute(
        InstanceId=found["InstanceId"], Attribute="disableApiTermination"
    )

    assert guarded["DisableApiTermination"]["Value"]
    assert "required" == found["MetadataOptions"]["HttpTokens"]
    assert 2 == found["MetadataOptions"]["HttpPutResponseHopLimit"]
    groups = found["NetworkInterfaces"][0]["Groups"]
    assert {want.label} == {each["GroupName"] for each in groups}
    assert all(each["Encrypted"] and each["VolumeType"] == "gp3" for each in volumes.values())
    assert found["InstanceId"] == data["Attachments"][0]["InstanceId"]
    assert found["IamInstanceProfile"]["Arn"].endswith(want.label)
    assert "ubuntu" == instance.system
    assert found["PublicIpAddress"] == instance.address


def test_what_somebody_changed_is_put_right(instance: Instance, want: Wanted, aws: Aws) -> None:
    made(instance, want)
    ec2, identity = aws.client("ec2"), instance.identity
    ec2.modify_instance_metadata_options(
        InstanceId=identity, HttpPutResponseHopLimit=1, HttpTokens="optional"
    )
    ec2.modify_instance_attribute(InstanceId=identity, DisableApiTermination={"Value": False})
    ec2.stop_instances(InstanceIds=[identity])
    ec2.detach_volume(VolumeId=instance.volume.identity, InstanceId=identity)
    instance.volume.look()
    instance.look()

    assert [
        "ask for a token at its metadata, 2 hops away",
        "guard it against termination",
        "start it again",
        f"attach {instance.volume.identity} to it",
    ] == instance.todo(want)
    made(instance, want)
    assert "running" == machine(aws)["State"]["Name"]
    assert identity == instance.volume.attached_to


def test_a_role_that_ec2_does_not_know_yet_is_waited_for(
    instance: Instance, want: Wanted, aws: Aws
) -> None:
    early = Fault(
        lambda _, call: (
            call.operation == "RunInstances" and aws.operations.count("RunInstances") < 2
        ),
        code="InvalidParameterValue",
        message=f"Value ({label('mlflow')}) for parameter iamInstanceProfile.name is invalid.",
    )
    with aws.failing(early):
        made(instance, want)

    assert 1 == len(held(aws)["machines"])


def test_two_machines_are_refused_by_name(instance: Instance, want: Wanted, aws: Aws) -> None:
    made(instance, want)
    tags = tagged("instance", "mlflow")
    aws.client("ec2").run_instances(
        ImageId=want.image, MinCount=1, MaxCount=1, TagSpecifications=tags
    )
    with pytest.raises(OpsError, match="has 2 machines: i-") as caught:
        instance.look()

    assert all(each in caught.value.cause for each in held(aws)["machines"])


def test_ending_it_leaves_the_data(instance: Instance, want: Wanted, aws: Aws) -> None:
    made(instance, want)
    kept = instance.volume.identity
    instance.remove()

    assert "machines" not in held(aws)
    assert [kept] == held(aws)["volumes"]
