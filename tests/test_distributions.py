"""Which systems are known, and that what /etc/os-release holds is only ever compared."""

import pytest

from ops.distributions import recognise
from ops.errors import OpsError

DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'


@pytest.mark.parametrize(
    ("identity", "version", "manager", "engine", "compose"),
    [
        ("ubuntu", "22.04", "apt", ("docker.io",), "docker-compose-v2"),
        ("ubuntu", "24.04", "apt", ("docker.io",), "docker-compose-v2"),
        ("ubuntu", "26.04", "apt", ("docker.io",), "docker-compose-v2"),
        ("debian", "12", "apt", ("docker.io",), "docker-compose"),
        ("debian", "13", "apt", ("docker.io", "docker-cli"), "docker-compose"),
        ("amzn", "2023", "dnf", ("docker",), ""),
        ("amzn", "2023.6.20241031", "dnf", ("docker",), ""),
    ],
)
def test_a_known_system_is_recognised(
    identity: str, version: str, manager: str, engine: tuple[str, ...], compose: str
) -> None:
    found, said = recognise("h", f'ID="{identity}"\nVERSION_ID="{version}"\nID_LIKE="fedora"\n')

    assert (found.packages, found.engine, found.compose, said) == (
        manager,
        engine,
        compose,
        version,
    )


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_every_way_of_quoting_is_read(quote: str) -> None:
    assert recognise("h", f"ID={quote}debian{quote}\nVERSION_ID={quote}12{quote}")[1] == "12"


def test_the_last_assignment_counts_as_in_a_shell() -> None:
    assert recognise("h", f"ID=arch\n{DEBIAN_13}")[0].name == "Debian"


@pytest.mark.parametrize(
    ("identity", "version"),
    [("ubuntu", "20.04"), ("ubuntu", "21.10"), ("debian", "11"), ("amzn", "2"), ("debian", "")],
)
def test_what_is_too_old_or_has_no_number_is_refused(identity: str, version: str) -> None:
    with pytest.raises(OpsError, match="too old or has no number") as caught:
        recognise("host-1", f"ID={identity}\nVERSION_ID={version}\n")

    assert caught.value.code == 2
    assert "Ubuntu 22.04, Debian 12, Amazon Linux 2023" in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\xff",
        "ID=alpine\nVERSION_ID=3.22\n",
        "ID=linuxmint\nID_LIKE=ubuntu\nVERSION_ID=22\n",
        "ID=$(touch /tmp/x)\nVERSION_ID=13\n",
        "ID=debian; reboot\nVERSION_ID=13\n",
        "ID = debian\nVERSION_ID=13\n",
        "id=debian\nVERSION_ID=13\n",
        'ID="debian\nVERSION_ID=13\n',
        f"ID={'A' * 100_000}\nVERSION_ID=13\n",
        "ID=\x1b]0;owned\x07\x1b[2J\nVERSION_ID=13\n",
    ],
)
def test_a_hostile_or_foreign_file_is_refused_and_cannot_touch_the_terminal(text: str) -> None:
    with pytest.raises(OpsError) as caught:
        recognise("host-1", text)

    assert caught.value.code == 2
    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) < 200


@pytest.mark.parametrize(
    "version", ["13;reboot", "13 ", "１３", "9" * 50, "13\x1b[2J", "$(id)", "-1", "13.x", "1e9"]
)
def test_a_hostile_version_is_refused(version: str) -> None:
    with pytest.raises(OpsError) as caught:
        recognise("host-1", f"ID=debian\nVERSION_ID='{version}'\n")

    assert caught.value.cause.isprintable()
