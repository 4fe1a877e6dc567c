"""Amazon's registry of images: its password, what it has, and a repository there of ours."""

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops import console
from ops.aws import Account, in_our_words, log_in
from ops.errors import FAILED, REFUSED
from ops.scopes import TAG
from ops.values import Secret

if TYPE_CHECKING:
    from mypy_boto3_ecr.type_defs import RepositoryTypeDef

__all__ = ["Repository", "digest", "find", "make", "password"]

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
SERVER = re.compile(r"([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")

KEPT = 500
"""Images that stay in a repository of ours: five times what KEEP_RELEASES can be, as those of
failed deploys and of other stacks count too, so that every release on a host finds its own."""

LIFECYCLE: dict[str, Any] = {
    "rulePriority": 1,
    "description": f"mlflow-compose: keep the {KEPT} newest images, more than hosts go back to",
    "selection": {
        "tagStatus": "tagged",  # the parts of an image have no tag and would count as well
        "tagPatternList": ["*"],
        "countType": "imageCountMoreThan",
        "countNumber": KEPT,
    },
    "action": {"type": "expire"},
}


@dataclass(frozen=True, slots=True)
class Repository:
    """Where in ECR the images of one name are: the account, the region, the name there."""

    owner: str
    region: str
    name: str


def find(image: str) -> Repository | None:
    """Return the repository that an image's name, with a tag, leads to; None if not in ECR."""
    server, _, path = image.partition("/")
    found = SERVER.fullmatch(server)
    return Repository(found[1], found[2], path.rpartition(":")[0]) if found else None


def password(repository: Repository) -> Secret:
    """Ask AWS for a password of its registry, good for twelve hours."""
    with in_our_words(REFUSED):
        data = log_in(repository.region).ecr.get_authorization_token()["authorizationData"][0]
        return Secret(base64.b64decode(data["authorizationToken"]).decode().partition(":")[2])


def digest(repository: Repository, tag: str) -> str:
    """Return the digest of the image of this tag, or "" when there is none."""
    with in_our_words(REFUSED):
        ecr = log_in(repository.region).ecr
        try:
            found = ecr.batch_get_image(
                registryId=repository.owner,
                repositoryName=repository.name,
                imageIds=[{"imageTag": tag}],
            )["images"]
        except ecr.exceptions.RepositoryNotFoundException:
            return ""
    return found[0]["imageId"]["imageDigest"] if found else ""


def make(repository: Repository, stack_name: str) -> None:
    """Have the repository. One that is there stays as it is: its settings are its maker's.

    Only a lifecycle policy that is missing from one of ours is added: it was made half-way.
    """
    with in_our_words(REFUSED):
        account = log_in(repository.region)
        if account.id != repository.owner:
            console.say(
                f"the registry is of account {repository.owner}, and we are of {account.id}: "
                "nothing is made there"
            )
            return
        there = _described(account, repository)
        whole = there is not None and not _half_made(account, there, stack_name)
    if whole:
        return
    with in_our_words(FAILED), console.progress(f"making {repository.name} in ECR"):
        if there is None and not _created(account, repository, stack_name):
            return  # somebody else makes it in this very moment
        account.ecr.put_lifecycle_policy(
            repositoryName=repository.name,
            lifecyclePolicyText=json.dumps({"rules": [LIFECYCLE]}),
        )


def _described(account: Account, repository: Repository) -> "RepositoryTypeDef | None":
    try:
        found = account.ecr.describe_repositories(repositoryNames=[repository.name])
    except account.ecr.exceptions.RepositoryNotFoundException:
        return None
    return found["repositories"][0]


def _half_made(account: Account, there: "RepositoryTypeDef", stack_name: str) -> bool:
    """Say whether it is this stack's and still without a lifecycle policy."""
    try:
        account.ecr.get_lifecycle_policy(repositoryName=there["repositoryName"])
    except account.ecr.exceptions.LifecyclePolicyNotFoundException:
        tags = account.ecr.list_tags_for_resource(resourceArn=there["repositoryArn"])["tags"]
        return {"Key": TAG, "Value": stack_name} in tags
    return False


def _created(account: Account, repository: Repository, stack_name: str) -> bool:
    try:
        account.ecr.create_repository(
            repositoryName=repository.name,
            imageTagMutability="IMMUTABLE",
            imageScanningConfiguration={"scanOnPush": True},
            tags=[{"Key": TAG, "Value": stack_name}],
        )
    except account.ecr.exceptions.RepositoryAlreadyExistsException:
        return False
    return True
