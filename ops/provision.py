"""The verb that makes a host on EC2: look, say what would be made and what it costs, make it."""

import re
import time
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from ops import (
    consent,
    console,
    ec2_images,
    ec2_place,
    host_keys,
    key_files,
    policies,
    prices,
    sizing,
    trust,
)
from ops.aws import in_our_words, log_in
from ops.ec2_host import Ec2Host
from ops.ec2_part import Wanted
from ops.errors import REFUSED, OpsError, refusal
from ops.front_door import FrontDoor, RequestError
from ops.settings import Settings
from ops.sizing import Machine

__all__ = ["Asked", "provision"]

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
SIZES = range(10, 16385)
"""GiB: room for the images at least, and what a gp3 volume holds at most."""

CHECK_ADDRESS = "https://checkip.amazonaws.com"
"""Amazon's own answer to where a request comes from."""

CONSOLE_SECONDS = 300.0
"""A first boot writes its host keys to the console; EC2 shows them within a few minutes."""

CONSOLE_POLL = 5.0
SEEN = (15, 16)
"""The part of its nominal memory that a machine's kernel sees (docs/settings.md, "Size")."""

DISK = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"
"""What udev calls a volume, by its id without the dash, whatever its device's name is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asked for; "" stands for the default. Sizes in GiB."""

    name: str
    region: str
    instance_type: str
    system: str
    subnet: str
    disk: int
    data: int
    ssh_from: str
    web_from: str
    ssm: bool
    elastic_ip: bool


def provision(asked: Asked, *, yes: bool) -> None:
    """Make a host, or bring it to what is asked; print its address."""
    settings = Settings.load()
    _check(asked)
    key = Path(settings.deploy_key or settings.data / "keys" / asked.name)
    public = key_files.public_half(key) if settings.deploy_key or key.exists() else ""
    with in_our_words(REFUSED):
        account = log_in(asked.region)
        host = Ec2Host(account, asked.name)
        host.look()
        asked = _as_it_is(asked, host)
        wanted = _wanted(asked, host, settings, public)
        todo = host.todo(wanted)
    if todo:
        _show(host, wanted, todo, settings)
        if not yes:
            consent.ask("Go on?", elsewhere="repeat it with --yes")
        wanted = replace(wanted, public_key=public or key_files.make(key))
        host.make(wanted)
    else:
        console.say(f"the host {asked.name} is as asked; nothing to do")
    _introduce(settings, host, asked, key)


def _check(asked: Asked) -> None:
    """Refuse what needs no look at AWS."""
    if not NAME.fullmatch(asked.name):
        raise refusal(
            f"--name {asked.name!r} is not lower-case letters, digits and - (at most 40)",
            "take a name such as mlflow",
        )
    system = ec2_images.system(asked.system or ec2_images.USUAL)
    if asked.ssm and not system.session_manager:
        raise refusal(
            f"the image of {asked.system} has no agent of Session Manager",
            "take --system ubuntu or al2023, or leave out --ssm",
        )
    if asked.ssm and asked.ssh_from:
        raise refusal("--ssm opens no port, and --ssh-from opens one", "leave one of them out")
    for flag, size in (("--disk", asked.disk), ("--data", asked.data)):
        if size not in SIZES:
            raise refusal(
                f"{flag} {size} is not between {SIZES[0]} and {SIZES[-1]} GiB", "correct it"
            )
    if "0.0.0.0/0" in asked.ssh_from or "::/0" in asked.ssh_from:
        raise refusal(
            "--ssh-from would let everybody try to log in", "name your networks, or take --ssm"
        )


def _as_it_is(asked: Asked, host: Ec2Host) -> Asked:
    """Fill in what is left open; a machine that is there has decided, and is not made anew."""
    if host.instance.machine is None:
        return replace(
            asked,
            instance_type=asked.instance_type or ec2_place.usual_type(),
            system=asked.system or ec2_images.USUAL,
        )
    kind, system = host.instance.machine["InstanceType"], host.instance.system
    if asked.instance_type not in ("", kind):
        raise refusal(
            f"the host {asked.name} is a {kind}, and --instance-type is {asked.instance_type}",
            "change the type of the stopped machine in EC2, or take another --name",
        )
    if asked.system not in ("", system):
        raise refusal(
            f"the host {asked.name} runs {system}, and --system is {asked.system}",
            "leave out --system, or take another --name",
        )
    return replace(asked, instance_type=kind, system=system)


def _wanted(asked: Asked, host: Ec2Host, settings: Settings, public: str) -> Wanted:
    """Look up all that the parts need to know."""
    account = host.account
    place = ec2_place.find(account, asked.instance_type, asked.subnet, host.volume.zone)
    image, root_device = ec2_images.newest(account, asked.system, place.architecture)
    ssh_from = "" if asked.ssm else asked.ssh_from or _own_address()
    return Wanted(
        name=asked.name,
        instance_type=asked.instance_type,
        system=asked.system,
        image=image,
        root_device=root_device,
        place=place,
        root_gib=asked.disk,
        data_gib=asked.data,
        public_key=public,
        ssh_from=_networks(ssh_from, "--ssh-from"),
        web_from=_networks(asked.web_from, "--web-from"),
        ssm=asked.ssm,
        elastic_ip=asked.elastic_ip,
        policy=policies.instance(settings, account.partition),
    )


def _networks(text: str, flag: str) -> tuple[str, ...]:
    """Return networks parted by commas, as EC2 writes them; an address is a network of one."""
    try:
        return tuple(str(ip_network(part.strip())) for part in text.split(",") if part.strip())
    except ValueError as problem:
        raise refusal(f"{flag}: {problem}", "write networks as 203.0.113.0/24") from None


def _own_address() -> str:
    """Return the address that this machine has for Amazon."""
    try:
        return FrontDoor(CHECK_ADDRESS).request("GET", "/").decode().strip()
    except RequestError as error:
        raise refusal(
            f"which address this machine comes from is not to be found out: {error}",
            "name it: --ssh-from 203.0.113.7",
        ) from None


def _show(host: Ec2Host, wanted: Wanted, todo: list[str], settings: Settings) -> None:
    """Say what would be done; of a machine to be made also what runs on it and what it costs."""
    account = host.account
    console.say(f"the host {host.name} in {account.region}, account {account.id}:")
    for line in todo:
        console.say(f"  {line}")
    if wanted.policy is None:
        console.say("  its role reaches no bucket: ARTIFACTS_DESTINATION is not set")
    if host.instance.machine is None:
        console.say(f"  {_room(wanted, settings)}")
        gib = wanted.root_gib + wanted.data_gib
        for line in prices.monthly(account, wanted.instance_type, gib):
            console.say(f"  {line}")


def _room(wanted: Wanted, settings: Settings) -> str:
    """Return what the services will be given on a machine of this type."""
    seen = wanted.place.memory * SEEN[0] // SEEN[1]
    made = sizing.size(settings, [Machine(wanted.place.cores, seen)])
    workers = f"{made.web_workers} worker{'s' if made.web_workers > 1 else ''}"
    server = f"the server there has {workers} in {made.web_memory} MiB"
    return server if settings.database_host else f"{server}, MySQL {made.db_memory} MiB"


def _introduce(settings: Settings, host: Ec2Host, asked: Asked, key: Path) -> None:
    """Make the host known to this folder: its keys, its address; say what comes next."""
    instance = host.instance
    name = instance.identity if asked.ssm else instance.address
    port = ":22" if settings.deploy_port not in (None, 22) else ""  # which is for other hosts
    address = f"{ec2_images.SYSTEMS[asked.system].user}@{name}{port}"
    known = host_keys.known(name, [settings.known_hosts])
    if not known and not _pin(settings, host, name):
        console.say(f"its console shows no host keys yet; later: invoke trust --host {address}")
    hosts = settings.deploy_hosts
    added = {} if settings.deploy_key else {"DEPLOY_KEY": str(key.absolute())}
    if address not in hosts:
        added["DEPLOY_HOST"] = ",".join([*hosts, address])
    if added:
        settings.keep(added)
        console.say(f"kept in .env: {', '.join(added)}")
    if asked.ssm:
        console.say("it has no open port; put this into ~/.ssh/config:")
        for line in _session(instance.identity, host.account.region):
            console.say(f"  {line}")
    disk = DISK + host.volume.identity.replace("-", "")
    console.say(f"next: invoke prepare --host {address} --data-device {disk}")
    console.result(address)


def _session(identity: str, region: str) -> list[str]:
    """Return the lines by which ssh reaches a machine through Session Manager.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
    """
    command = f"aws ssm start-session --region {region} --target %h"
    document = "--document-name AWS-StartSSHSession --parameters portNumber=%p"
    return [f"Host {identity}", f"  ProxyCommand {command} {document}"]


def _pin(settings: Settings, host: Ec2Host, name: str) -> bool:
    """Take the host's keys from its console, which is AWS's word and not the host's."""
    identity, ec2 = host.instance.identity, host.account.ec2
    until = time.monotonic() + CONSOLE_SECONDS
    with console.progress(f"waiting for the host keys on the console of {identity}"):
        while True:
            try:
                with in_our_words(REFUSED):
                    output = ec2.get_console_output(InstanceId=identity, Latest=True)
            except OpsError as error:
                console.say(error.cause)
                return False
            keys = trust.console_keys(output.get("Output", ""))
            if keys:
                host_keys.pin(settings, name, keys)
                return True
            if time.monotonic() > until:
                return False
            time.sleep(CONSOLE_POLL)
