"""Sealed and opened again; whatever is not whole does not open."""

import io
import os

import pyrage
import pytest
import zstandard

from ops import seals
from ops.errors import OpsError
from tests.stored import KEY, OTHER, PRIVATE, PUBLIC

DATA = os.urandom(1000) * 300


def sealed(data: bytes = DATA, recipients: tuple[str, ...] = (PUBLIC,)) -> bytes:
    target = io.BytesIO()
    seals.seal(io.BytesIO(data), target, recipients)
    return target.getvalue()


@pytest.mark.parametrize("data", [b"", b"x", DATA, bytes(3 * 1024**2)])
def test_what_was_sealed_opens_and_both_sides_count_alike(data: bytes) -> None:
    target, opened = io.BytesIO(), io.BytesIO()
    made = seals.seal(io.BytesIO(data), target, [PUBLIC])
    found = seals.unseal(io.BytesIO(target.getvalue()), opened, PRIVATE)

    assert opened.getvalue() == data
    assert (made.plain.sha256, made.sealed.sha256) == (found.plain.sha256, found.sealed.sha256)
    assert (len(data), len(target.getvalue())) == (made.plain.size, made.sealed.size)


def test_any_of_several_keys_opens_it() -> None:
    other = str(pyrage.x25519.Identity.from_str(OTHER.strip()).to_public())
    data = sealed(recipients=(PUBLIC, other))

    assert seals.unsealed(data, PRIVATE) == seals.unsealed(data, OTHER) == DATA
    assert seals.unsealed(data, f"# a comment\n{OTHER}{PRIVATE}") == DATA


def test_a_key_of_somebody_else_does_not_open_it() -> None:
    with pytest.raises(OpsError, match="the key does not open this backup"):
        seals.unsealed(sealed(), OTHER)


@pytest.mark.parametrize("cut", [0, 1, 50, 200, -1, -17, -1000])
def test_what_was_cut_off_does_not_open(cut: int) -> None:
    with pytest.raises(OpsError, match="changed or cut off"):
        seals.unsealed(sealed()[:cut], PRIVATE)


def test_no_flipped_bit_goes_unseen() -> None:
    whole = sealed(b"a few bytes")
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        with pytest.raises(OpsError):
            seals.unsealed(bytes(damaged), PRIVATE)


def test_what_was_added_does_not_open() -> None:
    with pytest.raises(OpsError, match="changed or cut off"):
        seals.unsealed(sealed() + b"more", PRIVATE)


def test_a_packing_that_ends_too_early_inside_an_intact_seal_is_found() -> None:
    cut = zstandard.ZstdCompressor().compress(DATA)[:-100]
    with pytest.raises(OpsError, match="it ends too early"):
        seals.unsealed(pyrage.encrypt(cut, [KEY.to_public()]), PRIVATE)


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        del size
        raise ConnectionError("the line was cut")

    def write(self, data: object) -> int:
        del data
        raise OSError(28, "No space left on device")


def test_an_error_of_the_source_or_of_the_target_is_raised_as_it_is() -> None:
    with pytest.raises(ConnectionError, match="the line was cut"):
        seals.unseal(Broken(), io.BytesIO(), PRIVATE)
    with pytest.raises(OSError, match="No space left"):
        seals.unseal(io.BytesIO(sealed()), Broken(), PRIVATE)
    with pytest.raises(ConnectionError, match="the line was cut"):
        seals.seal(Broken(), io.BytesIO(), [PUBLIC])
    with pytest.raises(OSError, match="No space left"):
        seals.seal(io.BytesIO(DATA), Broken(), [PUBLIC])


def test_chunks_are_read_like_a_file() -> None:
    stream = seals.Chunks(iter([b"abc", b"", b"defg"]))

    assert [stream.read(2), stream.read(2), stream.read(-1), stream.read(1)] == [
        b"ab",
        b"c",
        b"defg",
        b"",
    ]
