"""The verbs for hosts on EC2 that are there: list them, end one."""

from typing import Any

from ops import consent, console, host_keys, values
from ops.aws import Account, in_our_words, log_in
from ops.ec2_host import Ec2Host
from ops.ec2_instance import THERE
from ops.errors import REFUSED, refusal
from ops.scopes import TAG
from ops.settings import Settings

__all__ = ["show", "terminate"]


def show(region: str, *, as_json: bool) -> None:
    """Print the hosts of the region, and the data volumes that are left of others."""
    with in_our_words(REFUSED):
        account = log_in(region)
        rows = _rows(account)
    rows.sort(key=lambda row: (row["name"], row["instance"]))
    if as_json:
        console.result_json(rows)
        return
    if not rows:
        console.say(f"no hosts in {account.region}, account {account.id}")
    for row in rows:
        machine = f"{row['instance']} {row['type']}" if row["instance"] else "no machine"
        words = [row["name"], machine, row["state"], row["address"], row["volume"]]
        console.result("  ".join(word for word in words if word))


def _rows(account: Account) -> list[dict[str, str]]:
    """Return a row for each machine with our tag, and for each data volume without a machine."""
    pages = account.ec2.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": "tag-key", "Values": [TAG]},
            {"Name": "instance-state-name", "Values": THERE},
        ]
    )
    groups = [group for page in pages for group in page["Reservations"]]
    machines = [each for group in groups for each in group["Instances"]]
    volumes = _volumes(account)
    left = volumes.keys() - {_tag(each) for each in machines}
    return [
        *(_row(_tag(each), each, volumes.get(_tag(each), "")) for each in machines),
        *(_row(name, {}, volumes[name]) for name in left),
    ]


def _row(name: str, machine: Any, volume: str) -> dict[str, str]:  # noqa: ANN401 - EC2's answer
    return {
        "name": name,
        "instance": machine.get("InstanceId", ""),
        "type": machine.get("InstanceType", ""),
        "state": machine.get("State", {}).get("Name", ""),
        "address": machine.get("PublicIpAddress") or machine.get("PrivateIpAddress", ""),
        "volume": volume,
    }


def _volumes(account: Account) -> dict[str, str]:
    pages = account.ec2.get_paginator("describe_volumes").paginate(
        Filters=[{"Name": "tag-key", "Values": [TAG]}]
    )
    return {_tag(each): each["VolumeId"] for page in pages for each in page["Volumes"]}


def _tag(thing: Any) -> str:  # noqa: ANN401 - a machine or a volume
    return str(next(each["Value"] for each in thing["Tags"] if each["Key"] == TAG))


def terminate(name: str, region: str, *, confirm: str, with_data: bool) -> None:
    """End a host once its name was typed; the data volume stays unless `with_data`."""
    settings = Settings.load()
    with in_our_words(REFUSED):
        account = log_in(region)
        host = Ec2Host(account, name)
        host.look()
    going = host.going(data=with_data)
    if not going:
        raise refusal(f"there is no host {name} in {account.region}", "see: invoke hosts")
    console.say(f"the host {name} in {account.region}, account {account.id}, loses:")
    for part in going:
        console.say(f"  {part.title} {part.identity}")
    if confirm != name:
        if confirm:
            raise refusal(f"--confirm {confirm} is not {name}; nothing was changed", "correct it")
        consent.ask("End it?", answer=name, elsewhere=f"repeat it with --confirm {name}")
    addresses = {host.instance.address, host.instance.identity} - {""}
    host.remove(data=with_data)
    for address in addresses:
        host_keys.pin(settings, address, [])  # EC2 gives addresses to others
    kept = [each for each in settings.deploy_hosts if values.ssh_host(each).name not in addresses]
    if kept != settings.deploy_hosts:
        settings.keep({"DEPLOY_HOST": ",".join(kept)})
        console.say("taken out of .env: DEPLOY_HOST")
    if host.volume not in going and host.volume.identity:
        volume = host.volume.identity
        console.say(f"its data is kept: {volume}; `invoke provision` takes it up again")
