"""The volume for Docker's data. The lab has no block devices: this logic is tested on a fake only.

What is not proven here is that mkfs.ext4, mount and systemd do with these words what their manuals
say.
"""

import pytest

from ops import data_device
from ops.errors import OpsError
from ops.hosts import Result
from tests.conftest import FAILS, OK, FakeHost

DEVICE, UUID = "/dev/nvme1n1", "0f5a7ab6-4a7e-4f4e-9d53-9f1c1a2b3c4d"
READ = 'sudo -n sh -c \'test ! -e "$1" || cat "$1"\' sh'
TYPE = "sudo -n blkid --probe --match-tag TYPE"
PLACE = "sudo -n findmnt --noheadings --first-only --output TARGET"
OTHER = "sudo -n findmnt --noheadings --output SOURCE --mountpoint /var/lib/docker"
FIND = "sudo -n find /var/lib/docker"
WRITE = "sudo -n sh -c 'set -eu"
FSTAB = "UUID=root / ext4 defaults 0 1"
ROW = f"UUID={UUID} /var/lib/docker ext4 {data_device.OPTIONS} 0 2\n"
EMPTY: dict[str, Result | str] = {
    f"{READ} /etc/docker/daemon.json": "",
    f"{READ} /etc/fstab": FSTAB,
    "sudo -n readlink": f"{DEVICE}\n",
    "sudo -n test -b": OK,
    "sudo -n lsblk": "nvme1n1\n",
    PLACE: FAILS,
    TYPE: Result(2, "", ""),
    "sudo -n wipefs": "",
    OTHER: FAILS,
    FIND: Result(1, "", "No such file or directory"),
    "sudo -n mkfs.ext4": OK,
    "sudo -n blkid --probe --match-tag UUID": f"{UUID}\n",
    WRITE: OK,
    "sudo -n systemctl daemon-reload": OK,
    "sudo -n mkdir": OK,
    "sudo -n mount": OK,
}
EXT4 = {TYPE: "ext4\n", "sudo -n wipefs": "0x438,uuid,,ext4\n"}


def changes(host: FakeHost) -> list[str]:
    reading = ("readlink", "test", "lsblk", "findmnt", "blkid", "wipefs", "find")
    words = [line.removeprefix("sudo -n ").split()[0] for line in host.lines]
    return [
        word
        for word, line in zip(words, host.lines, strict=True)
        if word not in reading and not line.startswith(READ)
    ]


def test_an_empty_device_becomes_ext4_and_is_mounted_by_uuid_before_docker() -> None:
    host = FakeHost(EMPTY)
    step = data_device.step(host, DEVICE, systemd=True)
    assert changes(host) == []
    step.act()

    assert step.todo == f"make ext4 on the empty {DEVICE}, mount it at /var/lib/docker by UUID"
    assert changes(host) == ["mkfs.ext4", "sh", "systemctl", "mkdir", "mount"]
    assert host.given == [f"{FSTAB}\n{ROW}".encode()]
    assert host.lines[-1] == "sudo -n mount /var/lib/docker"
    assert "nofail" in ROW
    assert "x-systemd.required-by=docker.service" in ROW


def test_a_device_with_ext4_is_mounted_as_it_is() -> None:
    host = FakeHost({**EMPTY, **EXT4})
    step = data_device.step(host, DEVICE, systemd=False)
    step.act()

    assert step.todo == f"{DEVICE}, mount it at /var/lib/docker by UUID"
    assert changes(host) == ["sh", "mkdir", "mount"]


def test_a_device_that_is_in_place_is_left_alone() -> None:
    table = {f"{READ} /etc/fstab": ROW, PLACE: "/var/lib/docker\n"}
    step = data_device.step(FakeHost({**EMPTY, **EXT4, **table}), DEVICE, systemd=True)

    assert step.state == "done already"


def test_a_mount_that_would_not_outlive_a_boot_is_written_down() -> None:
    host = FakeHost({**EMPTY, **EXT4, PLACE: "/var/lib/docker\n", FIND: "volumes\n"})
    data_device.step(host, DEVICE, systemd=True).act()

    assert changes(host) == ["sh", "systemctl"]
    assert host.given == [f"{FSTAB}\n{ROW}".encode()]


def test_a_mount_that_was_written_down_but_not_made_is_made() -> None:
    host = FakeHost({**EMPTY, **EXT4, f"{READ} /etc/fstab": ROW})
    data_device.step(host, DEVICE, systemd=True).act()

    assert changes(host) == ["mkdir", "mount"]


@pytest.mark.parametrize(
    "given",
    ["nvme1n1", "/dev/", "/dev/../etc/passwd", "/dev/a b", "/dev/sd$(id)", "-a", "/dev/x\n"],
)
def test_what_is_no_device_name_is_refused_unasked(given: str) -> None:
    host = FakeHost(EMPTY)
    with pytest.raises(OpsError, match="is no device"):
        data_device.step(host, given, systemd=True)

    assert host.lines == [f"{READ} /etc/docker/daemon.json"]


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ({"sudo -n readlink": FAILS}, "no block device"),
        ({"sudo -n test -b": FAILS}, "no block device"),
        ({"sudo -n lsblk": "nvme1n1\nnvme1n1p1\n"}, "has partitions"),
        ({PLACE: "/mnt/data\n"}, "is mounted at /mnt/data"),
        ({TYPE: "xfs\n", "sudo -n wipefs": "0x0,uuid,,xfs\n"}, "is not empty and no ext4: 'xfs'"),
        ({TYPE: "LVM2_member\n"}, "LVM2_member"),
        ({"sudo -n wipefs": "0x1fe,,,dos\n"}, "is not empty"),
        ({"sudo -n wipefs": FAILS}, "is not empty"),
        ({TYPE: Result(8, "", "ambivalent")}, "is not empty"),
        ({TYPE: Result(127, "", "blkid: not found")}, "is not empty"),
        ({TYPE: Result(0, "", "")}, "is not empty"),
        ({OTHER: "/dev/nvme2n1\n"}, "is on /dev/nvme2n1"),
        ({FIND: "/var/lib/docker/volumes\n"}, "holds data already"),
        ({f"{READ} /etc/fstab": "/dev/sdb /var/lib/docker/ xfs defaults 0 2\n"}, "mounts /dev/sdb"),
        ({f"{READ} /etc/docker/daemon.json": '{"data-root": "/mnt"}'}, "Docker's data at '/mnt'"),
    ],
)
def test_a_device_or_host_where_data_might_be_lost_is_refused(
    answers: dict[str, Result | str], cause: str
) -> None:
    host = FakeHost({**EMPTY, **answers})
    with pytest.raises(OpsError) as caught:
        data_device.step(host, DEVICE, systemd=True)

    assert cause in caught.value.cause
    assert caught.value.code == 2
    assert changes(host) == []
