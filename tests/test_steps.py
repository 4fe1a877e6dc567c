"""Root's hands on a host: what they write is whole, private where it was, and quoted."""

import stat
from pathlib import Path
from typing import Any

import pytest

from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.steps import Step, lines, read, write
from tests.conftest import FakeHost


class Here(LocalHost):
    """This machine, where whoever runs the tests stands for root."""

    def run(self, words: Any, *, stdin: bytes = b"", **more: Any) -> Result:
        assert words[:2] == ("sudo", "-n")
        return super().run(words[2:], stdin=stdin, **more)


@pytest.mark.parametrize("name", ["daemon.json", "a name'; touch $HOME", "-n"])
def test_a_file_is_written_with_its_folders_and_read_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / "etc" / "deep" / name
    write(Here(), str(path), "first\n")
    write(Here(), str(path), "second ä\n")

    assert read(Here(), str(path)) == "second ä\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [path] == list(path.parent.iterdir())


def test_a_file_that_was_closed_to_others_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "daemon.json"
    path.touch(mode=0o600)
    write(Here(), str(path), "{}")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_not_there_reads_as_nothing(tmp_path: Path) -> None:
    assert read(Here(), str(tmp_path / "absent")) == ""


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="look at"):
        read(Here(), str(tmp_path))


def test_a_question_without_an_answer_has_no_lines() -> None:
    assert lines(FakeHost({"ask": Result(1, "half an answer", "")}), ("ask",)) == []
    assert lines(FakeHost({"ask": " one \n\ntwo\n"}), ("ask",)) == ["one", "two"]


def test_a_step_says_how_it_stands() -> None:
    assert Step(title="t", found="there").state == "done already"
    assert Step(title="t", todo="make it").state == "will do"
    assert Step(title="t", left_out=True).state == "left out"
