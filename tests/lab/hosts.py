"""Simulated EC2 hosts: containers with sshd and a Docker Engine of their own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from . import apt, containers, images
from .command import leashed, outcome, run
from .containers import Container
from .engine import SUBNETS, docker
from .errors import LabError
from .model import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .network import Network
    from .place import Place

USER = "ubuntu"
PORT = 22
FIRST_ADDRESS = 10  # host 1 is .11
# All that an engine inside a container needs. --privileged would ask for CAP_SYS_RESOURCE too,
# which some machines cannot lend.
CAPABILITIES = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE
    LINUX_IMMUTABLE MKNOD NET_ADMIN NET_BROADCAST NET_RAW SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT
    SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TTY_CONFIG WAKE_ALARM
"""


def _key(path: Path, comment: str) -> str:
    """Have an ed25519 key pair and give its public half."""
    apt.provide("ssh-keygen", "openssh-client")
    if not path.exists():
        half = path.with_name(f".{path.name}.new")
        half.unlink(missing_ok=True)
        words = ["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(half)]
        run("ssh-keygen", *words, remedy="mend what ssh-keygen reports, then repeat")
        half.with_name(f"{half.name}.pub").unlink()
        half.replace(path)
    return run("ssh-keygen", "-y", "-f", str(path), remedy=f"remove {path}, then repeat").strip()


def _identity(place: Place, name: str) -> tuple[str, str]:
    """Write what a host reads at boot; give its public key and the client's."""
    folder = place.folder / name
    folder.mkdir(exist_ok=True, mode=0o700)
    client = _key(place.folder / "id_ed25519", "mlflow-lab")
    server = _key(folder / "ssh_host_ed25519_key", name)
    place.write(f"{name}/authorized_keys", f"{client}\n")
    return server, client


def _powers() -> list[str]:
    """Give the options that let an engine run inside a container."""
    if docker("info", "--format", "{{.CgroupVersion}}").strip() == "2":
        return ["--privileged", "--cgroupns", "private"]
    words = [word for capability in CAPABILITIES.split() for word in ("--cap-add", capability)]
    for option in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
        words += ["--security-opt", option]
    words += ["--device-cgroup-rule", "a *:* rwm"]
    return [*words, "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw"]


def _start(place: Place, network: Network, number: int, powers: list[str]) -> tuple[Host, str]:
    """Have one host running; give it and its line of known_hosts."""
    name = f"host-{number}"
    container = f"{place.name}-{name}"
    address = network.address(FIRST_ADDRESS + number)
    server, client = _identity(place, name)
    docker("volume", "create", "--label", place.label, container)
    volume = ("--volume", f"{container}:/var/lib/docker")
    options = [*powers, *_options(place, network, name, address, *volume)]
    command = ("--insecure-registry", SUBNETS)
    inputs = (server, client)
    containers.ensure(place, Container(container, images.HOST.name, (*options,), command, inputs))
    return _described(place, container, address, "known_hosts", server)


def _options(place: Place, network: Network, name: str, address: str, *more: str) -> list[str]:
    """Give the options that make a container a machine of the lab's network, with its keys."""
    options = ["--hostname", name, "--network", network.name, "--ip", address, *more]
    # Emptied at boot, as on any machine: an engine that was killed leaves sockets and states there.
    options += ["--tmpfs", "/run:exec,mode=755"]
    return [*options, "--volume", f"{place.folder / name}:/run/lab:ro"]


def _described(
    place: Place, container: str, address: str, known: str, server: str
) -> tuple[Host, str]:
    """Give what a test has to know of a host, and its line of known_hosts."""
    kind, half, *_ = server.split()
    key = str(place.folder / "id_ed25519")
    host = Host(container, address, PORT, USER, key, str(place.folder / known))
    return host, f"{address} {kind} {half}\n"


def present(place: Place) -> int:
    """Give the highest number of the hosts that exist."""
    prefix = f"{place.name}-host-"
    found = [name for name in containers.names(place) if name.startswith(prefix)]
    return max((int(name.removeprefix(prefix)) for name in found), default=0)


def ensure(place: Place, network: Network, count: int) -> tuple[Host, ...]:
    """Have that many hosts running and ready to log in to and to run containers."""
    if not count:
        return ()
    powers = _powers()
    made = [_start(place, network, number, powers) for number in range(1, count + 1)]
    place.write("known_hosts", "".join(line for _, line in made))
    found = tuple(host for host, _ in made)
    for host in found:
        containers.wait(f"sshd of {host.name}", _sshd(host), host.name)
        containers.wait(f"dockerd of {host.name}", _dockerd(host), host.name)
    return found


def bare(place: Place, network: Network) -> Host:
    """Have one host that nobody has prepared: always a new one, without Docker."""
    name, known = "bare", "known_hosts-bare"
    container, address = f"{place.name}-{name}", network.address(FIRST_ADDRESS)
    server, client = _identity(place, name)
    outcome(["docker", "rm", "--force", "--volumes", container])
    options = (*_powers(), *_options(place, network, name, address))
    wanted = Container(container, images.BARE.name, options, inputs=(server, client))
    containers.ensure(place, wanted)
    host, line = _described(place, container, address, known, server)
    place.write(known, line)
    containers.wait(f"sshd of {host.name}", _sshd(host), host.name)
    return host


def _sshd(host: Host) -> Callable[[], bool]:
    """Ask a host whether it accepts connections."""
    return lambda: containers.listens(host.address, host.port)


def _dockerd(host: Host) -> Callable[[], bool]:
    """Ask a host whether its engine answers."""
    words = ["docker", "exec", host.name, "docker", "version"]
    return lambda: outcome(words).returncode == 0


def load_image(host: Host, name: str) -> None:
    """Copy an image of this machine's engine to a host, unless the host has the very same."""
    form = ["image", "inspect", "--format", "{{.Id}}", name]
    wanted = docker(*form, remedy="build or pull it first")
    if outcome(["docker", "exec", host.name, "docker", *form]).stdout == wanted:
        return
    save, load = ["docker", "save", name], ["docker", "exec", "-i", host.name, "docker", "load"]
    with subprocess.Popen(leashed(save), stdout=subprocess.PIPE) as source:
        done = subprocess.run(
            leashed(load), stdin=source.stdout, capture_output=True, text=True, check=False
        )
    if source.returncode or done.returncode:
        raise LabError(f"cannot copy {name} to {host.name}: {done.stderr.strip()}", "repeat")
