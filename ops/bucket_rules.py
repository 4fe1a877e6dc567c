"""The documents of a bucket: ours put beside what is there, and nothing of it made weaker."""

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "End",
    "deleting",
    "early",
    "encrypted",
    "lifecycle",
    "locked",
    "named",
    "opens",
    "retention_days",
    "said",
    "tls_only",
]

Document = dict[str, Any]

STATEMENT = "MlflowComposeTlsOnly"
UPLOADS = "mlflow-compose-uploads"
VERSIONS = "mlflow-compose-versions"
UPLOAD_DAYS = 7
MAX_ID = 255

AES, KMS, KMS_TWICE = "AES256", "aws:kms", "aws:kms:dsse"


def encrypted(rules: list[Document] | None, key: str) -> list[Document]:
    """Return rules that encrypt by default, with a KMS key if one is given.

    KMS where none is asked for is the stronger thing and stays.
    """
    rule = rules[0] if rules else {}
    default = rule.get("ApplyServerSideEncryptionByDefault", {})
    how = default.get("SSEAlgorithm")
    if rules and not key and how in (AES, KMS, KMS_TWICE):
        return rules
    same_key = bool(key) and default.get("KMSMasterKeyID") in (key, key.rpartition("/")[2])
    if rules and same_key and (how == KMS_TWICE or (how == KMS and rule.get("BucketKeyEnabled"))):
        return rules
    wanted = how if how == KMS_TWICE else KMS
    ours = {"SSEAlgorithm": wanted, "KMSMasterKeyID": key} if key else {"SSEAlgorithm": AES}
    # A bucket key saves calls of KMS, each of which costs; encrypting twice has none.
    bucket_key = {"BucketKeyEnabled": wanted == KMS} if key else {}
    return [{**rule, "ApplyServerSideEncryptionByDefault": ours, **bucket_key}]


def tls_only(policy: Document | None, arn: str) -> Document:
    """Return a policy under which nobody comes without TLS; other statements stay as they are."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    ours = {
        "Sid": STATEMENT,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = policy or {"Version": "2012-10-17", "Statement": []}
    statements = _statements(policy)
    if any(_meaning(each) == _meaning(ours) for each in statements):
        return policy
    others = [each for each in statements if each.get("Sid") != STATEMENT]
    return {**policy, "Statement": [*others, ours]}


def opens(policy: Document) -> list[str]:
    """Return the names of the statements that let everybody in."""
    allow = {"Effect": "Allow", "Principal": "*"}
    return [
        each.get("Sid", "without a Sid")
        for each in _statements(policy)
        if allow.items() <= _meaning(each).items() and "Condition" not in each
    ]


def _statements(policy: Document) -> list[Document]:
    found = policy["Statement"]
    return list(found) if isinstance(found, list) else [found]


def _meaning(statement: Document) -> Document:
    """Return a statement without its name, and written one way where IAM takes several."""
    written = {key: _plain(value) for key, value in statement.items() if key != "Sid"}
    if written.get("Principal") == {"AWS": "*"}:
        written["Principal"] = "*"
    return written


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return _plain(value[0]) if len(value) == 1 else sorted(value)
    return str(value).lower() if isinstance(value, bool) else value


class End(NamedTuple):
    """After how many days what is live in a folder ends; `place` is what the folder is below."""

    place: str
    folder: str
    days: int

    @property
    def prefix(self) -> str:
        """What the keys begin with."""
        return f"{self.place}{self.folder}/"

    @property
    def name(self) -> str:
        """The ID of the rule: several stacks may have their backups in one bucket."""
        return f"mlflow-compose-{self.folder}-{self.place}"[:MAX_ID].rstrip("-")


def lifecycle(
    config: Document | None, days: int, ends: Sequence[End] = (), left: int = 0
) -> Document:
    """Return rules that end unfinished uploads, old versions after some days, and what is live.

    What has come to its end is left as an old version for `left` days. Where several rules fit, the
    shortest counts: ours waits as long as the longest of theirs.
    """
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-conflicts.html
    config = config or {"Rules": []}
    found = [_scoped(each) for each in config["Rules"]]
    ours = [
        _rule(UPLOADS, AbortIncompleteMultipartUpload={"DaysAfterInitiation": UPLOAD_DAYS}),
        _rule(
            VERSIONS,
            NoncurrentVersionExpiration=_wait(days, found),
            Expiration={"ExpiredObjectDeleteMarker": True},
        ),
        *(_ending(each, left, found) for each in ends),
    ]
    if all(each in found for each in ours):
        return config
    names = {each["ID"] for each in ours}
    return {**config, "Rules": [*(each for each in found if each.get("ID") not in names), *ours]}


def _wait(days: int, rules: list[Document]) -> Document:
    """Return for how long old versions are kept: as long as by any of these rules."""
    kept = [
        each["NoncurrentVersionExpiration"]
        for each in rules
        if each["Status"] == "Enabled" and "NoncurrentVersionExpiration" in each
    ]
    newer = max([0, *(each.get("NewerNoncurrentVersions", 0) for each in kept)])
    wait = max([days, *(each.get("NoncurrentDays", 0) for each in kept)])
    return {"NoncurrentDays": wait} | ({"NewerNoncurrentVersions": newer} if newer else {})


def _ending(end: End, left: int, rules: list[Document]) -> Document:
    """Return the rule of a folder; one of ours that somebody made longer stays as long."""
    longer = [each.get("Expiration", {}).get("Days", 0) for each in rules if _is(each, end.name)]
    # The rule for all other old versions waits longer on purpose, and is no wish of theirs.
    others = [each for each in rules if not _is(each, VERSIONS)]
    return _rule(
        end.name,
        Filter={"Prefix": end.prefix},
        Expiration={"Days": max([end.days, *longer])},
        NoncurrentVersionExpiration=_wait(left, others),
    )


def _is(rule: Document, name: str) -> bool:
    return bool(rule.get("ID") == name)


def said(config: Document | None, days: int, ends: Sequence[End] = (), left: int = 0) -> str:
    """Say what becomes of unfinished uploads, old versions and live backups by our rules."""
    found = {each.get("ID"): each for each in (config or {"Rules": []})["Rules"]}
    if config and lifecycle(config, days, ends, left) == config:
        wait = found[VERSIONS]["NoncurrentVersionExpiration"]["NoncurrentDays"]
        live = [f"{found[each.name]['Expiration']['Days']} in {each.prefix}" for each in ends]
        return (
            f"deleted after {wait} days, unfinished uploads after {UPLOAD_DAYS}"
            f"{'; live ones after ' * bool(live)}{', '.join(live)}"
        )
    names = {UPLOADS, VERSIONS, *(each.name for each in ends)}
    return "rules of ours that were changed" if names & {*found} else "no rules of ours"


def _rule(name: str, **parts: Document) -> Document:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": ""}, **parts}


def _scoped(rule: Document) -> Document:
    """Return a rule with a filter: S3 takes no rule of the older form beside one with a filter."""
    plain = {key: value for key, value in rule.items() if key != "Prefix"}
    return {**plain, "Filter": rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}}


def deleting(config: Document | None, prefix: str, least: int | None) -> list[Document]:
    """Return the rules that delete what is live below a prefix, if before `least` days.

    Rules for objects with a tag are left out: MLflow and backups give them none.
    """
    return [
        each
        for each in (config or {"Rules": []})["Rules"]
        if each["Status"] == "Enabled"
        and _ends(each.get("Expiration", {}), least)
        and _overlaps(_scoped(each)["Filter"], prefix)
    ]


def early(config: Document | None, ends: Sequence[End]) -> list[Document]:
    """Return the rules of theirs that delete what is live in a folder before its end."""
    names = [each.name for each in ends]
    found = [rule for each in ends for rule in deleting(config, each.prefix, each.days)]
    return [
        rule
        for number, rule in enumerate(found)
        if rule.get("ID") not in names and rule not in found[:number]
    ]


def named(rules: list[Document]) -> str:
    """Say which rules these are, and when they delete."""
    whens = [(each.get("ID", "without an ID"), each["Expiration"]) for each in rules]
    return ", ".join(
        f"{name} after {when['Days']} days"
        if "Days" in when
        else f"{name} on {when['Date']:%Y-%m-%d}"
        for name, when in whens
    )


def _ends(expiration: Document, least: int | None) -> bool:
    days = expiration.get("Days")
    return "Date" in expiration or (days is not None and (least is None or days < least))


def _overlaps(scope: Document, prefix: str) -> bool:
    inner = scope.get("And", scope)
    theirs = inner.get("Prefix", "")
    tagged = "Tag" in inner or "Tags" in inner
    return not tagged and (theirs.startswith(prefix) or prefix.startswith(theirs))


def locked(config: Document | None, mode: str, days: int) -> Document:
    """Return an Object Lock with a default retention at least this strong and this long."""
    found = (config or {}).get("Rule", {}).get("DefaultRetention", {})
    strong = found.get("Mode") in (mode, "COMPLIANCE")
    long = retention_days(config) >= days
    if config and strong and long:
        return config
    period = {key: found[key] for key in ("Days", "Years") if found.get(key)}
    retention = {
        "Mode": found["Mode"] if strong else mode,
        **(period if long else {"Days": days}),
    }
    return {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}


def retention_days(config: Document | None) -> int:
    """Return how many days an Object Lock keeps a version, unless it is told otherwise."""
    found = (config or {}).get("Rule", {}).get("DefaultRetention", {})
    return int(found.get("Days") or 0) + 366 * int(found.get("Years") or 0)
