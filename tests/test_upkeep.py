"""Security upgrades and the time: switched on where they are not, and proven to be on."""

from typing import Any

import pytest

from ops import upkeep
from ops.errors import OpsError
from ops.hosts import Result
from ops.packages import Apt, Dnf
from ops.steps import Step
from tests.conftest import FAILS, FakeHost

ON = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'
OFF = 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "0";\n'
READ, WRITE = "sudo -n sh -c 'test ", "sudo -n sh -c 'set -eu"
STOCK = "[commands]\n# a comment\nupgrade_type = default\napply_updates = no\n\n[emitters]\nx = y\n"
SET = STOCK.replace("default", "security").replace("= no", "= yes")


class Switch(FakeHost):
    """A machine whose apt answers as it was told last."""

    obeys = True

    def run(self, words: Any, *, stdin: bytes = b"", **more: Any) -> Result:
        done = super().run(words, stdin=stdin, **more)
        if stdin and self.obeys:
            self.answers["apt-config"] = stdin.decode()
        return done


def apt(installed: str, config: str) -> Switch:
    return Switch({"dpkg-query": installed, "apt-config": config, "sudo -n": ""})


def upgrades(host: FakeHost) -> Step:
    return upkeep.upgrades(host, Apt(host), "unattended-upgrades", systemd=True)


def test_upgrades_that_are_on_are_left_alone() -> None:
    assert upgrades(apt("installed unattended-upgrades\n", ON)).state == "done already"


@pytest.mark.parametrize(
    ("installed", "config", "todo"),
    [("", "", "install"), ("installed unattended-upgrades\n", OFF, "switch on")],
)
def test_upgrades_are_installed_and_switched_on(installed: str, config: str, todo: str) -> None:
    host = apt(installed, config)
    step = upgrades(host)
    step.act()

    assert step.todo == f"{todo} unattended-upgrades"
    assert step.installs == (not installed)
    assert host.given == [ON.encode()]
    assert host.ran("20auto-upgrades")


def test_upgrades_that_another_file_keeps_off_are_an_error() -> None:
    host = apt("installed unattended-upgrades\n", OFF)
    host.obeys = False
    with pytest.raises(OpsError, match="stay off"):
        upgrades(host).act()


def dnf(config: str, release: str, timer: Result | str, installed: str) -> FakeHost:
    return FakeHost(
        {
            "rpm": installed,
            f'{READ}! -e "$1" || cat "$1"\' sh /etc/dnf/automatic.conf': config,
            f'{READ}! -e "$1" || cat "$1"\' sh /etc/dnf/vars/releasever': release,
            "systemctl is-enabled": timer,
            "sudo -n": "",
        }
    )


def test_amazon_linux_gets_security_upgrades_only_and_follows_the_latest_release() -> None:
    host = dnf(STOCK, "", FAILS, "")
    step = upkeep.upgrades(host, Dnf(host), "dnf-automatic", systemd=True)
    step.act()

    assert step.todo == "install dnf-automatic; follow the latest release of the system"
    assert host.given == [b"latest\n", SET.encode()]
    assert host.ran("dnf install", "dnf-automatic")
    assert host.lines[-1] == "sudo -n systemctl enable --now dnf-automatic.timer"


def test_amazon_linux_that_is_set_up_is_left_alone_with_a_release_of_its_own() -> None:
    host = dnf(SET, "2023.6.20241031\n", "enabled\n", "dnf-automatic\n")
    step = upkeep.upgrades(host, Dnf(host), "dnf-automatic", systemd=True)

    assert step.found == "dnf-automatic, release 2023.6.20241031"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (STOCK, SET),
        (SET, SET),
        ("", "[commands]\napply_updates = yes\nupgrade_type = security\n"),
        ("[emitters]\n", "[emitters]\n[commands]\napply_updates = yes\nupgrade_type = security\n"),
    ],
)
def test_settings_of_dnf_automatic_keep_the_rest(text: str, wanted: str) -> None:
    assert upkeep.configured(text) == wanted
    assert upkeep.configured(wanted) == wanted


def test_any_program_that_keeps_the_time_is_enough() -> None:
    host = FakeHost({"dpkg-query": "installed systemd-timesyncd\n"})

    found = upkeep.clock(host, Apt(host), ("chrony", "systemd-timesyncd"), systemd=True)
    assert found.found == "systemd-timesyncd"


@pytest.mark.parametrize("systemd", [True, False])
def test_chrony_is_installed_where_nothing_keeps_the_time(*, systemd: bool) -> None:
    host = FakeHost({"": ""})
    step = upkeep.clock(host, Apt(host), ("chrony", "ntp"), systemd=systemd)
    step.act()

    assert host.ran("apt-get install", "chrony")
    assert host.ran("systemctl enable --now chrony") == systemd
