"""Who AWS takes this machine for, as a person and a script see it."""

from typing import Any

from ops import console
from ops.aws import log_in
from ops.settings import Settings

__all__ = ["show"]


def show(region: str, *, as_json: bool) -> None:
    """Print account, region and identity, and where the credentials came from; never a key."""
    settings = Settings.load()
    account = log_in(region)
    found: dict[str, Any] = {
        "account": account.id,
        "region": account.region,
        "partition": account.partition,
        "arn": account.arn,
        "credentials": account.source,
    }
    if account.source != "env":
        found["profile"] = account.session.profile_name
    if settings.s3_endpoint_url:
        found["s3"] = _s3(settings)
    if as_json:
        console.result_json(found)
        return
    for key, value in found.items():
        console.result(f"{key:<12}{value}")


def _s3(settings: Settings) -> str:
    """Say whose keys the S3 server of one's own is given: they have nothing to do with AWS."""
    keys = "S3_ACCESS_KEY_ID of .env or the environment"
    if not settings.s3_access_key_id:
        keys = "the credentials above, for S3_ACCESS_KEY_ID is not set"
    return f"{settings.s3_endpoint_url}, with {keys}"
