"""IAM policies with the least that a person, a CI job or a host needs, made from our calls."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from ops import console, ecr, generations, supply, values
from ops.aws import Account, log_in
from ops.errors import refusal
from ops.permissions import CALLS
from ops.scopes import CI, INSTANCE, OPERATOR, Scope
from ops.settings import Settings

__all__ = ["Document", "document", "instance", "places", "show"]

Document = dict[str, Any]
Names = Mapping[str, Sequence[str]]
"""The values of each name that a scope speaks of; without any, what speaks of it is left out."""

# An alias will not do: https://docs.aws.amazon.com/kms/latest/developerguide/cmks-in-iam-policies.html
KMS_KEY = r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+"

NOTHING = {
    CI: ("ci needs nothing of AWS: REGISTRY is not in ECR", "set REGISTRY in .env to one in ECR"),
    INSTANCE: (
        "a host needs nothing of AWS: neither artifacts nor backups are in Amazon's S3",
        "set ARTIFACTS_DESTINATION or BACKUPS_DESTINATION in .env, or name a place: --bucket",
    ),
}
"""What to say where a policy would be empty; an operator's never is."""


def show(whose: str, buckets: Sequence[str], name: str, kms_key: str, region: str) -> None:
    """Print a policy as IAM takes it; `buckets` are bucket[/prefix], instead of the settings'.

    They are those of artifacts: where backups are is for the settings to say.
    """
    settings = Settings.load()
    if whose not in (OPERATOR, CI, INSTANCE):
        names = f"{OPERATOR}, {CI}, {INSTANCE}"
        raise refusal(f"there is no policy for {whose!r}", f"take one of: {names}")
    if whose == INSTANCE and len(buckets) > 1:
        raise refusal("a host has one place for its artifacts", "give --bucket once")
    given = [
        _taken("--bucket", each, lambda text: values.s3_uri(f"s3://{text}")) for each in buckets
    ]
    if whose == INSTANCE and given:
        backups = "" if settings.s3_endpoint_url else settings.backups_destination
        settings = replace(
            settings,
            artifacts_destination=given[0],
            backups_destination=backups,
            s3_endpoint_url="",
        )
    if name:
        settings = replace(settings, stack_name=_taken("--name", name, values.stack_name))
    if kms_key and not re.fullmatch(KMS_KEY, kms_key):
        raise refusal(f"--kms-key {kms_key!r} is not a key's ARN", "see: aws kms describe-key")

    account = log_in(region)
    if whose == INSTANCE:
        found = instance(settings, account.partition, kms_key)
    else:
        found = document(whose, _names(settings, account, given, kms_key))
    if found is None:
        raise refusal(*NOTHING[whose])
    gone = sorted(
        {scope.sid for scope in _scopes(whose)} - {each["Sid"] for each in found["Statement"]}
    )
    if gone and whose == OPERATOR:
        console.say(f"left out, for settings and flags name nothing for it: {', '.join(gone)}")
    console.result_json(found)


def _taken(flag: str, text: str, kind: Callable[[str], str]) -> str:
    try:
        return kind(text)
    except ValueError as problem:
        raise refusal(f"{flag} {text!r} {problem}", "see: invoke --help policy") from None


def instance(settings: Settings, partition: str, kms_key: str = "") -> Document | None:
    """Return the policy of a host's role, or None where the server there asks nothing of AWS.

    It speaks of artifacts and backups only: a host pulls from ECR with the password of whoever
    deploys. `kms_key` is the ARN of the key that a bucket encrypts with, if it is not S3's own.
    """
    given = {"partition": [partition], "kms_key": [kms_key]}
    return document(INSTANCE, given | places(settings))


def document(whose: str, names: Names) -> Document | None:
    """Return one of the policies, or None when it would allow nothing."""
    scopes = _scopes(whose)
    statements = [_statement(scope, actions, names) for scope, actions in scopes.items()]
    kept = [each for each in statements if each["Resource"]]
    return {"Version": "2012-10-17", "Statement": kept} if kept else None


def _scopes(whose: str) -> dict[Scope, set[str]]:
    """Return the scopes of a policy, and what is allowed in each."""
    found: dict[Scope, set[str]] = {}
    for call in CALLS.values():
        for scope, actions in call.needs.items():
            if whose in scope.policies:
                found.setdefault(scope, set()).update(actions)
    return found


def _statement(scope: Scope, actions: set[str], names: Names) -> Document:
    resources = [each for text in scope.resources for each in _filled(text, names)]
    made: Document = {
        "Sid": scope.sid,
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": resources if any(names.get(scope.only_with, ())) else [],
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


def _names(
    settings: Settings, account: Account, given: Sequence[str], kms_key: str
) -> dict[str, Sequence[str]]:
    """Return what scopes of people and CI speak of."""
    found = places(settings)
    artifacts = found.get("artifacts", ())
    buckets = [
        *(urlsplit(each).netloc for each in given or [f"s3://{each}" for each in artifacts]),
        *found.get("backups_bucket", ()),
    ]
    there = ecr.find(supply.image_name(settings))
    arn = f"arn:{account.partition}:ecr"
    return {
        "partition": [account.partition],
        "account": [account.id],
        "region": [account.region],
        "name": [settings.stack_name],
        "kms_key": [kms_key],
        **found,
        "bucket": list(dict.fromkeys(buckets)),
        "direct": artifacts if settings.artifact_access == "direct" else (),
        "repository": (
            [f"{arn}:{there.region}:{there.owner}:repository/{there.name}"] if there else ()
        ),
    }


def places(settings: Settings) -> dict[str, Sequence[str]]:
    """Return what scopes speak of for artifacts and backups, as far as they are in Amazon's S3."""
    return {} if settings.s3_endpoint_url else {**_artifacts(settings), **_backups(settings)}


def _artifacts(settings: Settings) -> dict[str, Sequence[str]]:
    if not settings.artifacts_destination:
        return {}
    place, bucket, prefix = _place(settings.artifacts_destination)
    which = "shared_bucket" if prefix else "whole_bucket"
    return {"artifacts": [place], "prefix": [prefix], which: [bucket]}


def _backups(settings: Settings) -> dict[str, Sequence[str]]:
    if not settings.backups_destination:
        return {}
    _, bucket, prefix = _place(settings.backups_destination)
    below = f"{prefix}/" if prefix else ""
    return {
        "backups_bucket": [bucket],
        "backups_keys": [f"{below}*"],
        # Not drills/: a host that was broken into must not prove its own backups.
        "backups_folders": [f"{below}{folder}/*" for folder in generations.DAYS],
        "drills_keys": [f"{below}drills/*"],
    }


def _place(destination: str) -> tuple[str, str, str]:
    """Return a place in S3 as policies have it: as a whole, its bucket, its prefix."""
    # A * of a name is one: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    place = destination.removeprefix("s3://").replace("*", "${*}")
    bucket, _, prefix = place.partition("/")
    return place, bucket, prefix
