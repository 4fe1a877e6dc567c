"""The terminal of this program, lent to a command on a host: a real one, and pipes."""

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.settings import Settings
from tests.conftest import ROOT
from tests.ssh_server import SshServer

SCRIPT = """
import sys
from pathlib import Path
from ops.settings import Settings
from ops.ssh import connect
with connect(sys.argv[1], Settings(root=Path(sys.argv[2]))) as host:
    sys.exit(host.interact(sys.argv[3:]))
"""


@pytest.fixture
def program(sshd: SshServer, knowing: Settings) -> list[str]:
    """The beginning of a line that runs the rest of it on a host."""
    return [sys.executable, "-c", SCRIPT, sshd.address, str(knowing.root)]


@pytest.fixture
def pty() -> Iterator[tuple[int, int]]:
    """Both sides of a terminal of 100 columns and 30 lines."""
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (30, 100))
    yield ours, its
    os.close(ours)
    os.close(its)


def read_until(fileno: int, mark: bytes) -> bytes:
    got = b""
    while mark not in got:
        got += os.read(fileno, 1000)
    return got


def test_pipes_carry_every_byte_and_the_exit_code(program: list[str], sshd: SshServer) -> None:
    given = os.urandom(3 * 1024 * 1024)
    script = "cat; echo done >&2; exit 7"
    done = subprocess.run(
        [*program, "sh", "-c", script], cwd=ROOT, input=given, capture_output=True, check=False
    )

    assert (done.returncode, done.stderr) == (7, b"done\n")
    assert done.stdout == given
    assert sshd.terminals == []


def test_it_ends_when_nobody_reads_its_output_any_more(program: list[str]) -> None:
    words = [*program, "sh", "-c", "echo x; read line; echo y; exec sleep 60"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"x\n"
        process.stdout.close()
        process.stdin.write(b"go on\n")
        process.stdin.flush()
        assert (process.stderr.read(), process.wait(50)) == (b"", 141)


def test_it_ends_when_the_command_does_though_nothing_was_typed(program: list[str]) -> None:
    with subprocess.Popen([*program, "true"], cwd=ROOT, stdin=subprocess.PIPE) as process:
        assert process.wait(50) == 0


def test_a_terminal_is_raw_for_the_host_told_its_size_and_as_before_afterwards(
    program: list[str], sshd: SshServer, pty: tuple[int, int]
) -> None:
    ours, its = pty
    before = termios.tcgetattr(its)
    script = "echo ready; head -c 3 >typed; exit 5"
    words = [*program, "sh", "-c", script]
    with subprocess.Popen(words, cwd=ROOT, stdin=its, stdout=its, stderr=its) as process:
        assert b"ready\n" in read_until(ours, b"ready\n")
        assert termios.tcgetattr(its)[3] & (termios.ICANON | termios.ECHO) == 0
        termios.tcsetwinsize(its, (40, 120))
        process.send_signal(signal.SIGWINCH)
        assert sshd.resized.wait(20)
        os.write(ours, b"\x03\x04x")  # Ctrl-C and Ctrl-D are the command's, not ours
        assert process.wait(50) == 5

    assert (sshd.home / "typed").read_bytes() == b"\x03\x04x"
    assert sshd.terminals == [(100, 30), (120, 40)]
    assert termios.tcgetattr(its) == before


def test_a_terminal_at_one_end_only_is_no_terminal(
    program: list[str], sshd: SshServer, pty: tuple[int, int], tmp_path: Path
) -> None:
    _, its = pty
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run([*program, "echo", "x"], cwd=ROOT, stdin=its, stdout=out, check=True)

    assert done.returncode == 0
    assert sshd.terminals == []
    assert (tmp_path / "out").read_text("utf-8") == "x\n"
