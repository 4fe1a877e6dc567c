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


def test_what_was_packed_unpacks_as_it_was(tmp_path: Path) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    tarball.unpack(io.BytesIO(data), tmp_path / "b")

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
        tarball.unpack(tar_of(bad), inner)

    assert list(tmp_path.rglob("*")) == [inner]


def test_an_absolute_name_stays_inside(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    tarball.unpack(tar_of(entry("/etc/x")), inner)

    assert (inner / "etc" / "x").exists()


@pytest.mark.parametrize("data", [b"x" * 600, b"".join([b"\1" * 512, bytes(1024)])])
def test_what_is_no_tar_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(OpsError, match="does not unpack"):
        tarball.unpack(io.BytesIO(data), tmp_path)
