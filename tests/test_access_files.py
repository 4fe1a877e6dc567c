"""Where the access log is kept: real files, a real shell, and a stand-in for `docker`."""

import gzip
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops import access_files
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from tests.conftest import FAILS, FakeHost, a_container

NOW = datetime.now(UTC)
LONG_AGO = (NOW - timedelta(days=365), None)

# Knows `docker logs [--since …] [--until …] NAME`: one container, whose log is a file.
DOCKER = """#!/bin/sh
echo "$@" >>"$HOME/asked"
for last; do :; done
echo "an error of NGINX" >&2
cat "$HOME/$last.log"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the log of a container, and a `docker` that shows it."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "new.log").write_text("new ann\nnew bob\n")
    (tmp_path / "old.log").write_text("old ann\nold bob\n")
    (tmp_path / "my stack").mkdir()
    return tmp_path


def kept(home: Path, container: str = "old") -> Path:
    found = [a_container("nginx", identity=container), a_container("web", identity="other")]
    access_files.keep(LocalHost(), str(home / "my stack"), found)
    return home / "my stack" / "access" / f"{container}.gz"


def lines(
    home: Path,
    *holding: str,
    container: str = "new",
    span: tuple[datetime, datetime | None] = LONG_AGO,
) -> list[str]:
    found: list[str] = []
    folder = str(home / "my stack")
    place = (LocalHost(), folder, container)
    access_files.read(*place, found.append, span=span, holding=holding or [""])
    return [line.strip() for line in found]


def test_the_log_of_a_container_that_goes_is_kept_and_comes_first(home: Path) -> None:
    file = kept(home)

    assert b"old ann\nold bob\n" == gzip.decompress(file.read_bytes())
    assert 0o700 == file.parent.stat().st_mode & 0o777
    assert ["old ann", "old bob", "new ann", "new bob"] == lines(home)


def test_without_kept_files_or_without_a_container_the_rest_is_shown(home: Path) -> None:
    assert ["new ann", "new bob"] == lines(home)
    assert [] == lines(home, container="")
    kept(home)
    assert ["old ann", "old bob"] == lines(home, container="")


def test_a_container_that_was_kept_and_is_still_there_says_all_once(home: Path) -> None:
    kept(home, "new")

    assert ["new ann", "new bob"] == lines(home)
    kept(home, "new")
    assert 1 == len(list((home / "my stack" / "access").iterdir()))


def test_only_lines_with_one_of_the_texts_are_sent(home: Path) -> None:
    kept(home)

    assert ["old ann", "new ann"] == lines(home, "ann")
    assert ["old bob", "new ann", "new bob"] == lines(home, "old bob", "new")
    assert [] == lines(home, "-v")
    assert [] == lines(home, "$(date)")


def test_a_file_from_before_the_time_is_not_read(home: Path) -> None:
    file = kept(home)
    os.utime(file, (time.time() - 7200,) * 2)
    span = (NOW - timedelta(hours=1), NOW)

    assert ["new ann", "new bob"] == lines(home, span=span)
    asked = (home / "asked").read_text().splitlines()[-1]
    assert f"--since {span[0]:%Y-%m-%dT%H:%M:%SZ}" in asked
    assert f"--until {span[1] + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}" in asked


def test_the_oldest_files_go_when_they_are_old_or_too_many(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "my stack" / "access"
    folder.mkdir()
    for name, days in {"a": 91, "b": 60, "c": 30}.items():
        (folder / f"{name}.gz").write_bytes(bytes(1000))
        os.utime(folder / f"{name}.gz", (time.time() - days * 86400,) * 2)
    kept(home)
    assert {"b.gz", "c.gz", "old.gz"} == {each.name for each in folder.iterdir()}

    monkeypatch.setattr(access_files, "KEPT_BYTES", 1500)
    kept(home)
    assert {"c.gz", "old.gz"} == {each.name for each in folder.iterdir()}


def test_a_log_that_cannot_be_kept_stops_what_would_lose_it(home: Path) -> None:
    with pytest.raises(OpsError, match="cannot keep the access log"):
        kept(home, "gone")

    assert not list((home / "my stack" / "access").glob("*.gz"))


def test_a_log_that_cannot_be_read_is_an_error(home: Path) -> None:
    with pytest.raises(OpsError, match="cannot read the access log on this machine"):
        lines(home, container="gone")
    (home / "my stack" / "access").mkdir()
    (home / "my stack" / "access" / "damaged.gz").write_bytes(b"no gzip")
    with pytest.raises(OpsError, match="cannot read"):
        lines(home)


@pytest.mark.parametrize(
    ("hashed", "image", "copied"),
    [
        ("nginx hash\n", "sha256:1\n", False),
        ("nginx other\n", "sha256:1\n", True),
        ("nginx hash\n", "sha256:2\n", True),
        ("nginx hash\n", FAILS, True),
    ],
)
def test_a_log_is_kept_only_where_compose_would_replace_the_container(
    hashed: str, image: Result | str, copied: bool
) -> None:
    host = FakeHost({"compose": hashed, "docker image inspect": image, "bash": ""})
    found = [
        a_container("db"),
        a_container("nginx", identity="x", config_hash="hash", image="sha256:1"),
    ]
    access_files.keep_replaced(host, "folder", found, ("compose", "config"))

    assert copied == host.ran("bash", "folder/access x")


def test_where_nginx_does_not_run_there_is_nothing_to_keep() -> None:
    access_files.keep_replaced(FakeHost({}), "folder", [a_container("db")], ("compose",))
