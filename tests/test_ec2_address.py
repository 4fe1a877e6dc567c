"""The address of a host that stays, with moto's EC2."""

import pytest

from ops.aws import Account
from ops.ec2_address import ElasticIp
from ops.ec2_instance import Instance
from ops.ec2_part import tagged
from ops.ec2_volume import DataVolume
from tests.aws import Aws
from tests.ec2 import held, made, ready, wanted


@pytest.fixture
def address(account: Account, aws: Aws) -> ElasticIp:
    """The address of a machine that is there."""
    ready(aws)
    image = aws.client("ssm").get_parameter(Name="any")["Parameter"]["Value"]
    aws.client("ec2").run_instances(
        ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tagged("instance", "mlflow")
    )
    instance = Instance(DataVolume(account, "mlflow"))
    instance.look()
    return ElasticIp(instance)


def test_an_address_is_given_to_the_machine_and_back_to_aws(address: ElasticIp, aws: Aws) -> None:
    made(address, wanted(aws))

    assert address.instance.identity == address.used_by
    address.remove()
    assert "addresses" not in held(aws)


def test_none_is_made_that_nobody_asked_for_and_one_that_is_there_stays(
    address: ElasticIp, aws: Aws
) -> None:
    address.look()

    assert [] == address.todo(wanted(aws, elastic_ip=False))
    made(address, wanted(aws))
    assert [] == address.todo(wanted(aws, elastic_ip=False))
    assert 1 == len(held(aws)["addresses"])


def test_a_second_one_is_released(address: ElasticIp, aws: Aws) -> None:
    for _ in range(2):
        aws.client("ec2").allocate_address(
            Domain="vpc", TagSpecifications=tagged("elastic-ip", "mlflow")
        )
    made(address, wanted(aws))

    assert [address.identity] == held(aws)["addresses"]
