"""Console: results on stdout, the rest on stderr, plain text where there is no terminal."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys

import pytest

from ops import console
from tests.conftest import ROOT

SHOW = """
from ops import console
with console.progress("building [web] (once)") as detail:
    detail("step 1 [/nonsense]\\n")
console.result("the result")
"""


def test_results_go_to_stdout_and_all_else_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("said")
    console.result("result")
    console.result_json({"ä": [1, None]})
    out, err = capsys.readouterr()

    assert err == "said\n"
    assert out.splitlines()[0] == "result"
    assert json.loads(out.removeprefix("result\n")) == {"ä": [1, None]}


def test_progress_in_a_pipe_is_one_plain_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "the result\n"
    assert re.fullmatch(r"building \[web\] \(once\) \(\d\.\d s\)\n", done.stderr)


@pytest.mark.parametrize("colour", [True, False])
def test_progress_on_a_terminal_has_colours_unless_they_are_unwanted(colour: bool) -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    environ |= {"TERM": "xterm-256color", "COLUMNS": "80", **({} if colour else {"NO_COLOR": "1"})}
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOW], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=there
    ) as process:
        os.close(there)
        shown = read_terminal(here)
    os.close(here)

    assert process.returncode == 0
    assert "building [web] (once)" in shown
    assert ("\x1b[32m" in shown) == colour


def read_terminal(handle: int) -> str:
    data = b""
    while True:
        try:
            part = os.read(handle, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            part = b""
        if not part:
            return data.decode()
        data += part


MOVE = """
from ops import console
with console.transfer("sending [web]", 4 * 1024**2) as moved:
    for _ in range(4):
        moved(1024**2, 512)
"""


def test_a_transfer_in_a_pipe_is_one_plain_line_with_bytes_rate_and_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MOVE], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"sending \[web\] \(2 KiB, \d+ \w+/s, \d\.\d s\)\n", done.stderr)


def test_a_transfer_on_a_terminal_has_a_bar_that_gets_to_the_end() -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    environ |= {"TERM": "xterm-256color", "COLUMNS": "100"}
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", MOVE], cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=there
    ) as process:
        os.close(there)
        shown = read_terminal(here)
    os.close(here)

    assert process.returncode == 0
    assert "\u2501" * 40 in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "0:00:00" in shown
    assert re.search(r"\x1b\[2Ksending \[web\] \(2 KiB, \d+ \w+/s, 0\.\d s\)\s*$", shown)


def test_a_failed_transfer_does_not_say_it_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), console.transfer("sending", 10):
        raise RuntimeError

    assert "sending (" not in capsys.readouterr().err


def test_a_failure_ends_the_progress_without_saying_it_was_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError), console.progress("doing it"):
        raise RuntimeError

    assert "doing it (" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (86400 * 4 + 3 * 3600, "4 d 3 h"),
    ],
)
def test_a_time_span_is_shown_as_a_person_reads_it(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (240 * 1024**2, "240 MiB"),
        (1536 * 1024**2, "1.5 GiB"),
        (5000 * 1024**3, "5000.0 GiB"),
    ],
)
def test_a_size_is_shown_as_a_person_reads_it(count: int, text: str) -> None:
    assert console.size(count) == text


def test_nobody_is_asked_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))

    assert console.ask("really? ") is None
    assert capsys.readouterr() == ("", "")


def test_a_question_is_asked_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = io.StringIO(" yes \n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)

    assert console.ask("really? ") == "yes"
    assert capsys.readouterr() == ("", "really? ")


STEPS = """
from ops import console
with console.steps() as step:
    for done in range(4):
        step("copying [/x]", done, 3)
    step("sending", 0, 0)
console.result("the result")
"""


def test_steps_in_a_pipe_are_a_plain_line_each() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "the result\n"
    assert re.fullmatch(r"copying \[/x\] \(\d\.\d s\)\nsending \(\d\.\d s\)\n", done.stderr)


def test_no_step_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with console.steps():
        pass

    assert capsys.readouterr() == ("", "")


def test_a_step_that_fails_is_not_said_to_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        with console.steps() as step:
            step("copying", 1, 3)
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        broken()

    assert capsys.readouterr() == ("", "")


def test_steps_on_a_terminal_have_a_bar() -> None:
    environ = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    environ |= {"TERM": "xterm-256color", "COLUMNS": "80"}
    script = STEPS.replace('step("sending"', 'import time; time.sleep(0.3); step("sending"')
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=there,
    ) as process:
        os.close(there)
        shown = read_terminal(here)
    os.close(here)

    assert process.returncode == 0
    assert "\u2501" in shown
    assert "sending (" in shown


def test_a_marked_line_is_plain_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.marked("fail  ", "red", "disk  " + "x" * 200)

    assert capsys.readouterr() == ("fail  disk  " + "x" * 200 + "\n", "")


def test_nobody_is_asked_for_a_secret_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sesame\n"))

    assert console.ask_hidden("Passphrase: ") is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "line"), [("", ""), ("a b \n", "a b "), ("a\r\nb\n", "a"), ("a", "a")]
)
def test_what_is_piped_in_is_one_line_as_it_is(
    monkeypatch: pytest.MonkeyPatch, text: str, line: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text, newline=""))

    assert line == console.piped()


@pytest.mark.parametrize(("typed", "got"), [(b"open sesame\n", "'open sesame'"), (b"\x04", "''")])
def test_what_is_typed_for_a_secret_is_not_shown(typed: bytes, got: str) -> None:
    ours, its = pty.openpty()
    script = "from ops import console; print(repr(console.ask_hidden('Passphrase: ')))"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=its,
        start_new_session=True,  # no terminal of ours to ask at
    ) as process:
        shown = b""
        while b"Passphrase: " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, typed)
        assert process.stdout is not None
        assert f"{got}\n".encode() == process.stdout.read()
        assert process.wait(20) == 0
    os.set_blocking(ours, False)
    with contextlib.suppress(OSError):
        shown += os.read(ours, 1000)
    os.close(ours)
    os.close(its)

    assert b"sesame" not in shown
