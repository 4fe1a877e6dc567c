"""Where a host can stand, with moto's EC2."""

import pytest

from ops import ec2_place
from ops.aws import Account
from ops.errors import OpsError
from tests.aws import Aws


@pytest.fixture(autouse=True)
def x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build for x86_64, whatever the tests run on."""
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def test_a_place_has_the_type_s_size_and_a_zone_that_has_it(account: Account) -> None:
    place = ec2_place.find(account, "t3.medium", "", "")

    assert ("x86_64", 2, 4 * 1024**3) == (place.architecture, place.cores, place.memory)
    assert "eu-west-2a" == place.zone
    [subnet] = account.ec2.describe_subnets(SubnetIds=[place.subnet])["Subnets"]
    assert (place.vpc, place.zone) == (subnet["VpcId"], subnet["AvailabilityZone"])


def test_the_zone_of_a_volume_decides(account: Account) -> None:
    assert "eu-west-2b" == ec2_place.find(account, "t3.medium", "", "eu-west-2b").zone


def test_a_subnet_that_is_given_decides(account: Account) -> None:
    subnet = ec2_place.find(account, "t3.medium", "", "eu-west-2b").subnet

    assert subnet == ec2_place.find(account, "t3.medium", subnet, "").subnet


def test_a_subnet_away_from_the_volume_is_refused(account: Account) -> None:
    subnet = ec2_place.find(account, "t3.medium", "", "eu-west-2b").subnet
    with pytest.raises(OpsError, match=r"no t3.medium in the zone eu-west-2a") as caught:
        ec2_place.find(account, "t3.medium", subnet, "eu-west-2a")

    assert "--subnet" in caught.value.remedy


def test_a_type_that_no_zone_offers_is_refused(account: Account, aws: Aws) -> None:
    name = "DescribeInstanceTypeOfferings"
    empty = f"<{name}Response><instanceTypeOfferingSet/></{name}Response>".encode()
    aws.answers[name] = lambda _: ("text/xml", empty)
    with pytest.raises(OpsError, match=r"eu-west-2 has no t3.medium"):
        ec2_place.find(account, "t3.medium", "", "")


@pytest.mark.parametrize(
    ("machine", "usual"),
    [("AMD64", "t3.medium"), ("aarch64", "t4g.medium"), ("arm64", "t4g.medium")],
)
def test_the_usual_type_runs_what_is_built_here(
    monkeypatch: pytest.MonkeyPatch, machine: str, usual: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)

    assert usual == ec2_place.usual_type()
