"""Taking apart what `docker save` writes, in every layout there is."""

import io
from pathlib import Path

import pytest

from ops import layers
from ops.errors import OpsError
from tests.synthetic_images import LAYOUTS, Synthetic, sha, tar

IMAGE = Synthetic((b"base", b"server", b"own files"))


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second, third = sha(b"1"), sha(b"2"), sha(b"3")
    joined = sha(f"{first} {second}".encode())

    assert layers.chain_ids([]) == []
    assert layers.chain_ids([first, second, third]) == [
        first,
        joined,
        sha(f"{joined} {third}".encode()),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_parts_and_only_the_wanted_files(
    layout: str, tmp_path: Path
) -> None:
    base, server, own = IMAGE.diff_ids
    found = layers.read(
        io.BytesIO(LAYOUTS[layout](IMAGE)), IMAGE.diff_ids, frozenset([base, own]), tmp_path
    )

    assert found.config == IMAGE.config
    assert [layer.digest for layer in found.layers] == IMAGE.diff_ids
    assert [layer.size for layer in found.layers] == [len(layer) for layer in IMAGE.layers]
    contents = [layer.file.read_bytes() if layer.file else None for layer in found.layers]
    assert contents == [IMAGE.layers[0], None, IMAGE.layers[2]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([base[7:], own[7:]])
    assert server[7:] not in [path.name for path in tmp_path.iterdir()]


def test_a_layer_larger_than_what_is_kept_in_memory_is_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "SMALL", 1024)
    big = Synthetic((b"x" * 5000, b"y"))
    found = layers.read(io.BytesIO(big.old()), big.diff_ids, frozenset(big.diff_ids), tmp_path)

    assert [layer.file.read_bytes() for layer in found.layers if layer.file] == big.layers


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_cut_short_is_an_error(layout: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout](IMAGE)

    for length in (0, 100, len(data) // 3, len(data) // 2):
        with pytest.raises(OpsError, match="docker save wrote"):
            layers.read(io.BytesIO(data[:length]), IMAGE.diff_ids, frozenset(), tmp_path)


def test_a_layer_with_other_content_than_its_name_says_is_no_layer(tmp_path: Path) -> None:
    name = f"blobs/sha256/{IMAGE.diff_ids[0][7:]}"
    data = tar([(name, b"something else")])

    with pytest.raises(OpsError, match="wrote no layer"):
        layers.read(io.BytesIO(data), IMAGE.diff_ids[:1], frozenset(IMAGE.diff_ids[:1]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_several_configurations_the_one_with_these_layers_is_taken(tmp_path: Path) -> None:
    other = Synthetic((b"base",))

    with pytest.raises(OpsError, match="no configuration"):
        layers.read(io.BytesIO(IMAGE.old()), other.diff_ids, frozenset(), tmp_path)


def test_a_full_disk_here_is_named_as_such(tmp_path: Path) -> None:
    gone = tmp_path / "gone"

    with pytest.raises(OpsError, match="cannot be put into") as caught:
        layers.read(io.BytesIO(IMAGE.old()), IMAGE.diff_ids, frozenset(IMAGE.diff_ids), gone)
    assert "DATA_FOLDER" in caught.value.remedy
