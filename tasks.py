"""The command line: one short function for each thing a person wants done."""

from invoke.context import Context
from invoke.tasks import task

ENGINE_HELP = "auto (Docker Compose where it answers, else embedded), embedded or compose"
HOST_HELP = "[user@]name[:port], as often as there are hosts; else DEPLOY_HOST"
THERE_HELP = "on this host, over SSH, instead of this machine: [user@]name[:port]"
YES_HELP = "agree to the changes beforehand, where nobody is there to ask"
JSON_HELP = "print one JSON document, for scripts"
REGION_HELP = "an AWS region such as eu-central-1; else the one of your AWS configuration"
RESOURCE_HELP = "experiment:NAME or its id, model:NAME, prompt:NAME; * instead of a name is all"
Hosts = list[str] | None


def every(hosts: Hosts) -> str:
    """Return the hosts of all --host flags as DEPLOY_HOST has them, parted by commas."""
    return ",".join(hosts or [])


def for_real(c: Context) -> None:
    """Refuse a dry run of a task that has none: what it does follows from what it finds."""
    if c.config.run.dry:
        from ops.errors import refusal

        raise refusal("this task has no dry run", "leave --dry out; deploy and exec have one")


@task(help={"engine": ENGINE_HELP, "migrate": "also migrate a database of an older MLflow"})
def up(c: Context, engine: str = "auto", migrate: bool = False) -> None:
    """Bring the server up and wait until it answers."""
    for_real(c)
    from ops import server

    server.up(engine, migrate=migrate)


@task
def down(c: Context) -> None:
    """Stop the server; all data stays."""
    for_real(c)
    from ops import server

    server.down()


@task(iterable=["host"], help={"host": THERE_HELP, "json": JSON_HELP})
def status(_c: Context, host: Hosts = None, json: bool = False) -> None:
    """Show each service with its health, uptime and memory; exit 1 unless all is well."""
    from ops import remote

    remote.show_status(every(host), as_json=json)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "service": "only this one: db, migrate, web or nginx",
        "follow": "until Ctrl-C",
    },
)
def logs(_c: Context, host: Hosts = None, service: str = "", follow: bool = False) -> None:
    """Show what the services wrote."""
    from ops import remote

    remote.logs(every(host), service, follow=follow)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "since": 'from then on: 90m, 36h, 7d ago, or "2026-11-23 06:40" (this machine\'s zone)',
        "until": "up to then, written in the same way",
        "user": "only what this user did, or somebody who gave that name",
        "method": "only these requests: GET, POST, PUT, PATCH or DELETE",
        "writes": "only what may have changed something",
        "path": "only paths with this text in them",
        "failed": "only what was refused or went wrong, such as a login",
        "limit": "so many at most, the newest; 0 for all",
        "json": "print a line of JSON for each, for scripts",
    },
)
def audit(
    _c: Context,
    host: Hosts = None,
    since: str = "1d",
    until: str = "",
    user: str = "",
    method: str = "",
    writes: bool = False,
    path: str = "",
    failed: bool = False,
    limit: int = 200,
    json: bool = False,
) -> None:
    """Show who did what and when: requests, refused logins, deploys."""
    from ops import activity

    wish = activity.Wish(
        *(since, until, user, method, path),
        writes=writes,
        failed=failed,
    )
    activity.show(every(host), wish, as_json=json, limit=limit)


@task(
    iterable=["host"], help={"host": THERE_HELP, "url": "test the server at this address instead"}
)
def smoke(c: Context, host: Hosts = None, url: str = "") -> None:
    """Prove that the server works, with the real protocol, through the front door."""
    for_real(c)
    from ops import remote

    remote.smoke_test(every(host), url)


@task(
    help={
        "url": "measure the server at this address instead, logged in as MLflow's client would be",
        "seconds": "how long each of the seven measurements takes",
        "json": JSON_HELP,
    }
)
def bench(c: Context, url: str = "", seconds: str = "5", json: bool = False) -> None:
    """Measure how many requests a second the server answers, as its clients get them from here."""
    for_real(c)
    from ops import server

    server.bench(url, seconds, as_json=json)


@task(help={"json": JSON_HELP})
def client_env(_c: Context, json: bool = False) -> None:
    """Print what a client has to set: eval "$(invoke client-env)"."""
    from ops import server

    server.show_client_env(as_json=json)


@task(help={"tag": "also give it this tag"})
def build(c: Context, tag: str = "") -> None:
    """Build the server image, unless one of the same content is there, and print its name."""
    for_real(c)
    from ops import builds

    builds.build(tag)


@task(iterable=["host"], help={"host": HOST_HELP})
def push(c: Context, host: Hosts = None) -> None:
    """Bring the server image to REGISTRY, or to hosts where that is not set."""
    for_real(c)
    from ops import builds

    builds.push(every(host))


@task(
    iterable=["host"],
    help={"host": HOST_HELP, "migrate": "also migrate a database of an older MLflow"},
)
def deploy(c: Context, host: Hosts = None, migrate: bool = False) -> None:
    """Bring hosts to the settings and files of this folder, with no failed request."""
    from ops import deploys

    go = deploys.rehearse if c.config.run.dry else deploys.deploy
    go(every(host), migrate=migrate)


@task(
    iterable=["host"],
    help={"host": HOST_HELP, "to": "the release; without it the last good one before this"},
)
def rollback(c: Context, host: Hosts = None, to: str = "") -> None:
    """Bring hosts back to an earlier release: its image, configuration and secrets."""
    for_real(c)
    from ops import deploys

    deploys.rollback(every(host), to)


@task(iterable=["host"], help={"host": HOST_HELP, "json": JSON_HELP})
def releases(_c: Context, host: Hosts = None, json: bool = False) -> None:
    """List the releases of hosts: when, by whom, with what result, which one is live."""
    from ops import remote

    remote.show_releases(every(host), as_json=json)


@task(iterable=["host"], name="exec", help={"host": HOST_HELP})
def execute(c: Context, host: Hosts = None) -> None:
    """Run a command on a host: invoke exec -- docker ps."""
    from ops import remote

    remote.execute(every(host), c.remainder, dry=c.config.run.dry)


@task(iterable=["host"], help={"host": HOST_HELP})
def tunnel(c: Context, host: Hosts = None) -> None:
    """Lead HTTP_PORT of this machine to a host that exposes nothing, until Ctrl-C."""
    for_real(c)
    from ops import remote

    remote.tunnel(every(host))


@task(
    iterable=["host"],
    help={
        "host": HOST_HELP,
        "fingerprint": "what the host's key has to be: SHA256:…",
    },
)
def trust(c: Context, host: Hosts = None, fingerprint: str = "") -> None:
    """Make the key of a host to deploy to a known one, once somebody else vouches for it."""
    for_real(c)
    from ops.trust import establish

    establish(every(host), fingerprint)


@task(
    iterable=["host"],
    help={
        "host": HOST_HELP,
        "data-device": "an empty device for Docker's data, such as /dev/nvme1n1: becomes ext4",
    },
)
def prepare(c: Context, host: Hosts = None, data_device: str = "") -> None:
    """Make bare Ubuntu, Debian or Amazon Linux hosts ready for deploy."""
    for_real(c)
    from ops import prepare as preparation

    preparation.prepare(every(host), data_device)


@task(
    help={
        "name": "what the host is called in AWS",
        "region": REGION_HELP,
        "instance-type": "t3.medium where this machine builds for x86_64, else t4g.medium",
        "system": "ubuntu, debian or al2023; ubuntu unless given",
        "subnet": "in this one instead of the default VPC",
        "disk": "GiB of the root disk",
        "data": "GiB of the data volume, which outlives the machine",
        "ssh-from": "networks that may log in, parted by commas; else this machine's address",
        "web-from": "networks that ports 80 and 443 are open to; else closed",
        "ssm": "open no port at all: SSH goes through Session Manager",
        "elastic-ip": "an address that stays when the machine is stopped",
        "yes": YES_HELP,
    }
)
def provision(
    c: Context,
    name: str = "mlflow",
    region: str = "",
    instance_type: str = "",
    system: str = "",
    subnet: str = "",
    disk: int = 20,
    data: int = 50,
    ssh_from: str = "",
    web_from: str = "",
    ssm: bool = False,
    elastic_ip: bool = False,
    yes: bool = False,
) -> None:
    """Make a host on EC2, ready for prepare and deploy; says first what and what it costs."""
    for_real(c)
    from ops import provision as making

    asked = making.Asked(
        *(name, region, instance_type, system, subnet, disk, data),
        *(ssh_from, web_from, ssm, elastic_ip),
    )
    making.provision(asked, yes=yes)


@task(help={"region": REGION_HELP, "json": JSON_HELP})
def hosts(_c: Context, region: str = "", json: bool = False) -> None:
    """List the hosts on EC2 that provision made, and the data that is left of others."""
    from ops import ec2_hosts

    ec2_hosts.show(region, as_json=json)


@task(
    help={
        "name": "the host",
        "region": REGION_HELP,
        "confirm": "its name again, instead of typing it",
        "with-data": "delete its data volume too",
    }
)
def terminate(
    c: Context, name: str, region: str = "", confirm: str = "", with_data: bool = False
) -> None:
    """End a host on EC2, once its name was typed; its data volume is kept."""
    for_real(c)
    from ops import ec2_hosts

    ec2_hosts.terminate(name, region, confirm=confirm, with_data=with_data)


@task(iterable=["host"], help={"host": f"also look at these: {HOST_HELP}", "json": JSON_HELP})
def doctor(_c: Context, host: Hosts = None, json: bool = False) -> None:
    """Look at this machine and at hosts, change nothing; exit 1 when a check fails."""
    from ops import doctor

    doctor.doctor(every(host), as_json=json)


@task(help={"region": REGION_HELP, "json": JSON_HELP})
def whoami(_c: Context, region: str = "", json: bool = False) -> None:
    """Show who AWS takes this machine for, and where its credentials come from."""
    from ops import caller

    caller.show(region, as_json=json)


@task(
    iterable=["bucket"],
    help={
        "for": "operator (a person with these tasks), ci (push and deploy) or instance (a host)",
        "bucket": "bucket[/prefix], as often as there are buckets; else ARTIFACTS_DESTINATION",
        "name": "of the stack; else STACK_NAME",
        "kms-key": "the ARN of the key that the bucket is encrypted with, if it has its own",
        "region": REGION_HELP,
    },
)
def policy(
    _c: Context,
    for_: str = "operator",
    bucket: Hosts = None,
    name: str = "",
    kms_key: str = "",
    region: str = "",
) -> None:
    """Print the IAM policy with the least that a person, CI or a host needs."""
    from ops import policies

    policies.show(for_, bucket or [], name, kms_key, region)


@task(
    help={
        "name": "its name; else, for artifacts, that of ARTIFACTS_DESTINATION",
        "kind": "artifacts, or backups: those cannot be deleted for a while",
        "region": REGION_HELP,
        "kms-key": "encrypt with this key of AWS KMS: its ARN",
        "lock": "of backups: governance, or compliance, which nobody can lift",
        "retention-days": "of backups: the lock of what is written without its own; 30 by default",
        "check": "only say what is not as it should be: exit code 1 if there is anything",
        "yes": YES_HELP,
        "json": JSON_HELP,
    }
)
def create_bucket(
    c: Context,
    name: str = "",
    kind: str = "artifacts",
    region: str = "",
    kms_key: str = "",
    lock: str = "",
    retention_days: str = "",
    check: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Make a safe bucket for artifacts or backups, or bring one of yours there; says first how."""
    for_real(c)
    from ops import create_bucket as bucket

    given = bucket.Given(name, kind, region, kms_key, lock, retention_days)
    bucket.create(given, check=check, yes=yes, as_json=json)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "kind": "base, a copy that is back in no time, or dump, which is SQL",
    },
)
def backup(c: Context, host: Hosts = None, kind: str = "base") -> None:
    """Back the database up now, and print the id of the backup."""
    for_real(c)
    from ops import backups

    backups.backup(every(host), kind)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "key": "its key in .env, such as MYSQL_PASSWORD",
        "yes": YES_HELP,
    },
)
def rotate_secret(c: Context, key: str, host: Hosts = None, yes: bool = False) -> None:
    """Replace a generated secret while the stack runs; the old one is then refused."""
    for_real(c)
    from ops import renewals

    renewals.rotate(key, every(host), yes=yes)


@task(help={"json": JSON_HELP})
def list_backups(_c: Context, json: bool = False) -> None:
    """List the backups: age, size, up to when each restores, when that was proven."""
    from ops import backups

    backups.show(as_json=json)


@task(help={"id": "only this backup, and the logs that follow it"})
def verify(_c: Context, id: str = "") -> None:  # noqa: A002 - the flag is --id
    """Read everything that is stored and compare it with its checksums."""
    from ops import backups

    backups.verify(id)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "id": "this backup, and nothing that came after it",
        "at": 'the state of this moment: "2026-11-23 06:40" (this machine\'s zone)',
        "key": "the file of the private key; else the one that backup-key made",
        "confirm": "the name of the stack, instead of typing it",
    },
)
def restore(
    c: Context,
    host: Hosts = None,
    id: str | None = None,  # noqa: A002 - the flag is --id
    at: str | None = None,
    key: str = "",
    confirm: str = "",
) -> None:
    """Bring the database back: to the last change stored, to a moment, or to a backup."""
    for_real(c)
    from ops import restore as bringing

    bringing.restore(bringing.Asked(id, at, key), every(host), confirm=confirm)


@task(
    iterable=["escrow"],
    help={
        "out": "the file for the private key; else one in your home folder, in no repository",
        "escrow": "a further public key that opens every backup (age1…), as often as there are any",
        "rotate": "a new key, although there is one, for all backups from now on",
        "sheet": "only print how to restore by hand, to keep with the private key",
    },
)
def backup_key(
    c: Context, out: str = "", escrow: Hosts = None, rotate: bool = False, sheet: bool = False
) -> None:
    """Make the key that opens backups; only its public half goes into .env and to hosts."""
    for_real(c)
    from ops import backup_keys

    go = backup_keys.show_sheet if sheet else backup_keys.make
    go(out, escrow or [], rotate=rotate)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "id": "this backup; else the newest, with all that came after it",
        "key": "the file of the private key; else the one that backup-key made",
        "json": JSON_HELP,
    },
)
def drill(
    c: Context,
    host: Hosts = None,
    id: str | None = None,  # noqa: A002 - the flag is --id
    key: str = "",
    json: bool = False,
) -> None:
    """Prove that the newest backup restores: into a scratch stack, compared and read from."""
    for_real(c)
    from ops import drill as proof
    from ops.restore import Asked

    proof.drill(Asked(id, None, key), every(host), as_json=json)


@task(
    iterable=["host"],
    help={
        "host": THERE_HELP,
        "rehearse-only": "stop once it went well on a restored copy; nothing is changed",
        "key": "the file of the private key; else the one that backup-key made",
        "yes": YES_HELP,
        "json": "with --rehearse-only: print what was seen as one JSON document",
    },
)
def upgrade(
    c: Context,
    host: Hosts = None,
    rehearse_only: bool = False,
    key: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Bring server and database to this folder's versions, rehearsed on a restored copy first."""
    for_real(c)
    from ops import upgrade as upgrading

    upgrading.upgrade(every(host), key=key, rehearse_only=rehearse_only, yes=yes, as_json=json)


@task(
    iterable=["host"],
    help={
        "name": "what they log in with",
        "admin": "let them do everything",
        "generate": "make a password and print it, once; else it is typed, or piped in",
        "host": THERE_HELP,
    },
)
def add_user(
    c: Context, name: str, admin: bool = False, generate: bool = False, host: Hosts = None
) -> None:
    """Let somebody log in, with a password that is typed, piped in or made."""
    for_real(c)
    from ops import people

    people.add(name, every(host), admin=admin, generate=generate)


@task(
    iterable=["host"],
    help={
        "name": "the user",
        "host": THERE_HELP,
        "confirm": "the name again, instead of typing it",
    },
)
def remove_user(c: Context, name: str, host: Hosts = None, confirm: str = "") -> None:
    """Let somebody log in no more, once their name was typed; what they logged stays."""
    for_real(c)
    from ops import people

    people.remove(name, every(host), confirm=confirm)


@task(
    iterable=["host"],
    help={
        "name": "the user; of admin, ADMIN_PASSWORD in .env changes too",
        "generate": "make a password and print it, once; else it is typed, or piped in",
        "host": THERE_HELP,
    },
)
def set_password(c: Context, name: str, generate: bool = False, host: Hosts = None) -> None:
    """Give somebody another password, typed, piped in or made."""
    for_real(c)
    from ops import people

    people.set_password(name, every(host), generate=generate)


@task(
    iterable=["host"],
    help={
        "name": "the user, who may be a program: invoke add-user",
        "label": "what it is for; each of a user's tokens has another one",
        "days": "how long it is good for, at most 365",
        "revoke": "take back the one with this label",
        "host": THERE_HELP,
    },
)
def token(
    c: Context,
    name: str,
    label: str = "default",
    days: str = "90",
    revoke: bool = False,
    host: Hosts = None,
) -> None:
    """Make a token for a program and print it, once, where people log in at a provider."""
    for_real(c)
    from ops import tokens

    if revoke:
        tokens.take_back(name, every(host), label=label)
    else:
        tokens.issue(name, every(host), label=label, days=days)


@task(
    iterable=["host"],
    help={
        "name": "the user",
        "resource": RESOURCE_HELP,
        "permission": "READ, USE, EDIT or MANAGE; DENY forbids, whatever else is granted",
        "host": THERE_HELP,
    },
)
def grant(c: Context, name: str, resource: str, permission: str, host: Hosts = None) -> None:
    """Let somebody do this much: invoke grant ana experiment:churn READ."""
    for_real(c)
    from ops import people

    people.grant(name, resource, permission, every(host))


@task(iterable=["host"], help={"name": "the user", "resource": RESOURCE_HELP, "host": THERE_HELP})
def revoke(c: Context, name: str, resource: str, host: Hosts = None) -> None:
    """Take back what grant gave: invoke revoke ana experiment:churn."""
    for_real(c)
    from ops import people

    people.revoke(name, resource, every(host))


@task(
    iterable=["host"],
    help={"name": "only this user, with every grant", "host": THERE_HELP, "json": JSON_HELP},
)
def list_users(_c: Context, name: str = "", host: Hosts = None, json: bool = False) -> None:
    """List who may log in, who is an admin, and how many grants each has."""
    from ops import people

    people.show(name, every(host), as_json=json)
