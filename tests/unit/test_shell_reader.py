"""Lines, marked and counted bytes of a stream that arrives in pieces of any size."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfctl.errors import HostUnreachable
from perfctl.shell.reader import PieceReader

MARK = b"<-mark->"


def reader(pieces: Iterable[bytes]) -> PieceReader:
    left = iter(pieces)
    return PieceReader(lambda timeout_s: next(left, b""), "h1", lambda: "")


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"<-mark", b"<-", b"->", b""]), max_size=4),
    st.integers(1, 12),
)
def test_what_is_before_a_mark_and_what_is_counted_come_as_they_are(
    parts: list[bytes], piece_bytes: int
) -> None:
    parts = [part for part in parts if MARK not in part + MARK[:-1]]
    stream = b"".join(part + MARK + part for part in parts) + b"a line\n"
    source = reader(stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes))
    for part in parts:
        assert source.until(MARK, timeout_s=10) == part
        assert source.exactly(len(part), timeout_s=10) == part
    assert source.line(timeout_s=10) == b"a line\n"


@pytest.mark.parametrize("size_bytes", [7, 100])
def test_less_than_was_counted_is_an_end(size_bytes: int) -> None:
    with pytest.raises(HostUnreachable, match="the other end is gone"):
        reader([b"so far"]).exactly(size_bytes, timeout_s=10)


def test_a_counted_part_is_in_memory_once() -> None:
    piece = bytes(1 << 15)
    source = reader(itertools.chain(itertools.repeat(piece, 256), [MARK]))
    tracemalloc.start()
    try:
        found = source.exactly(8 << 20, timeout_s=60)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 8 << 20
    assert source.exactly(len(MARK), timeout_s=10) == MARK
    assert peak_bytes < 12 << 20
