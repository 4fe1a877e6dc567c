"""What each call of ours to AWS needs: the one table that policies and errors are made from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CALLS", "CI", "INSTANCE", "OPERATOR", "TAG", "Call", "Scope", "actions", "allowed_by"]

TAG = "mlflow-compose"
"""The tag on all that is made in an account; its value is the name of the host, or of the stack."""

OPERATOR, CI, INSTANCE = "operator", "ci", "instance"

EC2 = "arn:{partition}:ec2:{region}:{account}"
IAM = "arn:{partition}:iam::{account}"

Condition = Mapping[str, Mapping[str, str]]
TAGGED_AT_BIRTH: Condition = {"StringEquals": {f"aws:RequestTag/{TAG}": "{name}"}}
ANY_TAG_AT_BIRTH: Condition = {"StringLike": {f"aws:RequestTag/{TAG}": "*"}}
ANY_TAG: Condition = {"StringLike": {f"aws:ResourceTag/{TAG}": "*"}}
OURS: Condition = {"StringEquals": {f"aws:ResourceTag/{TAG}": "{name}"}}


@dataclass(frozen=True, eq=False)
class Scope:
    """What actions are allowed on, and under which condition: one statement of a policy.

    `policies` says which policies have it. ops/policies.py fills in the names in braces, and leaves
    out what speaks of a name that has no value there; with `only_with` it hangs on one more name.
    """

    sid: str
    resources: tuple[str, ...]
    policies: tuple[str, ...] = (OPERATOR,)
    condition: Condition = field(default_factory=dict)
    only_with: str = "partition"


# "*" is for actions that IAM knows no resource of.
LOOK = Scope("Look", ("*",))
MACHINES = Scope("Machines", (f"{EC2}:instance/*",))
IMAGES = Scope("Images", ("arn:{partition}:ssm:{region}::parameter/aws/service/*",))

# Hosts. What is made has our tag from its first moment, and what has not is neither changed nor
# removed. Names begin with mlflow-compose-, where AWS has names.
NEW_THINGS = Scope("NewThings", (f"{EC2}:*/*",), condition=ANY_TAG_AT_BIRTH)
OUR_THINGS = Scope("OurThings", (f"{EC2}:*/*",), condition=ANY_TAG)
STARTED_WITH = Scope(
    "StartedWith",
    (
        "arn:{partition}:ec2:{region}::image/*",
        *(f"{EC2}:{kind}/*" for kind in ("key-pair", "network-interface", "security-group")),
        *(f"{EC2}:{kind}/*" for kind in ("subnet", "volume")),
    ),
)
NETWORK = Scope("Network", (f"{EC2}:vpc/*",))
INTERFACES = Scope("Interfaces", (f"{EC2}:network-interface/*",))  # EC2 makes them, without our tag
TAGS = Scope("Tags", (f"{EC2}:*/*",), condition={"StringLike": {"ec2:CreateAction": "*"}})
ROLE = Scope("Role", (f"{IAM}:role/{TAG}-*",))
PROFILE = Scope("Profile", (f"{IAM}:instance-profile/{TAG}-*",))
ROLE_FOR_EC2 = Scope(
    "RoleForEc2",
    (f"{IAM}:role/{TAG}-*",),
    condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
)
SESSION_MANAGER = Scope(
    "SessionManager",
    (f"{IAM}:role/{TAG}-*",),
    condition={
        "ArnEquals": {
            "iam:PolicyARN": "arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
        }
    },
)

REGISTRY = Scope("Registry", ("*",), (OPERATOR, CI), only_with="repository")
REPOSITORY = Scope("Repository", ("{repository}",), (OPERATOR, CI))
NEW_REPOSITORY = Scope("NewRepository", ("{repository}",), condition=TAGGED_AT_BIRTH)
OUR_REPOSITORY = Scope("OurRepository", ("{repository}",), condition=OURS)

BUCKETS = Scope("Buckets", ("arn:{partition}:s3:::{bucket}",))
ARTIFACTS = Scope("Artifacts", ("arn:{partition}:s3:::{artifacts}/*",), (INSTANCE,))
# Two, for without a prefix there is nothing to compare. With one, an object that is not there is
# answered 403 and not 404: who asks for an object names no prefix, so it is no listing of ours.
ARTIFACTS_BUCKET = Scope("ArtifactsBucket", ("arn:{partition}:s3:::{whole_bucket}",), (INSTANCE,))
ARTIFACTS_FOLDER = Scope(
    "ArtifactsFolder",
    ("arn:{partition}:s3:::{shared_bucket}",),
    (INSTANCE,),
    {"StringLike": {"s3:prefix": "{prefix}/*"}},
)
# With ARTIFACT_ACCESS=direct the smoke test writes to S3 itself: one object, always of this name.
SMOKE = Scope("SmokeTest", ("arn:{partition}:s3:::{direct}/*/smoke.bin",))
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
KEY = Scope("Key", ("{kms_key}",), (INSTANCE, OPERATOR), {"StringLike": {"kms:ViaService": "s3.*"}})


@dataclass(frozen=True)
class Call:
    """Who makes a call, and the IAM actions it needs, by the scope they are allowed in.

    `tasks` are ours, and "server" for what runs on the host with its role: MLflow, and the check of
    `doctor` inside its container.
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
    "GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "PutObjectLockConfiguration": "s3:PutBucketObjectLockConfiguration",
    "GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "GetBucketTagging": "s3:GetBucketTagging",
    "PutBucketTagging": "s3:PutBucketTagging",
    "GetBucketPolicy": "s3:GetBucketPolicy",
    "PutBucketPolicy": "s3:PutBucketPolicy",
}

CALLS: dict[str, Call] = {
    "GetCallerIdentity": Call(
        (
            *("whoami", "policy", "trust", "push", "deploy", "rollback"),
            *("provision", "hosts", "terminate", "create-bucket"),
        )
    ),
    "DescribeInstances": Call(
        ("trust", "provision", "hosts", "terminate"), {LOOK: ("ec2:DescribeInstances",)}
    ),
    "GetConsoleOutput": Call(("trust", "provision"), {MACHINES: ("ec2:GetConsoleOutput",)}),
    "DescribeInstanceAttribute": Call(
        ("provision", "terminate"), {MACHINES: ("ec2:DescribeInstanceAttribute",)}
    ),
    "DescribeVolumes": Call(("provision", "hosts", "terminate"), {LOOK: ("ec2:DescribeVolumes",)}),
    "DescribeKeyPairs": Call(("provision", "terminate"), {LOOK: ("ec2:DescribeKeyPairs",)}),
    "DescribeSecurityGroups": Call(
        ("provision", "terminate"), {LOOK: ("ec2:DescribeSecurityGroups",)}
    ),
    "DescribeAddresses": Call(("provision", "terminate"), {LOOK: ("ec2:DescribeAddresses",)}),
    "DescribeInstanceTypes": Call(("provision",), {LOOK: ("ec2:DescribeInstanceTypes",)}),
    "DescribeInstanceTypeOfferings": Call(
        ("provision",), {LOOK: ("ec2:DescribeInstanceTypeOfferings",)}
    ),
    "DescribeSubnets": Call(("provision",), {LOOK: ("ec2:DescribeSubnets",)}),
    "DescribeImages": Call(("provision",), {LOOK: ("ec2:DescribeImages",)}),
    "GetParameter": Call(("provision",), {IMAGES: ("ssm:GetParameter",)}),
    "GetProducts": Call(("provision",), {LOOK: ("pricing:GetProducts",)}),
    "GetRole": Call(("provision", "terminate"), {ROLE: ("iam:GetRole",)}),
    "ListAttachedRolePolicies": Call(
        ("provision", "terminate"), {ROLE: ("iam:ListAttachedRolePolicies",)}
    ),
    "GetRolePolicy": Call(("provision", "terminate"), {ROLE: ("iam:GetRolePolicy",)}),
    "CreateRole": Call(("provision",), {ROLE: ("iam:CreateRole", "iam:TagRole")}),
    "PutRolePolicy": Call(("provision",), {ROLE: ("iam:PutRolePolicy",)}),
    "DeleteRolePolicy": Call(("provision", "terminate"), {ROLE: ("iam:DeleteRolePolicy",)}),
    "AttachRolePolicy": Call(("provision",), {SESSION_MANAGER: ("iam:AttachRolePolicy",)}),
    "DetachRolePolicy": Call(("terminate",), {SESSION_MANAGER: ("iam:DetachRolePolicy",)}),
    "DeleteRole": Call(("terminate",), {ROLE: ("iam:DeleteRole",)}),
    "GetInstanceProfile": Call(("provision", "terminate"), {PROFILE: ("iam:GetInstanceProfile",)}),
    "CreateInstanceProfile": Call(("provision",), {PROFILE: ("iam:CreateInstanceProfile",)}),
    "AddRoleToInstanceProfile": Call(
        ("provision",),
        {PROFILE: ("iam:AddRoleToInstanceProfile",), ROLE_FOR_EC2: ("iam:PassRole",)},
    ),
    "RemoveRoleFromInstanceProfile": Call(
        ("terminate",), {PROFILE: ("iam:RemoveRoleFromInstanceProfile",)}
    ),
    "DeleteInstanceProfile": Call(("terminate",), {PROFILE: ("iam:DeleteInstanceProfile",)}),
    "ImportKeyPair": Call(
        ("provision",), {NEW_THINGS: ("ec2:ImportKeyPair",), TAGS: ("ec2:CreateTags",)}
    ),
    "DeleteKeyPair": Call(("terminate",), {OUR_THINGS: ("ec2:DeleteKeyPair",)}),
    "CreateSecurityGroup": Call(
        ("provision",),
        {
            NEW_THINGS: ("ec2:CreateSecurityGroup",),
            NETWORK: ("ec2:CreateSecurityGroup",),
            TAGS: ("ec2:CreateTags",),
        },
    ),
    "AuthorizeSecurityGroupIngress": Call(
        ("provision",), {OUR_THINGS: ("ec2:AuthorizeSecurityGroupIngress",)}
    ),
    "RevokeSecurityGroupIngress": Call(
        ("provision",), {OUR_THINGS: ("ec2:RevokeSecurityGroupIngress",)}
    ),
    "DeleteSecurityGroup": Call(("terminate",), {OUR_THINGS: ("ec2:DeleteSecurityGroup",)}),
    "CreateVolume": Call(
        ("provision",), {NEW_THINGS: ("ec2:CreateVolume",), TAGS: ("ec2:CreateTags",)}
    ),
    "AttachVolume": Call(("provision",), {OUR_THINGS: ("ec2:AttachVolume",)}),
    "DeleteVolume": Call(("terminate",), {OUR_THINGS: ("ec2:DeleteVolume",)}),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ExamplePolicies_EC2.html
    "RunInstances": Call(
        ("provision",),
        {
            NEW_THINGS: ("ec2:RunInstances",),
            STARTED_WITH: ("ec2:RunInstances",),
            TAGS: ("ec2:CreateTags",),
            ROLE_FOR_EC2: ("iam:PassRole",),
        },
    ),
    "ModifyInstanceAttribute": Call(
        ("provision", "terminate"), {OUR_THINGS: ("ec2:ModifyInstanceAttribute",)}
    ),
    "ModifyInstanceMetadataOptions": Call(
        ("provision",), {OUR_THINGS: ("ec2:ModifyInstanceMetadataOptions",)}
    ),
    "StartInstances": Call(("provision",), {OUR_THINGS: ("ec2:StartInstances",)}),
    "TerminateInstances": Call(("terminate",), {OUR_THINGS: ("ec2:TerminateInstances",)}),
    "AllocateAddress": Call(
        ("provision",), {NEW_THINGS: ("ec2:AllocateAddress",), TAGS: ("ec2:CreateTags",)}
    ),
    "AssociateAddress": Call(
        ("provision",),
        {OUR_THINGS: ("ec2:AssociateAddress",), INTERFACES: ("ec2:AssociateAddress",)},
    ),
    "ReleaseAddress": Call(("provision", "terminate"), {OUR_THINGS: ("ec2:ReleaseAddress",)}),
    "GetAuthorizationToken": Call(
        ("push", "deploy", "rollback"), {REGISTRY: ("ecr:GetAuthorizationToken",)}
    ),
    "BatchGetImage": Call(("push", "deploy"), {REPOSITORY: ("ecr:BatchGetImage",)}),
    "DescribeRepositories": Call(("push",), {REPOSITORY: ("ecr:DescribeRepositories",)}),
    "GetLifecyclePolicy": Call(("push",), {REPOSITORY: ("ecr:GetLifecyclePolicy",)}),
    "ListTagsForResource": Call(("push",), {REPOSITORY: ("ecr:ListTagsForResource",)}),
    "CreateRepository": Call(
        ("push",), {NEW_REPOSITORY: ("ecr:CreateRepository", "ecr:TagResource")}
    ),
    "PutLifecyclePolicy": Call(("push",), {OUR_REPOSITORY: ("ecr:PutLifecyclePolicy",)}),
    # https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    "docker image push": Call(
        ("push", "deploy"),
        {
            REPOSITORY: (
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
            REPOSITORY: (
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            )
        },
    ),
    "ListObjectsV2": Call(
        ("server",),
        {ARTIFACTS_BUCKET: ("s3:ListBucket",), ARTIFACTS_FOLDER: ("s3:ListBucket",)},
    ),
    "PutObject": Call(
        ("server", "smoke"),
        {ARTIFACTS: ("s3:PutObject",), SMOKE: ("s3:PutObject",), KEY: ("kms:GenerateDataKey",)},
    ),
    "CreateMultipartUpload": Call(
        ("server",),
        {ARTIFACTS: ("s3:PutObject",), KEY: ("kms:GenerateDataKey", "kms:Decrypt")},
    ),
    "UploadPart": Call(
        ("server",),
        {ARTIFACTS: ("s3:PutObject",), KEY: ("kms:GenerateDataKey", "kms:Decrypt")},
    ),
    "CompleteMultipartUpload": Call(
        ("server",), {ARTIFACTS: ("s3:PutObject",), KEY: ("kms:Decrypt",)}
    ),
    "AbortMultipartUpload": Call(("server",), {ARTIFACTS: ("s3:AbortMultipartUpload",)}),
    "HeadObject": Call(("server",), {ARTIFACTS: ("s3:GetObject",)}),
    "GetObject": Call(
        ("server", "smoke"),
        {ARTIFACTS: ("s3:GetObject",), SMOKE: ("s3:GetObject",), KEY: ("kms:Decrypt",)},
    ),
    "DeleteObject": Call(
        ("server", "smoke"), {ARTIFACTS: ("s3:DeleteObject",), SMOKE: ("s3:DeleteObject",)}
    ),
    "DeleteObjects": Call(("server",), {ARTIFACTS: ("s3:DeleteObject",)}),
    # With the ownership of objects and Object Lock given in the call:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    "CreateBucket": Call(
        ("create-bucket",),
        {
            BUCKETS: (
                "s3:CreateBucket",
                "s3:PutBucketOwnershipControls",
                "s3:PutBucketObjectLockConfiguration",
                "s3:PutBucketVersioning",
            )
        },
    ),
    **{name: Call(("create-bucket",), {BUCKETS: (action,)}) for name, action in ON_BUCKETS.items()},
    "ListObjectVersions": Call(()),  # create-bucket asks it of S3-compatible servers only
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
    sids = [scope.sid for scope in CALLS[operation].needs]
    return f"{needed}: statement{'s' * (len(sids) > 1)} {' and '.join(sids)} of `invoke policy`"
