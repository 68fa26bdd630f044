"""Differences of the kernel's counters around one invocation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from perfctl.facts import parse_counters

DATA = Path(__file__).parents[1] / "data" / "facts" / "counters"

BEFORE = b"""==> /proc/stat <==
cpu  100 0 50 1000 5 0 1 10 0 0
cpu0 100 0 50 1000 5 0 1 10 0 0
ctxt 5000
processes 70

==> /proc/loadavg <==
0.50 0.10 0.01 1/200 1234

==> /proc/pressure/cpu <==
some avg10=1.00 avg60=0.00 avg300=0.00 total=1000
full avg10=0.00 avg60=0.00 avg300=0.00 total=0

==> /proc/pressure/io <==
some avg10=0.00 avg60=0.00 avg300=0.00 total=20
full avg10=0.00 avg60=0.00 avg300=0.00 total=10

==> /proc/vmstat <==
pswpin 3
pswpout 4
pgmajfault 9
"""
AFTER = (
    BEFORE.replace(b"cpu  100 0 50 1000 5 0 1 10", b"cpu  250 0 70 1020 6 0 1 19")
    .replace(b"ctxt 5000", b"ctxt 5600")
    .replace(b"processes 70", b"processes 71")
    .replace(b"0.50 0.10", b"0.75 0.12")
    .replace(b"total=1000", b"total=4000")
    .replace(b"pswpin 3", b"pswpin 5")
)


def test_differences():
    delta = parse_counters(BEFORE, AFTER)
    assert (delta.cpu_ticks, delta.idle_ticks, delta.iowait_ticks) == (200, 20, 1)
    assert (delta.steal_ticks, delta.guest_ticks) == (9, 0)
    assert delta.steal_fraction == pytest.approx(0.045)
    assert (delta.context_switches, delta.processes_started) == (600, 1)
    assert (delta.cpu_some_stall_us, delta.io_some_stall_us, delta.io_full_stall_us) == (3000, 0, 0)
    assert (delta.swapped_in_pages, delta.swapped_out_pages, delta.major_faults) == (2, 0, 0)
    assert (delta.load_1m_before, delta.load_1m_after) == (0.5, 0.75)


def test_a_file_that_is_not_there_is_none_and_not_zero():
    delta = parse_counters(BEFORE, AFTER)
    assert delta.memory_some_stall_us is None
    assert delta.memory_full_stall_us is None


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b""), (BEFORE, b""), (b"", AFTER), (b"rubbish", b"\xff")]
)
def test_nothing_captured_is_all_none(before, after):
    delta = parse_counters(before, after)
    differences = dataclasses.asdict(delta)
    loads = {key: differences.pop(key) for key in ("load_1m_before", "load_1m_after")}
    assert set(differences.values()) == {None}
    assert delta.steal_fraction is None
    assert loads["load_1m_before"] == (0.5 if before == BEFORE else None)


def test_a_kernel_without_steal_says_none():
    old = b"==> /proc/stat <==\ncpu  1 2 3 4\n"
    new = b"==> /proc/stat <==\ncpu  2 2 3 5\n"
    delta = parse_counters(old, new)
    assert (delta.cpu_ticks, delta.idle_ticks, delta.steal_ticks) == (2, 1, None)
    assert delta.steal_fraction is None


def test_no_time_passed_has_no_steal_fraction():
    assert parse_counters(BEFORE, BEFORE).steal_fraction is None


def test_captured_on_a_real_machine():
    delta = parse_counters((DATA / "before").read_bytes(), (DATA / "after").read_bytes())
    missing = [key for key, value in dataclasses.asdict(delta).items() if value is None]
    assert missing == []
    assert delta.cpu_ticks is not None
    assert delta.cpu_ticks > 100
    assert delta.context_switches is not None
    assert delta.context_switches > 0
