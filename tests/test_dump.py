"""A dump through two pipes; what makes it is a double. mysqldump itself: tests/e2e."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ops import dump, manifest, seals
from ops.dump import Dump
from ops.errors import OpsError
from ops.vault import Vault
from tests.binlogs import SERVER
from tests.stored import PRIVATE, FakeDonor, a_donor, names, origin, told

HEAD = f"SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '{SERVER}:1-5';\n".encode()
END = b"\n-- Dump completed on 2026-11-25 15:03:42\n"


@pytest.fixture
def donor(tmp_path: Path) -> FakeDonor:
    made = a_donor(tmp_path)
    made.commit("binlog.000001", range(1, 6))
    original = made.checkpoint

    def checkpoint(meanwhile: Callable[[], None] = lambda: None) -> object:
        meanwhile()
        return original()

    made.checkpoint = checkpoint  # type: ignore[assignment, method-assign]
    return made


def answering(folder: Path, content: bytes, code: str | None = "0", said: str = "") -> None:
    """Stand beside and answer one order, as the service `dump` does."""
    folder.mkdir()
    for name in ("ask", "out"):
        os.mkfifo(folder / name)
    heard = os.open(folder / "ask", os.O_RDWR)  # a shell that waits has it open, too

    def answer() -> None:
        assert os.read(heard, 100) == b"dump\n"
        (folder / "said").write_text(said)
        try:
            with (folder / "out").open("wb") as out:
                out.write(content)
        except BrokenPipeError:
            pass
        if code is not None:
            (folder / "code").touch()  # as a shell does, before it writes there
            time.sleep(0.3)
            (folder / "code").write_text(f"{code}\n")

    threading.Thread(target=answer, daemon=True).start()


def test_a_dump_is_stored_whole_with_the_state_it_has(place: Vault, donor: FakeDonor) -> None:
    content = HEAD + b"INSERT;\n" * 100_000 + END
    answering(donor.spool / "dump", content)
    made = dump.take(origin(place, donor), told)

    assert names(place) == [
        f"weekly/{made.id}/{name}" for name in ("dump.sql.zst.age", manifest.NAME)
    ]
    assert seals.unsealed(place.read(f"{made.folder}/dump.sql.zst.age"), PRIVATE) == content
    assert manifest.find(place, made.id) == made
    assert (made.kind, made.generation, made.gtids) == ("dump", "weekly", f"{SERVER}:1-5")
    assert made.tables["mlflow.runs"].rows == 7


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((HEAD + b"INSERT;\n", "0", ""), "it ends too early"),
        ((HEAD + b"INSERT;\n" + END, "2", "Got error: 1045"), "exit code 2"),
        ((b"", "2", "Access denied"), "Access denied"),
        ((b"x" * 2_000_000, "0", ""), "which state it has"),
    ],
    ids=["cut", "failed", "refused", "nonsense"],
)
def test_a_dump_that_is_not_whole_is_none(
    place: Vault, donor: FakeDonor, answer: tuple[bytes, str, str], why: str
) -> None:
    answering(donor.spool / "dump", *answer)
    with pytest.raises(OpsError, match=why):
        dump.take(origin(place, donor), told)

    assert list(manifest.known(place)) == []


def test_a_dump_of_another_state_than_was_counted_is_none(place: Vault, donor: FakeDonor) -> None:
    answering(donor.spool / "dump", HEAD.replace(b"1-5", b"1-4") + END)
    with pytest.raises(OpsError, match="another state"):
        dump.take(origin(place, donor), told)

    assert list(manifest.known(place)) == []


def test_without_the_service_it_says_so(place: Vault, donor: FakeDonor) -> None:
    with pytest.raises(OpsError, match="the dump service does not run"):
        dump.take(origin(place, donor), told)
    assert names(place) == []


def test_a_service_that_died_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    for name in ("ask", "out"):
        os.mkfifo(folder / name)
    with pytest.raises(OpsError, match="does not run: No such device"):
        Dump(folder).begin()


def test_a_dump_does_not_take_the_place_of_the_week_s_base(place: Vault, donor: FakeDonor) -> None:
    answering(donor.spool / "dump", HEAD + END)
    made = dump.take(origin(place, donor), told)

    assert list(manifest.known(place)) == [("weekly", made.id)]
    assert list(manifest.known(place, manifest.BASE)) == []
    assert list(manifest.known(place, manifest.DUMP)) == [("weekly", made.id)]
