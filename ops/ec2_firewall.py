"""The security group of a host: who may come in, by which port."""

from collections.abc import Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ops.aws import tolerating
from ops.ec2_part import Part, Wanted, label, tagged
from ops.errors import refusal
from ops.scopes import TAG

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import IpPermissionTypeDef

__all__ = ["Firewall"]

OURS = "mlflow-compose"
"""The description of a rule that is ours to take away again."""

SSH, WEB = 22, (80, 443)
Rule = tuple[int, str]
"""A port, and the network it is open to."""


class Firewall(Part):
    """A security group whose rules are those that are wanted, and any that somebody added."""

    title = "security group"

    def look(self) -> None:
        """Find the group and our rules in it."""
        found = self.account.ec2.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": [label(self.name)]}]
        )["SecurityGroups"]
        self.identity = found[0]["GroupId"] if found else ""
        self.vpc = found[0].get("VpcId", "") if found else ""
        self.rules: set[Rule] = set()
        if found and {"Key": TAG, "Value": self.name} not in found[0].get("Tags", []):
            raise refusal(
                f"the security group {label(self.name)} has no tag {TAG}={self.name}",
                "give the host another name: --name",
            )
        for entry in found[0].get("IpPermissions", []) if found else []:
            ranges = [
                (each.get("CidrIp", ""), each.get("Description"))
                for each in entry.get("IpRanges", [])
            ]
            ranges += [
                (each.get("CidrIpv6", ""), each.get("Description"))
                for each in entry.get("Ipv6Ranges", [])
            ]
            self.rules |= {
                (entry.get("FromPort", 0), network) for network, said in ranges if said == OURS
            }

    def todo(self, wanted: Wanted) -> list[str]:
        """Compare our rules with those that are wanted."""
        rules = _rules(wanted)
        lines = [] if self.identity else [f"make the security group {wanted.label}"]
        lines += [f"open port {port} to {where}" for port, where in sorted(rules - self.rules)]
        return lines + [
            f"close port {port} to {where}" for port, where in sorted(self.rules - rules)
        ]

    def make(self, wanted: Wanted) -> None:
        """Make the group; open what is wanted, then close what of ours is not."""
        ec2 = self.account.ec2
        if not self.identity:
            with tolerating("InvalidGroup.Duplicate"):  # made, and the answer was lost
                ec2.create_security_group(
                    GroupName=wanted.label,
                    Description=f"The front door and SSH of {self.name}",
                    VpcId=wanted.place.vpc,
                    TagSpecifications=tagged("security-group", self.name),
                )
            ec2.get_waiter("security_group_exists").wait(
                Filters=[{"Name": "group-name", "Values": [wanted.label]}]
            )
            self.look()
        rules = _rules(wanted)
        missing, surplus = rules - self.rules, self.rules - rules
        if missing:
            with tolerating("InvalidPermission.Duplicate"):
                ec2.authorize_security_group_ingress(
                    GroupId=self.identity, IpPermissions=_permissions(missing)
                )
        if surplus:
            ec2.revoke_security_group_ingress(
                GroupId=self.identity, IpPermissions=_permissions(surplus)
            )

    def remove(self) -> None:
        """Remove the group; no machine may be in it any more."""
        with tolerating("InvalidGroup.NotFound"):
            self.account.ec2.delete_security_group(GroupId=self.identity)


def _rules(wanted: Wanted) -> set[Rule]:
    rules = {(SSH, network) for network in wanted.ssh_from}
    return rules | {(port, network) for port in WEB for network in wanted.web_from}


def _permissions(rules: Iterable[Rule]) -> "list[IpPermissionTypeDef]":
    return [_permission(port, network) for port, network in sorted(rules)]


def _permission(port: int, network: str) -> "IpPermissionTypeDef":
    made: IpPermissionTypeDef = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
    if ip_network(network).version == 4:
        made["IpRanges"] = [{"CidrIp": network, "Description": OURS}]
    else:
        made["Ipv6Ranges"] = [{"CidrIpv6": network, "Description": OURS}]
    return made
