"""What keeps a host well while nobody looks: security upgrades, and the right time."""

import re
from collections.abc import Sequence

from ops.errors import OpsError
from ops.hosts import Host
from ops.packages import Packages
from ops.steps import AGAIN, Step, as_root, lines, read, write

__all__ = ["clock", "upgrades"]

APT_FILE = "/etc/apt/apt.conf.d/20auto-upgrades"
APT_KEYS = ("APT::Periodic::Update-Package-Lists", "APT::Periodic::Unattended-Upgrade")
DNF_FILE = "/etc/dnf/automatic.conf"
DNF_OPTIONS = {"upgrade_type": "security", "apply_updates": "yes"}
DNF_TIMER = "dnf-automatic.timer"
# Amazon Linux stays at the release of its image: without this, an upgrade finds nothing to do.
# https://docs.aws.amazon.com/linux/al2023/ug/deterministic-upgrades-usage.html
DNF_RELEASE = "/etc/dnf/vars/releasever"
TITLE = "security upgrades"


def upgrades(host: Host, packages: Packages, package: str, *, systemd: bool) -> Step:
    """Return the step that has security upgrades installed by themselves."""
    if package == "dnf-automatic":
        return _dnf(host, packages, package, systemd=systemd)
    return _apt(host, packages, package)


def _apt(host: Host, packages: Packages, package: str) -> Step:
    missing = not packages.installed([package])
    if not missing and _apt_on(host):
        return Step(title=TITLE, found=package)

    def act() -> None:
        if missing:
            packages.install([package])
        if not _apt_on(host):
            write(host, APT_FILE, "".join(f'{key} "1";\n' for key in APT_KEYS))
        if not _apt_on(host):
            raise OpsError(
                f"security upgrades stay off on {host.name}: a file after {APT_FILE} says so",
                f"look for {APT_KEYS[1]} in /etc/apt/apt.conf.d, then: invoke prepare",
            )

    todo = f"{'install' if missing else 'switch on'} {package}"
    return Step(title=TITLE, todo=todo, installs=missing, act=act)


def _apt_on(host: Host) -> bool:
    said = lines(host, ("apt-config", "dump", "APT::Periodic"))
    on = dict(line.rstrip(";").split(" ", 1) for line in said if " " in line)
    return all(on.get(key, '"0"') not in ('"0"', '""') for key in APT_KEYS)


def _dnf(host: Host, packages: Packages, package: str, *, systemd: bool) -> Step:
    missing = [] if packages.installed([package]) else [package]
    text, release = read(host, DNF_FILE), read(host, DNF_RELEASE)
    timed = not systemd or bool(lines(host, ("systemctl", "is-enabled", DNF_TIMER)))
    if not missing and text == configured(text) and release and timed:
        return Step(title=TITLE, found=f"{package}, release {release.strip()[:40]}")

    def act() -> None:
        if not release:
            write(host, DNF_RELEASE, "latest\n")
        if missing:
            packages.install(missing)
        write(host, DNF_FILE, configured(read(host, DNF_FILE)))
        if systemd:
            host.check(as_root("systemctl", "enable", "--now", DNF_TIMER), AGAIN)

    parts = [f"install {package}" if missing else f"switch on {package}, security only"]
    parts += [] if release else ["follow the latest release of the system"]
    return Step(title=TITLE, todo="; ".join(parts), installs=bool(missing), act=act)


def configured(text: str) -> str:
    """Return the settings of dnf-automatic with ours in them, the rest as it is."""
    for key, value in DNF_OPTIONS.items():
        line = f"{key} = {value}"
        text, count = re.subn(rf"(?m)^[ \t]*{key}[ \t]*=.*$", line, text)
        if not count and re.search(r"(?m)^\[commands\]", text):
            text = re.sub(r"(?m)^\[commands\].*$", f"[commands]\n{line}", text, count=1)
        elif not count:
            text += f"[commands]\n{line}\n"
    return text


def clock(host: Host, packages: Packages, names: Sequence[str], *, systemd: bool) -> Step:
    """Return the step that keeps the time right: certificates and S3 need it."""
    title = "time"
    found = packages.installed(names)
    if found:
        return Step(title=title, found=found[0])

    def act() -> None:
        packages.install(names[:1])
        if systemd and names[0] == "chrony":
            service = "chronyd" if len(names) == 1 else "chrony"
            host.check(as_root("systemctl", "enable", "--now", service), AGAIN)

    return Step(title=title, todo=f"install {names[0]}", installs=True, act=act)
