"""The systems `invoke prepare` knows: how each is recognised, what its packages are called."""

import re
from dataclasses import dataclass

from ops.errors import refusal

__all__ = ["Distribution", "recognise"]

KNOWN = "Ubuntu 22.04, Debian 12, Amazon Linux 2023 or newer"
SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One kind of system, from its oldest version on."""

    identity: str
    name: str
    oldest: tuple[int, int]
    packages: str
    engine: tuple[str, ...]
    compose: str
    upgrades: str
    clocks: tuple[str, ...]
    """Packages of which one is enough; the first is installed where there is none."""


APT_CLOCKS = ("chrony", "systemd-timesyncd", "ntpsec", "ntp")

# Newest first. The package of Compose is taken only while it is new enough (ops/plugin.py).
TABLE = (
    Distribution(
        identity="ubuntu",
        name="Ubuntu",
        oldest=(22, 4),
        packages="apt",
        engine=("docker.io",),
        compose="docker-compose-v2",
        upgrades="unattended-upgrades",
        clocks=APT_CLOCKS,
    ),
    Distribution(
        identity="debian",
        name="Debian",
        oldest=(13, 0),
        packages="apt",
        engine=("docker.io", "docker-cli"),  # 13 took the client out of docker.io
        compose="docker-compose",
        upgrades="unattended-upgrades",
        clocks=APT_CLOCKS,
    ),
    Distribution(
        identity="debian",
        name="Debian",
        oldest=(12, 0),
        packages="apt",
        engine=("docker.io",),
        compose="docker-compose",
        upgrades="unattended-upgrades",
        clocks=APT_CLOCKS,
    ),
    Distribution(
        identity="amzn",
        name="Amazon Linux",
        oldest=(2023, 0),
        packages="dnf",
        engine=("docker",),
        compose="",
        upgrades="dnf-automatic",
        clocks=("chrony",),
    ),
)


def recognise(host: str, text: str) -> tuple[Distribution, str]:
    """Return the system that an /etc/os-release speaks of, and its version."""
    fields = _fields(text)
    identity, version = fields.get("ID", ""), fields.get("VERSION_ID", "")
    rows = [row for row in TABLE if row.identity == identity]
    if not rows:
        raise refusal(
            f"{host} runs a system that is not known here: ID={_shown(identity)}",
            f"use {KNOWN}, or put Docker and Compose 2.24 there yourself: deploy needs no more",
        )
    number = re.fullmatch(r"([0-9]{1,5})(?:\.([0-9]{1,5}))?(?:\.[0-9.]{1,20})?", version)
    found = (int(number[1]), int(number[2] or 0)) if number else (0, 0)
    for row in rows:
        if found >= row.oldest:
            return row, version
    raise refusal(
        f"{host} runs {rows[0].name} {_shown(version)}, which is too old or has no number",
        f"use {KNOWN}",
    )


def _fields(text: str) -> dict[str, str]:
    """Read assignments as os-release(5) has them; nothing in them is ever evaluated."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"""([A-Z][A-Z0-9_]*)=(["']?)(.*)\2""", line.strip())
        if match:
            found[match[1]] = match[3]
    return found


def _shown(value: str) -> str:
    """Return a value from a host so that it can do nothing to a terminal."""
    return repr(value[:SHOWN_CHARACTERS])
