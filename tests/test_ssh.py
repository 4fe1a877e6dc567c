"""A host over SSH: a real server in this process, real commands."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import paramiko
import pytest

from ops.errors import OpsError
from ops.hosts import Host, LocalHost, Result
from ops.settings import Settings
from ops.ssh import SshHost, connect
from ops.values import Secret
from tests.conftest import ROOT
from tests.ssh_server import SshServer
from tests.test_hosts import HARD_WORDS

MIB = 1024 * 1024


@pytest.fixture
def both(remote: SshHost) -> list[Host]:
    """A host over SSH and this machine: whatever is true of one is true of the other."""
    return [remote, LocalHost()]


# --- Running ---


def test_words_reach_the_program_as_they_are(remote: SshHost) -> None:
    assert remote.run(["printf", "%s|", *HARD_WORDS]).out == "".join(f"{w}|" for w in HARD_WORDS)


def test_nothing_in_a_word_is_run_by_the_shell_of_the_host(
    remote: SshHost, sshd: SshServer
) -> None:
    remote.run(["echo", "$(touch a)", "`touch b`", "; touch c", "&& touch d", "\ntouch e", "> f"])

    assert list(sshd.home.iterdir()) == []


def test_out_and_err_are_kept_apart_with_the_exit_code(both: list[Host]) -> None:
    for host in both:
        done = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
        assert done == Result(3, "out\n", "err\n")


def test_a_program_that_is_not_there_gives_the_exit_code_of_a_shell(both: list[Host]) -> None:
    assert [host.run(["no-such-program"]).code for host in both] == [127, 127]


def test_output_is_the_same_text_as_of_this_machine(both: list[Host]) -> None:
    words = ["printf", r"gr\303\266\303\237er caf\351\r\nend"]

    assert {host.run(words).out for host in both} == {"größer caf\ufffd\nend"}


def test_input_and_environment_reach_the_command(both: list[Host]) -> None:
    words = ["sh", "-c", 'cat; echo "$HARD"']
    for host in both:
        done = host.run(words, stdin=b"given\n", env={"HARD": "a 'b' $c"})
        assert done.out == "given\na 'b' $c\n"


def test_a_command_without_input_sees_its_end(both: list[Host]) -> None:
    assert [host.run(["cat"], deadline=20) for host in both] == [Result(0, "", "")] * 2


def test_input_may_be_an_iterable_that_is_never_whole(remote: SshHost) -> None:
    assert remote.run(["wc", "-c"], stdin=(b"ab" for _ in range(100))).out.strip() == "200"


def test_ten_megabytes_on_each_stream_at_once_are_no_deadlock(remote: SshHost) -> None:
    given = os.urandom(5 * MIB).hex().encode()
    done = remote.run(["sh", "-c", "tee /dev/stderr"], stdin=given)

    assert (done.code, len(done.out), len(done.err)) == (0, 10 * MIB, 10 * MIB)
    assert done.out.encode() == given == done.err.encode()


def test_input_that_a_command_does_not_want_is_no_error_of_run(remote: SshHost) -> None:
    assert remote.run(["sh", "-c", "exec <&-; exit 4"], stdin=bytes(8 * MIB)).code == 4


def test_a_command_that_a_signal_ended_has_a_code_that_is_none_of_its_own(remote: SshHost) -> None:
    assert remote.run(["exec", "sh", "-c", "kill -9 $$"]).code == 255


def test_a_command_that_has_to_succeed_returns_its_output_or_raises(both: list[Host]) -> None:
    for host in both:
        assert host.check(["echo", "fine"], "no remedy") == "fine\n"
        with pytest.raises(OpsError) as caught:
            host.check(["sh", "-c", "echo 'no such volume' >&2; exit 4"], "look at the volume")
        assert caught.value.cause.startswith("exit code 4 from: sh -c ")
        assert caught.value.cause.endswith("\n  no such volume")
        assert (caught.value.remedy, caught.value.code) == ("look at the volume", 1)


def test_a_secret_is_never_a_word(remote: SshHost, sshd: SshServer) -> None:
    word: Any = Secret("open-sesame-0123")
    with pytest.raises(TypeError, match="not Secret"):
        remote.run(["mysql", word])
    with pytest.raises(ValueError, match="NUL"):
        remote.run(["echo", "a\0b"])

    assert sshd.commands == []


# --- What goes wrong on the way ---


def test_a_command_is_given_up_at_its_deadline(both: list[Host]) -> None:
    for host in both:
        with pytest.raises(OpsError) as caught:
            host.run(["sleep", "30"], deadline=0.2)
        assert caught.value.cause == f"not done after 0.2 s on {host.name}: sleep 30"
        assert caught.value.code == 1


def test_the_deadline_holds_for_a_command_that_reads_nothing(remote: SshHost) -> None:
    begin = time.monotonic()
    with pytest.raises(OpsError, match="not done after"):
        remote.run(["sleep", "30"], stdin=bytes(40 * MIB), deadline=0.5)

    assert time.monotonic() - begin < 10


def test_other_commands_go_on_when_one_is_given_up(remote: SshHost) -> None:
    with pytest.raises(OpsError):
        remote.run(["sleep", "30"], deadline=0.1)

    assert remote.run(["echo", "still here"]).out == "still here\n"


def test_a_connection_that_breaks_names_the_command(remote: SshHost, sshd: SshServer) -> None:
    def cut(_: str) -> None:
        sshd.cut()

    with pytest.raises(OpsError) as caught:
        remote.follow(["sh", "-c", "echo begun; exec sleep 30"], cut)
    assert caught.value.cause == (
        f"the connection to {sshd.address} broke during: sh -c 'echo begun; exec sleep 30'"
    )
    assert caught.value.code == 1
    with pytest.raises(OpsError, match="broke during: true"):
        remote.run(["true"])


def test_a_host_that_opens_no_more_sessions_is_said_to(remote: SshHost, sshd: SshServer) -> None:
    sshd.sessions = 0
    with pytest.raises(OpsError, match="starts no command") as caught:
        remote.run(["true"])

    assert "MaxSessions" in caught.value.remedy


def test_many_commands_share_the_connection(remote: SshHost) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(remote.run(["echo", str(n)]).out.strip()))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [str(n) for n in range(8)]


# --- Following ---


def test_following_hands_each_line_on_as_on_this_machine(both: list[Host]) -> None:
    script = "for i in $(seq 3000); do echo $i; done; printf %s $EXTRA; exit 5"
    answers = []
    for host in both:
        lines: list[str] = []
        answers.append((host.follow(["sh", "-c", script], lines.append, {"EXTRA": "é"}), lines))

    assert answers[0] == answers[1]
    done, lines = answers[0]
    assert (done.code, lines[-2:]) == (5, ["3000\n", "é"])
    assert len(done.err.splitlines()) == 2000


def test_what_comes_on_stderr_is_followed_too(both: list[Host]) -> None:
    for host in both:
        lines: list[str] = []
        done = host.follow(["sh", "-c", "echo out; echo err >&2"], lines.append)
        assert sorted(lines) == ["err\n", "out\n"]
        assert sorted(done.err.split()) == ["err", "out"]


def test_a_line_is_handed_on_before_the_command_ends(remote: SshHost, sshd: SshServer) -> None:
    def answer(text: str) -> None:
        if text == "waiting\n":
            (sshd.home / "go").touch()

    script = "echo waiting; while [ ! -e go ]; do sleep 0.02; done"
    assert remote.follow(["sh", "-c", script], answer).code == 0


def test_what_a_line_s_taker_raises_ends_the_command(remote: SshHost) -> None:
    def stop(_: str) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        remote.follow(["sh", "-c", "echo x; exec sleep 30"], stop)


# --- Sending ---


def test_what_is_sent_arrives_whole_and_is_counted(remote: SshHost, sshd: SshServer) -> None:
    chunks = [os.urandom(size) for size in (1, 3 * MIB + 7, 0, MIB)]
    sent: list[int] = []
    done = remote.send(["sh", "-c", "cat > got; echo loaded"], chunks, sent.append)

    assert done == Result(0, "loaded\n", "")
    assert (sshd.home / "got").read_bytes() == b"".join(chunks)
    assert sent[-1] == 4 * MIB + 8
    assert sent == sorted(sent)


def test_a_command_that_ends_early_is_an_error_with_its_last_words(remote: SshHost) -> None:
    words = ["sh", "-c", "head -c 1 >/dev/null; echo 'no space left' >&2; exit 1"]
    with pytest.raises(OpsError) as caught:
        remote.send(words, iter(lambda: bytes(MIB), None), lambda _: None, remedy="make room")

    assert "no space left" in caught.value.cause
    assert (caught.value.remedy, caught.value.code) == ("make room", 1)


def test_not_taking_everything_is_an_error_even_with_exit_code_0(remote: SshHost) -> None:
    with pytest.raises(OpsError, match="ended before everything was sent"):
        remote.send(["head", "-c", "1"], iter(lambda: bytes(MIB), None), lambda _: None)


def test_what_the_source_raises_is_raised_and_the_command_sees_the_end(remote: SshHost) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise OSError("cannot read the image")

    with pytest.raises(OSError, match="cannot read the image"):
        remote.send(["cat"], source(), lambda _: None)
    assert remote.run(["echo", "on"]).out == "on\n"


# --- Files ---


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_a_file_is_put_with_its_mode_and_its_folder(
    remote: SshHost, sshd: SshServer, mode: int, zero_umask: None
) -> None:
    del zero_umask
    remote.put("a b/it's/$x", b"secret\n", mode)
    file = sshd.home / "a b" / "it's" / "$x"

    assert file.read_bytes() == b"secret\n"
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert [path.name for path in file.parent.iterdir()] == ["$x"]


def test_a_file_is_replaced_whole(remote: SshHost, sshd: SshServer) -> None:
    (sshd.home / "file").write_bytes(b"old and longer")
    remote.put("file", bytes(200_000), 0o600)

    assert (sshd.home / "file").read_bytes() == bytes(200_000)


def test_nobody_can_open_a_file_before_it_has_its_mode(
    remote: SshHost, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made with the mode the host's umask leaves: its folder must let nobody in."""
    seen: list[int] = []
    chmod = paramiko.SFTPFile.chmod

    def look(self: paramiko.SFTPFile, mode: int) -> None:
        (draft,) = sshd.home.glob(".file.*")
        assert (draft / "file").stat().st_size == 0
        seen.append(stat.S_IMODE(draft.stat().st_mode))
        chmod(self, mode)

    monkeypatch.setattr(paramiko.SFTPFile, "chmod", look)
    remote.put("file", b"x", 0o600)

    assert seen == [0o700]


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_draft(
    remote: SshHost, sshd: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sshd.home / "file").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(paramiko.SFTPFile, "write", full)
    with pytest.raises(OpsError) as caught:
        remote.put("file", b"new", 0o600)

    assert caught.value.cause == f"cannot write file on {sshd.address}: No space left on device"
    assert [path.name for path in sshd.home.iterdir()] == ["file"]
    assert (sshd.home / "file").read_bytes() == b"old"


# --- Its life ---


def test_a_host_is_called_as_it_was_typed(remote: SshHost, sshd: SshServer) -> None:
    """So that a line which names it can be typed again."""
    assert remote.name == sshd.address


def test_closing_ends_the_connection_and_its_threads(knowing: Settings, sshd: SshServer) -> None:
    host = connect(sshd.address, knowing)
    transport = host._transport
    with host:
        assert transport.is_active()
    transport.join(10)

    assert not transport.is_alive()


def test_nothing_is_said_on_stderr_beside_the_one_error(new_sshd: Callable[..., SshServer]) -> None:
    """paramiko's threads print tracebacks where nobody listens to its log."""
    port = new_sshd().port
    script = (
        "import socket, threading; from ops.ssh import connect; from ops.settings import Settings\n"
        "from pathlib import Path; from ops.errors import OpsError\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "def hang_up():\n"
        "    with listener.accept()[0] as wire: wire.sendall(b'HTTP/1.1 400 no\\r\\n\\r\\n')\n"
        "threading.Thread(target=hang_up, daemon=True).start()\n"
        "try: connect(f'127.0.0.1:{listener.getsockname()[1]}', Settings(root=Path('/nowhere')))\n"
        "except OpsError as error: print(error.cause)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("no SSH handshake with 127.0.0.1:")
    assert done.stderr == ""
