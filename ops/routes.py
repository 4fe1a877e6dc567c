"""How a host is reached: what was typed, then the settings, then ~/.ssh/config, then defaults."""

import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paramiko import ConfigParseError, SSHConfig, SSHConfigDict

from ops import host_keys, values
from ops.errors import refusal
from ops.settings import Settings
from ops.values import SshAddress

__all__ = ["Route", "find", "parse"]

MAX_JUMPS = 8
MAX_INCLUDES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The way to a host: where it is, who logs in with what, and through which other hosts."""

    address: str
    """As it was typed: what a person repeats in the next command."""
    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    """The private keys that were asked for; empty stands for the usual ones."""
    known_as: str
    """The name in known_hosts."""
    only_these_keys: bool = False
    jumps: tuple["Route", ...] = ()
    proxy_command: str = ""


def parse(address: str) -> SshAddress:
    """Return the parts of an address, or refuse it."""
    try:
        return values.ssh_host(address)
    except ValueError as problem:
        raise refusal(f"--host {address!r} {problem}", "give --host as user@name:port") from None


def find(address: str, settings: Settings) -> Route:
    """Return the way to a host."""
    asked = parse(address)
    asked = asked._replace(
        user=asked.user or settings.deploy_user, port=asked.port or settings.deploy_port
    )
    key = (Path(settings.deploy_key),) if settings.deploy_key else ()
    if key and not key[0].is_file():
        raise refusal(f"DEPLOY_KEY {settings.deploy_key} is not there", "correct it in .env")
    return _route(address, asked, key, _config_text(Path("~/.ssh/config").expanduser()), 0)


def _route(
    address: str, asked: SshAddress, key: tuple[Path, ...], config: str, depth: int
) -> Route:
    """Return the way to one host; `asked` wins over the configuration."""
    said = _lookup(asked, config)
    host = said["hostname"]
    port = asked.port or int(said.get("port", 22))
    proxy = said.get("proxycommand", "")  # the lookup has taken "none" out
    jump = said.get("proxyjump", "none")
    return Route(
        address=address,
        host=host,
        port=port,
        user=asked.user or said.get("user") or getpass.getuser(),
        keys=key or tuple(Path(file).expanduser() for file in said.get("identityfile", [])),
        known_as=said.get("hostkeyalias", "").lower() or host_keys.entry_name(host, port),
        only_these_keys=said.get("identitiesonly", "no") == "yes",
        # Under `Host *` a jump names the jump host itself too.
        jumps=() if proxy or jump in {"none", asked.name} else _jumps(address, jump, config, depth),
        proxy_command=proxy or "",
    )


def _jumps(address: str, listed: str, config: str, depth: int) -> tuple[Route, ...]:
    """Return the ways to the hosts of a ProxyJump; only the first may have jumps of its own."""
    if depth == MAX_JUMPS:
        raise refusal(
            f"the jumps to {address} go round in circles", "correct ProxyJump in ~/.ssh/config"
        )
    found: list[Route] = []
    for jump in listed.removeprefix("ssh://").split(","):
        route = _route(jump.strip(), parse(jump.strip()), (), config, depth + 1)
        found += [*route.jumps, route] if not found else [route]
    return tuple(found)


def _lookup(asked: SshAddress, config: str) -> SSHConfigDict:
    """Return what the configuration says of a host."""
    # The first value of a keyword wins, and %p and %r in a ProxyCommand are to be these.
    head = "Host *\n"
    head += f"User {asked.user}\n" if asked.user else ""
    head += f"Port {asked.port}\n" if asked.port else ""
    try:
        said = SSHConfig.from_text(head + config).lookup(asked.name)
        values.port(said.get("port", "22"))
    except (ConfigParseError, ValueError) as error:
        raise refusal(f"cannot read ~/.ssh/config: {error}", "correct that file") from None
    return said


def _config_text(file: Path) -> str:
    return "".join(_lines(file, 0))


def _lines(file: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a configuration with its Includes, which paramiko does not know."""
    try:
        text = file.read_text("utf-8", "replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise refusal(f"cannot read {file}: {error.strerror}", "chmod u+r that file") from None
    for line in text.splitlines():
        found = re.fullmatch(r"\s*include[\s=]+(.*?)\s*", line, re.IGNORECASE)
        if not found:
            yield f"{line}\n"
            continue
        for pattern in found[1].replace('"', "").split() if depth < MAX_INCLUDES else ():
            top = Path("~/.ssh").expanduser()
            path = Path(pattern).expanduser()
            wanted = path.relative_to(path.anchor) if path.is_absolute() else path
            root = Path(path.anchor) if path.is_absolute() else top
            for included in sorted(root.glob(str(wanted))):
                yield from _lines(included, depth + 1)
