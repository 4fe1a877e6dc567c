"""Logging in: the connection, the host's key, the person's keys, hosts in between."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from ops import logins, routes
from ops.errors import OpsError
from ops.host_keys import HostKey
from ops.settings import Settings
from ops.ssh import connect
from tests.ssh_server import SshServer

NewSshd = Callable[..., SshServer]


def ecdsa() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


def ed25519() -> paramiko.PKey:
    from io import StringIO

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    text = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    return paramiko.Ed25519Key.from_private_key(StringIO(text.decode()))


def shown(key: paramiko.PKey) -> HostKey:
    return HostKey(key.get_name(), key.asbytes())


def failing(address: str, settings: Settings) -> OpsError:
    with pytest.raises(OpsError) as caught, connect(address, settings):
        pass
    return caught.value


# --- The connection ---


def test_a_name_that_does_not_exist_is_said_to(home: Path, tmp_path: Path) -> None:
    del home
    error = failing("no-such-host.invalid", Settings(root=tmp_path))

    assert error.cause.startswith("cannot reach no-such-host.invalid:22: ")
    assert (error.code, error.remedy) == (1, "check the name of the host")


def test_a_port_that_nobody_listens_at_is_said_to(home: Path, tmp_path: Path) -> None:
    del home
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failing(f"127.0.0.1:{port}", Settings(root=tmp_path))

    assert error.cause == f"cannot reach 127.0.0.1:{port}: connection refused"
    assert error.code == 1


def test_a_host_that_does_not_answer_leads_to_the_security_group(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener whose queue is full drops what comes, as a security group does."""
    del home
    monkeypatch.setattr(logins, "PATIENCE", 0.3)
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for wire in (first, second):
            wire.setblocking(False)
            wire.connect_ex(listener.getsockname())
        error = failing(f"127.0.0.1:{listener.getsockname()[1]}", Settings(root=tmp_path))

    assert "timed out after 0.3 s" in error.cause
    assert "security group" in error.remedy
    assert error.code == 1


@contextmanager
def answering(greeting: bytes) -> Iterator[int]:
    """Listen at a port and say something that is not SSH; then nothing more, or hang up."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as wire:
                wire.sendall(greeting)
                if not greeting:
                    wire.recv(1000)
                    wire.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
    thread.join(5)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_what_does_not_speak_ssh_is_said_to(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    del home
    monkeypatch.setattr(logins, "PATIENCE", 0.5)
    with answering(greeting) as port:
        error = failing(f"127.0.0.1:{port}", Settings(root=tmp_path))

    assert error.cause.startswith(f"no SSH handshake with 127.0.0.1:{port}: ")
    assert error.code == 1


# --- The host's key ---


def test_an_unknown_host_is_refused_before_anybody_logs_in(sshd: SshServer, tmp_path: Path) -> None:
    error = failing(sshd.address, Settings(root=tmp_path))

    assert shown(sshd.host_keys[0]).fingerprint in error.cause
    assert (error.code, error.remedy) == (2, f"invoke trust --host {sshd.address}")
    assert sshd.users == []


@pytest.mark.parametrize("make", [ecdsa, ed25519])
def test_a_changed_key_is_refused_before_anybody_logs_in(
    new_sshd: NewSshd, tmp_path: Path, make: Callable[[], paramiko.PKey]
) -> None:
    old, new = make(), make()
    server = new_sshd(new)
    settings = Settings(root=tmp_path)
    settings.data.mkdir()
    name = f"[127.0.0.1]:{server.port}"
    settings.known_hosts.write_text(f"{name} {shown(old).words}\n", "utf-8")
    error = failing(server.address, settings)

    assert error.code == 2
    assert shown(old).fingerprint in error.cause
    assert shown(new).fingerprint in error.cause
    assert f"ssh-keygen -R '{name}' -f {settings.known_hosts};" in error.remedy
    assert server.users == []


def test_the_host_is_asked_for_the_kind_of_key_that_is_known(
    new_sshd: NewSshd, tmp_path: Path
) -> None:
    """A host shows the kind that the client likes best, which may be one nobody has pinned."""
    first, second = ed25519(), ecdsa()
    server = new_sshd(first, second)
    settings = Settings(root=tmp_path)
    settings.data.mkdir()
    for key in (first, second):
        line = f"[127.0.0.1]:{server.port} {shown(key).words}\n"
        settings.known_hosts.write_text(line, "utf-8")
        with connect(server.address, settings) as host:
            assert host.run(["true"]).code == 0


def test_the_user_s_own_known_hosts_counts_hashed_or_not(
    sshd: SshServer, home: Path, tmp_path: Path
) -> None:
    name = paramiko.HostKeys.hash_host(f"[127.0.0.1]:{sshd.port}")
    file = home / ".ssh" / "known_hosts"
    file.write_text(f"{name} {shown(sshd.host_keys[0]).words}\n", "utf-8")
    with connect(sshd.address, Settings(root=tmp_path)) as host:
        assert host.run(["true"]).code == 0

    assert not (tmp_path / "data").exists()


def test_all_keys_of_a_host_are_shown_without_logging_in(new_sshd: NewSshd, tmp_path: Path) -> None:
    keys = [ed25519(), ecdsa()]
    server = new_sshd(*keys)
    settings = Settings(root=tmp_path)

    assert logins.keys_shown(routes.find(server.address, settings), settings) == [
        shown(key) for key in keys
    ]
    assert server.users == []


# --- The person's keys: tests/test_identities.py has which are tried ---


def test_a_host_that_takes_no_key_names_the_user_and_what_was_tried(
    sshd: SshServer, knowing: Settings, home: Path
) -> None:
    sshd.accepted.clear()
    error = failing(sshd.address, knowing)

    assert error.cause == (
        f"cannot log in to somebody@[127.0.0.1]:{sshd.port}: none was accepted\n"
        f"  keys tried: {home}/.ssh/id_ecdsa"
    )
    assert error.code == 1
    assert "DEPLOY_KEY" in error.remedy


def test_a_user_without_any_key_is_told_so(sshd: SshServer, knowing: Settings, home: Path) -> None:
    (home / ".ssh" / "id_ecdsa").unlink()

    assert "there is no key to try" in failing(sshd.address, knowing).cause


def test_a_key_with_a_passphrase_leads_to_the_agent(
    sshd: SshServer, knowing: Settings, home: Path
) -> None:
    file = home / ".ssh" / "id_ecdsa"
    ecdsa().write_private_key_file(str(file), password="open sesame")
    error = failing(sshd.address, knowing)

    assert (error.code, error.remedy) == (2, f"ssh-add {file}")
    assert "a passphrase protects" in error.cause


# --- Hosts in between ---


def test_a_jump_s_key_is_checked_too_and_then_leads_on(
    new_sshd: NewSshd, sshd: SshServer, knowing: Settings, home: Path
) -> None:
    gate = new_sshd()
    text = f"Host *\n  ProxyJump porter@127.0.0.1:{gate.port}\n"
    text = f"Host 127.0.0.1\n  ProxyJump none\nHost inner\n  HostName 127.0.0.1\n{text}"
    (home / ".ssh" / "config").write_text(text, "utf-8")
    address = f"me@inner:{sshd.port}"
    error = failing(address, knowing)
    assert error.remedy == f"invoke trust --host porter@127.0.0.1:{gate.port}"
    assert sshd.users == gate.users == []

    with knowing.known_hosts.open("a") as file:
        file.write(gate.known_line)
    with connect(address, knowing) as host:
        assert host.run(["echo", "through"]).out == "through\n"
    assert gate.led_to == [("127.0.0.1", sshd.port)]
    assert (gate.users[-1], sshd.users[-1]) == ("porter", "me")


def test_a_jump_that_cannot_reach_the_host_is_named(
    new_sshd: NewSshd, sshd: SshServer, knowing: Settings, home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    text = f"Host inner\n HostName 127.0.0.1\n ProxyJump me@127.0.0.1:{sshd.port}\n"
    (home / ".ssh" / "config").write_text(text, "utf-8")
    del new_sshd
    error = failing(f"inner:{closed}", knowing)

    assert error.cause.startswith(f"cannot reach 127.0.0.1:{closed} from me@127.0.0.1:{sshd.port}")


def test_a_proxy_command_carries_the_connection(
    sshd: SshServer, knowing: Settings, home: Path
) -> None:
    script = home / "carry.py"
    script.write_text(
        "import socket, sys, threading, os\n"
        "wire = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): wire.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := wire.recv(65536): os.write(1, data)\n",
        "utf-8",
    )
    import sys

    text = f"Host inner\n HostName 127.0.0.1\n ProxyCommand {sys.executable} {script} %h %p\n"
    (home / ".ssh" / "config").write_text(text, "utf-8")
    with connect(f"me@inner:{sshd.port}", knowing) as host:
        assert host.run(["echo", "carried"]).out == "carried\n"


def test_a_proxy_command_that_fails_is_an_error(
    sshd: SshServer, knowing: Settings, home: Path
) -> None:
    text = "Host inner\n HostName 127.0.0.1\n ProxyCommand false\n"
    (home / ".ssh" / "config").write_text(text, "utf-8")

    assert failing(f"me@inner:{sshd.port}", knowing).cause.startswith("no SSH handshake with")
