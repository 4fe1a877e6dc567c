"""Tokens, with which programs log in where people do so at an identity provider (AUTH=oidc)."""

import json
import re

from ops import console, premises, remote
from ops.errors import from_output, refusal
from ops.members import Members
from ops.settings import ADMIN, Settings

__all__ = ["MOST_DAYS", "issue", "take_back"]

JOB = "ops/issuing.py"
"""Is given to Python whole: the image that runs may be of an earlier version."""

MOST_DAYS = 365
"""The plugin makes none that lives longer than a year."""

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def issue(name: str, hosts: str, *, label: str, days: str) -> None:
    """Make a token for somebody and print it, once."""
    if not LABEL.fullmatch(label):
        raise refusal(f"{label!r} is not a label", "use ASCII's letters, digits, . _ and -")
    if not re.fullmatch("[0-9]{1,3}", days) or not 1 <= int(days) <= MOST_DAYS:
        raise refusal(f"--days {days} is not a number between 1 and {MOST_DAYS}", "correct it")
    settings = _settings(name)
    told = json.dumps({"user": name.lower(), "label": label, "days": int(days)}).encode()
    source = (settings.root / JOB).read_text("utf-8")
    with premises.premises(settings, hosts).reached() as place:
        done = place.host.run(place.job("python", "-I", "-c", source), stdin=told, deadline=300)
    if done.code != 0:
        raise from_output(done.code, done.err)
    console.result(done.out.strip().splitlines()[-1])
    console.say(f"a token for {name}, {label!r}, good for {days} days; it is not shown again")
    console.say(f"export MLFLOW_TRACKING_USERNAME={name} MLFLOW_TRACKING_PASSWORD=…")


def take_back(name: str, hosts: str, *, label: str) -> None:
    """Have a token of somebody accepted no more."""
    settings = _settings(name)
    with remote.reached(settings, hosts) as door:
        known = Members(door)
        if not known.take_back(known.find(name).name, label):
            raise refusal(f"{name} has no token {label!r}", "see them in the server's own pages")
    console.say(f"the token {label!r} of {name} works for some seconds more, and no longer")


def _settings(name: str) -> Settings:
    """Return the settings of a stack in which somebody of this name may have tokens, or refuse."""
    settings = Settings.load()
    if settings.auth != "oidc":
        raise refusal(
            f"there are no tokens with AUTH={settings.auth}: programs log in with passwords",
            "let one in: invoke add-user NAME --generate",
        )
    if name.lower() == ADMIN:  # whose password is one of the plugin's tokens, too
        raise refusal(f"{ADMIN} logs in with ADMIN_PASSWORD", "make a program: invoke add-user")
    return settings
