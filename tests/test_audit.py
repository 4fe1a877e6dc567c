"""The audit record: real files, real `tee` and `tail`, on this machine."""

import json
from pathlib import Path

import pytest

from ops import audit
from ops.errors import OpsError
from ops.hosts import LocalHost


@pytest.fixture
def lines(tmp_path: Path) -> list[str]:
    """A record of three entries."""
    for result in ("started", "ok", "started"):
        release = "1" if result == "ok" else "2"
        audit.append(LocalHost(), str(tmp_path), {"release": release, "result": result})
    return audit.read(LocalHost(), str(tmp_path))


def test_a_record_grows_and_each_line_is_bound_to_the_one_before(lines: list[str]) -> None:
    assert ["started", "ok", "started"] == [json.loads(line)["result"] for line in lines]
    assert "0" * 64 == json.loads(lines[0])["previous"]
    assert 0 == audit.broken(lines)


def test_a_changed_a_removed_and_an_added_line_are_found(lines: list[str]) -> None:
    changed = [lines[0].replace("started", "ok"), *lines[1:]]

    assert 2 == audit.broken(changed)
    assert 2 == audit.broken([lines[0], lines[2]])
    assert 2 == audit.broken([lines[0], lines[0], *lines[1:]])
    assert 1 == audit.broken(["nonsense", *lines])
    assert 4 == audit.broken([*lines, "[]"])


def test_the_last_word_on_a_release_counts(lines: list[str]) -> None:
    assert {"1": "ok", "2": "started"} == audit.outcomes([*lines, "nonsense", "{}"])


def test_no_record_is_an_empty_one(tmp_path: Path) -> None:
    assert [] == audit.read(LocalHost(), str(tmp_path))


def test_a_record_that_cannot_be_written_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="No such file"):
        audit.append(LocalHost(), str(tmp_path / "missing"), {"release": "1"})
