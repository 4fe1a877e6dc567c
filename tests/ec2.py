"""Hosts on EC2 for the tests: how one is asked for, and what an account holds."""

from typing import Any

from ops.ec2_part import Part, Wanted
from ops.ec2_place import Place
from ops.provision import Asked
from tests.aws import Aws

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
CONSOLE = f"""\
[    0.0] Linux
-----BEGIN SSH HOST KEY KEYS-----
{HOST_KEY} root@ip-172-31-0-1
-----END SSH HOST KEY KEYS-----
"""
PRICES = (0.05, 0.09, 0.005)
READS = ("Get", "List", "Describe")


def ready(aws: Aws) -> Aws:
    """Give an AWS what moto has not."""
    aws.systems()
    aws.prices(*PRICES)
    aws.console(CONSOLE)
    aws.calls.clear()
    return aws


def asked(**given: Any) -> Asked:
    """Return what a person asks for who says no more than where they sit."""
    plain: dict[str, Any] = {
        "name": "mlflow",
        "region": "",
        "instance_type": "",
        "system": "",
        "subnet": "",
        "disk": 20,
        "data": 50,
        "ssh_from": "203.0.113.7",
        "web_from": "",
        "ssm": False,
        "elastic_ip": True,
    }
    return Asked(**plain | given)


def wanted(aws: Aws, **given: Any) -> Wanted:
    """Return what a host is to be, in the first subnet of the default VPC."""
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]
    plain: dict[str, Any] = {
        "name": "mlflow",
        "instance_type": "t3.medium",
        "system": "ubuntu",
        "image": "ami-0123456789abcdef0",
        "root_device": "/dev/sda1",
        "place": Place(
            architecture="x86_64",
            cores=2,
            memory=4 * 1024**3,
            vpc=subnet["VpcId"],
            subnet=subnet["SubnetId"],
            zone=subnet["AvailabilityZone"],
        ),
        "root_gib": 20,
        "data_gib": 50,
        "public_key": HOST_KEY,
        "ssh_from": ("203.0.113.7/32",),
        "web_from": (),
        "ssm": False,
        "elastic_ip": True,
        "policy": a_policy("one"),
    }
    return Wanted(**plain | given)


def a_policy(bucket: str) -> dict[str, Any]:
    """Return a policy that reaches one bucket."""
    reach = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": f"arn:aws:s3:::{bucket}/*"}
    return {"Version": "2012-10-17", "Statement": [reach]}


def made(part: Part, want: Wanted) -> None:
    """Make a part and see that a second look finds nothing to do."""
    part.look()
    assert part.todo(want)
    part.make(want)
    part.look()
    assert [] == part.todo(want)
    assert part.identity


def held(aws: Aws) -> dict[str, list[str]]:
    """Return what an account holds, by kind: without what every account has, and what is gone."""
    ec2, iam = aws.client("ec2"), aws.client("iam")
    machines = [
        each for group in ec2.describe_instances()["Reservations"] for each in group["Instances"]
    ]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    found = {
        "roles": [each["RoleName"] for each in iam.list_roles()["Roles"]],
        "profiles": [
            each["InstanceProfileName"] for each in iam.list_instance_profiles()["InstanceProfiles"]
        ],
        "keys": [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]],
        "groups": [each["GroupName"] for each in groups if each["GroupName"] != "default"],
        "volumes": [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]],
        "machines": [
            each["InstanceId"] for each in machines if each["State"]["Name"] != "terminated"
        ],
        "addresses": [each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]],
    }
    return {kind: names for kind, names in found.items() if names}


def changing(operations: list[str]) -> list[str]:
    """Return the calls that change something."""
    return [each for each in operations if not each.startswith(READS)]
