"""Checks of a host as a machine: the way in, its clock, Docker, tools, room, the port."""

import re
import time

from ops import compose, console, host_keys, images, readiness, routes, sizing, stack, supply
from ops.checks import Check, Finding, fail, ok, warn
from ops.errors import OpsError
from ops.hosts import Host
from ops.patient import Patient
from ops.site import LOOK_AT_HOST

__all__ = ["CHECKS"]

SKEW_WARN, SKEW_FAIL = 2.0, 60.0
"""Seconds. AWS refuses a signature that is 15 minutes off; times in logs mislead much earlier."""

GIB = 1024**3
UNKNOWN_IMAGE = GIB
FEW_INODES = 0.05
LISTENING = "0A"
LARGER = ("WEB_WORKERS", "JOB_EXECUTION", "WEB_MEMORY_LIMIT", "DB_MEMORY_LIMIT")
"""Settings that may ask for more than what fits."""


def host_key(patient: Patient) -> Finding:
    """Say whether the host's key was pinned before the first login."""
    route = routes.find(patient.given, patient.settings)
    found = host_keys.known(route.known_as, host_keys.files(patient.settings))
    known = dict.fromkeys(f"{each.key.kind} {each.key.fingerprint}" for each in found)
    if not known:
        return fail(
            f"{route.host} is not among the known hosts",
            f"invoke trust --host {patient.given}",
        )
    return ok(", ".join(known))


def ssh(patient: Patient) -> Finding:
    """Log in, and measure how long that takes, and a command."""
    begin = time.monotonic()
    patient.log_in()
    login = time.monotonic() - begin
    trips = []
    for _ in range(3):
        begin = time.monotonic()
        patient.host.check(("true",), LOOK_AT_HOST)
        trips.append(time.monotonic() - begin)
    return ok(f"logged in in {login:.1f} s, {min(trips) * 1000:.0f} ms for a command")


def clock(patient: Patient) -> Finding:
    """Compare the host's clock with this machine's, less half of the way there and back."""
    begin = time.time()
    out = patient.host.check(("date", "+%s.%N"), LOOK_AT_HOST)
    there = re.match(r"\d+(\.\d+)?", out)  # some `date` knows no nanoseconds
    skew = float(there[0] if there else 0) - (begin + time.time()) / 2
    found = f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine"
    remedy = "set the wrong clock of the two: sudo timedatectl set-ntp true"
    if abs(skew) > SKEW_FAIL:
        return fail(found, remedy)
    return warn(found, remedy) if abs(skew) > SKEW_WARN else ok(found)


def access(patient: Patient) -> Finding:
    """Say whether an engine answers, and answers this user."""
    return readiness.access(patient.host)


def docker(patient: Patient) -> Finding:
    """Compare the host's Docker with what the stack needs."""
    return readiness.versions(patient.host)


def tools(patient: Patient) -> Finding:
    """Look for the programs that a deploy runs."""
    return readiness.tools(patient.host)


def disk(patient: Patient) -> Finding:
    """Compare the room on Docker's disk with the images a deploy still has to bring."""
    root = patient.engine.root
    free = _df(patient.host, root, "avail")[0]
    coming, server = _images(patient)
    found = f"{console.size(free)} free on {root}, {console.size(coming)} of images to come"
    remedy = "make the disk larger, or see what can go: docker system df"
    if free < coming + compose.RUNNING_SIZE:
        return fail(found, remedy)
    if free < coming + server + GIB:
        return warn(f"{found}: no room for the release after that", remedy)
    return ok(found)


def _images(patient: Patient) -> tuple[int, int]:
    """Return the bytes of the images that the host lacks, and those of the server image."""
    settings = patient.settings
    names = {supply.image_name(settings): stack.web_image(settings)}
    names |= {base: base for base in stack.BASES}
    lacking, sizes = 0, []
    for there, here in names.items():
        found = images.image(patient.host, there)
        sizes.append(found.size if found else _size_here(patient, here))
        lacking += 0 if found else sizes[-1]
    return lacking, sizes[0]


def _size_here(patient: Patient, name: str) -> int:
    try:
        found = images.image(patient.local, name)
    except OpsError:
        return UNKNOWN_IMAGE  # no Docker here: another check says so
    return found.size if found else UNKNOWN_IMAGE


def inodes(patient: Patient) -> Finding:
    """Count the files that still fit on Docker's disk."""
    root = patient.engine.root
    free, total = _df(patient.host, root, "iavail", "itotal")
    if not total:
        return ok("this file system does not count them")
    found = f"{free / total:.0%} free on {root}"
    remedy = "remove what holds many small files, such as old images: docker system df"
    if free / total < FEW_INODES / 5:
        return fail(found, remedy)
    return warn(found, remedy) if free / total < FEW_INODES else ok(found)


def _df(host: Host, folder: str, *columns: str) -> list[int]:
    """Return what `df` says of the disk a folder is on; 0 for what it does not know."""
    words = ("df", "--block-size=1", f"--output={','.join(columns)}", folder)
    last = host.check(words, LOOK_AT_HOST).splitlines()[-1]
    return [int(word) if word.isdigit() else 0 for word in last.split()]


def memory(patient: Patient) -> Finding:
    """Compare the memory with what the services may take, a second server among them."""
    settings, total = patient.settings, patient.engine.machine.memory
    most, least = sizing.wanted(settings, patient.size), sizing.at_rest(settings, patient.size)
    said = f"{console.size(total)}; system and stack may take {console.size(most)}"
    remedy = "take a larger instance"
    given = [key for key in LARGER if getattr(settings, key.lower())]
    if given:
        remedy += f", or take out of .env: {', '.join(given)}"
    if total < least:
        return fail(f"{said} and take {console.size(least)} at rest", remedy)
    return warn(said, remedy) if total < most else ok(said)


def port(patient: Patient) -> Finding:
    """Say who has the port of the front door."""
    number = patient.settings.http_port
    for each in patient.facts.service("nginx"):
        if each.state == "running" and any(at.endswith(f":{number}") for at in each.listens):
            return ok(f"{number} is this stack's")
    # Without IPv6 the second file is not there; the first one still counts.
    table = patient.host.run(("cat", "/proc/net/tcp", "/proc/net/tcp6")).out
    rows = [line.split() for line in table.splitlines()]
    if any(row[3] == LISTENING and int(row[1][-4:], 16) == number for row in rows if row[3:]):
        return fail(
            f"something else listens on port {number}",
            f"set HTTP_PORT in .env to a free port; who has it: sudo ss -ltnp sport = :{number}",
        )
    return ok(f"{number} is free")


CHECKS: list[Check[Patient]] = [
    Check("host key", host_key, needs=("settings",)),
    Check("ssh", ssh, needs=("settings", "host key")),
    Check("clock", clock, needs=("ssh",)),
    Check("docker access", access, needs=("ssh",)),
    Check("docker", docker, needs=("docker access",)),
    Check("tools", tools, needs=("ssh",)),
    Check("disk", disk, needs=("docker access",)),
    Check("inodes", inodes, needs=("docker access",)),
    Check("memory", memory, needs=("docker access",)),
    Check("port", port, needs=("docker access",)),
]
