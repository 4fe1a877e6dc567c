"""The role of a host, with moto's IAM."""

import json

import pytest

from ops.aws import Account
from ops.ec2_part import label
from ops.ec2_role import POLICY, TRUST, Role
from ops.errors import OpsError
from tests.aws import Aws
from tests.ec2 import a_policy, held, made, wanted

LABEL = label("mlflow")


def test_a_role_hands_its_rights_to_machines_only(account: Account, aws: Aws) -> None:
    made(Role(account, "mlflow"), wanted(aws))
    role = account.iam.get_role(RoleName=LABEL)["Role"]
    profile = account.iam.get_instance_profile(InstanceProfileName=LABEL)["InstanceProfile"]

    assert TRUST == role["AssumeRolePolicyDocument"]
    assert [LABEL] == [each["RoleName"] for each in profile["Roles"]]


def test_the_rights_follow_what_is_wanted(account: Account, aws: Aws) -> None:
    role = Role(account, "mlflow")
    made(role, wanted(aws))
    two = wanted(aws, policy=a_policy("two"))

    assert [f"give the role {LABEL} the rights of this folder's settings"] == role.todo(two)
    made(role, two)
    found = account.iam.get_role_policy(RoleName=LABEL, PolicyName=POLICY)
    assert a_policy("two") == found["PolicyDocument"]


def test_rights_that_are_not_wanted_any_more_go(account: Account, aws: Aws) -> None:
    role = Role(account, "mlflow")
    made(role, wanted(aws))
    made(role, wanted(aws, policy=None))

    assert [] == account.iam.list_role_policies(RoleName=LABEL)["PolicyNames"]


def test_a_role_without_its_profile_gets_it(account: Account, aws: Aws) -> None:
    document = json.dumps(TRUST)
    tags = [{"Key": "mlflow-compose", "Value": "mlflow"}]
    aws.client("iam").create_role(RoleName=LABEL, AssumeRolePolicyDocument=document, Tags=tags)

    made(Role(account, "mlflow"), wanted(aws))


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_what_there_is_of_a_role_is_removed(account: Account, aws: Aws, steps: int) -> None:
    iam = aws.client("iam")
    tags = [{"Key": "mlflow-compose", "Value": "mlflow"}]
    document = json.dumps(a_policy("one"))
    iam.create_instance_profile(InstanceProfileName=LABEL, Tags=tags)
    if steps > 0:
        iam.create_role(RoleName=LABEL, AssumeRolePolicyDocument="{}", Tags=tags)
    if steps > 1:
        iam.put_role_policy(RoleName=LABEL, PolicyName=POLICY, PolicyDocument=document)
    if steps > 2:
        iam.add_role_to_instance_profile(InstanceProfileName=LABEL, RoleName=LABEL)
    role = Role(account, "mlflow")
    role.look()

    assert role.identity
    role.remove()
    assert {} == held(aws)


def test_a_profile_of_the_same_name_that_is_not_ours_is_refused(account: Account, aws: Aws) -> None:
    aws.client("iam").create_instance_profile(InstanceProfileName=LABEL)
    with pytest.raises(OpsError, match=r"instance profile .* has no tag mlflow-compose=mlflow"):
        Role(account, "mlflow").look()


def test_a_role_of_the_same_name_that_is_not_ours_is_refused(account: Account, aws: Aws) -> None:
    aws.client("iam").create_role(RoleName=LABEL, AssumeRolePolicyDocument="{}")
    with pytest.raises(OpsError, match="has no tag mlflow-compose=mlflow"):
        Role(account, "mlflow").look()
