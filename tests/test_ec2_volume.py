"""The data volume of a host, with moto's EC2."""

import pytest

from ops.aws import Account
from ops.ec2_volume import DataVolume
from ops.errors import OpsError
from tests.aws import Aws
from tests.ec2 import held, made, wanted


def test_a_volume_is_encrypted_and_where_the_machine_will_be(account: Account, aws: Aws) -> None:
    volume = DataVolume(account, "mlflow")
    want = wanted(aws)
    made(volume, want)
    [found] = account.ec2.describe_volumes()["Volumes"]

    assert (True, "gp3", 50, want.place.zone) == (
        found["Encrypted"],
        found["VolumeType"],
        found["Size"],
        found["AvailabilityZone"],
    )
    volume.remove()
    assert {} == held(aws)


def test_two_volumes_are_refused_by_name(account: Account, aws: Aws) -> None:
    want = wanted(aws)
    volume = DataVolume(account, "mlflow")
    volume.make(want)
    volume.make(want)
    with pytest.raises(OpsError, match="has 2 data volumes: vol-") as caught:
        volume.look()

    assert all(each in caught.value.cause for each in held(aws)["volumes"])


def test_the_volume_of_another_host_is_not_this_one_s(account: Account, aws: Aws) -> None:
    DataVolume(account, "other").make(wanted(aws))
    volume = DataVolume(account, "mlflow")
    volume.look()

    assert "" == volume.identity
