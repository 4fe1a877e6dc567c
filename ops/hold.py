"""Writes kept waiting at the NGINX of a host, while its database changes: clients try again later.

One file beside the releases says so, which NGINX reads and the next command too: it is there until
the change is done or taken back, however the command that made it has ended.
"""

import json
import time
from typing import Any

from ops import nginx
from ops.errors import OpsError
from ops.release import Release
from ops.site import LOOK_AT_HOST, Site
from ops.switch import POLL_SECONDS, Switch

__all__ = ["begin", "end", "found", "note"]


def begin(switch: Switch, seconds: int, patience: float) -> bool:
    """Have writes wait, and those that are under way end; clients come again after `seconds`.

    Returns whether all had ended after `patience` seconds. Raises where the release that serves has
    a configuration that cannot.
    """
    live = switch.live
    if live is None or not nginx.can_hold(live.files):
        raise OpsError(
            "the release that serves cannot keep writes waiting while the database changes",
            "deploy the version of this repository before this MLflow, then upgrade",
        )
    note(switch.site, seconds, {})
    switch.tell(live)
    deadline = time.monotonic() + patience
    while switch.leaving():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def note(site: Site, seconds: int, said: dict[str, Any]) -> None:
    """Write the file, with what whoever finds it has to know."""
    file, draft = site.release(nginx.HOLD), site.release(f".{nginx.HOLD}")
    text = nginx.holding(seconds, json.dumps(said))
    site.host.check(("tee", draft), LOOK_AT_HOST, stdin=text.encode())
    site.host.check(("chmod", "644", draft), LOOK_AT_HOST)  # NGINX is another user
    site.host.check(("mv", "-T", draft, file), LOOK_AT_HOST)


def found(site: Site) -> dict[str, Any] | None:
    """Return what is noted of writes that wait; None where none do."""
    said = site.host.run(("cat", site.release(nginx.HOLD)))
    if said.code != 0:
        return None
    try:
        noted: dict[str, Any] = json.loads(said.out.partition("# ")[2])
    except ValueError:
        return {}
    return noted


def end(switch: Switch, serving: Release) -> None:
    """Let writes go on, to the release that serves."""
    switch.site.host.check(("rm", "-f", switch.site.release(nginx.HOLD)), LOOK_AT_HOST)
    switch.tell(serving)
