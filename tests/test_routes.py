"""The way to a host: what was typed, the settings, ~/.ssh/config, defaults."""

import getpass
from pathlib import Path

import pytest

from ops import routes
from ops.errors import OpsError
from ops.settings import Settings

CONFIG = """\
Include conf.d/*
Host prod
    HostName mlflow.internal
    User ubuntu
    Port 2222
    IdentityFile ~/keys/prod
    ProxyJump ops@gate:2200,second
Host gate
    HostName 10.0.0.1
    ProxyJump outer
Host tunnel
    User ec2-user
    ProxyCommand aws ssm start-session --target %h --port %p --user %r
Host named
    HostKeyAlias Pinned.Name
    IdentitiesOnly yes
Host *
    Port 22
"""


@pytest.fixture
def config(home: Path) -> Path:
    file = home / ".ssh" / "config"
    file.write_text(CONFIG, "utf-8")
    return file


def find(address: str, **settings: object) -> routes.Route:
    return routes.find(address, Settings(**settings))  # type: ignore[arg-type]


def test_without_anything_it_is_the_own_name_at_port_22(home: Path) -> None:
    del home
    route = find("Host.example.com")

    assert (route.user, route.host, route.port) == (getpass.getuser(), "Host.example.com", 22)
    assert (route.known_as, route.keys, route.jumps) == ("host.example.com", (), ())


def test_the_configuration_is_asked_by_alias(config: Path, home: Path) -> None:
    del config
    route = find("prod")

    assert (route.user, route.host, route.port) == ("ubuntu", "mlflow.internal", 2222)
    assert route.known_as == "[mlflow.internal]:2222"
    assert route.keys == (home / "keys" / "prod",)
    assert route.address == "prod"


def test_settings_win_over_the_configuration_and_the_address_over_both(
    config: Path, tmp_path: Path
) -> None:
    del config
    key = tmp_path / "key"
    key.touch()
    ours = {"deploy_user": "deployer", "deploy_port": 2300, "deploy_key": str(key)}

    route = find("prod", **ours)
    assert (route.user, route.port, route.keys) == ("deployer", 2300, (key,))
    route = find("me@prod:2400", **ours)
    assert (route.user, route.host, route.port) == ("me", "mlflow.internal", 2400)


def test_a_jump_has_a_way_of_its_own_and_none_of_the_settings(config: Path, tmp_path: Path) -> None:
    del config
    key = tmp_path / "key"
    key.touch()
    outer, gate, second = find("prod", deploy_user="deployer", deploy_key=str(key)).jumps

    assert (outer.host, outer.user) == ("outer", getpass.getuser())
    assert (gate.user, gate.host, gate.port, gate.keys) == ("ops", "10.0.0.1", 2200, ())
    assert (second.host, second.port) == ("second", 22)


def test_a_proxy_command_gets_the_names_that_are_used(config: Path) -> None:
    del config
    route = find("me@tunnel:2400")

    assert route.proxy_command == ("aws ssm start-session --target tunnel --port 2400 --user me")


def test_the_name_in_known_hosts_may_be_another(config: Path) -> None:
    del config
    route = find("named")

    assert (route.known_as, route.only_these_keys) == ("pinned.name", True)


def test_included_files_are_read(config: Path) -> None:
    folder = config.parent / "conf.d"
    folder.mkdir()
    (folder / "work").write_text("Host inner\n  HostName 192.0.2.7\n", "utf-8")

    assert find("inner").host == "192.0.2.7"


def test_files_that_include_one_another_come_to_an_end(config: Path) -> None:
    config.write_text("Include config\nHost a\n  User b\n", "utf-8")

    assert find("a").user == "b"


def test_jumps_in_circles_are_refused(config: Path) -> None:
    config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n", "utf-8")
    with pytest.raises(OpsError, match="in circles") as caught:
        find("a")

    assert caught.value.code == 2


def test_a_jump_for_every_host_is_not_one_for_itself(config: Path) -> None:
    config.write_text("Host *\n ProxyJump gate\n", "utf-8")

    assert [jump.host for jump in find("inner").jumps] == ["gate"]


def test_none_turns_a_jump_off(config: Path) -> None:
    config.write_text("Host a\n ProxyJump none\nHost *\n ProxyJump gate\n", "utf-8")

    assert find("a").jumps == ()


@pytest.mark.parametrize(
    "text", ["Host a\n  Port many\n", "Match\n", "no configuration at all: <html>\n\0"]
)
def test_a_configuration_that_makes_no_sense_is_refused(config: Path, text: str) -> None:
    config.write_text(text, "utf-8")
    with pytest.raises(OpsError) as caught:
        find("a")

    assert caught.value.code == 2
    assert "~/.ssh/config" in caught.value.cause


def test_a_key_that_is_not_there_is_refused(home: Path) -> None:
    with pytest.raises(OpsError) as caught:
        find("a", deploy_key=str(home / "no-such-key"))

    assert (caught.value.code, caught.value.cause) == (
        2,
        f"DEPLOY_KEY {home}/no-such-key is not there",
    )


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-oProxyCommand=id",
        "a b",
        "a;id",
        "$(id)",
        "a\nb",
        "'a'",
        "me@-a",
        "a:0",
        "@a",
        "a:",
        "`a`",
    ],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(OpsError) as caught:
        find(address)

    assert caught.value.code == 2
    assert repr(address) in caught.value.cause
