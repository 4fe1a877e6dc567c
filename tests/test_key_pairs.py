"""Certificates with their keys, and the folder in which one of them is live."""

import os
import signal
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.key_pairs import Pair, Shelf, write
from ops.private_ca import Authority
from ops.values import Secret

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
CA = Authority(Secret("a-secret-of-tests"), "tests", ["mlflow.example.test", "127.0.0.1"])


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


# --- A pair ---


def test_a_pair_tells_names_and_times() -> None:
    pair = CA.issue(NOW)

    assert pair.names == ["127.0.0.1", "mlflow.example.test"]
    assert pair.begin == NOW - timedelta(hours=1)
    assert pair.end == pair.begin + timedelta(days=30)
    assert pair.last_third == pair.end - timedelta(days=10)


def test_the_key_of_another_certificate_makes_no_pair() -> None:
    with pytest.raises(ValueError, match="not the one of the certificate"):
        Pair(CA.issue(NOW).chain, CA.issue(NOW).key)


def test_a_pair_does_not_show_its_key() -> None:
    pair = CA.issue(NOW)

    assert pair.key.decode()[60:90] not in repr(pair)
    assert "PRIVATE" not in repr(pair)


# --- The shelf ---


def test_an_empty_shelf_has_none(shelf: Shelf) -> None:
    assert shelf.read() is None
    assert shelf.purpose() == ""


def test_what_is_put_is_live_and_for_its_owner_alone(shelf: Shelf) -> None:
    pair = CA.issue(NOW)
    shelf.put(pair, "a purpose", NOW)

    assert shelf.read() == pair
    assert shelf.purpose() == "a purpose"
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shelf.live.iterdir()}
    assert files == {"chain.pem": 0o600, "key.pem": 0o600, "purpose": 0o600}
    assert stat.S_IMODE(shelf.live.stat().st_mode) == 0o700


def test_the_live_one_and_the_last_one_are_kept(shelf: Shelf) -> None:
    """A file with the inode and the time of one that NGINX knows would be taken for that."""
    for day in range(4):
        shelf.put(CA.issue(NOW), str(day), NOW + timedelta(days=day))

    assert shelf.purpose() == "3"
    kept = sorted((path / "purpose").read_text() for path in (shelf.folder / "pairs").iterdir())
    assert kept == ["2", "3"]


def test_the_live_one_is_kept_under_a_clock_that_was_set_back(shelf: Shelf) -> None:
    for day in (3, 2, 1, 0):
        shelf.put(CA.issue(NOW), str(day), NOW + timedelta(days=day))

    assert shelf.purpose() == "0"
    assert shelf.read() is not None


@pytest.mark.parametrize("name", ["chain.pem", "key.pem"])
@pytest.mark.parametrize("share", [0, 0.5, None], ids=["empty", "half", "missing"])
def test_a_pair_that_is_not_whole_is_none(shelf: Shelf, name: str, share: float | None) -> None:
    shelf.put(CA.issue(NOW), "a purpose", NOW)
    file = shelf.live / name
    if share is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])

    assert shelf.read() is None


def put_and_be_killed(shelf: Shelf, pair: Pair, step: int) -> bool:
    """Put a pair in a process that is killed at a step of its way; say whether it was."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"}:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        shelf.put(pair, "new", NOW + timedelta(days=1))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_wherever_a_writer_is_killed_there_is_a_whole_pair_and_the_next_one_gets_in(
    tmp_path: Path,
) -> None:
    old, new, next_one = (CA.issue(NOW) for _ in range(3))
    seen, step, killed = [], 0, True
    while killed:
        step += 1
        shelf = Shelf(tmp_path / str(step))
        shelf.folder.mkdir()
        shelf.put(CA.issue(NOW), "oldest", NOW - timedelta(days=1))
        shelf.put(old, "old", NOW)
        killed = put_and_be_killed(shelf, new, step)

        found = shelf.read()
        assert found in {old, new}
        assert shelf.purpose() == ("old" if found == old else "new")
        seen.append(found)

        shelf.put(next_one, "next", NOW + timedelta(days=2))
        assert shelf.read() == next_one
        assert len([*(shelf.folder / "pairs").iterdir()]) <= 2
        assert sorted(path.name for path in shelf.folder.iterdir()) == ["live", "pairs"]

    assert seen.count(old) > 8
    assert seen.count(new) > 2


def test_a_file_is_written_over_a_draft_that_was_left(tmp_path: Path) -> None:
    (tmp_path / ".state.json.new").write_text("half")
    write(tmp_path / "state.json", b"whole")

    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert (tmp_path / "state.json").read_bytes() == b"whole"
