"""Making a bucket, or bringing one to what it should be: look, say what changes, do only that."""

from collections.abc import Callable

from ops import bucket_access as access
from ops import bucket_keeping as keeping
from ops import consent, console
from ops.aws import in_our_words
from ops.bucket_aspects import DONE, DRIFT, FINE, SKIPPED, YOURS, Aspect, Step, plan, settle
from ops.bucket_wishes import Given, Wish, understood
from ops.buckets import Bucket, reach
from ops.errors import FAILED, REFUSED, OpsError, refusal
from ops.settings import Settings

__all__ = ["Given", "carry_out", "create", "look"]

WIDTH = len("live artifacts")


def create(given: Given, *, check: bool, yes: bool, as_json: bool) -> None:
    """Bring a bucket to what it should be, once a person agrees; with `check` only look.

    Exit code 1 if something is not as it should be in the end.
    """
    settings = Settings.load()
    wish = understood(given, settings)
    with in_our_words(REFUSED):
        bucket = reach(wish.name, given.region, settings)
    steps = look(bucket, wish)
    if wish.kind == "backups" and not wish.ours:
        console.say(
            f"note: BACKUPS_DESTINATION does not name {bucket}: backups in it have no end; "
            "set it in .env and run this again"
        )
    show(bucket, steps, console.result if check and not as_json else console.say)
    if not check and having(steps, DRIFT):
        confirm(bucket, having(steps, DRIFT), yes=yes)
        # --- Looked at; what follows changes it ---
        steps = carry_out(bucket, steps)
    if as_json:
        console.result_json(document(bucket, steps))
    elif not check:
        console.result(str(bucket))
    complain(bucket, steps)


def look(bucket: Bucket, wish: Wish) -> list[Step]:
    """Return what there is to do; refuses what cannot come true."""
    check_key(bucket, wish)
    with in_our_words(REFUSED, bucket.whom):
        steps = plan(aspects(bucket, wish))
    if steps[0].state != FINE:
        check_new_name(bucket.name)
    return steps


def aspects(bucket: Bucket, wish: Wish) -> list[Aspect]:
    """Return every aspect in the order in which they are brought about.

    What opens the bucket is closed first. The policy is last: what else it says may keep S3 from
    taking it.
    """
    return [
        access.existence(bucket, wish),
        access.public_access(bucket),
        access.ownership(bucket),
        access.encryption(bucket, wish),
        keeping.versioning(bucket),
        *([keeping.lock(bucket, wish)] if wish.lock else []),
        keeping.old_versions(bucket, wish),
        keeping.rules_of_yours(bucket, wish),
        keeping.tags(bucket, wish),
        access.transport(bucket),
    ]


def having(steps: list[Step], *states: str) -> list[Step]:
    """Return the steps in one of these states."""
    return [step for step in steps if step.state in states]


def check_key(bucket: Bucket, wish: Wish) -> None:
    """Refuse a key of no use to the bucket: S3 would say so only when something is written."""
    if wish.kms_key and bucket.server:
        raise refusal(f"{bucket.whom} has no keys of AWS KMS", "leave --kms-key out")
    if wish.kms_key and wish.key_region != bucket.region:
        raise refusal(
            f"--kms-key is in {wish.key_region}, and {bucket} in {bucket.region}",
            f"take a key of {bucket.region}",
        )


def check_new_name(name: str) -> None:
    """Refuse a name that a bucket may have, but that no new one of ours should get."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    if "." in name:
        raise refusal(
            f"the new name {name!r} holds a dot, and S3's certificates do not cover such names",
            "write - instead, as AWS advises",
        )
    if name.endswith("-an"):
        raise refusal(
            f"the new name {name!r} ends with -an, as do only names with an account's number",
            "give it another ending",
        )


def show(bucket: Bucket, steps: list[Step], out: Callable[[str], None]) -> None:
    """Print what is not as it should be: how it is, and how it should be."""
    skips = having(steps, SKIPPED)
    say_skipped(skips)
    found = having(steps, DRIFT, YOURS)
    if not found:
        console.say(f"{bucket} is as it should be{', but for what is skipped' if skips else ''}")
        return
    out(f"{bucket} in {bucket.region}:")
    for step in found:
        whose = " (yours to change)" if step.state == YOURS else ""
        out(f"  {step.aspect.name:<{WIDTH}}  {step.now} -> {step.wanted}{whose}")
    if bucket.server and steps[0].state == DRIFT:
        console.say("what the server turns out not to have is skipped")


def say_skipped(steps: list[Step]) -> None:
    """Say what was left out and why, a reason a line."""
    for reason in dict.fromkeys(step.now for step in steps):
        names = ", ".join(step.aspect.name for step in steps if step.now == reason)
        console.say(f"skipped: {names}: {reason}")


def confirm(bucket: Bucket, drift: list[Step], *, yes: bool) -> None:
    """Go on if a person agrees, or did so beforehand; what is for good is typed by a person."""
    warnings = [step.grave for step in drift if step.grave]
    if yes and not warnings:
        return
    for warning in warnings:
        console.say(f"for good: {warning}")
    if warnings:
        way = "run it in a terminal; --yes does not stand for it"
        consent.ask(f"Change {bucket} for good?", answer=bucket.name, elsewhere=way)
    else:
        consent.ask(f"Change {bucket}?", elsewhere="repeat with --yes")


def carry_out(bucket: Bucket, steps: list[Step]) -> list[Step]:
    """Do what is to do, in order; return the steps as they ended."""
    ended = []
    for index, step in enumerate(steps):
        if step.state != DRIFT:
            ended.append(step)
            continue
        try:
            with in_our_words(FAILED, bucket.whom):
                ended.append(settle(bucket, step))
        except OpsError as error:
            raise _unfinished(bucket, error, steps[index:], made=index > 0) from error
        if ended[-1].state == DONE:
            console.say(f"{step.aspect.name}: done")
    say_skipped([step for step in having(ended, SKIPPED) if step not in steps])
    return ended


def _unfinished(bucket: Bucket, error: OpsError, left: list[Step], *, made: bool) -> OpsError:
    """Say how far it came; a bucket that is not to be ours was not touched."""
    if error.code == REFUSED:
        return error
    names = ", ".join(step.aspect.name for step in having(left, DRIFT))
    there = f"{bucket} is there, " if made else ""
    return OpsError(
        f"{error.cause}\n  {there}not done yet: {names}",
        f"{error.remedy}; then the same command, which goes on from there",
        error.code,
    )


def document(bucket: Bucket, steps: list[Step]) -> dict[str, object]:
    """Return a bucket with its aspects, for scripts."""
    rows = [
        {"aspect": step.aspect.name, "state": step.state, "now": step.now, "wanted": step.wanted}
        for step in steps
    ]
    return {"bucket": bucket.name, "region": bucket.region, "aspects": rows}


def complain(bucket: Bucket, steps: list[Step]) -> None:
    """End with exit code 1 if something is still not as it should be."""
    drift, yours = having(steps, DRIFT), having(steps, YOURS)
    if drift:
        names = ", ".join(step.aspect.name for step in [*drift, *yours])
        raise OpsError(f"{bucket} is not as it should be: {names}", "run the same without --check")
    for step in yours:
        raise OpsError(
            f"{step.aspect.name} in {bucket} are {step.now}",
            "take that out, or give it another prefix: "
            f"aws s3api get-bucket-lifecycle-configuration --bucket {bucket.name}",
        )
