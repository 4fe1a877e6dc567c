"""A folder as a stream of tar, and back; names that lead out of it are refused."""

import io
import tarfile
from pathlib import Path

import pytest

from ops import tarball
from ops.errors import OpsError


def filled(folder: Path) -> Path:
    (folder / "mlflow").mkdir(parents=True)
    (folder / "mlflow" / "runs.ibd").write_bytes(b"x" * 3_000_001)
    (folder / "#innodb_redo").mkdir()
    (folder / "empty").write_bytes(b"")
    return folder


def unpack(data: bytes, folder: Path, size: int = 65536) -> None:
    unpacker = tarball.Unpacker(folder)
    for begin in range(0, len(data), size):
        unpacker.write(data[begin : begin + size])
    unpacker.close()


def test_what_was_packed_unpacks_as_it_was(tmp_path: Path) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    unpack(data, tmp_path / "b")

    for path in (tmp_path / "a").rglob("*"):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.is_dir() == twin.is_dir()
        assert path.is_dir() or path.read_bytes() == twin.read_bytes()


def test_stock_tar_reads_it(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tarball.pack(filled(tmp_path / "a"))))) as tar:
        assert sorted(tar.getnames()) == ["#innodb_redo", "empty", "mlflow", "mlflow/runs.ibd"]


def test_files_are_cut_where_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "binlog.000001").write_bytes(b"0123456789")
    data = b"".join(tarball.pack(tmp_path, {"binlog.000001": 4}))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile("binlog.000001")
        assert file is not None
        assert file.read() == b"0123"


def test_a_file_that_became_shorter_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123")
    with pytest.raises(OpsError, match="became shorter"):
        list(tarball.pack(tmp_path, {"log": 5}))


def tar_of(*entries: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry)
    stream.seek(0)
    return stream


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "bad",
    [
        entry("../outside"),
        entry("a/../../outside"),
        entry("/etc/x"),
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("hard", tarfile.LNKTYPE, "../x"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("disk", tarfile.BLKTYPE),
    ],
    ids=lambda made: made.name,
)
def test_what_leads_out_or_is_no_file_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(OpsError):
        unpack(tar_of(bad).getvalue(), inner)

    assert list(tmp_path.rglob("*")) == [inner]


def test_a_name_longer_than_a_head_has_room_for_comes_back(tmp_path: Path) -> None:
    name = "schema/" + "table" * 40 + ".ibd"
    (tmp_path / "a" / "schema").mkdir(parents=True)
    (tmp_path / "a" / name).write_bytes(b"x" * 700)
    (tmp_path / "b").mkdir()
    unpack(b"".join(tarball.pack(tmp_path / "a")), tmp_path / "b")

    assert (tmp_path / "b" / name).read_bytes() == b"x" * 700


@pytest.mark.parametrize("size", [7, 511, 512, 513, 100_000])
def test_it_does_not_matter_in_which_pieces_it_comes(tmp_path: Path, size: int) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    unpack(data, tmp_path / "b", size)

    assert (tmp_path / "b" / "mlflow" / "runs.ibd").read_bytes() == b"x" * 3_000_001


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    with pytest.raises(FileExistsError):
        unpack(data, tmp_path / "a")


def test_a_tar_without_its_end_is_an_error(tmp_path: Path) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    with pytest.raises(OpsError, match="has no end"):
        unpack(data[:-2048], tmp_path / "b")


@pytest.mark.parametrize("data", [b"x" * 600, b"".join([b"\1" * 512, bytes(1024)])])
def test_what_is_no_tar_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(OpsError, match="does not unpack"):
        unpack(data, tmp_path)
