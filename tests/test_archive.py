"""The archive for `docker load`, checked by a reader of our own for the OCI layout."""

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import archive, layers
from ops.archive import Archive
from tests.synthetic_images import LAYOUTS, NAME, Synthetic, sha, untar


def made(image: Synthetic, needed: frozenset[str], folder: Path, layout: str = "old") -> Archive:
    stream = io.BytesIO(LAYOUTS[layout](image))
    return archive.build(layers.read(stream, image.diff_ids, needed, folder), NAME, needed)


def layers_in(data: bytes, image: Synthetic) -> set[str]:
    """Check an archive against the OCI image layout and Docker's form; return its layers."""
    files = untar(data)
    blobs = {
        "sha256:" + name.rpartition("/")[2]: blob for name, blob in files.items() if "/" in name
    }
    assert all(name == sha(blob) for name, blob in blobs.items())
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert len(blobs[entry["digest"]]) == entry["size"]
    assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/{NAME}"
    manifest = json.loads(blobs[entry["digest"]])
    assert entry["mediaType"] == manifest["mediaType"]
    assert manifest["schemaVersion"] == 2
    config = manifest["config"]
    assert blobs[config["digest"]] == image.config
    assert config["size"] == len(image.config)
    found = [(layer["digest"], layer["size"]) for layer in manifest["layers"]]
    assert found == [(sha(layer), len(layer)) for layer in image.layers]
    (table,) = json.loads(files["manifest.json"])
    assert table == {
        "Config": f"blobs/sha256/{sha(image.config)[7:]}",
        "RepoTags": [NAME],
        "Layers": [f"blobs/sha256/{name[7:]}" for name in image.diff_ids],
    }
    return blobs.keys() - {entry["digest"], config["digest"]}


@given(
    contents=st.lists(st.binary(max_size=2000), min_size=1, max_size=6),
    present=st.sets(st.integers(0, 5)),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_whatever_is_present_the_archive_has_exactly_the_rest(
    contents: list[bytes], present: set[int], layout: str
) -> None:
    image = Synthetic(tuple(contents))
    missing = {name for i, name in enumerate(image.diff_ids) if i not in present}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        parcel = made(image, frozenset(missing), Path(one), layout)
        data = b"".join(parcel.chunks())

        assert layers_in(data, image) == missing
        assert len(data) == parcel.size
        assert parcel.config_digest == sha(image.config)
        again = made(image, frozenset(missing), Path(two))
        assert b"".join(again.chunks()) == data


def test_a_layer_that_was_not_read_cannot_be_asked_for(tmp_path: Path) -> None:
    image = Synthetic((b"base", b"own"))
    content = layers.read(io.BytesIO(image.old()), image.diff_ids, frozenset(), tmp_path)

    with pytest.raises(ValueError, match="was not asked for"):
        archive.build(content, NAME, frozenset(image.diff_ids))


def test_each_packing_is_undone_by_its_own_program_and_always_the_same() -> None:
    data = [bytes([number]) * 300_000 for number in range(9)]
    undone: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "gzip": gzip.decompress,
    }

    for method, undo in undone.items():
        packed = b"".join(archive.packed(data, method))
        assert undo(packed) == b"".join(data)
        assert packed == b"".join(archive.packed(data, method))
        assert method == "plain" or len(packed) < 100_000


def test_a_larger_file_than_a_plain_tar_header_can_tell_has_its_size_in_the_archive() -> None:
    parcel = Archive("", "", (("x", Path("/dev/null"), 9 * 1024**3),))

    assert b"9663676416" in next(parcel.chunks())
    assert parcel.size > 9 * 1024**3


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("mysql:9.7", "docker.io/library/mysql:9.7"),
        ("mlflow-compose/web:1", "docker.io/mlflow-compose/web:1"),
        ("localhost/web:1", "localhost/web:1"),
        ("10.0.0.1:5000/team/web:1", "10.0.0.1:5000/team/web:1"),
        ("registry.example.com/web:1", "registry.example.com/web:1"),
    ],
)
def test_a_name_is_made_whole_as_docker_does(name: str, full: str) -> None:
    assert archive.full_name(name) == full
