"""A host over SSH, asked of OpenSSH on a simulated EC2 host; tests/test_ssh.py has the rest."""

import os
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ops import host_keys, trust
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from ops.ssh import SshHost, connect
from tests import lab
from tests.e2e.conftest import ROOT, output, wait_for
from tests.test_hosts import HARD_WORDS
from tests.test_terminals import SCRIPT, read_until

MIB = 1024 * 1024


@pytest.fixture(scope="session")
def machine() -> lab.Host:
    """A host with sshd and a Docker Engine of its own."""
    return lab.up(hosts=1).hosts[0]


@pytest.fixture
def settings(machine: lab.Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that know the host and log in with the lab's key."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = Settings(root=tmp_path, deploy_user=machine.user, deploy_key=machine.key)
    found.data.mkdir()
    shutil.copy(machine.known_hosts, found.known_hosts)
    return found


@pytest.fixture
def host(machine: lab.Host, settings: Settings) -> Iterator[SshHost]:
    """The host, logged in to."""
    with connect(machine.address, settings) as connected:
        yield connected


def test_commands_run_as_the_user_with_their_words_as_they_are(
    host: SshHost, machine: lab.Host
) -> None:
    assert host.check(["id", "-un"], "no remedy").strip() == machine.user
    done = host.run(["printf", "%s|", *HARD_WORDS], env={"LC_ALL": "C.UTF-8"})
    assert done.out == "".join(f"{word}|" for word in HARD_WORDS)
    assert host.run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Result(3, "out\n", "err\n")
    assert host.run(["no-such-program"]).code == 127
    assert host.run(["exec", "sh", "-c", "kill -9 $$"]).code == 255


def test_ten_megabytes_on_each_stream_at_once_are_no_deadlock(host: SshHost) -> None:
    given = os.urandom(5 * MIB).hex().encode()
    done = host.run(["sh", "-c", "tee /dev/stderr"], stdin=given)

    assert (done.code, done.out.encode() == given, done.err.encode() == given) == (0, True, True)


def test_sending_is_fast_and_whole(host: SshHost, measured: Callable[[str], None]) -> None:
    piece, count = os.urandom(MIB), 200
    begin = time.monotonic()
    done = host.send(["sh", "-c", "wc -c"], (piece for _ in range(count)), lambda _: None)
    took = time.monotonic() - begin

    measured(f"{count / took:.0f} MiB/s to a host on this machine")
    assert done.out.strip() == str(count * MIB)


def test_a_command_that_ends_early_tells_its_last_words(host: SshHost) -> None:
    words = ["sh", "-c", "head -c 1 >/dev/null; echo 'no space left' >&2; exit 1"]
    with pytest.raises(OpsError, match="no space left"):
        host.send(words, iter(lambda: bytes(MIB), None), lambda _: None)


def test_a_file_is_put_with_its_mode(host: SshHost) -> None:
    host.put("a b/.env", b"secret\n", 0o600)
    host.put("a b/.env", b"other\n", 0o600)

    assert host.check(["stat", "-c", "%a %s", "a b/.env"], "no remedy") == "600 6\n"
    assert host.check(["ls", "-A", "a b"], "no remedy") == ".env\n"
    with pytest.raises(OpsError, match=r"exit code 1 from: mkdir"):
        host.put("/etc/no/such", b"x", 0o600)


def test_a_port_leads_to_the_host(host: SshHost, machine: lab.Host) -> None:
    """Its own sshd answers there, which lets ten wait that have not logged in."""
    import socket

    with host.forward(machine.port) as port:
        wires = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(8)]
        for wire in wires:
            with wire:
                assert wire.recv(4) == b"SSH-"


def test_more_commands_than_sshd_allows_at_once_are_an_error_with_a_remedy(host: SshHost) -> None:
    """sshd's MaxSessions is 10."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(host._started("sleep 60"))
        with pytest.raises(OpsError) as caught:
            host.run(["true"])
    assert "MaxSessions" in caught.value.remedy


def test_a_connection_that_breaks_names_the_command(host: SshHost) -> None:
    def cut(text: str) -> None:
        if text.startswith("begun"):
            host._transport.sock.close()

    with pytest.raises(OpsError, match="broke during: sh -c 'echo begun"):
        host.follow(["sh", "-c", "echo begun; sleep 60"], cut)


def test_a_host_is_trusted_by_the_fingerprint_that_it_prints_itself(
    machine: lab.Host, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.known_hosts.unlink()
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    with pytest.raises(OpsError, match="is not known") as caught:
        connect(machine.address, settings)
    assert caught.value.code == 2

    words = ["ssh-keygen", "-l", "-f", machine.known_hosts, "-F", machine.address]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told = next(word for word in done.stdout.split() if word.startswith("SHA256:"))
    trust.establish(machine.address, told)
    with connect(machine.address, settings) as host:
        assert host.run(["true"]).code == 0


def test_a_real_agent_holds_the_key(
    machine: lab.Host, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL) as agent:
        try:
            wait_for(lambda: Path(sock).exists(), 10, "ssh-agent listens")
            monkeypatch.setenv("SSH_AUTH_SOCK", sock)
            subprocess.run(["ssh-add", "-q", machine.key], check=True)
            with connect(machine.address, replace(settings, deploy_key="")) as host:
                assert host.run(["true"]).code == 0
        finally:
            agent.terminate()


def test_through_a_jump_host(machine: lab.Host, settings: Settings, tmp_path: Path) -> None:
    """The host is its own jump host: it reaches itself."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(
        f"Host gate\n HostName {machine.address}\n User {machine.user}\n"
        f" IdentityFile {machine.key}\nHost inner\n HostName {machine.address}\n ProxyJump gate\n",
        "utf-8",
    )
    with connect("inner", settings) as host:
        assert "127.0.0.1" not in host.check(["sh", "-c", "echo $SSH_CLIENT"], "no remedy")
        assert machine.address in host.check(["sh", "-c", "echo $SSH_CLIENT"], "no remedy")


def test_a_terminal_is_lent_to_a_command(
    machine: lab.Host, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    text = f"Host *\n User {machine.user}\n IdentityFile {machine.key}\n"
    (tmp_path / ".ssh" / "config").write_text(text, "utf-8")
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (30, 100))
    words = [sys.executable, "-c", SCRIPT, machine.address, str(settings.root)]
    words += ["sh", "-c", "stty size; read line; echo got $line; exit 5"]
    with subprocess.Popen(words, cwd=ROOT, stdin=its, stdout=its, stderr=its) as process:
        read_until(ours, b"30 100")
        os.write(ours, b"typed\r")
        read_until(ours, b"got typed")
        assert process.wait(20) == 5
    os.close(ours)
    os.close(its)


@pytest.mark.usefixtures("machine")
def test_names_hashed_by_ssh_keygen_are_found(tmp_path: Path) -> None:
    """The lab has installed ssh-keygen by then."""
    key = host_keys.HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32))
    file = tmp_path / "known_hosts"
    file.write_text(f"[10.0.0.1]:2222 {key.words}\n", "utf-8")
    output("ssh-keygen", "-H", "-f", str(file))

    assert file.read_text("utf-8").startswith("|1|")
    assert [key] == [entry.key for entry in host_keys.known("[10.0.0.1]:2222", [file])]
