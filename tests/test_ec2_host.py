"""A host as a whole: what is taken back, and what is said when that fails too."""

import pytest

from ops.aws import Account
from ops.ec2_host import Ec2Host
from ops.errors import FAILED, OpsError
from tests.aws import Aws, Fault
from tests.ec2 import held, ready, wanted


@pytest.fixture
def host(account: Account, aws: Aws) -> Ec2Host:
    ready(aws)
    found = Ec2Host(account, "mlflow")
    found.look()
    return found


def test_what_cannot_be_taken_back_is_named(host: Ec2Host, aws: Aws) -> None:
    stuck = Fault(lambda _, call: call.operation in ("RunInstances", "DeleteVolume"), "VolumeInUse")
    with aws.failing(stuck), pytest.raises(OpsError, match="not all that was made") as caught:
        host.make(wanted(aws))
    [volume] = held(aws)["volumes"]

    assert ["volumes"] == list(held(aws))
    assert f"data volume {volume}: AWS says no to DeleteVolume" in caught.value.cause
    assert "RunInstances" in caught.value.cause.splitlines()[0]
    assert "invoke terminate --name mlflow" in caught.value.remedy
    assert FAILED == caught.value.code


def test_what_was_there_before_stays_when_the_rest_is_taken_back(host: Ec2Host, aws: Aws) -> None:
    host.volume.make(wanted(aws))
    host.look()
    failing = Fault(lambda _, call: call.operation == "RunInstances")
    with aws.failing(failing), pytest.raises(OpsError, match="RunInstances"):
        host.make(wanted(aws))

    assert {"volumes": [host.volume.identity]} == held(aws)


def test_the_data_goes_only_when_it_is_asked_for(host: Ec2Host, aws: Aws) -> None:
    host.volume.make(wanted(aws))
    host.role.make(wanted(aws))
    host.look()

    assert [host.role] == host.going(data=False)
    assert [host.role, host.volume] == host.going(data=True)
