"""The documents of a bucket: what is ours is there, what is theirs stays, nothing gets weaker."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.bucket_rules import (
    End,
    deleting,
    early,
    encrypted,
    lifecycle,
    locked,
    named,
    opens,
    retention_days,
    said,
    tls_only,
)

ARN = "arn:aws:s3:::team"
KEY = "arn:aws:kms:eu-west-2:123456789012:key/1234abcd"
THEIRS: dict[str, Any] = {
    "Sid": "Readers",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:role/reader"},
    "Action": ["s3:GetObject"],
    "Resource": [f"{ARN}/*"],
}
OPEN = {**THEIRS, "Sid": "Everybody", "Principal": {"AWS": "*"}}


# --- Encryption ---


def cipher(how: str, key: str = "", **more: Any) -> list[dict[str, Any]]:
    default = {"SSEAlgorithm": how} | ({"KMSMasterKeyID": key} if key else {})
    return [{"ApplyServerSideEncryptionByDefault": default, **more}]


@pytest.mark.parametrize("now", [None, []])
def test_without_encryption_there_is_s3_s_own_or_the_key_that_is_given(now: Any) -> None:
    assert cipher("AES256") == encrypted(now, "")
    assert cipher("aws:kms", KEY, BucketKeyEnabled=True) == encrypted(now, KEY)


@pytest.mark.parametrize(
    "now",
    [
        cipher("AES256", BucketKeyEnabled=False),
        cipher("aws:kms"),
        cipher("aws:kms", "arn:of:another", BucketKeyEnabled=False),
        cipher("aws:kms:dsse", KEY),
    ],
)
def test_encryption_that_is_there_stays_where_no_key_is_asked_for(now: Any) -> None:
    assert now is encrypted(now, "")


@pytest.mark.parametrize(
    "now",
    [
        cipher("aws:kms", KEY, BucketKeyEnabled=True),
        cipher("aws:kms", "1234abcd", BucketKeyEnabled=True),
        cipher("aws:kms:dsse", KEY, BucketKeyEnabled=False),
    ],
)
def test_the_key_that_is_asked_for_may_be_there_already(now: Any) -> None:
    assert now is encrypted(now, KEY)


def test_another_key_takes_the_place_of_the_one_there_and_twice_stays_twice() -> None:
    now = cipher("aws:kms", "arn:of:another", BucketKeyEnabled=True)
    twice = cipher("aws:kms:dsse", "arn:of:another", BucketKeyEnabled=False)

    assert cipher("aws:kms", KEY, BucketKeyEnabled=True) == encrypted(now, KEY)
    assert cipher("aws:kms:dsse", KEY, BucketKeyEnabled=False) == encrypted(twice, KEY)


def test_what_else_an_encryption_rule_says_stays() -> None:
    blocked = {"EncryptionType": ["SSE-C"]}
    (rule,) = encrypted(cipher("AES256", BlockedEncryptionTypes=blocked), KEY)

    assert blocked == rule["BlockedEncryptionTypes"]


# --- The policy ---


def test_a_policy_takes_no_connection_without_tls() -> None:
    policy = tls_only(None, ARN)
    (statement,) = policy["Statement"]

    assert "2012-10-17" == policy["Version"]
    assert ("Deny", "*", "s3:*") == (
        statement["Effect"],
        statement["Principal"],
        statement["Action"],
    )
    assert [ARN, f"{ARN}/*"] == statement["Resource"]
    assert {"Bool": {"aws:SecureTransport": "false"}} == statement["Condition"]
    assert policy is tls_only(policy, ARN)


@pytest.mark.parametrize("statements", [[THEIRS], THEIRS, [THEIRS, OPEN]])
def test_statements_of_theirs_stay_in_their_order(statements: Any) -> None:
    policy = tls_only({"Version": "2008-10-17", "Id": "old", "Statement": statements}, ARN)
    before = statements if isinstance(statements, list) else [statements]

    assert before == policy["Statement"][:-1]
    assert "MlflowComposeTlsOnly" == policy["Statement"][-1]["Sid"]
    assert ("2008-10-17", "old") == (policy["Version"], policy["Id"])


@pytest.mark.parametrize(
    "change",
    [
        {"Sid": "AllowSSLRequestsOnly"},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"AWS": ["*"]}},
        {"Action": ["s3:*"]},
        {"Resource": [f"{ARN}/*", ARN]},
        {"Condition": {"Bool": {"aws:SecureTransport": ["false"]}}},
        {"Condition": {"Bool": {"aws:SecureTransport": False}}},
    ],
)
def test_a_statement_that_means_the_same_is_as_good(change: dict[str, Any]) -> None:
    policy = tls_only(None, ARN)
    theirs = {**policy, "Statement": [THEIRS, policy["Statement"][0] | change]}

    assert theirs is tls_only(theirs, ARN)


@pytest.mark.parametrize(
    "change",
    [
        {"Effect": "Allow"},
        {"Resource": [ARN]},
        {"Action": "s3:GetObject"},
        {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}},
        {"Condition": {"Bool": {"aws:SecureTransport": "true"}}},
    ],
)
def test_a_statement_of_ours_that_was_changed_is_put_right(change: dict[str, Any]) -> None:
    good = tls_only(None, ARN)
    changed = {**good, "Statement": [good["Statement"][0] | change, THEIRS]}

    assert [THEIRS, *good["Statement"]] == tls_only(changed, ARN)["Statement"]


def test_statements_that_let_everybody_in_are_named() -> None:
    nameless = {key: value for key, value in OPEN.items() if key != "Sid"}
    inside = OPEN | {"Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}
    statements = [THEIRS, OPEN, nameless, inside]

    assert ["Everybody", "without a Sid"] == opens(tls_only({"Statement": statements}, ARN))


# --- The lifecycle ---


def rule(name: str = "theirs", status: str = "Enabled", **more: Any) -> dict[str, Any]:
    return {"ID": name, "Status": status, "Filter": {"Prefix": ""}, **more}


def old(days: int, **more: int) -> dict[str, Any]:
    return {"NoncurrentVersionExpiration": {"NoncurrentDays": days, **more}}


def ours(config: dict[str, Any]) -> dict[str, Any]:
    """Return what our rule does with old versions."""
    (found,) = [each for each in config["Rules"] if each["ID"] == "mlflow-compose-versions"]
    expiration: dict[str, Any] = found["NoncurrentVersionExpiration"]
    return expiration


def test_unfinished_uploads_old_versions_and_lone_delete_markers_go() -> None:
    uploads, versions = lifecycle(None, 90)["Rules"]

    assert ("mlflow-compose-uploads", "Enabled") == (uploads["ID"], uploads["Status"])
    assert {"DaysAfterInitiation": 7} == uploads["AbortIncompleteMultipartUpload"]
    assert ("mlflow-compose-versions", "Enabled") == (versions["ID"], versions["Status"])
    assert {"NoncurrentDays": 90} == versions["NoncurrentVersionExpiration"]
    assert {"ExpiredObjectDeleteMarker": True} == versions["Expiration"]


@given(st.integers(1, 40000))
def test_no_rule_of_ours_deletes_what_is_live(days: int) -> None:
    assert [] == deleting(lifecycle(None, days), "", None)


def test_rules_of_ours_that_are_there_are_left_as_they_are() -> None:
    config = lifecycle({"Rules": [rule(Expiration={"Days": 1})], "Size": "as it was"}, 90)
    bare = [{**each, "Filter": {}} for each in config["Rules"]]

    assert config is lifecycle(config, 90)
    assert "as it was" == config["Size"]
    assert {"Rules": bare} == lifecycle({"Rules": bare}, 90)


@pytest.mark.parametrize(
    "change",
    [
        {"Status": "Disabled"},
        {"Filter": {"Prefix": "logs/"}},
        {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 30}},
    ],
)
def test_a_rule_of_ours_that_was_changed_is_put_right(change: dict[str, Any]) -> None:
    good = lifecycle(None, 90)
    changed = {"Rules": [good["Rules"][0] | change, rule(), good["Rules"][1]]}

    assert [rule(), *good["Rules"]] == lifecycle(changed, 90)["Rules"]


@pytest.mark.parametrize(
    ("theirs", "wait"),
    [
        (rule(**old(30)), {"NoncurrentDays": 90}),
        (rule(**old(365)), {"NoncurrentDays": 365}),
        (rule(Filter={"Prefix": "logs/"}, **old(365)), {"NoncurrentDays": 365}),
        (rule(status="Disabled", **old(365)), {"NoncurrentDays": 90}),
        (
            rule(**old(1, NewerNoncurrentVersions=5)),
            {"NoncurrentDays": 90, "NewerNoncurrentVersions": 5},
        ),
        (rule("mlflow-compose-versions", **old(400)), {"NoncurrentDays": 400}),
    ],
)
def test_no_old_version_goes_earlier_than_a_rule_of_theirs_says(
    theirs: dict[str, Any], wait: dict[str, int]
) -> None:
    assert wait == ours(lifecycle({"Rules": [theirs]}, 90))


def test_rules_of_the_older_form_get_the_form_of_ours() -> None:
    """S3 takes no mixture: https://github.com/ansible/ansible/issues/53751."""
    older = {"ID": "theirs", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 9}}
    (theirs, *_) = lifecycle({"Rules": [older]}, 90)["Rules"]

    assert rule(Filter={"Prefix": "logs/"}, Expiration={"Days": 9}) == theirs


def test_what_our_rules_do_is_said() -> None:
    good = lifecycle(None, 90)
    changed = {"Rules": good["Rules"][:1]}

    assert "deleted after 90 days, unfinished uploads after 7" == said(good, 90)
    assert "rules of ours that were changed" == said(changed, 90)
    assert "no rules of ours" == said({"Rules": [rule()]}, 90) == said(None, 90)


# --- The ends of what is live ---

ENDS = [End("mlflow/", "daily", 14), End("mlflow/", "logs", 15)]


def test_a_folder_is_told_by_its_prefix_and_its_rule_by_a_name_that_fits() -> None:
    top, long = End("", "daily", 14), End(f"{'p' * 300}/", "daily", 14)

    assert ("daily/", "mlflow-compose-daily") == (top.prefix, top.name)
    assert ("mlflow/daily/", "mlflow-compose-daily-mlflow/") == (ENDS[0].prefix, ENDS[0].name)
    assert 255 == len(long.name)
    assert long.name != End(long.place, "weekly", 60).name


def test_what_is_live_ends_by_its_folder_and_is_soon_gone() -> None:
    *_, daily, logs = lifecycle(None, 31, ENDS, 1)["Rules"]

    assert ({"Prefix": "mlflow/daily/"}, {"Days": 14}) == (daily["Filter"], daily["Expiration"])
    assert ({"Prefix": "mlflow/logs/"}, {"Days": 15}) == (logs["Filter"], logs["Expiration"])
    assert {"NoncurrentDays": 1} == daily["NoncurrentVersionExpiration"]


@pytest.mark.parametrize(
    "theirs", [[], [rule(**old(365))], [rule(**old(1, NewerNoncurrentVersions=5))]]
)
def test_a_second_time_nothing_differs(theirs: list[dict[str, Any]]) -> None:
    config = lifecycle({"Rules": theirs}, 31, ENDS, 1)

    assert config is lifecycle(config, 31, ENDS, 1)
    assert [rule["ID"] for rule in theirs] == [
        rule["ID"] for rule in config["Rules"] if not rule["ID"].startswith("mlflow-compose-")
    ]


def test_what_has_ended_is_left_as_long_as_a_rule_of_theirs_says() -> None:
    *_, daily, _ = lifecycle({"Rules": [rule(**old(365))]}, 31, ENDS, 1)["Rules"]

    assert {"NoncurrentDays": 365} == daily["NoncurrentVersionExpiration"]


def test_an_end_that_was_made_later_stays_and_is_said() -> None:
    good = lifecycle(None, 31, ENDS, 1)
    later = {
        "Rules": [
            each | ({"Expiration": {"Days": 30}} if each["ID"] == ENDS[0].name else {})
            for each in good["Rules"]
        ]
    }

    assert later is lifecycle(later, 31, ENDS, 1)
    assert said(good, 31, ENDS, 1).endswith(
        "; live ones after 14 in mlflow/daily/, 15 in mlflow/logs/"
    )
    assert said(later, 31, ENDS, 1).endswith(
        "; live ones after 30 in mlflow/daily/, 15 in mlflow/logs/"
    )


def test_a_rule_that_deletes_before_the_end_is_found_once_and_ours_never() -> None:
    soon, late = rule(Expiration={"Days": 13}), rule("late", Expiration={"Days": 15})
    shorter = rule(ENDS[0].name, Filter={"Prefix": ENDS[0].prefix}, Expiration={"Days": 1})

    assert [soon] == early({"Rules": [late, shorter, soon]}, ENDS)
    assert [] == early(lifecycle(None, 31, ENDS, 1), ENDS)
    assert [] == early(None, ENDS)


DATE = datetime(2027, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "theirs",
    [
        rule(Expiration={"Days": 30}),
        rule(Expiration={"Date": DATE}),
        rule(Expiration={"Days": 30}, Filter={}),
        rule(Expiration={"Days": 30}, Filter={"Prefix": "mlflow/"}),
        rule(Expiration={"Days": 30}, Filter={"Prefix": "mlflow/1/"}),
        rule(Expiration={"Days": 30}, Filter={"Prefix": "ml"}),
        rule(Expiration={"Days": 30}, Filter={"ObjectSizeGreaterThan": 1}),
        rule(Expiration={"Days": 30}, Filter={"And": {"Prefix": "", "ObjectSizeLessThan": 9}}),
        {"Status": "Enabled", "Prefix": "mlflow", "Expiration": {"Days": 30}},
    ],
)
def test_a_rule_that_deletes_live_artifacts_is_found(theirs: dict[str, Any]) -> None:
    assert [theirs] == deleting({"Rules": [rule(), theirs]}, "mlflow/", None)


@pytest.mark.parametrize(
    "theirs",
    [
        rule(),
        rule(**old(1)),
        rule(Expiration={"ExpiredObjectDeleteMarker": True}),
        rule(status="Disabled", Expiration={"Days": 30}),
        rule(Expiration={"Days": 30}, Filter={"Prefix": "logs/"}),
        rule(Expiration={"Days": 30}, Filter={"Prefix": "mlflow-old/"}),
        rule(Expiration={"Days": 30}, Filter={"Tag": {"Key": "old", "Value": "yes"}}),
        rule(Expiration={"Days": 30}, Filter={"And": {"Prefix": "", "Tags": [{"Key": "old"}]}}),
    ],
)
def test_a_rule_that_spares_live_artifacts_is_not(theirs: dict[str, Any]) -> None:
    assert [] == deleting({"Rules": [theirs]}, "mlflow/", None)


def test_backups_may_be_deleted_once_their_lock_is_over() -> None:
    late, early = rule(Expiration={"Days": 30}), rule(Expiration={"Days": 29})
    dated = rule(Expiration={"Date": DATE})

    assert [early, dated] == deleting({"Rules": [late, early, dated]}, "", 30)
    assert "theirs after 29 days, theirs on 2027-01-02" == named([early, dated])


# --- Object Lock ---


def lock(mode: str, **period: int) -> dict[str, Any]:
    return {
        "ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": mode, **period}},
    }


@pytest.mark.parametrize("now", [None, {"ObjectLockEnabled": "Enabled"}])
def test_a_bucket_without_retention_gets_what_is_asked_for(now: Any) -> None:
    assert lock("GOVERNANCE", Days=30) == locked(now, "GOVERNANCE", 30)


@pytest.mark.parametrize(
    "now",
    [
        lock("GOVERNANCE", Days=30),
        lock("GOVERNANCE", Days=31),
        lock("GOVERNANCE", Years=1),
        lock("COMPLIANCE", Days=30),
        lock("COMPLIANCE", Years=7),
    ],
)
def test_a_lock_as_strong_or_stronger_stays(now: dict[str, Any]) -> None:
    assert now is locked(now, "GOVERNANCE", 30)


@pytest.mark.parametrize(
    ("now", "mode", "days", "wanted"),
    [
        (lock("GOVERNANCE", Days=7), "GOVERNANCE", 30, lock("GOVERNANCE", Days=30)),
        (lock("COMPLIANCE", Days=7), "GOVERNANCE", 30, lock("COMPLIANCE", Days=30)),
        (lock("GOVERNANCE", Days=90), "COMPLIANCE", 30, lock("COMPLIANCE", Days=90)),
        (lock("GOVERNANCE", Years=2), "COMPLIANCE", 30, lock("COMPLIANCE", Years=2)),
        (lock("GOVERNANCE", Years=1), "GOVERNANCE", 400, lock("GOVERNANCE", Days=400)),
    ],
)
def test_of_two_locks_each_half_that_is_stronger_counts(
    now: dict[str, Any], mode: str, days: int, wanted: dict[str, Any]
) -> None:
    assert wanted == locked(now, mode, days)


@given(
    st.sampled_from(["GOVERNANCE", "COMPLIANCE"]),
    st.integers(1, 36500),
    st.sampled_from(["GOVERNANCE", "COMPLIANCE"]),
    st.integers(1, 36500),
)
def test_no_lock_ever_gets_weaker(mode: str, days: int, asked: str, wish: int) -> None:
    made = locked(lock(mode, Days=days), asked, wish)

    assert max(days, wish) == retention_days(made)
    assert ("COMPLIANCE" in (mode, asked)) == (
        made["Rule"]["DefaultRetention"]["Mode"] == "COMPLIANCE"
    )
