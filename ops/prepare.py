"""Making a bare host ready for `invoke deploy`: look, say what is missing, do only that."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ops import console, daemon, data_device, plugin, upkeep
from ops.distributions import Distribution, recognise
from ops.errors import OpsError, last_lines, refusal
from ops.fleet import reach
from ops.hosts import Host
from ops.packages import Apt, Dnf, Packages
from ops.settings import Settings
from ops.steps import AGAIN, Step, as_root, lines

__all__ = ["plan", "prepare", "verify"]

MANAGERS: dict[str, Callable[[Host], Packages]] = {"apt": Apt, "dnf": Dnf}
SNAP = "/snap/bin/docker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a host is, as far as every step needs it."""

    host: Host
    user: str
    architecture: str
    systemd: bool
    distribution: Distribution
    version: str
    packages: Packages

    @property
    def system(self) -> str:
        """What it runs, for people."""
        return f"{self.distribution.name} {self.version}, {self.architecture}"


def look(host: Host) -> Machine:
    """Find out what a host is; raises a refusal for one that cannot be made ready."""
    text = host.check(("cat", "/etc/os-release"), "is it a Linux system?")
    distribution, version = recognise(host.name, text)
    user = host.check(("id", "--user", "--name"), AGAIN).strip()
    sudo = host.run(as_root("true"))
    if sudo.code != 0:
        absent = "not found" in sudo.err or sudo.code == 127
        why = "there is no sudo" if absent else "sudo asks for one"
        raise refusal(
            f"{user} on {host.name} cannot become root without a password ({why})",
            "log in as the image's own user (ubuntu, admin, ec2-user), "
            f"or as root: echo '{user} ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-{user}",
        )
    if host.run(("test", "-e", SNAP)).code == 0:
        raise refusal(
            f"{host.name} has Docker as a snap, which keeps its settings and data elsewhere",
            "move what you need out of it, then: sudo snap remove docker",
        )
    return Machine(
        host=host,
        user=user,
        architecture=host.check(("uname", "-m"), AGAIN).strip(),
        systemd=host.run(("test", "-d", "/run/systemd/system")).code == 0,
        distribution=distribution,
        version=version,
        packages=MANAGERS[distribution.packages](host),
    )


def plan(machine: Machine, device: str) -> list[Step]:
    """Return every step of a host in order, done already or to do. Changes nothing."""
    host, packages, system = machine.host, machine.packages, machine.distribution
    systemd = machine.systemd
    engine = engine_version(host)
    own = bool(packages.installed(system.engine)) or not engine
    steps = [data_device.step(host, device, systemd=systemd)] if device else []
    steps += [
        daemon.step(host, daemon.look(host), systemd=systemd),
        engine_step(machine, engine),
        plugin.step(host, packages, system.compose if own else "", machine.architecture),
        boot_step(machine),
        group_step(machine),
        upkeep.upgrades(host, packages, system.upgrades, systemd=systemd),
        upkeep.clock(host, packages, system.clocks, systemd=systemd),
    ]
    if any(step.installs for step in steps):
        packages.refresh()  # a mirror out of reach is found out before anything is touched
    return steps


def engine_version(host: Host) -> str:
    """Return the version of the engine that is installed, running or not; "" without one."""
    found = []
    for words in (as_root("dockerd", "--version"), ("docker", "--version")):
        done = host.run(words)
        match = re.match(r"Docker version ([\w.+~-]+)", done.out)
        if done.code != 0 or not match:
            return ""
        found.append(match[1])
    return found[0]


def engine_step(machine: Machine, version: str) -> Step:
    """Return the step that brings the Docker Engine."""
    names = machine.distribution.engine
    if version:
        return Step(title="Docker Engine", found=version)
    return Step(
        title="Docker Engine",
        todo=f"install {', '.join(names)}",
        installs=True,
        act=lambda: machine.packages.install(names),
    )


def boot_step(machine: Machine) -> Step:
    """Return the step that has Docker started with the host, and now."""
    title, host = "start at boot", machine.host
    if not machine.systemd:
        why = "no systemd runs here: start dockerd yourself"
        return Step(title=title, found=why, left_out=True)
    enabled = lines(host, ("systemctl", "is-enabled", "docker")) == ["enabled"]
    if enabled and lines(host, ("systemctl", "is-active", "docker")) == ["active"]:
        return Step(title=title, found="enabled and running")
    words = as_root("systemctl", "enable", "--now", "docker")
    return Step(
        title=title,
        todo="enable and start the service docker",
        act=lambda: void(host.check(words, f"sudo journalctl -u docker; {AGAIN}")),
    )


def group_step(machine: Machine) -> Step:
    """Return the step that lets the login user talk to Docker without sudo."""
    title, user, host = "group docker", machine.user, machine.host
    groups = host.check(("id", "--groups", "--name", user), AGAIN).split()
    if user == "root" or "docker" in groups:
        return Step(title=title, found=user)
    words = as_root("usermod", "--append", "--groups", "docker", user)
    return Step(title=title, todo=f"put {user} in it", act=lambda: void(host.check(words, AGAIN)))


def void(_: str) -> None:
    """Forget what a command printed."""


def prepare(hosts: str, device: str) -> None:
    """Make hosts ready for `invoke deploy`; what is done already is left as it is."""
    settings = Settings.load()
    with reach(settings, hosts) as found:
        plans = planned([site.host for site in found], device)
        changed = any(step.todo for _, steps in plans for step in steps)
        for machine, steps in plans:
            carry_out(machine, steps)
        if not changed:
            console.say("nothing to do; nothing was touched")
            finish([site.host for site in found], plans)
    if changed:  # groups count from the next login on
        with reach(settings, hosts) as found:
            finish([site.host for site in found], plans)


def planned(hosts: list[Host], device: str) -> list[tuple[Machine, list[Step]]]:
    """Look at every host and say what each needs; what goes wrong here has touched nothing."""
    plans = []
    try:
        for host in hosts:
            machine = look(host)
            plans.append((machine, plan(machine, device)))
    except OpsError as error:
        raise refusal(error.cause, error.remedy) from None
    for machine, steps in plans:
        console.say(f"{machine.host.name} ({machine.system}):")
        for step in steps:
            console.say(f"  {step.title:<17}  {step.state:<12}  {step.todo or step.found}")
    return plans


def carry_out(machine: Machine, steps: list[Step]) -> None:
    """Do what is to do, in order."""
    for step in steps:
        if step.todo:
            step.act()
            console.say(f"{machine.host.name}: {step.title}: done")


def finish(hosts: list[Host], plans: list[tuple[Machine, list[Step]]]) -> None:
    """Prove that each host is ready, as the user that deploys."""
    for host, (machine, _) in zip(hosts, plans, strict=True):
        if verify(host, systemd=machine.systemd):
            console.result(f"{host.name} is ready: invoke deploy --host {host.name}")


def verify(host: Host, *, systemd: bool) -> bool:
    """Ask Docker and Compose as the login user; False where only starting dockerd is missing."""
    asked = host.run(("docker", "version", "--format", "{{.Server.Version}}"))
    said = (last_lines(asked.err or asked.out) or ["no word"])[-1]
    if "permission denied" in asked.err:
        raise OpsError(f"the login on {host.name} may not use Docker: {said}", AGAIN)
    if asked.code != 0 and systemd:
        raise OpsError(f"no Docker answers on {host.name}: {said}", "sudo journalctl -u docker")
    found = host.check(("docker", "compose", "version", "--short"), AGAIN).strip()
    if plugin.version(found) < plugin.OLDEST:
        raise OpsError(
            f"{host.name} still finds Compose {found[:40]!r}: an older one comes first",
            "remove ~/.docker/cli-plugins/docker-compose there, then: invoke prepare",
        )
    if asked.code != 0:
        console.say(f"{host.name}: dockerd is not running; start it, then: invoke prepare")
    return asked.code == 0
