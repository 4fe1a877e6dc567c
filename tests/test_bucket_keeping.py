"""How long a bucket keeps what was written: each aspect read from and written to moto's server."""

from dataclasses import replace
from typing import Any

import pytest

from ops import bucket_keeping as keeping
from ops.bucket_wishes import Wish
from ops.buckets import Bucket, Lacking, make, reach
from ops.settings import Settings
from tests.aws import Aws, Fault
from tests.test_bucket_access import brought_about
from tests.test_buckets import lists_objects, of, server_settings

ARTIFACTS = Wish(name="team", kind="artifacts", prefix="mlflow/")
BACKUPS = Wish(name="team", kind="backups", lock="GOVERNANCE", days=30)
OLD = "deleted after {} days, unfinished uploads after 7"
LIVE = "; live ones after 14 in daily/, 60 in weekly/, 400 in monthly/, 15 in logs/"


@pytest.fixture
def bucket(aws: Aws) -> Bucket:
    """A bucket of our account that knows Object Lock."""
    made = reach("team", "", Settings())
    make(made, lock=True)
    aws.calls.clear()
    return made


def put_lock(aws: Aws, mode: str, **period: int) -> None:
    retention = {"Mode": mode, **period}
    aws.client("s3").put_object_lock_configuration(
        Bucket="team",
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": retention},
        },
    )


def put_rule(aws: Aws, **more: Any) -> None:
    rule = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": ""}, **more}
    aws.client("s3").put_bucket_lifecycle_configuration(
        Bucket="team", LifecycleConfiguration={"Rules": [rule]}
    )


@pytest.mark.parametrize("found", ["off", "suspended"])
def test_versions_are_kept(aws: Aws, found: str) -> None:
    made = reach("team", "", Settings())
    make(made, lock=False)
    if found == "suspended":
        aws.client("s3").put_bucket_versioning(
            Bucket="team", VersioningConfiguration={"Status": "Suspended"}
        )

    assert (found, "enabled") == brought_about(keeping.versioning(made))


def test_a_server_without_versions_is_told_by_a_question_that_changes_nothing(aws: Aws) -> None:
    """`rclone serve s3` says of them what S3 says of a bucket that never had any."""
    on_server = reach("team", "", server_settings(aws))
    make(on_server, lock=False)
    aspect = keeping.versioning(on_server)
    with (
        aws.failing(Fault(of("ListObjectVersions"), "NotImplemented", 501)),
        pytest.raises(Lacking),
    ):
        aspect.read()

    assert ("off", "enabled") == brought_about(aspect)


def test_a_server_that_does_not_know_the_word_has_no_versions(aws: Aws) -> None:
    aspect = keeping.versioning(reach("team", "", server_settings(aws)))
    with (
        aws.failing(Fault(of("GetBucketVersioning"), "NotImplemented", 501)),
        pytest.raises(Lacking),
    ):
        aspect.read()


def test_backups_are_locked(bucket: Bucket) -> None:
    assert ("none", "governance for 30 days") == brought_about(keeping.lock(bucket, BACKUPS))


def test_a_bucket_that_had_no_lock_gets_one(aws: Aws) -> None:
    """S3 does so since 2023, whatever is in the bucket; moto only while it is empty."""
    made = reach("team", "", Settings())
    make(made, lock=False)
    brought_about(keeping.versioning(made))

    assert ("none", "governance for 30 days") == brought_about(keeping.lock(made, BACKUPS))
    assert "PutObjectLockConfiguration" == aws.operations[-2]


def test_a_lock_that_is_too_short_gets_longer(aws: Aws, bucket: Bucket) -> None:
    put_lock(aws, "GOVERNANCE", Days=7)

    assert ("governance for 7 days", "governance for 30 days") == brought_about(
        keeping.lock(bucket, BACKUPS)
    )


@pytest.mark.parametrize(("mode", "grave"), [("GOVERNANCE", False), ("COMPLIANCE", True)])
def test_only_compliance_is_for_good(bucket: Bucket, mode: str, *, grave: bool) -> None:
    aspect = keeping.lock(bucket, replace(BACKUPS, lock=mode))
    said = aspect.grave(aspect.wanted(None))

    assert grave == bool(said)
    assert grave == ("cannot be deleted for 30 days, by nobody at all" in said)


def test_old_versions_of_artifacts_go_after_ninety_days(bucket: Bucket) -> None:
    before, after = brought_about(keeping.old_versions(bucket, ARTIFACTS))

    assert ("no rules of ours", OLD.format(90)) == (before, after)


@pytest.mark.parametrize(
    ("period", "days"), [({}, 31), ({"Days": 7}, 31), ({"Days": 100}, 101), ({"Years": 1}, 367)]
)
def test_old_versions_of_backups_go_after_their_lock_is_over(
    aws: Aws, bucket: Bucket, period: dict[str, int], days: int
) -> None:
    if period:
        put_lock(aws, "GOVERNANCE", **period)

    assert OLD.format(days) + LIVE == brought_about(keeping.old_versions(bucket, BACKUPS))[1]


def test_what_is_to_come_of_old_versions_is_known_without_the_bucket(bucket: Bucket) -> None:
    for wish, days in [(ARTIFACTS, 90), (BACKUPS, 31), (replace(BACKUPS, days=365), 366)]:
        aspect = keeping.old_versions(bucket, wish)

        live = LIVE if wish.lock else ""
        assert OLD.format(days) + live == aspect.show(aspect.wanted(None))


def ends(aws: Aws) -> dict[str, tuple[int, int]]:
    """Return after how many days what is live ends by prefix, and for how many more it is left."""
    found = aws.client("s3").get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    return {
        rule["Filter"]["Prefix"]: (
            rule["Expiration"]["Days"],
            rule["NoncurrentVersionExpiration"]["NoncurrentDays"],
        )
        for rule in found
        if "Days" in rule.get("Expiration", {})
    }


def test_backups_end_by_their_generation_and_drills_never(aws: Aws, bucket: Bucket) -> None:
    brought_about(keeping.old_versions(bucket, BACKUPS))

    assert {"daily/": (14, 1), "weekly/": (60, 1), "monthly/": (400, 1), "logs/": (15, 1)} == ends(
        aws
    )


def test_artifacts_never_end(aws: Aws, bucket: Bucket) -> None:
    brought_about(keeping.old_versions(bucket, ARTIFACTS))

    assert {} == ends(aws)


def test_two_stacks_may_have_their_backups_in_one_bucket(aws: Aws, bucket: Bucket) -> None:
    """And the backups at the place where they were before end as well."""
    for prefix in ("", "one/", "two/"):
        brought_about(keeping.old_versions(bucket, replace(BACKUPS, prefix=prefix)))

    assert 12 == len(ends(aws))
    assert {(60, 1)} == {ends(aws)[f"{prefix}weekly/"] for prefix in ("", "one/", "two/")}
    aspect = keeping.rules_of_yours(bucket, replace(BACKUPS, prefix="one/"))
    assert None is aspect.read()


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"Status": "Disabled"}, (14, 1)),
        ({"Expiration": {"Days": 3}}, (14, 1)),
        ({"Expiration": {"Days": 30}}, (30, 1)),
        ({"Filter": {"Prefix": "other/"}}, (14, 1)),
    ],
)
def test_an_end_that_was_changed_comes_back_unless_it_is_later(
    aws: Aws, bucket: Bucket, change: dict[str, Any], wanted: tuple[int, int]
) -> None:
    s3 = aws.client("s3")
    brought_about(keeping.old_versions(bucket, BACKUPS))
    rules = s3.get_bucket_lifecycle_configuration(Bucket="team")["Rules"]
    changed = [rule | (change if rule["ID"] == "mlflow-compose-daily" else {}) for rule in rules]
    s3.put_bucket_lifecycle_configuration(Bucket="team", LifecycleConfiguration={"Rules": changed})
    assert None is keeping.rules_of_yours(bucket, BACKUPS).read()
    aspect = keeping.old_versions(bucket, BACKUPS)
    now = aspect.read()
    if now != aspect.wanted(now):
        brought_about(aspect)

    assert {"daily/", "weekly/", "monthly/", "logs/"} == {*ends(aws)}
    assert wanted == ends(aws)["daily/"]


def test_rules_of_theirs_stay(aws: Aws, bucket: Bucket) -> None:
    put_rule(aws, Filter={"Prefix": "logs/"}, Expiration={"Days": 9})
    brought_about(keeping.old_versions(bucket, ARTIFACTS))
    rules = aws.client("s3").get_bucket_lifecycle_configuration(Bucket="team")["Rules"]

    assert ["theirs", "mlflow-compose-uploads", "mlflow-compose-versions"] == [
        rule["ID"] for rule in rules
    ]
    assert ({"Prefix": "logs/"}, {"Days": 9}) == (rules[0]["Filter"], rules[0]["Expiration"])


def test_what_else_belongs_to_the_lifecycle_is_given_again(aws: Aws, bucket: Bucket) -> None:
    """S3 takes its default where this is left out; moto has nothing but the default."""
    kept = "varies_by_storage_class"
    heard = []
    bucket.s3.meta.events.register(
        "before-parameter-build.s3.PutBucketLifecycleConfiguration",
        lambda params, **_: heard.append(params.get("TransitionDefaultMinimumObjectSize")),
    )
    aspect = keeping.old_versions(bucket, ARTIFACTS)
    put_rule(aws, Filter={"Prefix": "logs/"}, Expiration={"Days": 9})
    found = aspect.read()
    found.config["TransitionDefaultMinimumObjectSize"] = kept
    assert aspect.apply is not None
    aspect.apply(aspect.wanted(found))

    assert [kept] == heard


def test_a_server_without_locks_keeps_old_versions_as_long_all_the_same(aws: Aws) -> None:
    on_server = reach("team", "", server_settings(aws))
    make(on_server, lock=False)
    aws.answers["GetObjectLockConfiguration"] = lists_objects
    with pytest.raises(Lacking):
        keeping.lock(on_server, BACKUPS).read()

    assert OLD.format(31) + LIVE == brought_about(keeping.old_versions(on_server, BACKUPS))[1]
    assert {31} == {left for _, left in ends(aws).values()}


def test_a_rule_that_deletes_live_artifacts_is_not_ours_to_change(aws: Aws, bucket: Bucket) -> None:
    put_rule(aws, Expiration={"Days": 30})
    aspect = keeping.rules_of_yours(bucket, ARTIFACTS)

    assert None is aspect.apply
    assert ("live artifacts", "deleted by theirs after 30 days") == (
        aspect.name,
        aspect.show(aspect.read()),
    )
    assert "kept" == aspect.show(aspect.wanted(None))


@pytest.mark.parametrize(
    ("prefix", "days", "found"),
    [
        ("", 399, True),
        ("", 400, False),
        ("mlflow/", 399, True),
        ("mlflow/daily/", 13, True),
        ("mlflow/daily/", 14, False),
        ("mlflow/weekly/2026", 59, True),
        ("mlflow/monthly/", 60, True),
        ("mlflow/logs/", 14, True),
        ("mlflow/logs/", 15, False),
        ("mlflow/drills/", 399, True),
        ("mlflow/drills/", 400, False),
        ("weekly/", 1, False),
        ("other/", 1, False),
    ],
)
def test_a_rule_may_delete_backups_that_have_come_to_their_end(
    aws: Aws, bucket: Bucket, prefix: str, days: int, *, found: bool
) -> None:
    put_rule(aws, Filter={"Prefix": prefix}, Expiration={"Days": days})
    aspect = keeping.rules_of_yours(bucket, replace(BACKUPS, prefix="mlflow/"))

    said = f"deleted by theirs after {days} days" if found else "kept"
    assert ("live backups", said) == (aspect.name, aspect.show(aspect.read()))


def test_no_rules_delete_nothing(bucket: Bucket) -> None:
    assert None is keeping.rules_of_yours(bucket, ARTIFACTS).read()
    brought_about(keeping.old_versions(bucket, ARTIFACTS))
    assert None is keeping.rules_of_yours(bucket, ARTIFACTS).read()


def test_a_tag_says_what_the_bucket_is_for_beside_theirs(aws: Aws, bucket: Bucket) -> None:
    s3 = aws.client("s3")
    assert ("none of ours", "mlflow-compose=backups") == brought_about(
        keeping.tags(bucket, BACKUPS)
    )
    theirs = {"Key": "team", "Value": "vision"}
    s3.put_bucket_tagging(Bucket="team", Tagging={"TagSet": [theirs]})
    brought_about(keeping.tags(bucket, ARTIFACTS))

    found = s3.get_bucket_tagging(Bucket="team")["TagSet"]
    assert {"team": "vision", "mlflow-compose": "artifacts"} == {
        tag["Key"]: tag["Value"] for tag in found
    }


def test_a_tag_of_that_name_stays_whatever_it_says(aws: Aws, bucket: Bucket) -> None:
    tags = [{"Key": "mlflow-compose", "Value": "both"}]
    aws.client("s3").put_bucket_tagging(Bucket="team", Tagging={"TagSet": tags})
    aspect = keeping.tags(bucket, ARTIFACTS)

    assert aspect.read() == aspect.wanted(aspect.read())
