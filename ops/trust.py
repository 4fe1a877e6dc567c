"""How the key of a host becomes a known one: somebody else than the host has to vouch for it."""

import base64
import re
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ops import consent, console, host_keys, logins, routes
from ops.aws import in_our_words, log_in
from ops.errors import REFUSED, OpsError, refusal
from ops.host_keys import HostKey
from ops.routes import Route
from ops.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

__all__ = ["console_fingerprints", "console_keys", "establish"]

FINGERPRINT = r"SHA256:[A-Za-z0-9+/]{43}"
# cloud-init's: https://cloudinit.readthedocs.io/en/latest/reference/modules.html (keys to console)
PRINTED = r"-----BEGIN SSH HOST KEY FINGERPRINTS-----(.*?)-----END SSH HOST KEY FINGERPRINTS-----"
KEYS = r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----"
PUBLIC_KEY = r"((?:ssh|ecdsa)-[a-z0-9-]+) (AAAA[A-Za-z0-9+/]+=*)"
REGION = r"\.([a-z]{2}(?:-[a-z]+)+-[0-9])\.compute\.(?:amazonaws\.com|internal)"


class NoSecondChannel(Exception):  # noqa: N818 - it is an answer
    """Nobody but the host itself can tell what its key is; says why."""


def establish(hosts: str, fingerprint: str) -> None:
    """Make the keys of the hosts given, or of all in DEPLOY_HOST, known ones."""
    settings = Settings.load()
    addresses = hosts.split(",") if hosts else settings.deploy_hosts
    if not addresses:
        raise refusal("there is no host to trust", "give --host, or set DEPLOY_HOST in .env")
    if fingerprint and not re.fullmatch(FINGERPRINT, fingerprint):
        raise refusal(
            f"--fingerprint {fingerprint!r} is not SHA256: and 43 characters",
            "let the host print it: ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub",
        )
    if fingerprint and len(addresses) > 1:
        raise refusal("one fingerprint is for one host", "name it: --host")
    for each in addresses:
        _trust(routes.find(each, settings), fingerprint, settings)


def _trust(route: Route, fingerprint: str, settings: Settings) -> None:
    """Make the keys of one host known, or refuse."""
    shown = logins.keys_shown(route, settings)
    for key in shown:
        console.result(f"{key.fingerprint} {key.kind} {route.known_as}")
    before = host_keys.known(route.known_as, [settings.known_hosts])
    if any(entry.revoked for entry in before):
        raise refusal(f"a key of {route.known_as} is revoked", f"look at {settings.known_hosts}")
    kept = [entry.key for entry in before if entry.key in shown]
    stale = [entry.key for entry in before if entry.key not in shown]
    if not stale and {key.fingerprint for key in kept} >= ({fingerprint} - {""}) and kept:
        console.say(f"{route.known_as} is known already; nothing changed")
        return
    for key in stale:
        console.say(f"known until now: {key.fingerprint} {key.kind}")
    chosen = (
        _given(shown, fingerprint) if fingerprint else _vouched(route, shown, replaces=bool(stale))
    )
    host_keys.pin(settings, route.known_as, [*dict.fromkeys([*kept, *chosen])])
    console.say(f"{route.known_as} is known from now on: {settings.known_hosts}")


def _given(shown: Sequence[HostKey], fingerprint: str) -> list[HostKey]:
    """Return the key that somebody named; it may replace another without a question."""
    chosen = [key for key in shown if key.fingerprint == fingerprint]
    if not chosen:
        raise _differs(shown, [fingerprint], "--fingerprint")
    return chosen


def _vouched(route: Route, shown: Sequence[HostKey], *, replaces: bool) -> list[HostKey]:
    """Return the keys that EC2 tells too, else all of them if a person says so."""
    try:
        identity, told = _told_by_ec2(route.host)
    except NoSecondChannel as reason:
        console.say(f"no second channel: {reason}")
        _confirm("Is this what the host itself prints?", shown)
        return list(shown)
    chosen = [key for key in shown if key.fingerprint in told]
    if not chosen:
        raise _differs(shown, told, f"the console of {identity}")
    console.say(f"the console of {identity} shows the same")
    if replaces:
        _confirm("Replace the key that was known until now?", chosen)
    return chosen


def _differs(shown: Sequence[HostKey], told: Sequence[str], source: str) -> Exception:
    lines = [f"  shown by the host: {key.fingerprint} ({key.kind})" for key in shown]
    lines += [f"  told by {source}: {each}" for each in told]
    return refusal(
        "\n".join(["the host is not who it should be; nothing was changed", *lines]),
        "check the address; somebody may be between you and the host",
    )


def _confirm(question: str, keys: Sequence[HostKey]) -> None:
    """Ask the person, where there is one."""
    shown = keys[0].fingerprint
    consent.ask(question, elsewhere=f"compare it, then repeat with --fingerprint {shown}")


def console_fingerprints(output: str) -> list[str]:
    """Return the fingerprints in what a machine wrote to its console at its last first boot."""
    printed = re.findall(PRINTED, output, re.DOTALL)
    if printed:
        return re.findall(FINGERPRINT, printed[-1])
    return [key.fingerprint for key in console_keys(output)]


def console_keys(output: str) -> list[HostKey]:
    """Return the whole host keys in what a machine wrote to its console at its last first boot."""
    keys = re.findall(KEYS, output, re.DOTALL)
    found = re.findall(PUBLIC_KEY, keys[-1]) if keys else []
    return [HostKey(kind, base64.b64decode(text)) for kind, text in found]


def _told_by_ec2(host: str) -> tuple[str, list[str]]:
    """Return an instance and what its console tells: AWS's word for it, not the host's."""
    region = re.search(REGION, host)
    try:
        with in_our_words(REFUSED):
            # Quick, for without it a person can still say yes.
            ec2 = log_in(region[1] if region else "", attempts=2).ec2
            identity = _instance(ec2, host)
            output = ec2.get_console_output(InstanceId=identity).get("Output", "")
    except OpsError as error:
        raise NoSecondChannel(f"AWS was not to be asked: {error.cause}") from None
    told = console_fingerprints(output)
    if not told:
        raise NoSecondChannel(f"the console of {identity} tells no host keys, or not yet")
    return identity, told


def _instance(client: "EC2Client", host: str) -> str:
    """Return the one instance at an address."""
    for name, value in _filters(host):
        filters = [{"Name": name, "Values": [value]}]
        found = client.describe_instances(Filters=filters)["Reservations"]  # type: ignore[arg-type]
        identities = [one["InstanceId"] for group in found for one in group["Instances"]]
        if len(identities) > 1:
            raise NoSecondChannel(f"{len(identities)} EC2 instances have the address {value}")
        if identities:
            return identities[0]
    raise NoSecondChannel(f"no EC2 instance of this account and region is {host}")


def _filters(host: str) -> Iterator[tuple[str, str]]:
    """Yield the filters that find a host: by its name, then by what the name leads to."""
    try:
        addresses = [str(ip_address(host))]
    except ValueError:
        yield from (("dns-name", host), ("private-dns-name", host))
        try:
            addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None)]
        except OSError:
            addresses = []
    for address in dict.fromkeys(addresses):
        yield from (("ip-address", address), ("private-ip-address", address))
