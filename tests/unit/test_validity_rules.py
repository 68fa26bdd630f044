"""Whether an invocation counts: every rule below, at and above its limits, and what cannot be judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from perfctl.errors import UnknownName, UsageError
from perfctl.validity import (
    VALIDITY,
    Assessment,
    InvocationCounters,
    InvocationVerdict,
    JudgementContext,
    Severity,
    Validity,
    assess,
    judge_counters,
)
from perfctl.validity.context import Expected
from perfctl.validity.kernel_log import KINDS
from perfctl.validity.thresholds import RuleSet

DATA = Path(__file__).parents[1] / "data" / "facts"
DOCS = Path(__file__).parents[2] / "docs" / "validity.md"

DURATION_S = 10
TICKS = 20_000
"""Of all CPUs in the made-up readings: 0.005 % each, which is finer than any limit."""
GROUP = "/sys/fs/cgroup/system.slice/perfctl-r1.service"
THERMAL = "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle"
WALL_NS = 1_795_000_000_000_000_000
NETWORK = Expected(cpus=2, parallelism=1, uses=frozenset({"network"}), interfaces=("eth1",))
SNMP_HEAD = "Tcp: RtoAlgorithm OutSegs RetransSegs"


class Reading:
    """A made-up reading of every counter there is; the tests change what they are about."""

    def __init__(self) -> None:
        self.ticks = {"user": 10**6, "system": 10**5, "idle": 10**7, "steal": 10**4}
        self.cpus = 2
        self.stall_us = {"cpu": 1000, "memory": 1000, "io": 1000}
        self.vmstat = {"pgmajfault": 9, "pswpin": 3, "pswpout": 4, "oom_kill": 1}
        self.group = {"usage_usec": 5_000_000, "nr_throttled": 7, "throttled_usec": 70}
        self.heat = {"count": 5, "total_time_ms": 50}
        self.kernel = {"/sys/kernel/warn_count": 2, "/sys/kernel/oops_count": 0}
        self.kernel["/proc/sys/kernel/hung_task_detect_count"] = 0
        self.tcp = [10**6, 500]
        self.received = [10**9, 10**6, 0, 0]
        """Bytes, packets, errors, drops of eth1."""
        self.carrier = 3
        self.wall_ahead_ns = WALL_NS
        self.log = ["6,70,99000000,-;br0: port 1(eth1) entered forwarding state"]
        self.without: set[str] = set()
        self.extra: dict[str, str] = {}

    def bytes(self) -> bytes:
        """Return the text as the job script writes it."""
        ticks = self.ticks
        cpu = f"{ticks['user']} 0 {ticks['system']} {ticks['idle']} 0 0 0 {ticks['steal']} 0 0"
        each = "".join(f"cpu{n} 1 0 1 1 0 0 0 0 0 0\n" for n in range(self.cpus))
        received = "{} {} {} {}".format(*self.received)
        files = {
            "/proc/stat": f"cpu  {cpu}\n{each}ctxt 5\nbtime 1795000000\nprocesses 7",
            "/proc/loadavg": "0.50 0.10 0.01 1/200 1234",
            **{
                f"/proc/pressure/{name}": f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total}"
                for name, total in self.stall_us.items()
            },
            "/proc/vmstat": "\n".join(f"{name} {value}" for name, value in self.vmstat.items()),
            f"{GROUP}/cpu.stat": "\n".join(f"{name} {value}" for name, value in self.group.items()),
            **{f"{THERMAL}_{name}": str(value) for name, value in self.heat.items()},
            **{path: str(value) for path, value in self.kernel.items()},
            "/proc/net/snmp": f"{SNMP_HEAD}\nTcp: 1 {self.tcp[0]} {self.tcp[1]}",
            "/proc/net/dev": f"Inter-| x | y\n face |z\n  eth1: {received} 0 0 0 0 0 0 0 0 0 0 0 0",
            "/sys/class/net/eth1/carrier_changes": str(self.carrier),
            "clock": str(self.wall_ahead_ns),
            "kernel log": "\n".join(self.log),
            **self.extra,
        }
        kept = {path: text for path, text in files.items() if path not in self.without}
        return "\n".join(f"==> {path} <==\n{text}\n" for path, text in kept.items()).encode()


def later() -> Reading:
    """Return what is read after ten quiet seconds: 25 % of the CPU time was the benchmark's."""
    reading = Reading()
    reading.ticks["user"] += TICKS // 4
    reading.ticks["idle"] += TICKS - TICKS // 4
    reading.group["usage_usec"] += TICKS // 4 * 10_000
    reading.tcp[0] += 100_000
    reading.received[1] += 1_000_000
    return reading


def judge_texts(
    before: bytes,
    after: bytes,
    *,
    started_ns: int | None,
    ended_ns: int | None,
    expected: Expected,
    rules: RuleSet = VALIDITY,
    own_cpu_us: int | None = None,
) -> Validity:
    counters = InvocationCounters.parse(before, after, started_ns=started_ns, ended_ns=ended_ns)
    return judge_counters(counters.delta, counters.duration_s, expected, rules, own_cpu_us=own_cpu_us)


def judge(
    after: Reading,
    expected: Expected = NETWORK,
    before: Reading | None = None,
    rules: RuleSet = VALIDITY,
) -> Validity:
    # 10 s of 2 CPUs would be 2,000 ticks: here time runs in finer ticks, so shares of time are of 100 s.
    return judge_texts(
        (before or Reading()).bytes(),
        after.bytes(),
        started_ns=10**13,
        ended_ns=10**13 + DURATION_S * 10**9,
        expected=expected,
        rules=rules,
    )


def rules_of(validity: Validity) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in validity.findings}


WINDOW_S = TICKS / 100 / 2


def shifted(name: str, share: float, after: Reading) -> None:
    """Let a kind of CPU time take a share (in percent) from idle time."""
    moved = round(TICKS * share / 100)
    after.ticks[name] += moved
    after.ticks["idle"] -= moved


def stalled(resource: str) -> Callable[[float, Reading], None]:
    def change(share: float, after: Reading) -> None:
        after.stall_us[resource] += round(share / 100 * WINDOW_S * 1e6)

    return change


def counted(change: Callable[[int, Reading], None]) -> Callable[[float, Reading], None]:
    return lambda value, after: change(round(value), after)


def set_clock(share: float, after: Reading) -> None:
    after.wall_ahead_ns += round(share / 100 * DURATION_S * 1e9)


def logged(line: str) -> Callable[[float, Reading], None]:
    def change(count: float, after: Reading) -> None:
        after.log += [f"4,{100 + n},{100 + n}000000,-;{line}" for n in range(round(count))]

    return change


def grow(field: str, key: str | int | None = None, factor: float = 1.0) -> Callable[[float, Reading], None]:
    """Return what lets a counter of a reading grow by a value."""

    def change(value: float, after: Reading) -> None:
        amount = round(value * factor)
        if key is None:
            setattr(after, field, getattr(after, field) + amount)
        else:
            getattr(after, field)[key] += amount

    return change


RULES = [rule for rule in VALIDITY.rules if rule.name != "boot_attempts"]
"""Those that are judged by counters; the other one is at the end."""

CHANGES: dict[str, Callable[[float, Reading], None]] = {
    "steal": lambda value, after: shifted("steal", value, after),
    "others_cpu": lambda value, after: shifted("system", value, after),
    "pressure_cpu": stalled("cpu"),
    "pressure_memory": stalled("memory"),
    "pressure_io": stalled("io"),
    "swap": grow("vmstat", "pswpin"),
    "cpus": grow("cpus"),
    "quota": grow("group", "throttled_usec", WINDOW_S * 1e4),
    "heat": grow("heat", "count"),
    "heat_time": grow("heat", "total_time_ms", WINDOW_S * 10),
    "clock_step": set_clock,
    "oom_kills": grow("vmstat", "oom_kill"),
    "kernel_warnings": grow("kernel", "/sys/kernel/warn_count"),
    "kernel_oopses": grow("kernel", "/sys/kernel/oops_count"),
    "hung_tasks": grow("kernel", "/proc/sys/kernel/hung_task_detect_count"),
    "kernel_messages": logged("mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 4"),
    "retransmits": grow("tcp", 1, 1000),
    "nic_drops": grow("received", 3, 10_000),
    "nic_errors": grow("received", 2),
    "link_lost": grow("carrier"),
}
"""Rule -> how to make a reading in which exactly a value of it is seen."""

STEPS = {"nic_drops": 0.0001, "retransmits": 0.001, "clock_step": 0.001, "quota": 0.001}
"""By how much a value lies above a limit, where one is too much."""


def step(rule: str) -> float:
    return STEPS.get(rule, 0.005 if "%" in VALIDITY[rule].unit else 1)


MILD = {rule.name: rule.mild for rule in RULES if rule.mild is not None}
SEVERE = {rule.name: rule.severe for rule in RULES if rule.severe is not None}


def test_quiet_seconds_are_valid_and_everything_is_judged():
    assert judge(later()) == Validity()


def test_every_rule_is_tried():
    assert set(CHANGES) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", CHANGES)
def test_at_its_lower_limit_a_rule_is_kept(rule):
    after = later()
    CHANGES[rule]({**SEVERE, **MILD}[rule], after)
    assert rules_of(judge(after)) == {}


@pytest.mark.parametrize("rule", MILD)
def test_above_its_mild_limit_a_rule_flags(rule):
    # By default the kind that makes invalid; here one that flags.
    warned = {"kernel_messages": logged("WARNING: CPU: 1 PID: 2 at mm/slub.c:1")}
    after = later()
    {**CHANGES, **warned}[rule](MILD[rule] + step(rule), after)
    validity = judge(after)
    assert rules_of(validity) == {rule: Severity.FLAGGED}
    assert validity.verdict is InvocationVerdict.FLAGGED
    (finding,) = validity.findings
    assert finding.seen == pytest.approx(MILD[rule] + step(rule))
    assert (finding.limit, finding.unit) == (MILD[rule], VALIDITY[rule].unit)
    assert "{seen}" not in finding.sentence


@pytest.mark.parametrize("rule", SEVERE)
def test_above_its_severe_limit_a_rule_makes_invalid(rule):
    after = later()
    CHANGES[rule](SEVERE[rule] + step(rule), after)
    validity = judge(after)
    assert rules_of(validity)[rule] is Severity.INVALID
    assert validity.verdict is InvocationVerdict.INVALID


@pytest.mark.parametrize("rule", ["steal", "quota", "clock_step"])
def test_at_its_severe_limit_a_rule_only_flags(rule):
    after = later()
    CHANGES[rule](SEVERE[rule], after)
    assert rules_of(judge(after)) == {rule: Severity.FLAGGED}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES if rule.severe is None])
def test_what_an_environment_may_cause_never_makes_invalid(rule):
    after = later()
    CHANGES[rule](40, after)
    assert rules_of(judge(after))[rule] is Severity.FLAGGED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_kind_of_a_message_decides(kind):
    line = {
        "heat": "CPU0: Core temperature above threshold, cpu clock throttled (total events = 1)",
        "crash": "sysbench[17]: segfault at 0 ip 000055d6 sp 00007ffe error 4 in sysbench",
        "memory": "Memory cgroup out of memory: Killed process 1499 (python3) total-vm:320964kB",
        "table": "nf_conntrack: nf_conntrack: table full, dropping packet",
        "link": "igb 0000:01:00.0 eth1: igb: eth1 NIC Link is Down",
        "hardware": "mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 4: b200000000070005",
        "stall": "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [qemu:1]",
        "fault": "BUG: unable to handle page fault for address: ffffffff",
        "clock": "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
        "storage": "blk_update_request: I/O error, dev sda, sector 0 op 0x0:(READ)",
        "warning": "WARNING: CPU: 1 PID: 2 at mm/slub.c:1",
    }[kind.name]
    after = later()
    logged(line)(1, after)
    (finding,) = judge(after).findings
    assert finding.severity is (Severity.INVALID if kind.is_severe else Severity.FLAGGED)
    assert kind.meaning in finding.sentence
    assert line in finding.sentence


# --- what the benchmark does itself ---------


def busy(share: float, *, own: bool) -> Reading:
    """Return a reading after which tasks used `share` percent of the CPU time, or all pressure of it."""
    after = later()
    used = round(TICKS * share / 100) - TICKS // 4
    after.ticks["user"] += used
    after.ticks["idle"] -= used
    if own:
        after.group["usage_usec"] += used * 10_000
    after.stall_us["cpu"] += round(WINDOW_S * 1e6)
    return after


def test_a_benchmark_that_keeps_all_cpus_busy_does_not_condemn_itself():
    validity = judge(busy(100, own=True), replace(NETWORK, parallelism=2))
    assert validity.verdict is InvocationVerdict.VALID
    assert [item.rule for item in validity.unjudged] == ["pressure_cpu"]


def test_more_threads_than_cpus_do_not_either():
    assert judge(busy(100, own=True), replace(NETWORK, parallelism=64)).verdict is InvocationVerdict.VALID


def test_the_same_load_of_others_is_seen():
    assert "others_cpu" in rules_of(judge(busy(100, own=False), replace(NETWORK, parallelism=2)))


def test_interrupts_belong_to_nobody():
    after = later()
    text = after.bytes().replace(b" 0 0 0 10000 0 0", b" 0 4000 4000 10000 0 0", 1)
    expected = NETWORK
    validity = judge_texts(Reading().bytes(), text, started_ns=0, ended_ns=10**10, expected=expected)
    assert validity.verdict is InvocationVerdict.VALID


def test_more_own_time_than_ticks_were_counted_is_no_negative_load():
    after = later()
    after.group["usage_usec"] += 10**6
    rules = VALIDITY.changed("others_cpu", mild=0, severe=None)
    assert judge(after, rules=rules).verdict is InvocationVerdict.VALID


def without_own() -> tuple[Reading, Reading]:
    before, after = Reading(), busy(80, own=False)
    before.without.add(f"{GROUP}/cpu.stat")
    after.without.add(f"{GROUP}/cpu.stat")
    after.stall_us["cpu"] = 1000
    return before, after


def test_without_its_own_time_the_benchmark_is_given_all_it_can_use():
    before, after = without_own()
    (finding,) = judge(after, replace(NETWORK, parallelism=1), before).findings
    assert finding.rule == "others_cpu"
    assert finding.seen == pytest.approx(30)
    assert "at least" in finding.sentence


@pytest.mark.parametrize("parallelism", [None, 2])
def test_what_it_may_have_used_itself_is_not_judged(parallelism):
    before, after = without_own()
    validity = judge(after, replace(NETWORK, parallelism=parallelism), before)
    assert validity.findings == ()
    assert "others_cpu" in {item.rule for item in validity.unjudged}


def test_a_container_whose_group_was_not_read_is_not_taken_for_others():
    validity = judge(busy(100, own=False), replace(NETWORK, parallelism=2, is_own_cpu_read=False))
    assert validity.findings == ()
    assert "others_cpu" in {item.rule for item in validity.unjudged}


@pytest.mark.parametrize(
    ("own_s", "verdict"), [(200, InvocationVerdict.VALID), (100, InvocationVerdict.FLAGGED)]
)
def test_own_time_that_is_known_otherwise_counts(own_s, verdict):
    expected = replace(NETWORK, parallelism=2, is_own_cpu_read=False)
    validity = judge_texts(
        Reading().bytes(),
        busy(100, own=False).bytes(),
        started_ns=0,
        ended_ns=10**10,
        expected=expected,
        own_cpu_us=own_s * 10**6,
    )
    assert validity.verdict is verdict


def test_a_quota_of_the_environment_is_its_cost():
    after = later()
    CHANGES["quota"](50, after)
    CHANGES["pressure_cpu"](50, after)
    validity = judge(after, replace(NETWORK, has_cpu_quota=True))
    assert validity.verdict is InvocationVerdict.VALID
    assert {item.rule for item in validity.unjudged} == {"quota", "pressure_cpu"}


def test_a_storage_benchmark_waits_for_its_own_disk():
    after = later()
    CHANGES["pressure_io"](90, after)
    validity = judge(after, Expected(cpus=2, parallelism=1, uses=frozenset({"storage"})))
    assert validity.verdict is InvocationVerdict.VALID
    assert [item.rule for item in validity.unjudged] == ["pressure_io"]


def test_who_uses_no_network_is_not_judged_by_it():
    after = later()
    for rule in ("retransmits", "nic_drops", "nic_errors", "link_lost"):
        CHANGES[rule](10, after)
    assert judge(after, Expected(cpus=2, parallelism=1)) == Validity()


def test_tcp_in_a_namespace_of_its_own_is_not_the_hosts():
    after = later()
    CHANGES["retransmits"](10, after)
    expected = replace(NETWORK, shares_host_network=False)
    validity = judge(after, expected)
    assert validity.findings == ()
    assert [item.rule for item in validity.unjudged] == ["retransmits"]


def test_tcp_of_its_own_namespace_counts_when_it_is_read():
    before, after = Reading(), later()
    before.extra["/proc/77/net/snmp"] = f"{SNMP_HEAD}\nTcp: 1 10 0"
    after.extra["/proc/77/net/snmp"] = f"{SNMP_HEAD}\nTcp: 1 100010 5000"
    (finding,) = judge(after, replace(NETWORK, shares_host_network=False), before).findings
    assert (finding.rule, finding.seen) == ("retransmits", 5)


# --- what cannot be judged ------------------

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


# --- limits ---------------------------------


def test_limits_can_be_changed_and_switched_off():
    after = later()
    CHANGES["steal"](20, after)
    assert judge(after).verdict is InvocationVerdict.INVALID
    assert (
        judge(after, rules=VALIDITY.changed("steal", mild=5, severe=None)).verdict
        is InvocationVerdict.FLAGGED
    )
    assert (
        judge(after, rules=VALIDITY.changed("steal", mild=None, severe=None)).verdict
        is InvocationVerdict.VALID
    )


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(UnknownName, match="no rule 'stael'"):
        VALIDITY.changed("stael", mild=1, severe=2)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="limit of steal"):
            VALIDITY.changed("steal", mild=value, severe=None)


def test_limits_and_verdicts_are_plain_values_for_the_database():
    assert json.loads(json.dumps(VALIDITY.limits()))["steal"] == [1, 10]
    after = later()
    CHANGES["swap"](7, after)
    kept = json.loads(json.dumps(asdict(judge(after))))
    assert kept["findings"][0]["sentence"] == "the host swapped 7 pages (7 in, 0 out)"


def test_the_documentation_has_every_rule_and_every_kind():
    text = DOCS.read_text(encoding="utf-8")
    assert VALIDITY.markdown_table("flagged", "invalid") in text, (
        'put the output of VALIDITY.markdown_table("flagged", "invalid") into docs/validity.md'
    )
    assert "`no_counters`" in text
    for kind in KINDS:
        assert f"| {kind.name} | {'invalid' if kind.is_severe else 'flagged'} | {kind.meaning} |" in text


# --- captured on real machines --------------


def captured(case: str, expected: Expected) -> Validity:
    folder = DATA / case
    started_ns, ended_ns = map(int, (folder / "times").read_text(encoding="utf-8").split())
    before, after = ((folder / name).read_bytes() for name in ("before", "after"))
    return judge_texts(before, after, started_ns=started_ns, ended_ns=ended_ns, expected=expected)


def test_a_real_quota_of_somebody_else_makes_invalid():
    found = {item.rule: item for item in captured("counters-host", Expected(cpus=2, parallelism=1)).findings}
    assert found["quota"].severity is Severity.INVALID
    assert found["others_cpu"].seen > 50


def test_a_real_busy_machine_is_flagged_and_missing_sensors_are_named():
    validity = captured("counters-lab-host", replace(NETWORK, cpus=2))
    assert validity.verdict is InvocationVerdict.FLAGGED
    assert set(rules_of(validity)) == {"others_cpu", "pressure_cpu"}
    assert {item.rule for item in validity.unjudged} >= {"heat", "heat_time"}


# --- boots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "limits", "verdict"),
    [
        (None, (1, None), InvocationVerdict.VALID),
        (1, (1, None), InvocationVerdict.VALID),
        (2, (1, None), InvocationVerdict.FLAGGED),
        (2, (None, 1), InvocationVerdict.INVALID),
        (2, (2, None), InvocationVerdict.VALID),
    ],
)
def test_a_start_that_took_more_boots_than_the_limit_allows(attempts, limits, verdict):
    rules = VALIDITY.changed("boot_attempts", mild=limits[0], severe=limits[1])
    counters = InvocationCounters.parse(
        Reading().bytes(), later().bytes(), started_ns=10**13, ended_ns=10**13 + DURATION_S * 10**9
    )
    judged = assess(counters, JudgementContext(NETWORK, boot_attempts=attempts), {}, rules)
    assert judged.validity.verdict is verdict
    assert [item.rule for item in judged.validity.findings] == ["boot_attempts"] * (
        verdict is not InvocationVerdict.VALID
    )
    assert Assessment.from_json(judged.to_json()) == judged
