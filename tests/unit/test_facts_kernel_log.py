"""The kernel's log: what is new, what matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.facts.captured import sections
from perfctl.facts.kernel_log import KINDS, by_kind, kind_of, new_messages

DATA = Path(__file__).parents[1] / "data" / "facts"

OLD = ["[    1.0] a", "[    2.0] b", "[    3.0] c"]


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (OLD, OLD, ()),
        (OLD, [*OLD, "[ 4.0] d"], ("[ 4.0] d",)),
        (OLD, [*OLD[1:], "[ 4.0] d"], ("[ 4.0] d",)),
        (OLD, ["[    0.5] z", *OLD, "[ 4.0] d"], ("[ 4.0] d",)),
        # The log has been written over in between: times tell what is new.
        (OLD, ["[    9.0] x", "[   10.0] y"], ("[    9.0] x", "[   10.0] y")),
        # Without times, equal lines are not taken for old ones.
        (["x", "x"], ["x", "x", "x"], ("x",)),
        (["a", "b"], ["c", "d"], None),
        (None, OLD, None),
        (OLD, None, None),
        ([], OLD, None),
        (OLD, [], None),
    ],
)
def test_what_is_new(before, after, new):
    assert new_messages(before, after) == new


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[1.0] br1: port 1(eth1) entered forwarding state", None),
        ("[1.0] docker0: port 2(veth1) entered disabled state", None),
        ("[1.0] IPv6: ADDRCONF(NETDEV_CHANGE): veth1: link becomes ready", None),
        ("[1.0] perf: interrupt took too long (2501 > 2500), lowering", None),
        ("[1.0] mce: CPU0: Package temperature above threshold, cpu clock throttled", "heat"),
        ("[1.0] traps: a.out[7] general protection fault ip:1 sp:2 error:0", "crash"),
        ("[1.0] general protection fault, probably for non-canonical address", "fault"),
        ("[1.0] EDAC MC0: 1 CE memory read error on CPU_SrcID#0", "hardware"),
        ("[1.0] rcu: INFO: rcu_preempt self-detected stall on CPU", "stall"),
        ("[1.0] INFO: task dd:77 blocked for more than 120 seconds.", "stall"),
        ("[1.0] clocksource: Switched to clocksource hpet", "clock"),
        ("[1.0] EXT4-fs error (device sda1): ext4_find_entry", "storage"),
        ("[1.0] nvme nvme0: I/O 5 QID 1 timeout, aborting", "storage"),
    ],
)
def test_what_a_line_is_about(line, kind):
    found = kind_of(line)
    assert (found.name if found else None) == kind


def test_lines_are_grouped_in_the_order_of_kinds():
    lines = ["WARNING: CPU: 1", "nothing", "mce: Uncorrected hardware memory error", "WARNING: CPU: 2"]
    assert by_kind(lines) == {"hardware": [lines[2]], "warning": [lines[0], lines[3]]}
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_a_real_log_of_containers_that_come_and_go_holds_nothing_that_matters():
    for case in ("counters-host", "counters-lab-host"):
        lines = sections((DATA / case / "after").read_bytes())["dmesg"]
        assert len(lines) > 20
        assert by_kind(lines) == {}
