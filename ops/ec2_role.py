"""The role of a host: what its containers may do in AWS without any key."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ops.aws import tolerating
from ops.ec2_part import Part, Wanted, label
from ops.errors import refusal
from ops.scopes import TAG

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import TagTypeDef

__all__ = ["Role"]

POLICY = "mlflow-compose"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


class Role(Part):
    """A role and the instance profile of the same name that hands it to a machine."""

    title = "role"

    def look(self) -> None:
        """Find role, policy and profile; each may be there without the others."""
        iam, name = self.account.iam, label(self.name)
        self.policy: Any = None
        self.session_manager = False
        self.profile: list[str] | None = None
        self.exists = False
        with tolerating("NoSuchEntity"):
            role = iam.get_role(RoleName=name)["Role"]
            self.exists = True
            self._check("role", role.get("Tags", []))
            attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
            self.session_manager = self._managed in [each.get("PolicyArn") for each in attached]
            with tolerating("NoSuchEntity"):
                self.policy = iam.get_role_policy(RoleName=name, PolicyName=POLICY)[
                    "PolicyDocument"
                ]
        with tolerating("NoSuchEntity"):
            profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
            self._check("instance profile", profile.get("Tags", []))
            self.profile = [each["RoleName"] for each in profile["Roles"]]
        self.identity = name if self.exists or self.profile is not None else ""

    @property
    def _tags(self) -> "list[TagTypeDef]":
        """What says that a thing is this host's."""
        return [{"Key": TAG, "Value": self.name}]

    def _check(self, what: str, tags: "Sequence[TagTypeDef]") -> None:
        """Refuse what has the name and not the tag."""
        if self._tags[0] not in tags:
            raise refusal(
                f"the {what} {label(self.name)} is there and has no tag {TAG}={self.name}",
                "give the host another name: --name",
            )

    @property
    def _managed(self) -> str:
        """The policy by which a machine takes part in Session Manager."""
        return f"arn:{self.account.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"

    def todo(self, wanted: Wanted) -> list[str]:
        """Compare the rights with those that are wanted."""
        lines = []
        if not self.exists:
            lines.append(f"make the role {wanted.label}")
        elif self.policy != wanted.policy:
            lines.append(f"give the role {wanted.label} the rights of this folder's settings")
        if self.exists and wanted.ssm and not self.session_manager:
            lines.append(f"let the role {wanted.label} take part in Session Manager")
        if self.exists and self.profile != [wanted.label]:
            lines.append(f"make the instance profile {wanted.label}")
        return lines

    def make(self, wanted: Wanted) -> None:
        """Make the role and its profile, and wait until the profile is to be seen."""
        iam, name = self.account.iam, wanted.label
        if not self.exists:
            with tolerating("EntityAlreadyExists"):  # made, and the answer was lost
                iam.create_role(
                    RoleName=name,
                    AssumeRolePolicyDocument=json.dumps(TRUST),
                    Tags=self._tags,
                )
        if wanted.policy and self.policy != wanted.policy:
            document = json.dumps(wanted.policy)
            iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=document)
        elif self.policy and not wanted.policy:
            iam.delete_role_policy(RoleName=name, PolicyName=POLICY)
        if wanted.ssm and not self.session_manager:
            iam.attach_role_policy(RoleName=name, PolicyArn=self._managed)
        if self.profile is None:
            with tolerating("EntityAlreadyExists"):
                iam.create_instance_profile(InstanceProfileName=name, Tags=self._tags)
            iam.get_waiter("instance_profile_exists").wait(InstanceProfileName=name)
        if not self.profile:
            with tolerating("LimitExceeded"):  # a profile holds one role: it is in there
                iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

    def remove(self) -> None:
        """Remove the profile, the policies and the role, as far as each is there."""
        iam, name = self.account.iam, label(self.name)
        if self.profile:
            with tolerating("NoSuchEntity"):
                iam.remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)
        if self.profile is not None:
            with tolerating("NoSuchEntity"):
                iam.delete_instance_profile(InstanceProfileName=name)
        if self.session_manager:
            with tolerating("NoSuchEntity"):
                iam.detach_role_policy(RoleName=name, PolicyArn=self._managed)
        if self.policy:
            with tolerating("NoSuchEntity"):
                iam.delete_role_policy(RoleName=name, PolicyName=POLICY)
        if self.exists:
            with tolerating("NoSuchEntity"):
                iam.delete_role(RoleName=name)
