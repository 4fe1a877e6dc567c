"""Where commands run: real small programs on this machine."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ops.errors import OpsError
from ops.hosts import KEPT_LINES, Host, LocalHost, Result, failure, line
from ops.values import Secret
from tests.conftest import ROOT

HARD_WORDS = ["a b", "it's", 'say "x"', "$HOME", "`id`", "", "größer", "*", "a\nb"]


def test_words_reach_the_program_as_they_are() -> None:
    script = "import sys; print(ascii(sys.argv[1:]))"
    done = LocalHost().run([sys.executable, "-c", script, *HARD_WORDS])

    assert done == Result(0, ascii(HARD_WORDS) + "\n", "")


def test_out_and_err_are_kept_apart_with_the_exit_code() -> None:
    done = LocalHost().run(["sh", "-c", "echo out; echo err >&2; exit 3"])

    assert done == Result(3, "out\n", "err\n")


def test_a_program_that_is_not_there_gives_the_exit_code_of_a_shell() -> None:
    assert LocalHost().run(["no-such-program"]).code == 127


def test_a_program_that_may_not_be_run_gives_the_exit_code_of_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").touch(mode=0o644)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert LocalHost().run(["docker", "version"]).code in (126, 127)


def test_output_that_is_no_text_is_no_problem() -> None:
    assert LocalHost().run(["printf", r"caf\351"]).out == "caf\ufffd"


def test_a_command_that_has_to_succeed_returns_its_output_or_raises() -> None:
    host = LocalHost()
    assert host.check(["echo", "fine"], "no remedy") == "fine\n"

    with pytest.raises(OpsError) as caught:
        host.check(["sh", "-c", "echo 'no such volume' >&2; exit 4"], "look at the volume")
    assert caught.value.cause == (
        "exit code 4 from: sh -c 'echo '\"'\"'no such volume'\"'\"' >&2; exit 4'\n  no such volume"
    )
    assert (caught.value.remedy, caught.value.code) == ("look at the volume", 1)


def test_the_line_in_an_error_can_be_pasted_into_a_shell() -> None:
    error = failure(["printf", "%s|", *HARD_WORDS], 1, "", "again")
    line = error.cause.removeprefix("exit code 1 from: ")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)

    assert done.stdout == "".join(f"{word}|" for word in HARD_WORDS)


def test_an_error_shows_the_last_ten_lines_of_the_output() -> None:
    output = "\n".join(f"line {number}" for number in range(100))
    error = failure(["make"], 2, output, "read it")

    assert error.cause.splitlines()[1:] == [f"  line {number}" for number in range(90, 100)]


def test_following_hands_each_line_on_and_keeps_the_last() -> None:
    lines: list[str] = []
    script = "for i in $(seq 3000); do echo $i; done; echo end >&2; echo $EXTRA; exit 5"
    done = LocalHost().follow(["sh", "-c", script], lines.append, {"EXTRA": "given"})

    assert done.code == 5
    assert [line.strip() for line in lines[-3:]] == ["3000", "end", "given"]
    assert len(lines) == 3002
    assert len(done.err.splitlines()) == KEPT_LINES


def test_following_keeps_the_environment_and_gives_no_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "kept")
    done = LocalHost().follow(["sh", "-c", "cat; echo $MINE"], lambda _: None)

    assert done.err == "kept"


def test_following_a_program_that_is_not_there_is_an_answer_too() -> None:
    assert LocalHost().follow(["/no/such/python"], lambda _: None).code == 127


def test_a_started_program_has_a_session_of_its_own_and_appends_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n", "utf-8")
    script = "import os; print(os.getsid(0) == os.getpid(), os.getcwd(), dict(os.environ)['A'])"
    process = LocalHost().start([sys.executable, "-c", script], {"A": "b"}, log, tmp_path)

    assert process.wait(20) == 0
    assert log.read_text("utf-8") == f"before\nTrue {tmp_path} b\n"


def test_a_command_s_bytes_are_read_as_they_come() -> None:
    with LocalHost().reading(["printf", r"a\0\377b"], "none") as stream:
        assert stream.read(2) == b"a\0"
        assert stream.read() == b"\xffb"


def test_a_reader_that_has_enough_does_not_cut_the_command_off() -> None:
    script = "head -c 3000000 /dev/zero && echo whole >&2 || exit 3"
    with LocalHost().reading(["sh", "-c", script], "none") as stream:
        assert len(stream.read(10)) == 10


def test_reading_from_a_command_that_fails_gives_the_command_s_own_words() -> None:
    words = ["sh", "-c", "echo half; echo 'no such image' >&2; exit 4"]
    with (
        pytest.raises(OpsError, match="no such image") as caught,
        LocalHost().reading(words, "build it"),
    ):
        pass
    assert (caught.value.code, caught.value.remedy) == (1, "build it")

    with pytest.raises(OpsError, match="no such image"), LocalHost().reading(words, "build it"):
        raise OpsError("what came makes no sense", "none")


def test_reading_that_fails_by_itself_keeps_its_error_and_leaves_no_process() -> None:
    with (
        pytest.raises(OpsError, match="makes no sense"),
        LocalHost().reading(["echo", "all"], "none"),
    ):
        raise OpsError("what came makes no sense", "none")
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), LocalHost().reading(["sleep", "60"], "none"):
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 10
    with pytest.raises(OpsError, match="exit code 127"), LocalHost().reading(["no-such"], "none"):
        pass


def test_bytes_are_sent_to_a_command_and_counted() -> None:
    counts: list[int] = []
    chunks = [b"x" * 1_000_000, b"\0\xff", b"end"]
    done = LocalHost().send(["wc", "-c"], chunks, counts.append, 30)

    assert (done.code, done.out.strip()) == (0, "1000005")
    assert counts == [1_000_000, 2, 3]


def test_a_command_that_ends_before_it_was_sent_everything_says_why() -> None:
    script = "head -c 1 >/dev/null; echo 'invalid tar header' >&2; exit 1"
    chunks = (bytes(1_000_000) for _ in range(100))

    with pytest.raises(OpsError, match="invalid tar header"):
        LocalHost().send(["sh", "-c", script], chunks, lambda _: None, 30)
    with pytest.raises(OpsError, match="exit code 127"):
        LocalHost().send(["no-such-program"], [b""], lambda _: None, 30)


def test_a_command_that_takes_too_long_is_ended() -> None:
    begin = time.monotonic()

    with pytest.raises(OpsError, match="exit code -9 from: sleep 60"):
        LocalHost().send(["sleep", "60"], [b""], lambda _: None, 0.3)
    assert time.monotonic() - begin < 10


def test_bytes_that_cannot_be_made_end_the_command() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        raise OpsError("the file is gone", "none")

    with pytest.raises(OpsError, match="the file is gone"):
        LocalHost().send(["cat"], chunks(), lambda _: None, 30)


def test_replacing_ends_with_the_output_and_exit_code_of_the_command() -> None:
    script = "from ops.hosts import LocalHost; LocalHost().replace(('sh', '-c', 'echo x; exit 7'))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (7, "x\n", "")


def test_this_machine_is_a_host() -> None:
    host: Host = LocalHost()

    assert host.name == "this machine"


def test_input_and_environment_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "kept")
    done = LocalHost().run(["sh", "-c", "cat; echo $MINE $A"], stdin=b"in ", env={"A": "b"})

    assert done.out == "in kept b\n"


def test_a_program_is_ended_at_its_deadline() -> None:
    with pytest.raises(OpsError) as caught:
        LocalHost().check(["sleep", "30"], "no remedy", deadline=0.1)

    assert caught.value.cause == "not done after 0.1 s on this machine: sleep 30"
    assert caught.value.code == 1


def test_line_ends_are_those_of_python() -> None:
    assert LocalHost().run(["printf", r"a\r\nb\rc"]).out == "a\nb\nc"


def test_a_line_is_read_by_a_shell_as_the_words_it_was_made_of() -> None:
    text = line(["printf", "%s|", *HARD_WORDS], {"A": "it's $b"})
    done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True)

    assert text.startswith("env ")
    assert done.stdout == "".join(f"{word}|" for word in HARD_WORDS)


def test_what_is_no_word_is_in_no_line() -> None:
    word: Any = Secret("open-sesame-0123")
    with pytest.raises(TypeError, match="not Secret"):
        line(["mysql", word])
    with pytest.raises(ValueError, match="NUL"):
        line(["echo"], {"A": "b\0"})


def test_a_program_that_carries_a_connection_is_ended_with_it() -> None:
    with ExitStack() as stack:
        wire = LocalHost().wire(["sh", "-c", "echo $$; exec cat"], stack)
        identity = int(wire.makefile("rb").readline())
        wire.sendall(b"x")
        assert wire.recv(10) == b"x"
    assert not Path(f"/proc/{identity}").exists()
