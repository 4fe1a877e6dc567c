"""The keys a person logs in with: which are tried, and in which order."""

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest

from ops.errors import OpsError
from ops.settings import Settings
from ops.ssh import connect
from tests.ssh_server import SshServer


class Agent:
    """What ssh-agent is: a socket that lists keys and signs, by draft-ietf-sshm-ssh-agent."""

    def __init__(self, path: Path, keys: Sequence[paramiko.PKey]) -> None:
        self.keys = list(keys)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                wire, _ = self._listener.accept()
                with wire:
                    while head := wire.recv(4):
                        self._answer(wire, wire.recv(struct.unpack(">I", head)[0]))

    def _answer(self, wire: socket.socket, asked: bytes) -> None:
        answer = paramiko.Message()
        if asked[0] == 11:
            answer.add_byte(b"\x0c")
            answer.add_int(len(self.keys))
            for key in self.keys:
                answer.add_string(key.asbytes())
                answer.add_string("a key")
        else:
            message = paramiko.Message(asked[1:])
            blob, data = message.get_binary(), message.get_binary()
            (key,) = [key for key in self.keys if key.asbytes() == blob]
            answer.add_byte(b"\x0e")
            answer.add_string(key.sign_ssh_data(data).asbytes())
        wire.sendall(struct.pack(">I", len(answer.asbytes())) + answer.asbytes())


@pytest.fixture
def agent(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An agent that holds no key yet."""
    del home
    running = Agent(tmp_path / "agent", [])
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    yield running
    running.close()


def offered(server: SshServer) -> list[str]:
    """Return the keys that were shown, each once: a client asks before it signs."""
    return list(dict.fromkeys(server.offered))


def new_key(file: Path | None = None, password: str | None = None) -> paramiko.PKey:
    key = paramiko.ECDSAKey.generate()
    if file:
        key.write_private_key_file(str(file), password=password)
        file.with_name(f"{file.name}.pub").write_text(f"{key.get_name()} {key.get_base64()} me\n")
    return key


def test_a_key_that_only_the_agent_holds_lets_the_user_in(
    sshd: SshServer, knowing: Settings, agent: Agent, home: Path
) -> None:
    (home / ".ssh" / "id_ecdsa").unlink()
    key = new_key()
    agent.keys = [key]
    sshd.accepted = {key.get_base64()}
    with connect(sshd.address, knowing) as host:
        assert host.run(["true"]).code == 0


def test_the_agent_opens_a_key_with_a_passphrase(
    sshd: SshServer, knowing: Settings, agent: Agent, home: Path
) -> None:
    key = new_key(home / "locked", "open sesame")
    other = new_key()
    agent.keys = [other, key]
    sshd.accepted = {key.get_base64()}
    settings = Settings(root=knowing.root, deploy_key=str(home / "locked"))
    with connect(sshd.address, settings):
        pass

    assert offered(sshd) == [key.get_base64()]


def test_the_key_asked_for_is_tried_first_then_the_agent_s(
    sshd: SshServer, knowing: Settings, agent: Agent, home: Path
) -> None:
    mine = new_key(home / "mine")
    agent.keys = [new_key()]
    settings = Settings(root=knowing.root, deploy_key=str(home / "mine"))
    sshd.accepted.clear()
    with pytest.raises(OpsError) as caught, connect(sshd.address, settings):
        pass

    assert offered(sshd) == [mine.get_base64(), agent.keys[0].get_base64()]
    assert f"keys tried: {home}/mine, agent a key" in caught.value.cause


def test_the_agent_s_keys_come_before_the_usual_files(
    sshd: SshServer, knowing: Settings, agent: Agent, user_key: paramiko.PKey
) -> None:
    agent.keys = [new_key()]
    with connect(sshd.address, knowing):
        pass

    assert offered(sshd) == [agent.keys[0].get_base64(), user_key.get_base64()]


def test_only_the_configured_keys_are_tried_where_that_is_asked_for(
    sshd: SshServer, knowing: Settings, agent: Agent, home: Path
) -> None:
    mine = new_key(home / "mine")
    agent.keys = [new_key()]
    text = f"Host *\n IdentityFile {home}/mine\n IdentityFile {home}/none\n IdentitiesOnly yes\n"
    (home / ".ssh" / "config").write_text(text, "utf-8")
    with pytest.raises(OpsError), connect(sshd.address, knowing):
        pass

    assert offered(sshd) == [mine.get_base64()]


# paramiko leaves its socket to an agent that is gone to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_agent_that_is_gone_and_a_file_that_is_no_key_are_passed_over(
    sshd: SshServer, knowing: Settings, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "gone"))
    (home / ".ssh" / "id_ed25519").write_text("no key\n", "utf-8")
    with connect(sshd.address, knowing) as host:
        assert host.run(["true"]).code == 0


def test_a_key_with_a_passphrase_is_named_when_no_other_is_taken(
    sshd: SshServer, knowing: Settings, home: Path
) -> None:
    locked = home / ".ssh" / "id_rsa"
    new_key(locked, "open sesame")
    sshd.accepted.clear()
    with pytest.raises(OpsError) as caught, connect(sshd.address, knowing):
        pass

    assert f"left out for their passphrase: {locked}" in caught.value.cause
    assert caught.value.remedy == f"ssh-add {locked}"
    assert "sesame" not in str(caught.value)
