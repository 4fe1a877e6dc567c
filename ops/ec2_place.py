"""Where a host can stand: what an instance type is, and a subnet of a zone that has it."""

import platform
from dataclasses import dataclass

from ops import console
from ops.aws import Account, tolerating
from ops.errors import refusal

__all__ = ["Place", "find", "usual_type"]

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
USUAL_TYPES = {"x86_64": "t3.medium", "arm64": "t4g.medium"}
LEAST_MIB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A subnet for a type of machine."""

    architecture: str
    cores: int
    memory: int
    """In bytes."""
    vpc: str
    subnet: str
    zone: str


def this_architecture() -> str:
    """Return what this machine builds images for, as EC2 calls it."""
    return ARCHITECTURES.get(platform.machine().lower(), "x86_64")


def usual_type() -> str:
    """Return the type that is taken where none is asked for: it runs what is built here."""
    return USUAL_TYPES[this_architecture()]


def find(account: Account, instance_type: str, subnet: str, zone: str) -> Place:
    """Return a place for a machine: in the subnet if one is given, and in the zone if one is.

    Raises a refusal for a type that cannot run the stack, and where there is no such place.
    """
    architecture, cores, memory = _facts(account, instance_type)
    offered = account.ec2.describe_instance_type_offerings(
        LocationType="availability-zone",
        Filters=[{"Name": "instance-type", "Values": [instance_type]}],
    )["InstanceTypeOfferings"]
    zones = {each["Location"] for each in offered}
    if not zones:
        raise refusal(
            f"{account.region} has no {instance_type}", "take another --instance-type or --region"
        )
    subnets = _subnets(account, subnet)
    fitting = [
        each
        for each in subnets
        if each["AvailabilityZone"] in zones and zone in ("", each["AvailabilityZone"])
    ]
    if not fitting:
        where = f"the zone {zone}, where the data volume is," if zone else "a zone of the subnets"
        raise refusal(
            f"no {instance_type} in {where} {', '.join(sorted(zones))} have it",
            "take another --instance-type, or a --subnet of a zone that has it",
        )
    chosen = min(fitting, key=lambda each: each["AvailabilityZone"])
    return Place(
        architecture=architecture,
        cores=cores,
        memory=memory,
        vpc=chosen["VpcId"],
        subnet=chosen["SubnetId"],
        zone=chosen["AvailabilityZone"],
    )


def _facts(account: Account, instance_type: str) -> tuple[str, int, int]:
    """Return architecture, cores and memory of a type; refuse one that cannot run the stack."""
    found = []
    with tolerating("InvalidInstanceType", "InvalidParameterValue"):
        found = account.ec2.describe_instance_types(
            InstanceTypes=[instance_type]  # type: ignore[list-item]
        )["InstanceTypes"]
    if not found:
        raise refusal(
            f"{account.region} knows no instance type {instance_type!r}",
            f"take one such as --instance-type {usual_type()}",
        )
    architectures = found[0]["ProcessorInfo"]["SupportedArchitectures"]
    memory = found[0]["MemoryInfo"]["SizeInMiB"]
    here = this_architecture()
    if here not in architectures:
        raise refusal(
            f"{instance_type} is {architectures[0]}, and images built on this machine are {here}",
            f"take one such as --instance-type {USUAL_TYPES[here]}",
        )
    if found[0].get("Hypervisor", "nitro") != "nitro":  # bare metal has none and is Nitro
        raise refusal(
            f"{instance_type} is of the generation before Nitro, without names for its disks",
            f"take one such as --instance-type {USUAL_TYPES[here]}",
        )
    if memory < LEAST_MIB:
        raise refusal(
            f"{instance_type} has {console.size(memory * 1024**2)}; the stack needs 2 GiB",
            f"take one such as --instance-type {USUAL_TYPES[here]}",
        )
    return here, found[0]["VCpuInfo"]["DefaultVCpus"], memory * 1024**2


def _subnets(account: Account, subnet: str) -> list[dict[str, str]]:
    """Return the subnet given, or those of the default VPC."""
    if subnet:
        found = []
        with tolerating("InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed"):
            found = account.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        if not found:
            raise refusal(
                f"{account.region} has no subnet {subnet!r}",
                "see which there are: aws ec2 describe-subnets",
            )
    else:
        found = account.ec2.describe_subnets(
            Filters=[{"Name": "default-for-az", "Values": ["true"]}]
        )["Subnets"]
        if not found:
            raise refusal(
                f"{account.region} has no default VPC in this account",
                "make it: aws ec2 create-default-vpc, or give --subnet",
            )
    keys = ("VpcId", "SubnetId", "AvailabilityZone")
    return [{key: str(each.get(key)) for key in keys} for each in found]
