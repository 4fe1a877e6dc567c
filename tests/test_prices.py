"""What a host costs. moto has no price list: the answers have the form of AWS's own."""

import json

from ops.aws import Account
from ops.prices import monthly
from tests.aws import JSON, Aws, Fault


def test_a_month_is_machine_disks_and_address(account: Account, aws: Aws) -> None:
    aws.prices(0.0416, 0.08, 0.005)

    assert [
        "t3.medium: 30.37 USD a month",
        "70 GiB of disk: 5.60 USD a month",
        "public address: 3.65 USD a month",
        "about 40 USD a month, without traffic and what S3 keeps",
    ] == monthly(account, "t3.medium", 70)


def test_what_the_list_does_not_have_is_said(account: Account, aws: Aws) -> None:
    aws.answers["GetProducts"] = lambda _: (JSON, json.dumps({"PriceList": []}).encode())

    assert ["price not known"] * 3 == [
        line.partition(": ")[2] for line in monthly(account, "t3.medium", 70)
    ]


def test_a_list_that_does_not_answer_is_no_failure(account: Account, aws: Aws) -> None:
    with aws.failing(Fault(lambda *_: True, "AccessDeniedException")):
        [line] = monthly(account, "t3.medium", 70)

    assert line.startswith("what it costs is not known: AWS denies GetProducts")
