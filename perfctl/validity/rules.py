"""Judge whether an invocation counts: rules over the counters around it, fixed before the run.

No rule depends on the measured value. A rule may make an invocation invalid only for a cause that is neither
the benchmark nor its environment: otherwise it would hide what an environment costs. docs/validity.md gives
the reason for every limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from perfctl.validity.context import Expected
from perfctl.validity.counter_files import USER_HZ
from perfctl.validity.counters import CounterDelta
from perfctl.validity.finding import Finding, Severity, Unjudged, format_number
from perfctl.validity.kernel_log import KINDS, by_kind
from perfctl.validity.thresholds import VALIDITY, RuleSet

MINIMUM_TICKS = 100
"""With fewer, one tick is more than 1 %: too coarse for shares of CPU time."""
MINIMUM_SEGMENTS = 1000
"""With fewer, one segment is more than the 0.1 % of the rule's limit."""

_TOO_SHORT = f"too short: the host's CPU time is less than {MINIMUM_TICKS} ticks"


class InvocationVerdict(StrEnum):
    """Whether an invocation's values count."""

    VALID = "valid"
    FLAGGED = "flagged"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Validity:
    """The findings of an invocation; `unjudged` are rules that could not be applied, which is not 'valid'."""

    findings: tuple[Finding, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()

    @property
    def verdict(self) -> InvocationVerdict:
        """The verdict that follows from the worst finding; valid without any."""
        if any(finding.severity is Severity.INVALID for finding in self.findings):
            return InvocationVerdict.INVALID
        return InvocationVerdict.FLAGGED if self.findings else InvocationVerdict.VALID

    def __add__(self, other: Validity) -> Validity:
        """Return the findings of both."""
        return Validity((*self.findings, *other.findings), (*self.unjudged, *other.unjudged))


@dataclass(slots=True)
class _Judge:
    """Applies rules to one difference of counters, and collects what comes of them."""

    delta: CounterDelta
    expected: Expected
    rules: RuleSet
    duration_s: float | None
    findings: list[Finding] = field(default_factory=list)
    unjudged: list[Unjudged] = field(default_factory=list)
    judged: int = 0

    @property
    def cpus(self) -> int | None:
        """The host's CPUs, as the run expects them or else as the kernel counts them."""
        return self.expected.cpus or self.delta.cpus_before

    @property
    def window_s(self) -> float | None:
        """The time between the readings: at least the invocation's own, and what reading takes."""
        ticks, cpus = self.delta.cpu_ticks, self.delta.cpus_before
        counted_s = ticks / USER_HZ / cpus if ticks and cpus else 0.0
        return max(self.duration_s or 0.0, counted_s) or None

    def apply(self, rule: str, value: float | None, sentence: str, *fields: str) -> None:
        """Apply a rule to a value; None: the counters `fields` are missing.

        `{value}` in the sentence stands for the value with its unit.
        """
        if value is None:
            self.missing(rule, *fields)
            return
        self.judged += 1
        limit = self.rules[rule]
        crossed = limit.crossed(value)
        if crossed is not None:
            severity = Severity.INVALID if crossed.is_severe else Severity.FLAGGED
            text = sentence.replace("{value}", f"{format_number(value)} {limit.unit}")
            self.findings.append(Finding(rule, severity, value, limit.unit, crossed.limit, text))

    def apply_share(self, rule: str, spent_s: float | None, sentence: str, *fields: str) -> None:
        """Apply a rule to a part of the time between the readings."""
        if spent_s is None:
            self.missing(rule, *fields)
        elif self.window_s is None:
            self.skip(rule, "the time between the readings is not known")
        else:
            self.apply(rule, 100 * spent_s / self.window_s, sentence)

    def skip(self, rule: str, reason: str) -> None:
        """Note that a rule cannot be applied."""
        self.unjudged.append(Unjudged(rule, reason))

    def missing(self, rule: str, *fields: str) -> None:
        """Note that a rule's counters are missing: never read, or reset."""
        backwards = any(name in self.delta.backwards for name in fields)
        why = "a counter went backwards: the host restarted, or it wrapped around"
        self.skip(rule, why if backwards else "its counters were not read")


def judge_counters(
    delta: CounterDelta,
    duration_s: float | None,
    expected: Expected,
    rules: RuleSet = VALIDITY,
    *,
    own_cpu_us: int | None = None,
) -> Validity:
    """Return the findings in the counters of a host around an invocation of `duration_s` seconds.

    An invocation of which no rule could be judged is flagged, never valid. `own_cpu_us` is the CPU time of
    the benchmark's own tasks where it is known otherwise than by the control groups read.
    """
    if own_cpu_us is not None:
        delta = replace(delta, own_cpu_us=own_cpu_us)
        expected = replace(expected, is_own_cpu_read=True)
    judge = _Judge(delta, expected, rules, duration_s)
    for check in _CHECKS:
        check(judge)
    if not judge.judged:
        text = "no counters were read around it: the host's other work is not known"
        judge.findings.append(Finding("no_counters", Severity.FLAGGED, 0, "rules judged", 0, text))
    return Validity(tuple(judge.findings), tuple(judge.unjudged))


# ---- time that others used --------------------------------------


def _steal(judge: _Judge) -> None:
    delta = judge.delta
    if delta.cpu_ticks is not None and delta.cpu_ticks < MINIMUM_TICKS:
        judge.skip("steal", _TOO_SHORT)
        return
    share = delta.steal_fraction
    text = "the hypervisor gave {value} to others"
    judge.apply("steal", None if share is None else 100 * share, text, "steal_ticks", "cpu_ticks")


def _others_cpu(judge: _Judge) -> None:
    delta = judge.delta
    if delta.task_ticks is None or delta.cpu_ticks is None:
        judge.missing("others_cpu", "task_ticks", "cpu_ticks")
    elif delta.cpu_ticks < MINIMUM_TICKS:
        judge.skip("others_cpu", _TOO_SHORT)
    elif delta.own_cpu_us is not None and judge.expected.is_own_cpu_read:
        _judge_others(judge, delta.task_ticks, delta.own_cpu_us * USER_HZ / 1e6, delta.cpu_ticks, "")
    else:
        _others_cpu_at_least(judge, delta.task_ticks, delta.cpu_ticks)


def _others_cpu_at_least(judge: _Judge, task_ticks: int, cpu_ticks: int) -> None:
    """Judge without the benchmark's own CPU time: it is at most that of all CPUs it can keep busy."""
    if judge.expected.parallelism is not None and judge.cpus:
        most = cpu_ticks * min(1.0, judge.expected.parallelism / judge.cpus)
        least = 100 * max(0.0, task_ticks - most) / cpu_ticks
        if judge.rules["others_cpu"].crossed(least) is not None:
            _judge_others(judge, task_ticks, most, cpu_ticks, " at least")
            return
    judge.missing("others_cpu", "own_cpu_us")


def _judge_others(judge: _Judge, task_ticks: int, own_ticks: float, cpu_ticks: int, least: str) -> None:
    others = max(0.0, task_ticks - own_ticks)
    text = f"other tasks of the host used{least} {{value}} ({format_number(others / USER_HZ)} s of CPU time)"
    judge.apply("others_cpu", 100 * others / cpu_ticks, text)


def _pressure_cpu(judge: _Judge) -> None:
    parallelism, rule = judge.expected.parallelism, "pressure_cpu"
    if judge.expected.has_cpu_quota:
        judge.skip(rule, "a CPU quota makes the benchmark's own tasks wait")
    elif parallelism is None or judge.cpus is None:
        judge.skip(rule, "how many CPUs the benchmark keeps busy is not known")
    elif parallelism >= judge.cpus:
        judge.skip(rule, "the benchmark keeps every CPU busy: its own tasks may wait for each other")
    else:
        _pressure(judge, rule, "cpu_some_stall_us", "a CPU, though the benchmark leaves some free")


def _pressure_memory(judge: _Judge) -> None:
    _pressure(judge, "pressure_memory", "memory_some_stall_us", "memory")


def _pressure_io(judge: _Judge) -> None:
    if "storage" in judge.expected.uses:
        judge.skip("pressure_io", "the benchmark's own tasks wait for the disk")
    else:
        _pressure(judge, "pressure_io", "io_some_stall_us", "a disk, though the benchmark uses none")


def _pressure(judge: _Judge, rule: str, name: str, what: str) -> None:
    stall_us = getattr(judge.delta, name)
    spent_s = None if stall_us is None else stall_us / 1e6
    judge.apply_share(rule, spent_s, f"tasks waited {{value}} for {what}", name)


def _swap(judge: _Judge) -> None:
    read, written = judge.delta.swapped_in_pages, judge.delta.swapped_out_pages
    pages = None if read is None or written is None else read + written
    text = f"the host swapped {{value}} ({read} in, {written} out)"
    judge.apply("swap", pages, text, "swapped_in_pages", "swapped_out_pages")


# ---- another machine than expected ---------------------------


def _cpus(judge: _Judge) -> None:
    before, after, wanted = judge.delta.cpus_before, judge.delta.cpus_after, judge.expected.cpus
    if before is None or after is None:
        judge.missing("cpus")
        return
    off = max(abs(after - before), 0 if wanted is None else max(abs(after - wanted), abs(before - wanted)))
    text = f"{before} CPUs were online before and {after} after"
    judge.apply("cpus", off, text if wanted is None else f"{text}; {wanted} were expected")


def _quota(judge: _Judge) -> None:
    if judge.expected.has_cpu_quota:
        judge.skip("quota", "the environment sets a CPU quota: being stopped by it is part of its cost")
        return
    stopped_us, periods = judge.delta.quota_stopped_us, judge.delta.quota_periods
    text = f"a CPU limit that the environment does not set stopped the benchmark {{value}} ({periods} times)"
    spent_s = None if stopped_us is None else stopped_us / 1e6
    judge.apply_share("quota", spent_s, text, "quota_stopped_us")


def _heat(judge: _Judge) -> None:
    events, slowed_ms = judge.delta.thermal_events, judge.delta.thermal_ms
    judge.apply("heat", events, "a CPU was throttled because of heat {value}", "thermal_events")
    spent_s = None if slowed_ms is None else slowed_ms / 1000
    judge.apply_share("heat_time", spent_s, "a CPU was throttled because of heat {value}", "thermal_ms")


def _clock_step(judge: _Judge) -> None:
    step_s, boot_s = judge.delta.clock_step_s, judge.delta.boot_time_step_s
    known_s = step_s if step_s is not None else boot_s
    if known_s is not None and step_s is None and not boot_s:
        judge.skip("clock_step", "only whole seconds were read: a smaller step does not show")
    elif known_s is None:
        judge.missing("clock_step")
    elif not judge.duration_s:
        judge.skip("clock_step", "the invocation's time is not known")
    else:
        text = f"the wall clock was set by {format_number(known_s)} s ({{value}})"
        judge.apply("clock_step", 100 * known_s / judge.duration_s, text)


# ---- the kernel's own problems ----------------------------------


def _kernel(judge: _Judge) -> None:
    delta = judge.delta
    for rule, value, text in (
        ("oom_kills", delta.oom_kills, "the kernel OOM-killed {value}"),
        ("kernel_warnings", delta.kernel_warnings, "the kernel logged {value}"),
        ("kernel_oopses", delta.kernel_oopses, "the kernel had {value}"),
        ("hung_tasks", delta.hung_tasks, "the kernel reported {value} blocked for minutes"),
    ):
        judge.apply(rule, value, text, rule)


def _kernel_messages(judge: _Judge) -> None:
    rule, lines = "kernel_messages", judge.delta.messages
    if lines is None:
        judge.skip(rule, "the kernel's log could not be read there")
        return
    found, limit = by_kind(lines), judge.rules[rule]
    if judge.delta.is_log_cut and not found:
        judge.skip(rule, "the kernel wrote more into its log than was kept")
        return
    judge.judged += 1
    for kind in KINDS:
        lines_of_kind = found.get(kind.name, [])
        allowed = limit.severe if kind.is_severe else limit.mild
        if lines_of_kind and allowed is not None and len(lines_of_kind) > allowed:
            severity = Severity.INVALID if kind.is_severe else Severity.FLAGGED
            text = f"kernel log: {kind.meaning}: {lines_of_kind[0][:160]}"
            judge.findings.append(Finding(rule, severity, len(lines_of_kind), limit.unit, allowed, text))


# ---- the network ------------------------------------------------


def _retransmits(judge: _Judge) -> None:
    delta, rule = judge.delta, "retransmits"
    if "network" not in judge.expected.uses:
        return
    if not (judge.expected.shares_host_network or delta.is_own_network):
        judge.skip(rule, "its TCP is counted in a network namespace of its own, which was not read")
    elif delta.tcp_sent_segments is None or delta.tcp_resent_segments is None:
        judge.missing(rule, "tcp_sent_segments", "tcp_resent_segments")
    elif delta.tcp_sent_segments < MINIMUM_SEGMENTS:
        judge.skip(rule, f"fewer than {MINIMUM_SEGMENTS} TCP segments were sent")
    else:
        sent, resent = delta.tcp_sent_segments, delta.tcp_resent_segments
        judge.apply(rule, 100 * resent / sent, f"TCP retransmitted {{value}} ({resent:,} of {sent:,})")


def _interfaces(judge: _Judge) -> None:
    if "network" not in judge.expected.uses:
        return
    if not judge.expected.interfaces:
        for rule in ("nic_drops", "nic_errors", "link_lost"):
            judge.skip(rule, "which interface the traffic takes is not known")
    for name in judge.expected.interfaces:
        link = judge.delta.links.get(name)
        if link is None:
            judge.missing("nic_drops", f"links.{name}")
            judge.missing("nic_errors", f"links.{name}")
        elif not link.packets:
            judge.skip("nic_drops", f"no packet crossed {name}")
            judge.apply("nic_errors", link.errors, f"{name} had errors in {{value}}")
        else:
            text = f"{name} lost {{value}} ({link.drops:,} of {link.packets:,})"
            judge.apply("nic_drops", 100 * link.drops / link.packets, text)
            judge.apply("nic_errors", link.errors, f"{name} had errors in {{value}}")
        changes = judge.delta.carrier_changes.get(name)
        text = f"the link of {name} went down or up: {{value}}"
        judge.apply("link_lost", changes, text, f"carrier_changes.{name}")


_CHECKS: tuple[Callable[[_Judge], None], ...] = (
    _steal,
    _others_cpu,
    _pressure_cpu,
    _pressure_memory,
    _pressure_io,
    _swap,
    _cpus,
    _quota,
    _heat,
    _clock_step,
    _kernel,
    _kernel_messages,
    _retransmits,
    _interfaces,
)
