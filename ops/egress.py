"""Where the server may go: the places it calls, as rules of the proxy between it and the world."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ops.settings import Settings

__all__ = [
    "LIMIT",
    "OPEN_ENDED",
    "OVERLAY",
    "WAY_OUT",
    "WORK",
    "Destination",
    "destinations",
    "files",
    "paths",
    "rules",
    "uses_role",
]

OVERLAY = "compose/egress.yaml"
"""The overlay of a stack whose server has somewhere to go."""

WAY_OUT = "compose/way-out.yaml"
"""The overlay of a stack whose server calls whom its users name."""

OPEN_ENDED = {"gateway", "webhooks"}
"""Parts of MLflow that go by no proxy, so that it cannot say where they may go."""

WORK, LIMIT = 48, 96
"""MiB of the proxy at work, and at most.

At rest it takes 8, with 150 transfers at once 42, with 700 connections 76 (measured, 2.4.69).
"""

DEFAULT_PORTS = {"http": 80, "https": 443}

METADATA = ("169.254.169.254", "fd00:ec2::254")
"""What a machine on EC2 asks who it is, and a thief for what it may.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

# A role's credentials, as botocore asks for them, and nothing else that is known there.
CREDENTIALS = (
    r"http://169\.254\.169\.254(:80)?/latest/"
    r"(api/token|meta-data/iam/security-credentials/([\w+=,@-][\w+=,.@-]*)?)$"
)

PLACE = """\
<ProxyMatch "^{rule}">
    Require all granted
    SetEnvIf Request_Method . carried
</ProxyMatch>
"""


class Destination(NamedTuple):
    """A server that is called: over TLS, in a tunnel that the proxy does not look into, or not."""

    host: str
    port: int
    tls: bool = True

    @property
    def rule(self) -> str:
        """The form of what the proxy is asked for: host and port of a tunnel, or an address."""
        # Names have no letter case, and boto3 asks as the endpoint is written.
        host = f"(?i:{re.escape(f'[{self.host}]' if ':' in self.host else self.host)})"
        if self.tls:
            return f"{host}:{self.port}$"
        return f"http://{host}:{self.port}/" if self.port != 80 else f"http://{host}(:80)?/"


def destinations(settings: Settings) -> list[Destination]:
    """Return whom the server calls by its settings, but for the machine that gives it a role."""
    found = [*_artifacts(settings), *_outbound(settings)]
    if settings.auth == "oidc":
        found.append(_of_url(settings.oidc_issuer))
    return list(dict.fromkeys(found))


def _artifacts(settings: Settings) -> Iterator[Destination]:
    if not settings.artifacts_destination:
        return
    if settings.s3_endpoint_url:
        yield _of_url(settings.s3_endpoint_url)
        return
    bucket = urlsplit(settings.artifacts_destination).netloc
    for url in amazon(bucket, settings.s3_region):
        yield _of_url(url)


def _outbound(settings: Settings) -> Iterator[Destination]:
    for place in filter(None, settings.outbound_hosts.split(",")):
        yield _of_url(f"https://{place}")


def _of_url(url: str) -> Destination:
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return Destination(parts.hostname or "", port, tls=parts.scheme == "https")


@cache
def amazon(bucket: str, region: str) -> tuple[str, ...]:
    """Return the addresses under which boto3 asks Amazon for a bucket.

    Whatever region is set, it follows S3 to the one that the bucket is in: these are those of all
    regions, and the one without. Where a bucket's name holds a dot, other buckets have them too.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
    """
    from botocore.endpoint_provider import EndpointProvider
    from botocore.exceptions import UnknownRegionError
    from botocore.session import get_session

    session = get_session()
    loader = session.get_component("data_loader")
    rules = loader.load_service_model("s3", "endpoint-rule-set-1")
    provider = EndpointProvider(rules, loader.load_data("partitions"))
    try:
        partition = session.get_partition_for_region(region) if region else "aws"
    except UnknownRegionError:
        partition = "aws"
    regions = [*session.get_available_regions("s3", partition), *([region] if region else [])]
    if partition == "aws":
        regions.append("aws-global")
    found = [provider.resolve_endpoint(Bucket=bucket, Region=each).url for each in regions]
    return tuple(dict.fromkeys(str(url) for url in found))


def rules(settings: Settings) -> list[str]:
    """Return the forms of what the proxy lets through; [] where the server calls nobody."""
    found = [each.rule for each in destinations(settings)]
    if uses_role(settings):
        found.append(CREDENTIALS)
    return found


def uses_role(settings: Settings) -> bool:
    """Say whether the server comes to S3 with the role of the machine."""
    return bool(settings.artifacts_destination) and not settings.s3_access_key_id


def paths(settings: Settings, where: str) -> dict[str, str]:
    """Return the variable that says where the proxy's configuration is, if there is a proxy."""
    return {"EGRESS_FOLDER": where} if rules(settings) else {}


def files(root: Path, settings: Settings) -> dict[str, str]:
    """Return the proxy's configuration, by the path in its folder; {} where there is no proxy."""
    found = rules(settings)
    if not found:
        return {}
    text = (root / "egress/httpd.conf.template").read_text("utf-8")
    ports = {str(each.port) for each in destinations(settings) if each.tls}
    # Also where a name that is let through leads there.
    blocked = "" if uses_role(settings) else f"ProxyBlock {' '.join(METADATA)}\n"
    site = {
        "PORTS": " ".join(sorted(ports)) or "0",  # none
        "BLOCKED": blocked,
        "PLACES": "".join(PLACE.replace("{rule}", rule) for rule in found),
    }
    for key, value in site.items():
        text = text.replace(f"${{{key}}}", value)
    return {"httpd.conf": text}
