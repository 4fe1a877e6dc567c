"""Passwords: typed at a real terminal, piped in, made; and which are refused."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

from ops import passwords
from ops.errors import REFUSED, OpsError
from tests.conftest import ROOT

GOOD = "correct horse 'battery' \\"
OBTAIN = """
import sys
from ops import passwords
sys.stdout.write(passwords.obtain("ana", generate=False).reveal())
"""


def typed(*lines: str) -> tuple[int, str, str]:
    """Type lines at a terminal, each when asked; return exit code, result and what was seen."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", OBTAIN],
        cwd=ROOT,
        stdin=there,
        stdout=subprocess.PIPE,
        stderr=there,
        start_new_session=True,  # else getpass finds the terminal of whoever runs the tests
        text=True,
    ) as process:
        os.close(there)
        seen = b""
        for line in lines:
            while not seen.endswith(b": "):
                seen += os.read(here, 1024)
            os.write(here, f"{line}\n".encode())
            seen += b"|"
        try:
            result, _ = process.communicate(timeout=20)
        finally:
            process.kill()
        seen += os.read(here, 64 * 1024)
    os.close(here)
    return process.returncode, result, seen.decode()


def test_a_password_is_typed_twice_and_not_seen() -> None:
    code, result, seen = typed(GOOD, GOOD)

    assert (0, GOOD) == (code, result)
    assert ["password for ana: |", "once more: |", ""] == seen.replace("\r", "").split("\n")


def test_two_that_differ_are_refused_and_neither_is_shown() -> None:
    code, result, seen = typed(GOOD, "something else, longer")

    assert 0 != code
    assert "" == result
    assert "the two are not the same; nothing was changed" in seen
    assert "correct" not in seen
    assert "something" not in seen


def test_a_short_one_is_refused_before_it_is_typed_again() -> None:
    code, _, seen = typed("eleven char")

    assert 0 != code
    assert "is shorter than 12 characters" in seen
    assert "once more" not in seen


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Obtain a password that another program hands over."""

    def obtain(text: str) -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(text, newline=""))
        return passwords.obtain("ana", generate=False).reveal()

    return obtain


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nand another line\n"])
def test_where_nobody_types_it_is_the_line_piped_in(piped: Callable[[str], str], end: str) -> None:
    assert GOOD == piped(GOOD + end)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no password is given"),
        ("\n", "no password is given"),
        ("eleven char\n", "is shorter than 12 characters"),
        ("x" * 257, "is longer than 256 characters"),
        ("zwölf Zeichen und mehr", "holds something else than ASCII's"),
        ("twelve\tcharacters", "holds something else than ASCII's"),
        ("password1234", "everybody knows it"),
    ],
)
def test_what_is_none_is_refused_and_not_shown(
    piped: Callable[[str], str], text: str, cause: str
) -> None:
    with pytest.raises(OpsError, match=cause) as caught:
        piped(text)

    assert REFUSED == caught.value.code
    assert "--generate" in caught.value.remedy
    assert text.strip() == "" or text.strip() not in str(caught.value)


def test_a_made_one_is_long_and_another_each_time() -> None:
    made = [passwords.obtain("ana", generate=True).reveal() for _ in range(10)]

    assert 10 == len({*made})
    for each in made:
        assert passwords.checked(each) == each
        assert 24 <= len(each)
