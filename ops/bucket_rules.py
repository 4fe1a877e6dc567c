"""The documents of a bucket: ours put beside what is there, and nothing of it made weaker."""

from typing import Any

__all__ = [
    "deleting",
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


def lifecycle(config: Document | None, days: int) -> Document:
    """Return rules that end unfinished uploads, and old versions after some days.

    Where several rules fit, the shortest counts: ours waits as long as the longest of theirs.
    """
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-conflicts.html
    config = config or {"Rules": []}
    kept = [
        each["NoncurrentVersionExpiration"]
        for each in config["Rules"]
        if each["Status"] == "Enabled" and "NoncurrentVersionExpiration" in each
    ]
    wait = {"NoncurrentDays": max([days, *(each.get("NoncurrentDays", 0) for each in kept)])}
    newer = max([0, *(each.get("NewerNoncurrentVersions", 0) for each in kept)])
    ours = [
        _rule(UPLOADS, AbortIncompleteMultipartUpload={"DaysAfterInitiation": UPLOAD_DAYS}),
        _rule(
            VERSIONS,
            NoncurrentVersionExpiration=wait
            | ({"NewerNoncurrentVersions": newer} if newer else {}),
            Expiration={"ExpiredObjectDeleteMarker": True},
        ),
    ]
    found = [_scoped(each) for each in config["Rules"]]
    if all(each in found for each in ours):
        return config
    others = [each for each in found if each.get("ID") not in (UPLOADS, VERSIONS)]
    return {**config, "Rules": [*others, *ours]}


def said(config: Document | None, days: int) -> str:
    """Say what becomes of unfinished uploads and old versions by our rules."""
    found = {each.get("ID"): each for each in (config or {"Rules": []})["Rules"]}
    if config and lifecycle(config, days) == config:
        wait = found[VERSIONS]["NoncurrentVersionExpiration"]["NoncurrentDays"]
        return f"deleted after {wait} days, unfinished uploads after {UPLOAD_DAYS}"
    return (
        "rules of ours that were changed" if {UPLOADS, VERSIONS} & {*found} else "no rules of ours"
    )


def _rule(name: str, **actions: Document) -> Document:
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": ""}, **actions}


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
