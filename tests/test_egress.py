"""Where the server may go: the rules as the proxy compares them with what it is asked for."""

import re
from dataclasses import replace
from typing import Any

import pytest

from ops import egress, stack
from ops.settings import Settings
from ops.values import Secret
from tests.conftest import ROOT, SIZE

OWN: dict[str, Any] = {
    "artifacts_destination": "s3://bucket/mlflow",
    "s3_endpoint_url": "http://10.1.2.3:9000",
    "s3_access_key_id": "key",
    "s3_secret_access_key": Secret("secret"),
}
AMAZON: dict[str, Any] = {"artifacts_destination": "s3://bucket/mlflow", "s3_region": "eu-west-1"}
TOKEN = "http://169.254.169.254/latest/api/token"
CREDENTIALS = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"


def carried(settings: Settings, asked: str) -> bool:
    """Say whether a rule of the proxy's configuration matches what it is asked for."""
    text = egress.files(ROOT, settings)["httpd.conf"]
    return any(re.search(rule, asked) for rule in re.findall('<ProxyMatch "(.*)">', text))


def of(**fields: Any) -> Settings:
    return Settings(**fields)


def test_a_server_that_calls_nobody_has_no_proxy() -> None:
    assert egress.rules(of()) == []
    assert egress.files(ROOT, of()) == {}
    assert egress.paths(of(), "x") == {}
    assert egress.OVERLAY not in stack.compose_files(of())
    assert "egress" not in stack.services(of())


@pytest.mark.parametrize(
    ("endpoint", "right", "wrong"),
    [
        ("http://10.1.2.3:9000", "http://10.1.2.3:9000/b/k?uploads", "10.1.2.3:9000"),
        ("http://s3.example.com", "http://s3.example.com/b", "s3.example.com:443"),
        ("http://s3.example.com", "http://s3.example.com:80/b", "s3.example.com:80"),
        ("https://s3.example.com", "s3.example.com:443", "http://s3.example.com:443/"),
        ("https://s3.example.com:8443", "s3.example.com:8443", "s3.example.com:443"),
        ("http://[2001:db8::1]:9000", "http://[2001:db8::1]:9000/b", "http://2001:db8::1:9000/b"),
    ],
)
def test_an_endpoint_is_reached_as_it_is_written_and_in_no_other_way(
    endpoint: str, right: str, wrong: str
) -> None:
    settings = of(**{**OWN, "s3_endpoint_url": endpoint})

    assert carried(settings, right)
    assert not carried(settings, wrong)
    assert not carried(settings, TOKEN)


ATTACKS = [
    "HTTP://10.1.2.3:9000/",
    "http://10.1.2.3:9001/",
    "http://10.1.2.3:90000/",
    "http://10.1.2.3.:9000/",
    "http://10.1.2.3/",
    "http://10x1x2x3:9000/",
    "http://110.1.2.3:9000/",
    "http://10.1.2.3:9000@169.254.169.254/",
    "http://user@10.1.2.3:9000/",
    r"http://10.1.2.3:9000\@169.254.169.254/",
    "http://169.254.169.254/http://10.1.2.3:9000/",
    "http://169.254.169.254/?http://10.1.2.3:9000/",
    "http://10.1.2.3:9000#@169.254.169.254/",
    "http://10.1.2.3:9000?@169.254.169.254/",
    "http://%31%30.1.2.3:9000/",
    "http://167838211:9000/",
    "http://0x0a010203:9000/",
    "http://[::ffff:10.1.2.3]:9000/",
    "https://10.1.2.3:9000/",
    "ftp://10.1.2.3:9000/",
    "10.1.2.3:9000",
    "10.1.2.3:22",
    "hooks.example.com.:443",
    "hooks.example.com:4433",
    "hooks.example.com:22",
    "hooksxexample.com:443",
    "a.hooks.example.com:443",
    "user@hooks.example.com:443",
    "evil.example.org:443/hooks.example.com:443",
    "hooks.example.com:443.evil.example.org:443",
    "http://hooks.example.com/",
    "http://hooks.example.com:443/",
    "https://hooks.example.com/",
    TOKEN,
    CREDENTIALS,
    "169.254.169.254:80",
    "/",
]


@pytest.mark.parametrize("asked", ATTACKS)
def test_what_only_looks_like_a_place_is_none(asked: str) -> None:
    settings = of(**OWN, outbound_hosts="hooks.example.com")

    assert carried(settings, "http://10.1.2.3:9000/")
    assert carried(settings, "hooks.example.com:443")
    assert carried(settings, "Hooks.Example.com:443")
    assert not carried(settings, asked)


@pytest.mark.parametrize(
    ("bucket", "region", "hosts"),
    [
        ("bucket", "", {"bucket.s3.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com"}),
        ("bucket", "eu-west-1", {"bucket.s3.eu-west-1.amazonaws.com"}),
        ("bucket", "eu-west-1", {"bucket.s3.us-east-1.amazonaws.com", "bucket.s3.amazonaws.com"}),
        ("bucket", "xx-new-1", {"bucket.s3.xx-new-1.amazonaws.com"}),
        ("bucket", "cn-north-1", {"bucket.s3.cn-north-1.amazonaws.com.cn"}),
        ("bucket", "us-gov-west-1", {"bucket.s3.us-gov-west-1.amazonaws.com"}),
        ("my.bucket", "eu-west-1", {"s3.eu-west-1.amazonaws.com", "s3.amazonaws.com"}),
    ],
)
def test_amazon_is_reached_by_the_names_that_boto3_uses(
    bucket: str, region: str, hosts: set[str]
) -> None:
    settings = of(artifacts_destination=f"s3://{bucket}/x", s3_region=region)
    found = {each.host for each in egress.destinations(settings)}

    assert hosts <= found
    assert {each.port for each in egress.destinations(settings)} == {443}
    assert all(carried(settings, f"{host}:443") for host in found)
    assert not carried(settings, f"evil.{min(hosts)}:443")
    assert not carried(settings, "other.s3.eu-west-1.amazonaws.com:443")
    partitions = {name.rpartition(".amazonaws.")[2] for name in found}
    assert len(partitions) == 1


def test_the_names_are_those_that_a_client_of_s3_asks_for() -> None:
    import boto3
    from botocore.awsrequest import AWSRequest

    for bucket in ("bucket", "my.bucket"):
        for region in ("eu-west-1", "us-east-1", "cn-north-1", ""):
            client = boto3.client(
                "s3",
                region_name=region or None,
                aws_access_key_id="x",
                aws_secret_access_key="x",
            )
            url = client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
            host = AWSRequest("GET", url).prepare().url.split("/")[2]
            settings = of(artifacts_destination=f"s3://{bucket}", s3_region=region)

            assert carried(settings, f"{host}:443"), host


def test_credentials_of_a_role_are_let_through_where_they_are_used_and_no_more() -> None:
    settings = of(**AMAZON)

    for right in (TOKEN, CREDENTIALS, f"{CREDENTIALS}mlflow-host"):
        assert carried(settings, right)
        assert not carried(of(**OWN), right)
        assert not carried(of(outbound_hosts="a.example.com"), right)
    for wrong in (
        "http://169.254.169.254/latest/user-data",
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254/",
        f"{TOKEN}/x",
        f"{CREDENTIALS}../../user-data",
        f"{CREDENTIALS}..",
        "http://169.254.169.254:8080/latest/api/token",
        "169.254.169.254:80",
    ):
        assert not carried(settings, wrong), wrong


def test_botocore_asks_for_credentials_where_the_rules_say() -> None:
    from botocore import utils

    fetcher: Any = utils.InstanceMetadataFetcher
    base: str = vars(utils)["METADATA_BASE_URL"]

    assert [base + path for path in (fetcher._TOKEN_PATH, fetcher._URL_PATH)] == [
        TOKEN,
        CREDENTIALS,
    ]


def test_a_name_that_leads_to_the_machine_s_own_address_is_blocked_where_no_role_is_used() -> None:
    blocked = "\nProxyBlock 169.254.169.254 fd00:ec2::254\n"

    assert blocked in egress.files(ROOT, of(**OWN))["httpd.conf"]
    assert "ProxyBlock" not in egress.files(ROOT, of(**AMAZON))["httpd.conf"]


def test_only_the_ports_of_tunnels_are_open_for_tunnels() -> None:
    both = of(**OWN, outbound_hosts="a.example.com,b.example.com:8443")

    assert "\nAllowCONNECT 443 8443\n" in egress.files(ROOT, both)["httpd.conf"]
    assert "\nAllowCONNECT 0\n" in egress.files(ROOT, of(**OWN))["httpd.conf"]


def test_nothing_is_left_to_fill_in() -> None:
    text = egress.files(ROOT, of(**AMAZON))["httpd.conf"]

    assert not re.findall(r"\$\{\w+\}", re.sub("(?m)^#.*", "", text))


def test_another_place_is_another_proxy() -> None:
    ready = of(**OWN)
    digest = stack._egress(ready)["EGRESS_DIGEST"]

    assert stack._egress(replace(ready, outbound_hosts="a.example.com"))["EGRESS_DIGEST"] != digest
    assert stack._egress(replace(ready, http_port=1))["EGRESS_DIGEST"] == digest
    assert stack._egress(of()) == {}


@pytest.mark.parametrize("features", ["gateway", "webhooks", "gateway,webhooks"])
def test_what_goes_by_no_proxy_has_a_way_out_only_where_it_is_opened(features: str) -> None:
    assert egress.WAY_OUT in stack.compose_files(of(open_features=features))
    assert egress.WAY_OUT not in stack.compose_files(of(open_features="signup", job_execution=True))


def test_two_ways_out_fit_beside_what_the_servers_are_given() -> None:
    from ops.sizing import MIB, wanted

    more = wanted(of(**OWN), SIZE) - wanted(of(), SIZE)

    assert more == 2 * egress.WORK * MIB
