"""Any line of the kernel's log has one kind or none, soon; any record is a message or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from perfctl.validity.kernel_log import KINDS, by_kind, kind_of, messages_of
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import HOSTILE, NUMBERS, TEXTS, mutated

DATA = Path(__file__).parents[1] / "data" / "facts"
LOGS = [
    text.partition("==> kernel log <==\n")[2].partition("\n==> ")[0]
    for text in (path.read_text() for path in sorted(DATA.glob("*/after")))
    if "==> kernel log <==" in text
]
WORDS = [
    *(
        "alloc",
        "skb",
        "rx buff",
        "failed",
        "error",
        "dev",
        "sda,",
        "sector",
        "ata1:",
        "nvme0",
        "timeout",
        "XFS",
        "BTRFS",
    ),
    *(
        "EXT4-fs",
        "(sda1):",
        "link",
        "is",
        "down",
        "rcu",
        "stall",
        "out of memory",
        "TCP:",
        "md:",
        "EDAC",
        "CE",
        "transmit",
    ),
    *(
        "mce:",
        "AER:",
        "NMI:",
        "unhandled",
        "fault (1)",
        "vmalloc",
        "clocksource",
        "unstable",
        "device-mapper:",
        "tsc",
    ),
]
LINES = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join) | st.text(max_size=80) | HOSTILE


@inputs("kernel log", 0.3)
@given(st.lists(LINES, max_size=10))
def test_any_line_has_one_kind_or_none(lines: list[str]) -> bool:
    found = by_kind(lines)
    assert sum(map(len, found.values())) == sum(kind_of(line) is not None for line in lines)
    assert list(found) == [kind.name for kind in KINDS if kind.name in found]
    return bool(found)


RECORDS = st.builds(
    "{},{},{},-;{}".format, NUMBERS | st.integers(), st.integers(), NUMBERS | st.integers(), TEXTS | LINES
)


@inputs("kernel log", 0.4)
@given(st.lists(TEXTS | RECORDS, max_size=8))
def test_any_record_is_a_message_of_the_kernel_or_none(records: list[str]) -> bool:
    return is_read(records)


@inputs("kernel log", 0.3)
@given(st.sampled_from(LOGS).flatmap(mutated))
def test_a_damaged_log_is_read(text: str) -> bool:
    return is_read(text.split("\n"))


def is_read(records: list[str]) -> bool:
    """Return whether there are messages in records; each has a time."""
    messages = messages_of(records)
    assert len(messages) <= len(records)
    assert all(float(message[1:].partition("]")[0]) >= 0 for message in messages)
    by_kind(messages)
    return bool(messages)


@pytest.mark.parametrize("word", WORDS)
def test_a_line_without_end_is_no_hang(word: str) -> None:
    with bounded():
        for other in WORDS[WORDS.index(word) % 8 :: 8]:
            kind_of(f"{word} {other} " * 5_000)


@pytest.mark.parametrize("number", ["9" * 21, "9" * 400, "9" * 5000])
def test_a_number_of_more_than_64_bits_is_no_record(number: str) -> None:
    assert messages_of([f"{number},1,1,-;x", f"6,1,{number},-;x", "6,1,2000000,-;kept"]) == (
        "[    2.000000] kept",
    )
