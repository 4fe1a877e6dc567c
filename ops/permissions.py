"""What each call of ours to AWS needs: the one table that policies and errors are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops import scopes
from ops.scopes import OPERATOR, Scope

__all__ = ["CALLS", "Call", "actions", "allowed_by"]


@dataclass(frozen=True)
class Call:
    """Who makes a call, and the IAM actions it needs, by the scope they are allowed in.

    `tasks` are ours, and two run on the host with its role: "server" is MLflow, and the check of
    `doctor` inside its container; "backup service" is what its name says.
    """

    tasks: tuple[str, ...]
    needs: Mapping[Scope, tuple[str, ...]] = field(default_factory=dict)


ON_BUCKETS = {
    "HeadBucket": "s3:ListBucket",
    "GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "GetBucketOwnershipControls": "s3:GetBucketOwnershipControls",
    "PutBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "PutBucketVersioning": "s3:PutBucketVersioning",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "GetBucketTagging": "s3:GetBucketTagging",
    "PutBucketTagging": "s3:PutBucketTagging",
    "GetBucketPolicy": "s3:GetBucketPolicy",
    "PutBucketPolicy": "s3:PutBucketPolicy",
}

READERS = ("list-backups", "verify", "restore", "drill", "upgrade")
"""The tasks that read backups from the machine of a person."""

# An upload that brings a lock of its own needs both:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html
LOCKED = ("s3:PutObject", "s3:PutObjectRetention")

CALLS: dict[str, Call] = {
    "GetCallerIdentity": Call(
        (
            *("whoami", "policy", "trust", "push", "deploy", "rollback"),
            *("provision", "hosts", "terminate", "create-bucket"),
            *("backup service", "backup", *READERS),
        )
    ),
    "DescribeInstances": Call(
        ("trust", "provision", "hosts", "terminate"), {scopes.LOOK: ("ec2:DescribeInstances",)}
    ),
    "GetConsoleOutput": Call(("trust", "provision"), {scopes.MACHINES: ("ec2:GetConsoleOutput",)}),
    "DescribeInstanceAttribute": Call(
        ("provision", "terminate"), {scopes.MACHINES: ("ec2:DescribeInstanceAttribute",)}
    ),
    "DescribeVolumes": Call(
        ("provision", "hosts", "terminate"), {scopes.LOOK: ("ec2:DescribeVolumes",)}
    ),
    "DescribeKeyPairs": Call(("provision", "terminate"), {scopes.LOOK: ("ec2:DescribeKeyPairs",)}),
    "DescribeSecurityGroups": Call(
        ("provision", "terminate"), {scopes.LOOK: ("ec2:DescribeSecurityGroups",)}
    ),
    "DescribeAddresses": Call(
        ("provision", "terminate"), {scopes.LOOK: ("ec2:DescribeAddresses",)}
    ),
    "DescribeInstanceTypes": Call(("provision",), {scopes.LOOK: ("ec2:DescribeInstanceTypes",)}),
    "DescribeInstanceTypeOfferings": Call(
        ("provision",), {scopes.LOOK: ("ec2:DescribeInstanceTypeOfferings",)}
    ),
    "DescribeSubnets": Call(("provision",), {scopes.LOOK: ("ec2:DescribeSubnets",)}),
    "DescribeImages": Call(("provision",), {scopes.LOOK: ("ec2:DescribeImages",)}),
    "GetParameter": Call(("provision",), {scopes.MACHINES: ("ssm:GetParameter",)}),
    "GetProducts": Call(("provision",), {scopes.LOOK: ("pricing:GetProducts",)}),
    "GetRole": Call(("provision", "terminate"), {scopes.ROLE: ("iam:GetRole",)}),
    "ListAttachedRolePolicies": Call(
        ("provision", "terminate"), {scopes.ROLE: ("iam:ListAttachedRolePolicies",)}
    ),
    "GetRolePolicy": Call(("provision", "terminate"), {scopes.ROLE: ("iam:GetRolePolicy",)}),
    "CreateRole": Call(("provision",), {scopes.ROLE: ("iam:CreateRole", "iam:TagRole")}),
    "PutRolePolicy": Call(("provision",), {scopes.ROLE: ("iam:PutRolePolicy",)}),
    "DeleteRolePolicy": Call(("provision", "terminate"), {scopes.ROLE: ("iam:DeleteRolePolicy",)}),
    "AttachRolePolicy": Call(("provision",), {scopes.SESSION_MANAGER: ("iam:AttachRolePolicy",)}),
    "DetachRolePolicy": Call(("terminate",), {scopes.SESSION_MANAGER: ("iam:DetachRolePolicy",)}),
    "DeleteRole": Call(("terminate",), {scopes.ROLE: ("iam:DeleteRole",)}),
    "GetInstanceProfile": Call(
        ("provision", "terminate"), {scopes.ROLE: ("iam:GetInstanceProfile",)}
    ),
    "CreateInstanceProfile": Call(
        ("provision",), {scopes.ROLE: ("iam:CreateInstanceProfile", "iam:TagInstanceProfile")}
    ),
    "AddRoleToInstanceProfile": Call(
        ("provision",),
        {scopes.ROLE: ("iam:AddRoleToInstanceProfile",), scopes.ROLE_FOR_EC2: ("iam:PassRole",)},
    ),
    "RemoveRoleFromInstanceProfile": Call(
        ("terminate",), {scopes.ROLE: ("iam:RemoveRoleFromInstanceProfile",)}
    ),
    "DeleteInstanceProfile": Call(("terminate",), {scopes.ROLE: ("iam:DeleteInstanceProfile",)}),
    "ImportKeyPair": Call(
        ("provision",),
        {scopes.NEW_THINGS: ("ec2:ImportKeyPair",), scopes.TAGS: ("ec2:CreateTags",)},
    ),
    "DeleteKeyPair": Call(("terminate",), {scopes.OUR_THINGS: ("ec2:DeleteKeyPair",)}),
    "CreateSecurityGroup": Call(
        ("provision",),
        {
            scopes.NEW_THINGS: ("ec2:CreateSecurityGroup",),
            scopes.NETWORK: ("ec2:CreateSecurityGroup",),
            scopes.TAGS: ("ec2:CreateTags",),
        },
    ),
    "AuthorizeSecurityGroupIngress": Call(
        ("provision",), {scopes.OUR_THINGS: ("ec2:AuthorizeSecurityGroupIngress",)}
    ),
    "RevokeSecurityGroupIngress": Call(
        ("provision",), {scopes.OUR_THINGS: ("ec2:RevokeSecurityGroupIngress",)}
    ),
    "DeleteSecurityGroup": Call(("terminate",), {scopes.OUR_THINGS: ("ec2:DeleteSecurityGroup",)}),
    "CreateVolume": Call(
        ("provision",), {scopes.NEW_THINGS: ("ec2:CreateVolume",), scopes.TAGS: ("ec2:CreateTags",)}
    ),
    "AttachVolume": Call(("provision",), {scopes.OUR_THINGS: ("ec2:AttachVolume",)}),
    "DeleteVolume": Call(("terminate",), {scopes.OUR_THINGS: ("ec2:DeleteVolume",)}),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html
    "RunInstances": Call(
        ("provision",),
        {
            scopes.NEW_THINGS: ("ec2:RunInstances",),
            scopes.STARTED_WITH: ("ec2:RunInstances",),
            scopes.TAGS: ("ec2:CreateTags",),
            scopes.ROLE_FOR_EC2: ("iam:PassRole",),
        },
    ),
    "ModifyInstanceAttribute": Call(
        ("provision", "terminate"), {scopes.OUR_THINGS: ("ec2:ModifyInstanceAttribute",)}
    ),
    "ModifyInstanceMetadataOptions": Call(
        ("provision",), {scopes.OUR_THINGS: ("ec2:ModifyInstanceMetadataOptions",)}
    ),
    "StartInstances": Call(("provision",), {scopes.OUR_THINGS: ("ec2:StartInstances",)}),
    "TerminateInstances": Call(("terminate",), {scopes.OUR_THINGS: ("ec2:TerminateInstances",)}),
    "AllocateAddress": Call(
        ("provision",),
        {scopes.NEW_THINGS: ("ec2:AllocateAddress",), scopes.TAGS: ("ec2:CreateTags",)},
    ),
    "AssociateAddress": Call(
        ("provision",),
        {
            scopes.OUR_THINGS: ("ec2:AssociateAddress",),
            scopes.STARTED_WITH: ("ec2:AssociateAddress",),
        },
    ),
    "ReleaseAddress": Call(
        ("provision", "terminate"), {scopes.OUR_THINGS: ("ec2:ReleaseAddress",)}
    ),
    "GetAuthorizationToken": Call(
        ("push", "deploy", "rollback"), {scopes.REGISTRY: ("ecr:GetAuthorizationToken",)}
    ),
    "BatchGetImage": Call(("push", "deploy"), {scopes.REPOSITORY: ("ecr:BatchGetImage",)}),
    "DescribeRepositories": Call(("push",), {scopes.REPOSITORY: ("ecr:DescribeRepositories",)}),
    "GetLifecyclePolicy": Call(("push",), {scopes.REPOSITORY: ("ecr:GetLifecyclePolicy",)}),
    "ListTagsForResource": Call(("push",), {scopes.REPOSITORY: ("ecr:ListTagsForResource",)}),
    "CreateRepository": Call(
        ("push",), {scopes.NEW_REPOSITORY: ("ecr:CreateRepository", "ecr:TagResource")}
    ),
    "PutLifecyclePolicy": Call(("push",), {scopes.OUR_REPOSITORY: ("ecr:PutLifecyclePolicy",)}),
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    "docker image push": Call(
        ("push", "deploy"),
        {
            scopes.REPOSITORY: (
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:InitiateLayerUpload",
                "ecr:UploadLayerPart",
                "ecr:CompleteLayerUpload",
                "ecr:PutImage",
            )
        },
    ),
    "docker image pull": Call(
        ("push", "deploy", "rollback"),
        {
            scopes.REPOSITORY: (
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            )
        },
    ),
    "ListObjectsV2": Call(
        ("server", "backup service", "backup", *READERS),
        {
            scopes.ARTIFACTS_BUCKET: ("s3:ListBucket",),
            scopes.ARTIFACTS_FOLDER: ("s3:ListBucket",),
            scopes.BACKUPS_LIST: ("s3:ListBucket",),
            scopes.BUCKETS: ("s3:ListBucket",),
        },
    ),
    "PutObject": Call(
        ("server", "smoke", "backup service", "drill"),
        {
            scopes.ARTIFACTS: ("s3:PutObject",),
            scopes.SMOKE: ("s3:PutObject",),
            scopes.BACKUPS_WRITE: LOCKED,
            scopes.DRILLS: LOCKED,
            scopes.KEY: ("kms:GenerateDataKey",),
        },
    ),
    "CreateMultipartUpload": Call(
        ("server", "backup service"),
        {
            scopes.ARTIFACTS: ("s3:PutObject",),
            scopes.BACKUPS_WRITE: LOCKED,
            scopes.KEY: ("kms:GenerateDataKey", "kms:Decrypt"),
        },
    ),
    "UploadPart": Call(
        ("server", "backup service"),
        {
            scopes.ARTIFACTS: ("s3:PutObject",),
            scopes.BACKUPS_WRITE: ("s3:PutObject",),
            scopes.KEY: ("kms:GenerateDataKey", "kms:Decrypt"),
        },
    ),
    "CompleteMultipartUpload": Call(
        ("server", "backup service"),
        {
            scopes.ARTIFACTS: ("s3:PutObject",),
            scopes.BACKUPS_WRITE: ("s3:PutObject",),
            scopes.KEY: ("kms:Decrypt",),
        },
    ),
    "AbortMultipartUpload": Call(
        ("server", "backup service"),
        {
            scopes.ARTIFACTS: ("s3:AbortMultipartUpload",),
            scopes.BACKUPS_WRITE: ("s3:AbortMultipartUpload",),
        },
    ),
    "HeadObject": Call(("server",), {scopes.ARTIFACTS: ("s3:GetObject",)}),
    "GetObject": Call(
        ("server", "smoke", "backup service", *READERS),
        {
            scopes.ARTIFACTS: ("s3:GetObject",),
            scopes.SMOKE: ("s3:GetObject",),
            scopes.BACKUPS_READ: ("s3:GetObject",),
            scopes.KEY: ("kms:Decrypt",),
        },
    ),
    "DeleteObject": Call(
        ("server", "smoke"),
        {scopes.ARTIFACTS: ("s3:DeleteObject",), scopes.SMOKE: ("s3:DeleteObject",)},
    ),
    "DeleteObjects": Call(("server",), {scopes.ARTIFACTS: ("s3:DeleteObject",)}),
    # With the ownership of objects and Object Lock given in the call:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    "CreateBucket": Call(
        ("create-bucket",),
        {
            scopes.BUCKETS: (
                "s3:CreateBucket",
                "s3:PutBucketOwnershipControls",
                "s3:PutBucketObjectLockConfiguration",
                "s3:PutBucketVersioning",
            )
        },
    ),
    **{
        name: Call(("create-bucket",), {scopes.BUCKETS: (action,)})
        for name, action in ON_BUCKETS.items()
    },
    "GetObjectLockConfiguration": Call(
        ("create-bucket", "backup service", "drill"),
        {
            scopes.BUCKETS: ("s3:GetBucketObjectLockConfiguration",),
            scopes.BACKUPS_LOCK: ("s3:GetBucketObjectLockConfiguration",),
        },
    ),
    # Of artifacts that are missing. create-bucket asks it of S3-compatible servers only.
    "ListObjectVersions": Call(
        ("restore", "drill", "upgrade"), {scopes.BUCKETS: ("s3:ListBucketVersions",)}
    ),
}
"""By API operation, and what Docker asks of ECR by itself; what needs no permission has none.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""


def actions(operation: str) -> tuple[str, ...]:
    """Return the IAM actions that an operation of ours needs."""
    needs = CALLS[operation].needs if operation in CALLS else {}
    return tuple(dict.fromkeys(action for each in needs.values() for action in each))


def allowed_by(operation: str) -> str:
    """Say which actions an operation needs and, of one of ours, which statements allow them."""
    needed = " and ".join(actions(operation))
    if not needed:
        return f"the call {operation}"
    found: dict[str, list[str]] = {}
    for scope in CALLS[operation].needs:
        flag = "" if OPERATOR in scope.policies else f" --for {scope.policies[0]}"
        found.setdefault(flag, []).append(scope.sid)
    said = [
        f"statement{'s' * (len(sids) > 1)} {' and '.join(sids)} of `invoke policy{flag}`"
        for flag, sids in sorted(found.items())
    ]
    return f"{needed}: {', '.join(said)}"
