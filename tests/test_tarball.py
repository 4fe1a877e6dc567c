"""A folder as a stream of tar, and back; names that lead out of it are refused."""

import io
import shutil
import tarfile
from contextlib import suppress
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
    with pytest.raises(OpsError) as caught:
        unpack(tar_of(bad).getvalue(), inner)
    assert "list-backups" in caught.value.remedy

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
    with pytest.raises(OpsError, match="File exists"):
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


def test_a_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match=r"was not read: .*binlog\.000001") as caught:
        list(tarball.pack(tmp_path, {"binlog.000001": 5}))

    assert caught.value.code == 1


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    (tmp_path / "b").mkdir()
    unpacker = tarball.Unpacker(tmp_path / "b")
    while unpacker.file is None:
        unpacker.write(data[:512])
        data = data[512:]
    unpacker.file.close()
    unpacker.file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(OpsError, match="No space left on device") as caught:
        unpacker.write(data)

    unpacker.file.close()
    assert "make room" in caught.value.remedy


def test_a_file_larger_than_eight_gigabytes_has_its_size(tmp_path: Path) -> None:
    size = 9 * 1024**3
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(size)
    head = next(tarball.pack(tmp_path))
    (tmp_path / "b").mkdir()
    unpacker = tarball.Unpacker(tmp_path / "b")
    unpacker.write(head)

    assert (size, 0) == (unpacker.left, unpacker.padding)
    unpacker._done()


def test_names_in_every_alphabet_come_back(tmp_path: Path) -> None:
    found = {"Läufe-@4e00.ibd", "日" * 70, b"raw-\xff".decode("utf-8", "surrogateescape")}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in found:
        (tmp_path / "a" / name).write_bytes(b"x")
    unpack(b"".join(tarball.pack(tmp_path / "a")), tmp_path / "b")

    assert {path.name for path in (tmp_path / "b").iterdir()} == found


def sealed_head(head: bytes) -> bytes:
    """Return a head with the checksum of its bytes, as somebody who forges one would."""
    plain = head[:148] + b" " * 8 + head[156:]
    return plain[:148] + b"%06o\0 " % sum(plain) + plain[156:]


def test_whatever_a_forged_head_holds_ends_in_one_clear_error(tmp_path: Path) -> None:
    """Every byte of two heads is changed: it unpacks inside the folder, or is an `OpsError`."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ("n" * 120)).write_bytes(b"x" * 10)
    data = b"".join(tarball.pack(tmp_path / "a"))
    places = [*range(0, 160, 3), *range(1024, 1024 + 512, 2)]
    deep = tmp_path / "deep"
    for place in places:
        head = place // 1024 * 1024
        for value in (0, 0x80, 0xFF):
            forged = bytearray(data)
            forged[place] = value
            forged[head : head + 512] = sealed_head(bytes(forged[head : head + 512]))
            inner = deep / f"{place}-{value}"
            inner.mkdir(parents=True)
            with suppress(OpsError):
                unpack(bytes(forged), inner)
            shutil.rmtree(inner)

    assert list(deep.iterdir()) == []


def test_a_negative_size_is_an_error_and_no_loop(tmp_path: Path) -> None:
    bad = entry("x")
    bad.size = -1
    with pytest.raises(OpsError, match="an entry of -1 bytes"):
        unpack(bad.tobuf(tarfile.GNU_FORMAT), tmp_path)


def test_a_name_without_end_is_an_error(tmp_path: Path) -> None:
    bad = entry("././@LongLink", tarball.LONG_NAME)
    bad.size = 10**12
    with pytest.raises(OpsError, match="does not unpack"):
        unpack(bad.tobuf(tarfile.GNU_FORMAT), tmp_path)


@pytest.mark.parametrize("left", [0, 100, 512, 700, 1023, 2 * 1024**2])
def test_a_tar_that_is_cut_is_an_error(tmp_path: Path, left: int) -> None:
    data = b"".join(tarball.pack(filled(tmp_path / "a")))
    begin = data.index(b"mlflow/runs.ibd") // 512 * 512
    (tmp_path / "b").mkdir()
    with pytest.raises(OpsError, match="has no end"):
        unpack(data[: begin + left], tmp_path / "b")
