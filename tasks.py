"""The command line: one short function for each thing a person wants done."""

from invoke.context import Context
from invoke.tasks import task

ENGINE_HELP = "auto (Docker Compose where it answers, else embedded), embedded or compose"
HOST_HELP = "[user@]name[:port], several parted by commas; else DEPLOY_HOST"
THERE_HELP = "on this host, over SSH, instead of this machine: [user@]name[:port]"
JSON_HELP = "print one JSON document, for scripts"


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


@task(help={"host": THERE_HELP, "json": JSON_HELP})
def status(_c: Context, host: str = "", json: bool = False) -> None:
    """Show each service with its health, uptime and memory; exit 1 unless all is well."""
    from ops import remote

    remote.show_status(host, as_json=json)


@task(
    help={
        "host": THERE_HELP,
        "service": "only this one: db, migrate, web or nginx",
        "follow": "until Ctrl-C",
    }
)
def logs(_c: Context, host: str = "", service: str = "", follow: bool = False) -> None:
    """Show what the services wrote."""
    from ops import remote

    remote.logs(host, service, follow=follow)


@task(help={"host": THERE_HELP, "url": "test the server at this address instead"})
def smoke(c: Context, host: str = "", url: str = "") -> None:
    """Prove that the server works, with the real protocol, through the front door."""
    for_real(c)
    from ops import remote

    remote.smoke_test(host, url)


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


@task(help={"host": HOST_HELP})
def push(c: Context, host: str = "") -> None:
    """Bring the server image to REGISTRY, or to hosts where that is not set."""
    for_real(c)
    from ops import builds

    builds.push(host)


@task(help={"host": HOST_HELP, "migrate": "also migrate a database of an older MLflow"})
def deploy(c: Context, host: str = "", migrate: bool = False) -> None:
    """Bring hosts to the settings and files of this folder, with no failed request."""
    from ops import deploys

    go = deploys.rehearse if c.config.run.dry else deploys.deploy
    go(host, migrate=migrate)


@task(help={"host": HOST_HELP, "to": "the release; without it the last good one before this"})
def rollback(c: Context, host: str = "", to: str = "") -> None:
    """Bring hosts back to an earlier release: its image, configuration and secrets."""
    for_real(c)
    from ops import deploys

    deploys.rollback(host, to)


@task(help={"host": HOST_HELP, "json": JSON_HELP})
def releases(_c: Context, host: str = "", json: bool = False) -> None:
    """List the releases of hosts: when, by whom, with what result, which one is live."""
    from ops import remote

    remote.show_releases(host, as_json=json)


@task(name="exec", help={"host": HOST_HELP})
def execute(c: Context, host: str = "") -> None:
    """Run a command on a host: invoke exec -- docker ps."""
    from ops import remote

    remote.execute(host, c.remainder, dry=c.config.run.dry)


@task(help={"host": HOST_HELP})
def tunnel(c: Context, host: str = "") -> None:
    """Lead HTTP_PORT of this machine to a host that exposes nothing, until Ctrl-C."""
    for_real(c)
    from ops import remote

    remote.tunnel(host)


@task(
    help={
        "host": "[user@]name[:port]; else every one of DEPLOY_HOST",
        "fingerprint": "what the host's key has to be: SHA256:…",
    }
)
def trust(c: Context, host: str = "", fingerprint: str = "") -> None:
    """Make the key of a host to deploy to a known one, once somebody else vouches for it."""
    for_real(c)
    from ops.trust import establish

    establish(host, fingerprint)


@task(
    help={
        "host": HOST_HELP,
        "data-device": "an empty device for Docker's data, such as /dev/nvme1n1: becomes ext4",
    }
)
def prepare(c: Context, host: str = "", data_device: str = "") -> None:
    """Make bare Ubuntu, Debian or Amazon Linux hosts ready for deploy."""
    for_real(c)
    from ops import prepare as preparation

    preparation.prepare(host, data_device)


@task(help={"host": f"also look at these: {HOST_HELP}", "json": JSON_HELP})
def doctor(_c: Context, host: str = "", json: bool = False) -> None:
    """Look at this machine and at hosts, change nothing; exit 1 when a check fails."""
    from ops import doctor

    doctor.doctor(host, as_json=json)
