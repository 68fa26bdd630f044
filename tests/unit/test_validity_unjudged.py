"""What is missing, damaged or too little to be judged is never taken for fine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfctl.validity.finding import Severity
from perfctl.validity.rules import InvocationVerdict
from tests.unit.validity_cases import (
    CHANGES,
    DURATION_S,
    GROUP,
    NETWORK,
    RULES,
    THERMAL,
    Reading,
    judge,
    judge_texts,
    later,
    rules_of,
)

SOURCES = {
    "steal": "/proc/stat",
    "others_cpu": "/proc/stat",
    "cpus": "/proc/stat",
    "pressure_cpu": "/proc/pressure/cpu",
    "pressure_memory": "/proc/pressure/memory",
    "pressure_io": "/proc/pressure/io",
    "swap": "/proc/vmstat",
    "oom_kills": "/proc/vmstat",
    "quota": f"{GROUP}/cpu.stat",
    "heat": f"{THERMAL}_count",
    "heat_time": f"{THERMAL}_total_time_ms",
    "clock_step": "clock",
    "kernel_warnings": "/sys/kernel/warn_count",
    "kernel_oopses": "/sys/kernel/oops_count",
    "hung_tasks": "/proc/sys/kernel/hung_task_detect_count",
    "kernel_messages": "kernel log",
    "retransmits": "/proc/net/snmp",
    "nic_drops": "/proc/net/dev",
    "nic_errors": "/proc/net/dev",
    "link_lost": "/sys/class/net/eth1/carrier_changes",
}


@pytest.mark.parametrize("rule", CHANGES)
@pytest.mark.parametrize("end", ["before", "after", "both"])
def test_a_file_that_was_not_read_is_a_rule_that_is_not_judged(rule, end):
    before, after = Reading(), later()
    for name, reading in (("before", before), ("after", after)):
        # Of the log only what came in between is kept, so only the second reading has it.
        if end in (name, "both") or SOURCES[rule] == "kernel log":
            reading.without.add(SOURCES[rule])
    validity = judge(after, before=before)
    assert validity.findings == ()
    assert rule in {item.rule for item in validity.unjudged}


@pytest.mark.parametrize("rule", sorted(set(CHANGES) - {"clock_step", "cpus", "kernel_messages"}))
def test_a_counter_that_went_backwards_is_not_judged_and_never_negative(rule):
    # What was read first is far above what came after it: the host restarted, or a counter wrapped around.
    before, after = Reading(), later()
    if rule in ("steal", "others_cpu"):
        for name in before.ticks:
            before.ticks[name] *= 50
    else:
        CHANGES[rule](10**6, before)
    validity = judge(after, before=before)
    assert validity.findings == ()
    (reason,) = (item.reason for item in validity.unjudged if item.rule == rule)
    assert "went backwards" in reason


def test_a_restarted_host_is_not_judged():
    before = Reading()
    before.wall_ahead_ns -= 10**9 * 3600
    validity = judge_texts(before.bytes(), b"", started_ns=5, ended_ns=4, expected=NETWORK)
    assert [finding.rule for finding in validity.findings] == ["no_counters"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b"\xff\xfe", b"==> /proc/stat <==\ncpu x y z\n"),
        (b"==> ", b"cpu 1 2 3"),
        (b"\x00" * 99, b"\n"),
    ],
)
def test_of_which_nothing_is_known_is_flagged_and_not_valid(before, after):
    validity = judge_texts(before, after, started_ns=None, ended_ns=None, expected=NETWORK)
    assert validity.verdict is InvocationVerdict.FLAGGED
    assert rules_of(validity) == {"no_counters": Severity.FLAGGED}
    assert {item.rule for item in validity.unjudged} == {rule.name for rule in RULES}


def test_damaged_numbers_are_missing_numbers():
    text = later().bytes()
    for end in range(0, len(text), 37):
        validity = judge_texts(Reading().bytes(), text[:end], started_ns=0, ended_ns=1, expected=NETWORK)
        severe = [item for item in validity.findings if item.severity is Severity.INVALID]
        # A cut may leave "cpu" lines out, as if a CPU had gone, or the first digits of a counter.
        assert {item.rule for item in severe} <= {"cpus", "clock_step"}


def test_too_short_for_shares_of_cpu_time():
    after = Reading()
    after.ticks["user"] += 99
    validity = judge(after)
    assert validity.findings == ()
    assert {item.rule for item in validity.unjudged} >= {"steal", "others_cpu"}


def test_too_few_segments_for_a_share_of_them():
    after = later()
    after.tcp = [10**6 + 999, 999]
    assert {item.rule for item in judge(after).unjudged} == {"retransmits"}


def test_an_interface_that_nobody_names_is_not_judged():
    validity = judge(later(), replace(NETWORK, interfaces=()))
    assert {item.rule for item in validity.unjudged} == {"nic_drops", "nic_errors", "link_lost"}


def test_an_interface_without_a_packet_lost_none():
    after = later()
    after.received = Reading().received
    assert [item.rule for item in judge(after).unjudged] == ["nic_drops"]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_wall_clock_that_is_set_back_was_set_too(direction):
    after = later()
    after.wall_ahead_ns += direction * DURATION_S * 5_000_000
    (finding,) = judge(after).findings
    assert (finding.rule, finding.severity) == ("clock_step", Severity.FLAGGED)
    assert finding.seen == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["", "x", "-5", "1 2", "1\n2", "1.5"])
def test_a_clock_that_makes_no_sense_is_a_clock_that_was_not_read(text):
    after = later()
    after.extra["clock"] = text
    validity = judge(after)
    assert "clock_step" in {item.rule for item in validity.unjudged}
    assert validity.findings == ()


@pytest.mark.parametrize(
    ("log", "rules"),
    [
        ([], []),
        (["12,101,100,-;WARNING: says a program"], []),
        (["4,101,100,-;WARNING: CPU: 1 PID: 2 at mm/slub.c:1"], ["kernel_messages"]),
        ([" WARNING: of the line before", "WARNING: no record", "x,y,z;WARNING: "], []),
    ],
)
def test_only_what_the_kernel_itself_says_in_its_log_counts(log, rules):
    after = later()
    after.log = log
    validity = judge(after)
    assert [finding.rule for finding in validity.findings] == rules
    assert validity.unjudged == ()


def test_a_log_of_which_only_a_part_was_kept_is_judged_only_by_what_is_there():
    after = later()
    after.without.add("kernel log")
    after.extra["kernel log, cut"] = "6,70,99000000,-;br0: port 1(eth1) entered forwarding state"
    (reason,) = (item.reason for item in judge(after).unjudged)
    assert reason == "the kernel wrote more into its log than was kept"
    after.extra["kernel log, cut"] += "\n2,71,99000001,-;EXT4-fs error (device sda1): ext4_find_entry"
    validity = judge(after)
    assert validity.unjudged == ()
    assert rules_of(validity) == {"kernel_messages": Severity.INVALID}


@pytest.mark.parametrize(("boot_time", "verdict"), [("1795000000", "valid"), ("1795000002", "invalid")])
def test_without_the_clock_whole_seconds_are_seen_by_the_time_of_boot(boot_time, verdict):
    before, after = Reading(), later()
    before.without.add("clock")
    after.without.add("clock")
    text = after.bytes().replace(b"btime 1795000000", f"btime {boot_time}".encode())
    validity = judge_texts(before.bytes(), text, started_ns=0, ended_ns=10**10, expected=NETWORK)
    assert validity.verdict == verdict
    # That no step was seen does not say that there was none.
    assert ("clock_step" in {item.rule for item in validity.unjudged}) is (verdict == "valid")


def test_cpus_that_are_not_those_expected():
    (finding,) = judge(later(), replace(NETWORK, cpus=4)).findings
    assert (finding.rule, finding.seen, finding.severity) == ("cpus", 2, Severity.INVALID)
