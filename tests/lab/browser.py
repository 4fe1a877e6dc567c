"""Chromium on a network of its own.

Docker's networks come and go while tests run, and Chromium drops whatever it loads each time the
machine has another address (net::ERR_NETWORK_CHANGED). In a namespace with one cable to this
machine there is nothing that changes.
"""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from .command import outcome, run
from .errors import LabError
from .place import Place
from .turn import taken

HERE, THERE = "169.254.213.1", "169.254.213.2"
CABLE = "lab-browser"
REMEDY = "this takes root, and the packages iproute2 and iptables"

# "localhost" in there is not this machine.
FLAG = "--host-resolver-rules=" + ",".join(
    f"MAP {name} {HERE}" for name in ("localhost", "127.0.0.1", "mlflow.example.test")
)


def program() -> str:
    """Have the network; give the program that is Chromium on it, to be started with FLAG."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise LabError("no Chromium on this machine", "apt-get install chromium")
    place = Place.read(os.environ)
    with taken():
        place.make()
        if not Path("/run/netns", CABLE).exists():
            _lay()
        _lead()
        line = f'#!/bin/sh\nexec ip netns exec {CABLE} {shlex.quote(chromium)} "$@"\n'
        script = place.write("chromium", line)
        script.chmod(0o700)
    return str(script)


def _lay() -> None:
    """Make the namespace, and the cable to it."""
    for words in (
        f"netns add {CABLE}",
        f"link add {CABLE} type veth peer name eth0 netns {CABLE}",
        f"addr add {HERE}/30 dev {CABLE}",
        f"link set {CABLE} up",
        f"-n {CABLE} addr add {THERE}/30 dev eth0",
        f"-n {CABLE} link set lo up",
        f"-n {CABLE} link set eth0 up",
        f"-n {CABLE} route add default via {HERE}",
    ):
        run("ip", *words.split(), remedy=REMEDY)


def _lead() -> None:
    """Have what comes through the cable for this machine reach what listens on loopback."""
    Path(f"/proc/sys/net/ipv4/conf/{CABLE}/route_localnet").write_text("1")
    rule = f"PREROUTING -i {CABLE} -p tcp -d {HERE} -j DNAT --to-destination 127.0.0.1".split()
    nat = ("iptables", "--wait", "--table", "nat")
    if outcome([*nat, "--check", *rule]).returncode != 0:
        run(*nat, "--insert", *rule, remedy=REMEDY)
