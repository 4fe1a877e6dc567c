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
    found.make(wanted(aws, image=image))
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


def page(name: str, token: str) -> tuple[str, bytes]:
    """Return a page of machines with one on it, as EC2 sends it where there are many."""
    machine = (
        f"<instanceId>i-{name}</instanceId><instanceType>t3.medium</instanceType>"
        "<instanceState><name>running</name></instanceState>"
        f"<tagSet><item><key>mlflow-compose</key><value>{name}</value></item></tagSet>"
    )
    group = f"<item><instancesSet><item>{machine}</item></instancesSet></item>"
    text = f"<reservationSet>{group}</reservationSet><nextToken>{token}</nextToken>"
    response = f"<DescribeInstancesResponse>{text}</DescribeInstancesResponse>"
    return "text/xml", response.encode()


@pytest.mark.usefixtures("folder")
def test_hosts_on_every_page_are_listed(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    """moto sends all of a few machines on one page."""
    aws.answers["DescribeInstances"] = lambda call: (
        page("two", "") if call.fields.get("NextToken") else page("one", "more")
    )
    ec2_hosts.show("", as_json=True)

    assert ["one", "two"] == [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert 2 == aws.operations.count("DescribeInstances")


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
