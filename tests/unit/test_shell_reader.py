"""Marked parts of a stream that arrives in pieces of any size."""

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
    st.integers(0, 60),
)
def test_a_part_is_what_is_before_its_mark_up_to_a_limit(
    parts: list[bytes], piece_bytes: int, most_bytes: int
) -> None:
    parts = [part for part in parts if MARK not in part + MARK[:-1]]
    stream = b"".join(part + MARK for part in parts) + b"a line\n"
    source = reader(stream[at : at + piece_bytes] for at in range(0, len(stream), piece_bytes))
    for part in parts:
        expected = (part[:most_bytes], len(part) > most_bytes)
        assert source.part(MARK, most_bytes, timeout_s=10) == expected
    assert source.line(timeout_s=10) == b"a line\n"


def test_a_part_without_its_mark_is_no_part() -> None:
    with pytest.raises(HostUnreachable, match="the other end is gone"):
        reader([b"so far"]).part(MARK, 100, timeout_s=10)


@pytest.mark.parametrize(("most_bytes", "most_in_memory"), [(8 << 20, 12 << 20), (1 << 20, 3 << 20)])
def test_a_part_is_in_memory_once_and_what_is_over_the_limit_never(
    most_bytes: int, most_in_memory: int
) -> None:
    piece = bytes(1 << 15)
    source = reader(itertools.chain(itertools.repeat(piece, 256), [MARK]))
    tracemalloc.start()
    try:
        found, has_more = source.part(MARK, most_bytes, timeout_s=60)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found), has_more) == (most_bytes, most_bytes < 8 << 20)
    assert peak_bytes < most_in_memory
