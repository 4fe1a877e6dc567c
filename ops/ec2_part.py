"""What a host on EC2 is made of: parts that any later run finds again by the host's name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws import Account
from ops.ec2_place import Place
from ops.scopes import TAG

if TYPE_CHECKING:
    from mypy_boto3_ec2.literals import ResourceTypeType
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagSpecificationTypeDef

__all__ = ["Part", "Wanted", "filters", "tagged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a host is to be."""

    name: str
    instance_type: str
    system: str
    image: str
    root_device: str
    place: Place
    root_gib: int
    data_gib: int
    public_key: str
    ssh_from: tuple[str, ...]
    web_from: tuple[str, ...]
    ssm: bool
    elastic_ip: bool
    policy: Mapping[str, Any] | None
    """What its role may do; None for nothing."""

    @property
    def label(self) -> str:
        """The name of what has a name of its own in AWS."""
        return label(self.name)


class Part(ABC):
    """One thing; `identity` is AWS's name for it, "" while there is none."""

    title: str
    identity: str = ""

    def __init__(self, account: Account, name: str) -> None:
        self.account, self.name = account, name

    @abstractmethod
    def look(self) -> None:
        """Find it in AWS. Raises a refusal for one of the same name that is not this host's."""

    @abstractmethod
    def todo(self, wanted: Wanted) -> list[str]:
        """Return what `make` would do, a line each; [] when all is as wanted. After `look`."""

    @abstractmethod
    def make(self, wanted: Wanted) -> None:
        """Make it, or bring it to what is wanted; whatever of it is there already stays."""

    @abstractmethod
    def remove(self) -> None:
        """Remove what `look` found."""


def label(name: str) -> str:
    """Return what a host's role, key pair and security group are called."""
    return f"{TAG}-{name}"


def filters(name: str, **more: Sequence[str]) -> "list[FilterTypeDef]":
    """Return the filters that find the things of a host; `_` stands for `-`."""
    found: list[FilterTypeDef] = [{"Name": f"tag:{TAG}", "Values": [name]}]
    found += [{"Name": key.replace("_", "-"), "Values": values} for key, values in more.items()]
    return found


def tagged(kind: "ResourceTypeType", name: str, **more: str) -> "list[TagSpecificationTypeDef]":
    """Return the tags that a thing is made with; `_` stands for `-`."""
    tags = {TAG: name, "Name": label(name)}
    tags |= {key.replace("_", "-"): value for key, value in more.items()}
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed}]  # type: ignore[typeddict-item]
