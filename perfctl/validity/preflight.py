"""Judge whether a host is fit to be measured: rules over its facts, read just before a run.

A rule refuses a host for what invalidates a run and the user can change. What only widens intervals is a
warning. A host that is itself a container has the load of the whole machine in its facts: there, load only
warns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from perfctl.facts import value_of
from perfctl.facts.host import online_cpus
from perfctl.facts.values import Counts, CpuTicks, Groups, LoadAverage, Pressure, SwapAreas
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.validity.finding import Finding, Severity, Unjudged, format_number
from perfctl.validity.thresholds import PREFLIGHT, RuleSet

_CONTAINERS = frozenset(
    {"docker", "podman", "lxc", "lxc-libvirt", "systemd-nspawn", "openvz", "rkt", "wsl", "proot", "pouch"}
    | {"container-other"}
)
"""What systemd-detect-virt prints on a host that is a container."""
T = TypeVar("T")
_MACHINE_WIDE = frozenset({"load", "pressure_cpu", "pressure_memory", "pressure_io"})
_FREQUENCY = ("governor", "driver", "epp")
_TURBO = ("cpu.intel_no_turbo", "cpu.boost")
_DRIFTED = "perfctl verify names what drifted; --force measures anyway"
_WAIT = "end what runs there, or wait; --force measures anyway"


@dataclass(frozen=True, slots=True)
class Preflight:
    """The reasons against measuring on a host now."""

    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...]

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Return the findings for which a run does not start on the host without --force."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.REFUSE)


@dataclass(slots=True)
class _Check:
    facts: Fingerprint
    previous: Fingerprint | None
    rules: RuleSet
    is_container: bool
    findings: list[Finding] = field(default_factory=list)
    unjudged: list[Unjudged] = field(default_factory=list)

    def value(self, name: str, value_class: type[T], *, before: bool = False) -> T | None:
        """Return the value of a fact, or None when it is not present or makes no sense."""
        return value_of(self.previous if before else self.facts, name, value_class)

    @property
    def is_same_boot(self) -> bool:
        """Whether the previous reading is of the same boot: only then can counters be subtracted."""
        boot = self.value("host.boot_id", str)
        return boot is not None and boot == self.value("host.boot_id", str, before=True)

    def apply(self, rule: str, value: float, sentence: str, hint: str, *, may_refuse: bool = True) -> None:
        """Apply a rule; `{value}` in the sentence stands for the value with its unit."""
        limits = self.rules[rule]
        crossed = limits.crossed(value)
        if crossed is None:
            return
        if self.is_container and rule in _MACHINE_WIDE:
            sentence += " (of the whole machine: this host is a container)"
            may_refuse = False
        severity = Severity.REFUSE if crossed.is_severe and may_refuse else Severity.WARN
        limit = crossed.limit
        if severity is Severity.WARN and limits.mild is not None:
            limit = limits.mild
        text = sentence.replace("{value}", f"{format_number(value)} {limits.unit}")
        self.findings.append(Finding(rule, severity, value, limits.unit, limit, text, hint))

    def is_severe(self, rule: str, value: float | None) -> bool:
        """Whether a value is known and lies above the limit from which a rule refuses."""
        crossed = None if value is None else self.rules[rule].crossed(value)
        return crossed is not None and crossed.is_severe

    def skip(self, rule: str, reason: str) -> None:
        """Note that a rule cannot be applied."""
        self.unjudged.append(Unjudged(rule, reason))

    def missing(self, rule: str, name: str) -> None:
        """Note that a rule's fact is missing, denied or unreadable."""
        fact = self.facts.get(name)
        state = "not read" if fact is None else fact.state.value
        unreadable = f"{name} has an unexpected value"
        self.skip(rule, unreadable if state == FactState.PRESENT else f"{name} is {state}")


def judge_host(
    facts: Fingerprint, *, previous: Fingerprint | None = None, rules: RuleSet = PREFLIGHT
) -> Preflight:
    """Return the reasons against measuring on the host of these facts (`facts.read_host`).

    `previous` are the facts that the last run read there after it ended, dynamic rows included if they are
    known. A fact that is missing is a rule that is not judged.
    """
    check = _Check(facts, previous, rules, is_container=False)
    check.is_container = check.value("vm.virtualization", str) in _CONTAINERS
    for judge in (_busy, _waiting, _steal, _swap, _heat, _governor, _cap, _changed, _neighbours):
        judge(check)
    return Preflight(tuple(check.findings), tuple(check.unjudged))


# ---- load -------------------------------------------------------


def _pressure(check: _Check, resource: str) -> float | None:
    pressure = check.value("load.pressure", Pressure)
    return pressure.some_avg10.get(resource) if pressure else None


def _load_per_cpu(check: _Check) -> float | None:
    load = check.value("load.average", LoadAverage)
    cpus = online_cpus(check.facts)
    return load.minute / cpus if load and cpus else None


def _busy(check: _Check) -> None:
    """Refuse a host that others keep busy by both the last minute's load and the last seconds' pressure."""
    load, waited = _load_per_cpu(check), _pressure(check, "cpu")
    is_loaded, is_pressed = check.is_severe("load", load), check.is_severe("pressure_cpu", waited)
    if load is None:
        check.missing("load", "cpu.online" if online_cpus(check.facts) is None else "load.average")
    else:
        text = "other programs keep the host busy: {value} on average over the last minute"
        check.apply("load", load, text, _WAIT, may_refuse=is_pressed or waited is None)
    if waited is None:
        check.missing("pressure_cpu", "load.pressure")
    else:
        text = "tasks of other programs waited for a CPU: {value}"
        check.apply("pressure_cpu", waited, text, _WAIT, may_refuse=is_loaded)


def _waiting(check: _Check) -> None:
    for rule, resource, what, hint in (
        ("pressure_memory", "memory", "memory", "end what fills the memory; --force measures anyway"),
        ("pressure_io", "io", "a disk", "end what uses the disks, or wait"),
    ):
        waited = _pressure(check, resource)
        if waited is None:
            check.missing(rule, "load.pressure")
        else:
            check.apply(rule, waited, f"tasks waited for {what}: {{value}}", hint)


def _steal(check: _Check) -> None:
    now = check.value("load.cpu_ticks", CpuTicks)
    if now is None:
        check.missing("steal", "load.cpu_ticks")
        return
    since, ticks = "since it booted", now
    old = check.value("load.cpu_ticks", CpuTicks, before=True) if check.is_same_boot else None
    if old is not None and now.total > old.total and now.steal >= old.steal:
        since, ticks = "since the last run", now.since(old)
    if not ticks.total:
        check.missing("steal", "load.cpu_ticks")
        return
    text = f"the hypervisor gave {{value}} to others {since}"
    hint = "give the host a machine of its own, or measure more blocks (--blocks)"
    check.apply("steal", 100 * ticks.steal / ticks.total, text, hint)


def _swap(check: _Check) -> None:
    areas = check.value("memory.swaps", SwapAreas)
    if areas is None:
        check.missing("swap", "memory.swaps")
        return
    text = "swap is in use: {value}"
    check.apply("swap", areas.used_kib, text, "empty it: swapoff -a && swapon -a")


def _neighbours(check: _Check) -> None:
    counts = check.value("load.neighbours", Counts)
    if counts is None:
        check.missing("neighbours", "load.neighbours")
        return
    text = f"containers or guests run already: {{value}} ({', '.join(counts.by_name)})"
    check.apply("neighbours", sum(counts.by_name.values()), text, "stop them if they do any work")


# ---- how fast the CPUs may run ----------------------------------


def _heat(check: _Check) -> None:
    now = _throttled(check)
    if now is None:
        check.missing("heat", "cpu.throttle")
        return
    old = _throttled(check, before=True) if check.is_same_boot else None
    since, times = "since it booted", now
    if old is not None and now >= old:
        since, times = "since the last run", now - old
    text = f"the processor was throttled because of heat {{value}} {since}"
    check.apply("heat", times, text, "check the cooling, or run fewer benchmarks at a time")


def _throttled(check: _Check, *, before: bool = False) -> int | None:
    """Return the highest of the counters of all CPUs."""
    counters = check.value("cpu.throttle", Groups, before=before)
    return max(counters.values, default=None) if counters else None


def _governor(check: _Check) -> None:
    governors = check.value("cpu.freq.governor", Groups)
    if governors is None or not governors.groups:
        check.missing("governor", "cpu.freq.governor")
        return
    others = {name: count for name, count in governors.counts.items() if name != "performance"}
    text = f"the frequency governor is not performance on {{value}}: {', '.join(others)}"
    hint = "cpupower frequency-set -g performance"
    check.apply("governor", sum(others.values()), text, hint)


def _cap(check: _Check) -> None:
    allowed, able = (check.value(name, Groups) for name in ("cpu.freq.max", "cpu.freq.hardware_max"))
    if not (allowed and allowed.groups and able and able.groups):
        is_allowed_known = allowed is not None and bool(allowed.groups)
        check.missing("frequency_cap", "cpu.freq.hardware_max" if is_allowed_known else "cpu.freq.max")
        return
    # By value: where all CPUs are alike, so are both rows.
    capped = {khz: count for khz, count in allowed.counts.items() if khz not in able.counts}
    text = f"the frequency is capped at {', '.join(map(str, capped))} kHz on {{value}}"
    check.apply("frequency_cap", sum(capped.values()), text, "lift the cap: cpupower frequency-set -u")


def _changed(check: _Check) -> None:
    if check.previous is None:
        check.skip("changed_frequency", "this host was not measured before")
        return
    changes = []
    for name in (*(f"cpu.freq.{part}" for part in _FREQUENCY), *_TURBO):
        old, new = check.previous.get(name), check.facts.get(name)
        if old is not None and new is not None and (old.state, old.value) != (new.state, new.value):
            changes.append(f"{name}: {_short(old)} -> {_short(new)}")
    text = f"{{value}} changed since the last run: {'; '.join(changes)}"
    check.apply("changed_frequency", len(changes), text, _DRIFTED)


def _short(fact: Fact) -> str:
    return fact.value.replace("\n", ", ") if fact.state is FactState.PRESENT else fact.state.value
