"""What a running command reads and writes; `tests/test_ssh.py` has it on a real connection."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import hosts
from ops.channels import Lines


def lines_of(pieces: Sequence[bytes]) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append)
    for piece in pieces:
        lines.feed(piece)
    lines.end()
    return found


@given(st.binary(), st.lists(st.integers(min_value=0, max_value=40)))
def test_lines_are_the_same_wherever_the_bytes_are_parted(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(edges)]

    assert "".join(lines_of(pieces)) == hosts.text(data)
    assert lines_of(pieces) == lines_of([data])


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb"], ["a\n", "b"]),
        ([b"a\r", b"\nb\n"], ["a\n", "b\n"]),
        ([b"10%\r20%\r"], ["10%\n", "20%\n"]),
        ([b"gr\xc3", b"\xb6\xc3\x9fer\n"], ["größer\n"]),
        ([b"caf\xe9"], ["caf\ufffd"]),
        ([b"", b"\n", b""], ["\n"]),
        ([], []),
    ],
)
def test_bytes_become_lines(pieces: list[bytes], lines: list[str]) -> None:
    assert lines_of(pieces) == lines
