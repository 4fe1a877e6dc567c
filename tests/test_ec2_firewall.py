"""The security group of a host, with moto's EC2."""

import pytest

from ops.aws import Account
from ops.ec2_firewall import Firewall
from ops.ec2_part import label
from ops.errors import OpsError
from tests.aws import Aws
from tests.ec2 import held, made, wanted

LABEL = label("mlflow")


def rules(account: Account) -> set[tuple[int, str]]:
    """Return port and network of all that is open."""
    groups = account.ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": [LABEL]}]
    )["SecurityGroups"]
    found = set()
    for entry in groups[0]["IpPermissions"]:
        found |= {(entry["FromPort"], each["CidrIp"]) for each in entry["IpRanges"]}
        found |= {(entry["FromPort"], each["CidrIpv6"]) for each in entry["Ipv6Ranges"]}
    return found


def test_only_what_is_asked_for_is_open(account: Account, aws: Aws) -> None:
    made(Firewall(account, "mlflow"), wanted(aws))

    assert {(22, "203.0.113.7/32")} == rules(account)


def test_without_any_port_asked_for_none_is_open(account: Account, aws: Aws) -> None:
    made(Firewall(account, "mlflow"), wanted(aws, ssh_from=()))

    assert set() == rules(account)


def test_our_rules_follow_what_is_wanted_and_theirs_stay(account: Account, aws: Aws) -> None:
    group = Firewall(account, "mlflow")
    made(group, wanted(aws, web_from=("198.51.100.0/24",)))
    theirs = {"CidrIp": "192.0.2.0/24", "Description": "the office"}
    aws.client("ec2").authorize_security_group_ingress(
        GroupId=group.identity,
        IpPermissions=[{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [theirs]}],
    )
    moved = wanted(aws, ssh_from=("203.0.113.8/32",), web_from=("2001:db8::/32",))
    group.look()

    assert {
        "open port 22 to 203.0.113.8/32",
        "open port 80 to 2001:db8::/32",
        "open port 443 to 2001:db8::/32",
        "close port 22 to 203.0.113.7/32",
        "close port 80 to 198.51.100.0/24",
        "close port 443 to 198.51.100.0/24",
    } == set(group.todo(moved))
    made(group, moved)
    assert {
        (22, "192.0.2.0/24"),
        (22, "203.0.113.8/32"),
        (80, "2001:db8::/32"),
        (443, "2001:db8::/32"),
    } == rules(account)


def test_a_group_is_removed(account: Account, aws: Aws) -> None:
    group = Firewall(account, "mlflow")
    made(group, wanted(aws))
    group.remove()

    assert {} == held(aws)


def test_a_group_that_is_not_ours_is_refused(account: Account, aws: Aws) -> None:
    aws.client("ec2").create_security_group(GroupName=LABEL, Description="x")
    with pytest.raises(OpsError, match="has no tag mlflow-compose=mlflow"):
        Firewall(account, "mlflow").look()
