"""The hosts a command is for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ops.errors import refusal
from ops.settings import Settings
from ops.site import Site
from ops.ssh import SshHost, connect

__all__ = ["addresses", "named", "over_ssh", "reach"]


def addresses(hosts: str) -> list[str]:
    """Return the addresses of a list parted by commas, each there once."""
    names = [name.strip() for name in hosts.split(",") if name.strip()]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise refusal(f"the host {min(twice)} is given twice", "name each host once")
    return names


def named(settings: Settings, hosts: str) -> list[str]:
    """Return the addresses given, or those of DEPLOY_HOST; refuse when there are none."""
    names = addresses(hosts or settings.deploy_host)
    if not names:
        raise refusal("no host is given", "name one: --host, or DEPLOY_HOST in .env")
    return names


@contextmanager
def reach(settings: Settings, hosts: str) -> Iterator[list[Site]]:
    """Connect to the hosts given, or to those of DEPLOY_HOST."""
    names = named(settings, hosts)
    with ExitStack() as opened:
        yield [Site(opened.enter_context(connect(name, settings)), settings) for name in names]


def over_ssh(site: Site) -> SshHost:
    """Return the host of a site that was reached."""
    assert isinstance(site.host, SshHost)
    return site.host
