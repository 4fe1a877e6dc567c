"""A volume of its own for Docker's data: made, mounted, and never at the cost of what is on it."""

import re
from dataclasses import dataclass

from ops.daemon import FILE, ROOT, configuration
from ops.errors import OpsError, refusal
from ops.hosts import Host
from ops.steps import AGAIN, Step, as_root, lines, read, write

__all__ = ["step"]

FSTAB = "/etc/fstab"
# A missing volume must not keep the host from booting (nofail), and Docker must not start
# without it: it would find an empty folder and begin anew.
OPTIONS = "defaults,nofail,x-systemd.required-by=docker.service,x-systemd.before=docker.service"
NOT_FOUND = 2
"""What blkid ends with where it recognises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What was found out of a device."""

    path: str
    kind: str
    uuid: str
    mounted: bool


def step(host: Host, given: str, *, systemd: bool) -> Step:
    """Return the step that brings the volume to Docker's data root."""
    _check_root(host)
    device = _look(host, given)
    title = "data volume"
    table = read(host, FSTAB)
    listed = _listed(host, table, device)
    if device.mounted and listed:
        return Step(title=title, found=f"{device.path} at {ROOT}")
    if not device.mounted:
        _check_free(host)

    def act() -> None:
        if not device.kind:
            host.check(as_root("mkfs.ext4", "-q", device.path), AGAIN)
        uuid = device.uuid or _tag(host, device.path, "UUID")
        if not re.fullmatch(r"[0-9a-fA-F-]{8,40}", uuid):
            raise OpsError(f"{device.path} has no UUID after mkfs.ext4", AGAIN)
        if not listed:
            gap = "" if table.endswith("\n") or not table else "\n"
            write(host, FSTAB, f"{table}{gap}UUID={uuid} {ROOT} ext4 {OPTIONS} 0 2\n")
            if systemd:
                host.check(as_root("systemctl", "daemon-reload"), AGAIN)
        if not device.mounted:
            host.check(as_root("mkdir", "-p", ROOT), AGAIN)
            host.check(as_root("mount", ROOT), AGAIN)

    making = "" if device.kind else "make ext4 on the empty "
    return Step(title=title, todo=f"{making}{device.path}, mount it at {ROOT} by UUID", act=act)


def _check_root(host: Host) -> None:
    """Refuse where Docker keeps its data elsewhere."""
    root = configuration(read(host, FILE)).get("data-root", ROOT)
    if root != ROOT:
        raise refusal(
            f"{FILE} on {host.name} has Docker's data at {root!r}",
            f"leave out --data-device, or take data-root out of {FILE}",
        )


def _look(host: Host, given: str) -> Device:
    """Find out what is on a device; raises a refusal unless it is empty or ext4, and free."""
    if not re.fullmatch(r"/dev/[\w.:+-]+(?:/[\w.:+-]+)*", given) or "/.." in given:
        raise refusal(f"{given!r} is no device", "give --data-device as /dev/nvme1n1")
    paths = lines(host, as_root("readlink", "--canonicalize-existing", given))
    if not paths or host.run(as_root("test", "-b", paths[0])).code != 0:
        raise refusal(f"{host.name} has no block device {given}", "see which there are: lsblk")
    path = paths[0]
    parts = lines(host, as_root("lsblk", "--noheadings", "--list", "--output", "NAME", path))
    if len(parts) != 1:
        raise refusal(f"{path} on {host.name} has partitions", "give an empty device: lsblk")
    places = lines(
        host, as_root("findmnt", "--noheadings", "--first-only", "--output", "TARGET", path)
    )
    if places and places != [ROOT]:
        raise refusal(f"{path} on {host.name} is mounted at {places[0]}", "give a free device")
    kind = _kind(host, path)
    uuid = _tag(host, path, "UUID") if kind else ""
    return Device(path=path, kind=kind, uuid=uuid, mounted=bool(places))


def _kind(host: Host, path: str) -> str:
    """Return "ext4", or "" for a device that two programs call empty; refuse all else."""
    probed = host.run(as_root("blkid", "--probe", "--match-tag", "TYPE", "--output", "value", path))
    marks = host.run(as_root("wipefs", "--no-act", "--parsable", "--noheadings", path))
    if probed.code == NOT_FOUND and not probed.out and not marks.code and not marks.out.strip():
        return ""
    if probed.code == 0 and probed.out.strip() == "ext4":
        return "ext4"
    said = probed.out.strip()[:40] or marks.out.strip()[:40] or "something"
    raise refusal(
        f"{path} on {host.name} is not empty and no ext4: {said!r}",
        "give an empty device; if nothing on this one is needed: sudo wipefs --all it",
    )


def _tag(host: Host, path: str, name: str) -> str:
    words = as_root("blkid", "--probe", "--match-tag", name, "--output", "value", path)
    return host.check(words, AGAIN).strip()


def _check_free(host: Host) -> None:
    """Refuse to hide data: the folder has to be absent or empty, with nothing mounted there."""
    words = as_root("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", ROOT)
    other = lines(host, words)
    if other:
        raise refusal(f"{ROOT} on {host.name} is on {other[0]}", "leave out --data-device")
    if lines(host, as_root("find", ROOT, "-mindepth", "1", "-maxdepth", "1", "-print", "-quit")):
        raise refusal(
            f"{ROOT} on {host.name} holds data already",
            "leave out --data-device, or move the data to the volume yourself (Docker stopped)",
        )


def _listed(host: Host, table: str, device: Device) -> bool:
    """Say whether the mount is in the table; refuse where the table says another."""
    rows = [line.split() for line in table.splitlines() if not line.lstrip().startswith("#")]
    for row in rows:
        if len(row) > 1 and row[1].rstrip("/") == ROOT:
            if device.uuid and row[0] == f"UUID={device.uuid}":
                return True
            raise refusal(
                f"{FSTAB} on {host.name} mounts {row[0]} at {ROOT}",
                f"take that line out of {FSTAB}, or leave out --data-device",
            )
    return False
