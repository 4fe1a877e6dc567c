"""IAM policies with the least that a person, a CI job or a host needs, made from our calls."""

from collections.abc import Mapping, Sequence
from itertools import product
from string import Formatter
from typing import Any

from ops.permissions import CALLS, INSTANCE, Scope
from ops.settings import Settings

__all__ = ["Document", "document", "instance"]

Document = dict[str, Any]
Names = Mapping[str, Sequence[str]]
"""The values of each name that a scope speaks of; without any, what speaks of it is left out."""


def instance(settings: Settings, partition: str, kms_key: str = "") -> Document | None:
    """Return the policy of a host's role, or None where the server there asks nothing of AWS.

    It speaks of artifacts only: a host pulls from ECR with the password of whoever deploys.
    `kms_key` is the ARN of the key that the bucket encrypts with, if it is not S3's own.
    """
    given = {"partition": [partition], "kms_key": [kms_key]}
    return document(INSTANCE, given | _artifacts(settings))


def document(whose: str, names: Names) -> Document | None:
    """Return one of the policies, or None when it would allow nothing."""
    allowed: dict[Scope, set[str]] = {}
    for call in CALLS.values():
        for scope, actions in call.needs.items():
            if whose in scope.policies:
                allowed.setdefault(scope, set()).update(actions)
    statements = [_statement(*each, names) for each in allowed.items()]
    kept = [each for each in statements if each["Resource"]]
    return {"Version": "2012-10-17", "Statement": kept} if kept else None


def _statement(scope: Scope, actions: set[str], names: Names) -> Document:
    made: Document = {
        "Sid": scope.sid,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": [each for text in scope.resources for each in _filled(text, names)],
    }
    if scope.condition:
        made["Condition"] = {
            test: {key: _filled(text, names) for key, text in each.items()}
            for test, each in scope.condition.items()
        }
    return made


def _filled(text: str, names: Names) -> list[str]:
    """Return a text once for each value of the names in it."""
    used = [name for _, name, _, _ in Formatter().parse(text) if name]
    every = product(*([each for each in names.get(name, ()) if each] for name in used))
    return [text.format(**dict(zip(used, each, strict=True))) for each in every]


def _artifacts(settings: Settings) -> dict[str, Sequence[str]]:
    """Return what scopes speak of where artifacts are in Amazon's S3."""
    if settings.s3_endpoint_url or not settings.artifacts_destination:
        return {}
    place = settings.artifacts_destination.removeprefix("s3://")
    bucket, _, prefix = place.partition("/")
    which = "shared_bucket" if prefix else "whole_bucket"
    return {"artifacts": [place], "prefix": [prefix], which: [bucket]}
