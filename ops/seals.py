"""Sealing what is stored: packed with zstd, then encrypted with age for the holders of the keys.

Both are formats with tools of their own: `age --decrypt | zstd --decompress` opens what is sealed
here. age finds every flipped bit and every cut, but only once it gets there: what `unseal` has
written by then is not to be trusted before it returns.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ops.errors import OpsError, refusal

__all__ = ["Reader", "Sealing", "Writer", "seal", "unseal", "unsealed"]

LEVEL = 1
"""Of zstd. On MLflow's metrics it packs faster and smaller than 3 (measured: 5.99 against 5.03)."""

BLOCK = 1024**2

SLICE = 512
"""What is unpacked at a time: 128 KiB of zeros, of which databases are full, come of 4 bytes."""


class Reader(Protocol):
    """Where bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most so many bytes, none at the end."""


class Writer(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> Any:  # noqa: ANN401 - files return an int, nobody looks
        """Take bytes."""


class Tally:
    """Counts and hashes the bytes that go by."""

    def __init__(self) -> None:
        self.size, self._sum = 0, hashlib.sha256()

    def add(self, data: bytes) -> bytes:
        """Take note of bytes and return them."""
        self.size += len(data)
        self._sum.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The sum in hex digits."""
        return self._sum.hexdigest()


class Sealing:
    """What went into a seal and what came out of it."""

    def __init__(self) -> None:
        self.plain, self.sealed = Tally(), Tally()


class _Noted:
    """A stream that passes all bytes by a tally, and keeps the error that age has no word for."""

    def __init__(self, stream: Any, tally: Tally) -> None:  # noqa: ANN401 - a Reader or a Writer
        self.stream, self.tally = stream, tally
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self.tally.add(self.stream.read(size))
        except BaseException as error:
            self.error = error
            raise

    def write(self, data: bytes) -> int:
        try:
            self.stream.write(self.tally.add(bytes(data)))
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


class _Unpacking:
    """A stream that unpacks what is written to it into another one."""

    def __init__(self, target: _Noted) -> None:
        import zstandard

        self.target, self.frame = target, zstandard.ZstdDecompressor().decompressobj()
        self.waiting = bytearray()

    def write(self, data: bytes) -> int:
        for at in range(0, len(data), SLICE):
            self.waiting += self.frame.decompress(data[at : at + SLICE])
            if len(self.waiting) >= BLOCK:
                self.flush()
        return len(data)

    def flush(self) -> None:
        """Pass on what waits."""
        data, self.waiting = bytes(self.waiting), bytearray()
        self.target.write(data)


class Chunks(io.RawIOBase):
    """Bytes from an iterator, read like a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks, self.rest = chunks, b""

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`."""
        while not self.rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return b""
            self.rest = chunk
        if size < 0:
            taken, self.rest = b"".join([self.rest, *self.chunks]), b""
            return taken
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def seal(source: Reader, target: Writer, recipients: Sequence[str]) -> Sealing:
    """Pack and encrypt a stream into another one; an error of either is raised as it is."""
    import pyrage
    import zstandard

    made = Sealing()
    packer = zstandard.ZstdCompressor(level=LEVEL)
    keys = [pyrage.x25519.Recipient.from_str(each) for each in recipients]
    reading, writing = _Noted(source, made.plain), _Noted(target, made.sealed)
    readable: Any = reading
    try:
        with packer.stream_reader(readable, read_size=BLOCK) as packed:
            pyrage.encrypt_io(packed, writing, keys)
    except pyrage.EncryptError as error:
        # age has one kind of error, with a text, for whatever a stream raises.
        raise (reading.error or writing.error or error) from None
    if writing.error:  # what the last bytes met it does not even say
        raise writing.error
    return made


def unseal(source: Reader, target: Writer, key: str) -> Sealing:
    """Decrypt and unpack a stream into another one; raises `OpsError` at what does not open.

    `key` is the text of a key file: one private key or several.
    """
    import pyrage
    import zstandard

    made = Sealing()
    reading, writing = _Noted(source, made.sealed), _Noted(target, made.plain)
    packed = _Unpacking(writing)
    try:
        keys = [pyrage.x25519.Identity.from_str(line) for line in private(key)]
    except pyrage.IdentityError:
        raise refusal(
            "that is no private key: it was cut off or changed", "give its file: --key"
        ) from None
    try:
        pyrage.decrypt_io(reading, packed, keys)
        packed.flush()
    except (pyrage.DecryptError, zstandard.ZstdError, OSError) as error:
        if reading.error or writing.error:
            raise (reading.error or writing.error or error) from None
        raise broken(error) from None
    if writing.error:
        raise writing.error
    if not packed.frame.eof:
        raise broken(EOFError("it ends too early"))
    return made


def unsealed(data: bytes, key: str) -> bytes:
    """Return the plain bytes of something small."""
    target = io.BytesIO()
    unseal(io.BytesIO(data), target, key)
    return target.getvalue()


def private(key: str) -> list[str]:
    """Return the private keys of a key file."""
    return [line.strip() for line in key.splitlines() if line.startswith("AGE-SECRET-KEY-")]


def broken(error: Exception) -> OpsError:
    """Return the error for what does not open."""
    if "No matching keys" in str(error):
        return OpsError(
            "the key does not open this backup: it was encrypted for others",
            "take the key whose public half is among its recipients: invoke list-backups --json",
        )
    return OpsError(
        f"what is stored was changed or cut off: {error}",
        "take another backup: invoke list-backups; what is wrong: invoke verify",
    )
