"""How a host key becomes a known one: real handshakes, and moto's EC2 over HTTP."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import host_keys, trust
from ops.errors import OpsError
from ops.settings import Settings
from tests.aws import Aws, Call, Fault
from tests.ssh_server import SshServer
from tests.test_logins import ecdsa, ed25519, shown

UBUNTU = """\
<14>Nov 24 01:02:03 cloud-init: #############################################################
<14>Nov 24 01:02:03 cloud-init: -----BEGIN SSH HOST KEY FINGERPRINTS-----
<14>Nov 24 01:02:03 cloud-init: 256 {0} root@ip-10-0-0-1 (ECDSA)
<14>Nov 24 01:02:03 cloud-init: 256 {1} root@ip-10-0-0-1 (ED25519)
<14>Nov 24 01:02:03 cloud-init: -----END SSH HOST KEY FINGERPRINTS-----
<14>Nov 24 01:02:03 cloud-init: #############################################################
"""
KEYS_ONLY = """\
-----BEGIN SSH HOST KEY KEYS-----
{0} root@ip-10-0-0-1
{1} root@ip-10-0-0-1
-----END SSH HOST KEY KEYS-----
"""
ELSE = "SHA256:" + "A" * 43


@pytest.fixture
def settings(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a project that knows no host, found by the task; no AWS, nobody to ask."""
    del home
    found = Settings(root=tmp_path)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: found))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    return found


@pytest.fixture
def ec2(settings: Settings, aws: Aws) -> Callable[[str], str]:
    """Start an instance at 127.0.0.1 whose console says what it is given.

    The address is its private one, in a network of its own: moto chooses the public one itself.
    """
    del settings
    client = aws.client("ec2")

    def start(text: str) -> str:
        vpc = client.create_vpc(CidrBlock="127.0.0.0/16")["Vpc"]["VpcId"]
        subnet = client.create_subnet(VpcId=vpc, CidrBlock="127.0.0.0/24")["Subnet"]["SubnetId"]
        where = {"SubnetId": subnet, "PrivateIpAddress": "127.0.0.1"}
        made = client.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, **where)
        aws.console(text)
        identity: str = made["Instances"][0]["InstanceId"]
        return identity

    return start


def pinned(settings: Settings, server: SshServer) -> list[str]:
    name = f"[127.0.0.1]:{server.port}"
    return [entry.key.fingerprint for entry in host_keys.known(name, [settings.known_hosts])]


def fingerprints(server: SshServer) -> list[str]:
    return [shown(key).fingerprint for key in server.host_keys]


def refused(server: SshServer, fingerprint: str = "") -> OpsError:
    with pytest.raises(OpsError) as caught:
        trust.establish(server.address, fingerprint)
    assert caught.value.code == 2
    return caught.value


# --- A fingerprint is given ---


def test_the_key_with_the_given_fingerprint_is_pinned_and_only_it(
    new_sshd: Callable[..., SshServer], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    server = new_sshd(ed25519(), ecdsa())
    first, second = fingerprints(server)
    trust.establish(server.address, second)

    assert pinned(settings, server) == [second]
    assert capsys.readouterr().out.splitlines() == [
        f"{first} ssh-ed25519 [127.0.0.1]:{server.port}",
        f"{second} ecdsa-sha2-nistp256 [127.0.0.1]:{server.port}",
    ]


def test_another_fingerprint_is_refused_with_both(sshd: SshServer, settings: Settings) -> None:
    cause = refused(sshd, ELSE).cause

    assert ELSE in cause
    assert fingerprints(sshd)[0] in cause
    assert not settings.known_hosts.exists()


@pytest.mark.parametrize("text", ["SHA256:short", "MD5:" + "0" * 43, "x", ELSE + "="])
def test_what_is_no_fingerprint_is_refused(sshd: SshServer, settings: Settings, text: str) -> None:
    del settings
    assert repr(text) in refused(sshd, text).cause


def test_a_given_fingerprint_replaces_an_old_key_without_a_question(
    sshd: SshServer, settings: Settings
) -> None:
    name = f"[127.0.0.1]:{sshd.port}"
    host_keys.pin(settings, name, [shown(ecdsa()), shown(ed25519())])
    trust.establish(sshd.address, fingerprints(sshd)[0])

    assert pinned(settings, sshd) == fingerprints(sshd)


# --- Nobody but the host tells ---


def test_where_nobody_can_be_asked_it_is_refused_with_the_flag(
    sshd: SshServer, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(sshd)

    assert error.remedy == f"compare it, then repeat with --fingerprint {fingerprints(sshd)[0]}"
    said = capsys.readouterr().err
    assert "no second channel: AWS was not to be asked: there are no AWS credentials" in said
    assert "log in" not in said
    assert not settings.known_hosts.exists()


@pytest.mark.parametrize("text", ["no\n", "y\n", "", "YES\n"])
def test_any_answer_but_yes_changes_nothing(
    sshd: SshServer, settings: Settings, answer: Callable[[str], None], text: str
) -> None:
    answer(text)

    assert "not confirmed" in refused(sshd).cause
    assert not settings.known_hosts.exists()


def test_yes_pins_what_was_shown(
    new_sshd: Callable[..., SshServer], settings: Settings, answer: Callable[[str], None]
) -> None:
    server = new_sshd(ed25519(), ecdsa())
    answer("yes\n")
    trust.establish(server.address, "")

    assert pinned(settings, server) == fingerprints(server)


def test_an_old_key_is_shown_and_replaced_on_a_yes(
    sshd: SshServer,
    settings: Settings,
    answer: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = shown(ecdsa())
    host_keys.pin(settings, f"[127.0.0.1]:{sshd.port}", [old])
    refused(sshd)
    assert pinned(settings, sshd) == [old.fingerprint]

    answer("yes\n")
    trust.establish(sshd.address, "")
    assert pinned(settings, sshd) == fingerprints(sshd)
    assert f"known until now: {old.fingerprint}" in capsys.readouterr().err


def test_several_hosts_are_asked_about_one_by_one(
    new_sshd: Callable[..., SshServer], settings: Settings, answer: Callable[[str], None]
) -> None:
    hosts = [new_sshd(), new_sshd()]
    answer("yes\nyes\n")
    trust.establish(",".join(each.address for each in hosts), "")

    assert [pinned(settings, each) for each in hosts] == [fingerprints(each) for each in hosts]


def test_a_host_that_is_known_changes_nothing_and_asks_nobody(
    sshd: SshServer, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    trust.establish(sshd.address, fingerprints(sshd)[0])
    before = settings.known_hosts.stat()
    trust.establish(sshd.address, "")
    trust.establish(sshd.address, fingerprints(sshd)[0])

    assert settings.known_hosts.stat() == before
    assert "known already; nothing changed" in capsys.readouterr().err


# --- EC2 tells ---


def test_a_key_that_the_console_shows_too_is_pinned(
    sshd: SshServer,
    settings: Settings,
    ec2: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    key, other = shown(sshd.host_keys[0]), shown(ed25519())
    text = UBUNTU.format(key.fingerprint, other.fingerprint)
    identity = ec2(f"booting\r\n{text}login:")
    trust.establish(sshd.address, "")

    assert pinned(settings, sshd) == [key.fingerprint]
    assert f"the console of {identity} shows the same" in capsys.readouterr().err


def test_another_key_on_the_console_is_refused_with_both(
    sshd: SshServer, settings: Settings, ec2: Callable[[str], str], answer: Callable[[str], None]
) -> None:
    other = shown(ecdsa()).fingerprint
    ec2(UBUNTU.format(other, ELSE))
    answer("yes\n")
    cause = refused(sshd).cause

    assert other in cause
    assert fingerprints(sshd)[0] in cause
    assert not settings.known_hosts.exists()


def test_replacing_a_key_wants_a_yes_though_the_console_shows_the_new_one(
    sshd: SshServer, settings: Settings, ec2: Callable[[str], str], answer: Callable[[str], None]
) -> None:
    old = shown(ecdsa())
    host_keys.pin(settings, f"[127.0.0.1]:{sshd.port}", [old])
    ec2(UBUNTU.format(fingerprints(sshd)[0], ELSE))
    refused(sshd)
    assert pinned(settings, sshd) == [old.fingerprint]

    answer("yes\n")
    trust.establish(sshd.address, "")
    assert pinned(settings, sshd) == fingerprints(sshd)


def test_a_console_that_tells_nothing_is_no_second_channel(
    sshd: SshServer,
    settings: Settings,
    ec2: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    del settings
    identity = ec2("booting\n")
    refused(sshd)

    assert f"the console of {identity} tells no host keys" in capsys.readouterr().err


def test_no_instance_or_two_are_no_second_channel(
    sshd: SshServer,
    settings: Settings,
    ec2: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    del settings
    refused(sshd)
    assert "no EC2 instance of this account and region is 127.0.0.1" in capsys.readouterr().err

    ec2("")
    ec2("")
    refused(sshd)
    assert "2 EC2 instances have the address 127.0.0.1" in capsys.readouterr().err


@pytest.mark.usefixtures("settings")
def test_an_aws_that_denies_it_is_no_second_channel(
    sshd: SshServer, aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    with aws.failing(Fault(looking, code="UnauthorizedOperation", status=403)):
        refused(sshd)

    cause = "AWS was not to be asked: AWS denies DescribeInstances"
    assert f"no second channel: {cause}" in capsys.readouterr().err


@pytest.mark.usefixtures("settings")
def test_an_aws_that_is_busy_is_asked_twice_only(sshd: SshServer, aws: Aws) -> None:
    with aws.failing(Fault(looking, code="RequestLimitExceeded", status=503)):
        refused(sshd)

    assert ["GetCallerIdentity", "DescribeInstances", "DescribeInstances"] == aws.operations


def looking(_: int, call: Call) -> bool:
    return call.operation == "DescribeInstances"


def test_the_console_may_hold_whole_keys_instead() -> None:
    keys = [shown(ecdsa()), shown(ed25519())]
    text = KEYS_ONLY.format(*(key.words for key in keys)).replace("\n", "\r\n")

    assert trust.console_fingerprints(text) == [key.fingerprint for key in keys]


@pytest.mark.parametrize("text", ["", "-----BEGIN SSH HOST KEY FINGERPRINTS-----\n" + ELSE, ELSE])
def test_a_console_without_a_whole_block_tells_nothing(text: str) -> None:
    assert trust.console_fingerprints(text) == []


def test_the_last_first_boot_on_the_console_counts() -> None:
    first, last = "SHA256:" + "B" * 43, "SHA256:" + "C" * 43
    text = UBUNTU.format(first, first) + "rebuilt\n" + UBUNTU.format(last, ELSE)

    assert trust.console_fingerprints(text) == [last, ELSE]


# --- Which host ---


def test_without_a_host_those_to_deploy_to_are_meant(
    new_sshd: Callable[..., SshServer],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[str], None],
) -> None:
    servers = [new_sshd(), new_sshd()]
    both = Settings(root=settings.root, deploy_host=",".join(s.address for s in servers))
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: both))
    answer("yes\nyes\n")
    trust.establish("", "")

    assert [pinned(settings, server) for server in servers] == [fingerprints(s) for s in servers]
    with pytest.raises(OpsError, match="one fingerprint is for one host"):
        trust.establish("", ELSE)


def test_no_host_at_all_is_refused(settings: Settings) -> None:
    del settings
    with pytest.raises(OpsError, match="there is no host to trust") as caught:
        trust.establish("", "")

    assert caught.value.code == 2


def test_boto3_is_loaded_by_nothing_but_the_question() -> None:
    import subprocess

    script = "import sys, ops.trust, ops.ssh; sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True)
