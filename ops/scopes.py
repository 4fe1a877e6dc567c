"""The statements of our policies: what actions are allowed on, and under which condition."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CI", "INSTANCE", "OPERATOR", "TAG", "Scope"]

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
# Of one machine, and of the parameters that name images. IAM takes 6144 characters for a policy, so
# two statements are one where each action knows one kind of resource only: none gets wider.
MACHINES = Scope(
    "Machines", (f"{EC2}:instance/*", "arn:{partition}:ssm:{region}::parameter/aws/service/*")
)

# Hosts. What is made has our tag from its first moment, and what has not is neither changed nor
# removed. Names begin with mlflow-compose-, where AWS has names.
NEW_THINGS = Scope("NewThings", (f"{EC2}:*/*",), condition=ANY_TAG_AT_BIRTH)
OUR_THINGS = Scope("OurThings", (f"{EC2}:*/*",), condition=ANY_TAG)
# A machine is started with these, and has its address at an interface, which EC2 makes without our
# tag.
STARTED_WITH = Scope(
    "StartedWith",
    (
        "arn:{partition}:ec2:{region}::image/*",
        *(f"{EC2}:{kind}/*" for kind in ("key-pair", "network-interface", "security-group")),
        *(f"{EC2}:{kind}/*" for kind in ("subnet", "volume")),
    ),
)
NETWORK = Scope("Network", (f"{EC2}:vpc/*",))
TAGS = Scope("Tags", (f"{EC2}:*/*",), condition={"StringLike": {"ec2:CreateAction": "*"}})
ROLE = Scope("Role", (f"{IAM}:role/{TAG}-*", f"{IAM}:instance-profile/{TAG}-*"))
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
# Who writes backups may neither delete them nor shorten a lock, and who reads them may not write.
# A host always lists below a folder, so the condition holds where there is no prefix too. A person
# lists by Buckets.
BACKUPS_LIST = Scope(
    "BackupsList",
    ("arn:{partition}:s3:::{backups_bucket}",),
    (INSTANCE,),
    {"StringLike": {"s3:prefix": "{backups_keys}"}},
)
# Whether the bucket locks; who asks that names no prefix.
BACKUPS_LOCK = Scope("BackupsLock", ("arn:{partition}:s3:::{backups_bucket}",), (INSTANCE,))
BACKUPS_READ = Scope(
    "BackupsRead", ("arn:{partition}:s3:::{backups_bucket}/{backups_keys}",), (INSTANCE, OPERATOR)
)
BACKUPS_WRITE = Scope(
    "BackupsWrite", ("arn:{partition}:s3:::{backups_bucket}/{backups_folders}",), (INSTANCE,)
)
DRILLS = Scope("Drills", ("arn:{partition}:s3:::{backups_bucket}/{drills_keys}",))
# With ARTIFACT_ACCESS=direct the smoke test writes to S3 itself: one object, always of this name.
SMOKE = Scope("SmokeTest", ("arn:{partition}:s3:::{direct}/*/smoke.bin",))
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
KEY = Scope("Key", ("{kms_key}",), (INSTANCE, OPERATOR), {"StringLike": {"kms:ViaService": "s3.*"}})
