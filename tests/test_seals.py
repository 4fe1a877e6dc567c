"""Sealed and opened again; whatever is not whole does not open."""

import io
import os
import subprocess
import sys

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


class Stopped(io.RawIOBase):
    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1) -> bytes:
        del size
        if not self.left:
            raise SystemExit(143)
        self.left -= 1
        return os.urandom(seals.BLOCK)


def test_an_order_to_stop_is_not_taken_for_an_error_of_age() -> None:
    with pytest.raises(SystemExit):
        seals.seal(Stopped(), io.BytesIO(), [PUBLIC])


@pytest.mark.parametrize("key", ["", "# no key at all", "age1xyz"])
def test_without_a_private_key_nothing_opens(key: str) -> None:
    with pytest.raises(OpsError, match="the key does not open"):
        seals.unsealed(sealed(), key)


def test_a_private_key_that_was_cut_off_is_refused_and_not_shown() -> None:
    cut = PRIVATE[:-5]
    with pytest.raises(OpsError, match="no private key") as caught:
        seals.unsealed(sealed(), cut)

    assert caught.value.code == 2
    assert cut[20:] not in str(caught.value.message)


@pytest.mark.parametrize("data", [b"", b"x", bytes(3 * 1024**2), DATA * 20])
def test_the_stock_tools_formats_are_what_is_written(data: bytes) -> None:
    packed = pyrage.decrypt(sealed(data), [KEY])

    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == data


SCRIPT = """
import io, resource, sys
sys.path.insert(0, {root!r})
from ops.seals import Chunks, seal, unseal

class Nowhere:
    def write(self, data):
        return len(data)

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

packed = io.BytesIO()
seal(io.BytesIO(b"warm"), packed, [{public!r}])
unseal(io.BytesIO(packed.getvalue()), Nowhere(), {private!r})
before, zeros, packed = most(), bytes(1024**2), io.BytesIO()
made = seal(Chunks(zeros for _ in range({count})), packed, [{public!r}])
packed.seek(0)
assert unseal(packed, Nowhere(), {private!r}).plain.size == made.plain.size == {count} * 1024**2
print(most() - before)
"""


def test_memory_does_not_grow_with_what_comes_of_a_few_bytes() -> None:
    """A file of zeros is packed to almost nothing: all of it must not come at once."""
    from tests.conftest import ROOT

    script = SCRIPT.format(root=str(ROOT), public=PUBLIC, private=PRIVATE, count=500)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 100 * 1024


def test_chunks_are_read_like_a_file() -> None:
    stream = seals.Chunks(iter([b"abc", b"", b"defg"]))

    assert [stream.read(2), stream.read(2), stream.read(-1), stream.read(1)] == [
        b"ab",
        b"c",
        b"defg",
        b"",
    ]


def test_many_small_chunks_are_read_at_once_too() -> None:
    assert seals.Chunks(bytes([1]) for _ in range(5000)).read() == b"\1" * 5000
