"""Env files: every value survives, and a file is written whole and for its owner only."""

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from fnmatch import fnmatch
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from ops import envfile
from ops.settings import UNQUOTABLE
from tests.conftest import ROOT

CARRIED = st.text(st.characters(exclude_categories=["Cs"])).filter(
    lambda text: not re.search(UNQUOTABLE, text)
)


def read(file: Path) -> tuple[dict[str, str], list[str]]:
    problems: list[str] = []
    found = dict(envfile.read(file, ["A", "B", "PUBLIC_URL"], problems))
    return found, problems


@given(CARRIED, CARRIED)
@example("pa$word ${HOME} $$", '"#" # no comment')
@example("  both ends  ", "größer 数据 🚀")
@example("", "#")
@example("`id` $(id)", "a=b=c")
@example("\u2028\u0085\ufeff", "\xa0")
def test_every_text_that_is_not_refused_survives_the_file(first: str, second: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ".env"
        text = f"A={envfile.quote(first)}\nB={envfile.quote(second)}\n"
        envfile.write_private(file, text)

        assert read(file) == ({"A": first, "B": second}, [])
        assert dotenv_values(file, interpolate=False) == {"A": first, "B": second}


def test_no_file_is_no_problem(tmp_path: Path) -> None:
    assert read(tmp_path / ".env") == ({}, [])


def test_comments_blank_lines_and_export_are_read_as_a_shell_would(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nexport A='1'\nB=2 # the second\n", "utf-8")

    assert read(file) == ({"A": "1", "B": "2"}, [])


def test_every_problem_is_named_with_its_line_and_without_the_value(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("\n\nPUBLIC_ULR='hidden-1'\nA\nB='1'\nB='hidden-2'\n= 'hidden-3'\n", "utf-8")
    found, problems = read(file)

    assert found == {"B": "1"}
    assert problems == [
        ".env line 3: unknown key PUBLIC_ULR: did you mean PUBLIC_URL?",
        ".env line 4: A has no value: write A=… or remove the line",
        ".env line 6: B is set again: it is already set in line 5",
        ".env line 7: is not KEY=value",
    ]


@pytest.mark.parametrize("mode", [0o600, 0o444])
@pytest.mark.usefixtures("zero_umask")
def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    envfile.write_private(tmp_path / "file", "text", mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode

    os.umask(0o777)
    envfile.write_private(tmp_path / "file", "other text", mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.usefixtures("zero_umask")
def test_a_file_is_private_from_its_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    chmod = os.fchmod

    def spy(handle: int, mode: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        chmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    envfile.write_private(tmp_path / "file", "text")

    assert modes == [0o600]


def test_a_kill_before_the_last_step_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A='old'\n", "utf-8")
    script = f"""
        import os, signal
        from pathlib import Path
        from ops import envfile
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        envfile.write_private(Path({str(file)!r}), "A='new'\\n" * 1000)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False)

    assert done.returncode == -signal.SIGKILL
    assert file.read_text("utf-8") == "A='old'\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("A='old'\n", "utf-8")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        envfile.write_private(file, "A='new'\n")

    assert file.read_text("utf-8") == "A='old'\n"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_what_a_killed_write_leaves_is_never_committed() -> None:
    """A draft of `.env` holds the same secrets."""
    patterns = (ROOT / ".gitignore").read_text("utf-8").split()

    assert any(fnmatch(".env", pattern) for pattern in patterns)
    assert any(fnmatch("..env.4711", pattern) for pattern in patterns)
