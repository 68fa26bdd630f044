"""The kernel's log: what is new, what matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.validity.counter_files import parse_files
from perfctl.validity.kernel_log import KINDS, by_kind, kind_of, messages_of

DATA = Path(__file__).parents[1] / "data" / "facts"


@pytest.mark.parametrize(
    ("records", "messages"),
    [
        ([], ()),
        (
            ["6,25094,25120584908,-;br1: entered disabled state"],
            ("[25120.584908] br1: entered disabled state",),
        ),
        # With what belongs to it: the device, and how records of one line hang together.
        (
            ["3,1,5,c,caller=T1;I/O; error", " SUBSYSTEM=block", " DEVICE=b8:0"],
            ("[    0.000005] I/O; error",),
        ),
        # A program, not the kernel: facility 1, priority 4; facility 3.
        (["12,2,6,-;WARNING: says a program", "30,3,7,-;systemd[1]: Started"], ()),
        # Cut off, or no record at all.
        (["4,7,8", "4,7,8,-", "WARNING: x", "", " ", "-4,7,8,-;x", "4,7,x,-;y"], ()),
        (["4,7,8,-;"], ("[    0.000008] ",)),
    ],
)
def test_what_the_kernel_itself_said(records, messages):
    assert messages_of(records) == messages


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
    lines = messages_of(parse_files((DATA / "counters-containers" / "after").read_bytes())["kernel log"])
    assert len(lines) > 20
    assert by_kind(lines) == {}


def test_a_real_program_that_crashed():
    lines = messages_of(parse_files((DATA / "counters-crash" / "after").read_bytes())["kernel log"])
    (crashed,) = by_kind(lines)["crash"]
    assert "segfault at 0" in crashed
