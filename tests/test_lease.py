"""The lock of a deploy, held by a real bash on this machine."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import lease
from ops.errors import OpsError
from ops.hosts import LocalHost

WHO = {"by": "ana@laptop", "what": "deploy"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    folder = str(tmp_path / "stack")
    with lease.held(LocalHost(), folder, WHO):
        with (
            pytest.raises(OpsError, match=r"ana@laptop \(deploy, since 20") as caught,
            lease.held(LocalHost(), folder, {"by": "ben@desk", "what": "rollback"}),
        ):
            pass
        assert 2 == caught.value.code
        assert "last heard of" in caught.value.cause

    with lease.held(LocalHost(), folder, WHO):
        pass


def test_it_lasts_as_long_as_the_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1)
    with lease.held(LocalHost(), str(tmp_path), WHO) as lost:
        assert not lost.wait(1.5)


def nothing_until(event: threading.Event) -> Iterator[bytes]:
    event.wait(60)
    yield b""


def test_silence_ends_it_and_the_next_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1)
    silent = threading.Event()
    monkeypatch.setattr(
        lease._Holder, "_beats", lambda _: iter(lambda: silent.wait(60) and b"", b"")
    )
    with lease.held(LocalHost(), str(tmp_path), WHO) as lost:
        assert lost.wait(10)
        assert WHO["by"] == json.loads((tmp_path / "holder").read_text("utf-8"))["by"]
        monkeypatch.undo()
        monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
        with lease.held(LocalHost(), str(tmp_path), WHO):
            pass
        silent.set()

    assert "ana@laptop (deploy, since 20" in capsys.readouterr().err


def test_letting_go_in_order_leaves_no_holder(tmp_path: Path) -> None:
    with lease.held(LocalHost(), str(tmp_path), WHO):
        assert (tmp_path / "holder").read_text("utf-8")

    deadline = time.monotonic() + 5
    while (tmp_path / "holder").read_text("utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_that_cannot_be_made_is_an_error_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with (
        pytest.raises(OpsError, match="cannot take the lock"),
        lease.held(LocalHost(), str(tmp_path / "file" / "stack"), WHO),
    ):
        pass


def test_a_hostile_name_is_data_to_the_script(tmp_path: Path) -> None:
    who = {"by": "$(touch pwned)'\"; exit 0 #", "what": "deploy"}
    with lease.held(LocalHost(), str(tmp_path / "a b"), who):
        assert who["by"] == json.loads((tmp_path / "a b" / "holder").read_text("utf-8"))["by"]

    assert not (tmp_path / "pwned").exists()
