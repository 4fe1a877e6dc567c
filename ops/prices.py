"""What a host costs a month, by AWS's own price list."""

import json
from typing import Any

from ops.aws import Account, in_our_words
from ops.errors import FAILED, OpsError

__all__ = ["monthly"]

HOURS = 730
"""An average month: https://aws.amazon.com/calculator/ uses the same."""


def monthly(account: Account, instance_type: str, gib: int) -> list[str]:
    """Return a line for the machine, its disks and its public address each, and one for all.

    One line that says why where the price list is not to be had: it is worth no refusal.
    """
    try:
        with in_our_words(FAILED):
            machine = _machine(account, instance_type)
            disk = _disk(account)
            address = _address(account)
    except OpsError as error:
        return [f"what it costs is not known: {error.cause}"]
    currency = "CNY" if account.partition == "aws-cn" else "USD"
    rows = [
        (instance_type, machine * HOURS if machine else None),
        (f"{gib} GiB of disk", disk * gib if disk else None),
        ("public address", address * HOURS if address else None),
    ]
    known = [price for _, price in rows if price is not None]
    lines = [f"{what}: {_shown(price, currency)}" for what, price in rows]
    total = f"about {sum(known):.0f} {currency} a month, without traffic and what S3 keeps"
    return [*lines, total] if known else lines


def _shown(price: float | None, currency: str) -> str:
    return "price not known" if price is None else f"{price:.2f} {currency} a month"


def _machine(account: Account, instance_type: str) -> float | None:
    """Return the price of an hour."""
    return _price(
        account,
        "AmazonEC2",
        instanceType=instance_type,
        operatingSystem="Linux",
        tenancy="Shared",
        preInstalledSw="NA",
        capacitystatus="Used",
    )


def _disk(account: Account) -> float | None:
    """Return the price of a GiB for a month."""
    return _price(account, "AmazonEC2", productFamily="Storage", volumeApiName="gp3")


def _address(account: Account) -> float | None:
    """Return the price of an hour."""
    return _price(account, "AmazonVPC", group="VPCPublicIPv4Address")


def _price(account: Account, service: str, **fields: str) -> float | None:
    """Return the price of one unit in the account's region, on demand."""
    wanted = {"regionCode": account.region, **fields}
    found = account.pricing.get_products(
        ServiceCode=service,
        Filters=[
            {"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()
        ],
    )["PriceList"]
    prices = [price for text in found for price in _on_demand(json.loads(str(text)))]
    return min((price for price in prices if price > 0), default=None)


def _on_demand(product: dict[str, Any]) -> list[float]:
    return [
        float(amount)
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        for amount in dimension["pricePerUnit"].values()
    ]
