"""Listing hosts on EC2 and ending one."""

import json

import pytest

from ops import ec2_hosts
from ops.aws import Account
from ops.ec2_host import Ec2Host
from ops.errors import REFUSED, OpsError
from ops.settings import Settings
from tests.aws import Aws
from tests.ec2 import changing, held, ready, wanted


@pytest.fixture
def host(account: Account, aws: Aws) -> Ec2Host:
    """A host that is there."""
    ready(aws)
    image = aws.client("ssm").get_parameter(Name="any")["Parameter"]["Value"]
    found = Ec2Host(account, "mlflow")
    found.look()
    found.make(wanted(aws, image=image), lambda _: None)
    return found


@pytest.mark.usefixtures("folder")
def test_an_account_without_hosts_says_so(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    del aws
    ec2_hosts.show("", as_json=False)

    assert ("", "no hosts in eu-west-2, account 123456789012\n") == capsys.readouterr()


@pytest.mark.usefixtures("folder")
def test_hosts_are_listed_and_the_data_that_is_left_of_one(
    host: Ec2Host, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2_hosts.show("", as_json=False)
    line = (
        f"mlflow  {host.instance.identity} t3.medium  running  "
        f"{host.address.address}  {host.volume.identity}\n"
    )

    assert line == capsys.readouterr().out
    host.instance.remove()
    ec2_hosts.show("", as_json=True)
    assert [
        {
            "name": "mlflow",
            "instance": "",
            "type": "",
            "state": "",
            "address": "",
            "volume": host.volume.identity,
        }
    ] == json.loads(capsys.readouterr().out)
    assert "machines" not in held(aws)


@pytest.mark.usefixtures("folder")
def test_many_hosts_come_in_pages(account: Account, aws: Aws) -> None:
    """moto sends a page at a time only if asked to, so this counts what is asked for."""
    aws.calls.clear()
    rows = ec2_hosts._machines(account)

    assert [] == rows
    assert {"DescribeInstances", "DescribeVolumes"} == set(aws.operations)


@pytest.mark.usefixtures("folder")
def test_a_host_goes_once_its_name_was_typed_and_others_stay_in_the_settings(
    host: Ec2Host, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    Settings.load().keep({"DEPLOY_HOST": f"ubuntu@{host.instance.address},ubuntu@10.0.0.1"})
    ec2_hosts.terminate("mlflow", "", confirm="mlflow", with_data=False)

    assert {"volumes": [host.volume.identity]} == held(aws)
    assert ["ubuntu@10.0.0.1"] == Settings.load().deploy_hosts
    said = capsys.readouterr().err
    assert f"  instance {host.instance.identity}\n" in said
    assert f"its data is kept: {host.volume.identity}" in said


@pytest.mark.parametrize(
    ("name", "confirm", "cause"),
    [
        ("mlflow", "mlfow", "--confirm mlfow is not mlflow; nothing was changed"),
        ("mlflow", "", "nobody is here to agree to it"),
        ("other", "other", "there is no host other in eu-west-2"),
    ],
)
@pytest.mark.usefixtures("folder", "host")
def test_a_name_that_is_not_the_host_s_ends_nothing(
    aws: Aws, name: str, confirm: str, cause: str
) -> None:
    before = held(aws)
    aws.calls.clear()
    with pytest.raises(OpsError) as caught:
        ec2_hosts.terminate(name, "", confirm=confirm, with_data=True)

    assert cause in caught.value.cause
    assert REFUSED == caught.value.code
    assert [] == changing(aws.operations)
    assert before == held(aws)
