"""The limits of all rules: their defaults with the reasons, those of a run, and those typed by a user."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfctl.errors import UnknownName, UsageError
from perfctl.model import canonical_json

NEVER = "never"
"""What a user types for a limit that is never crossed."""


@dataclass(frozen=True, slots=True)
class CrossedLimit:
    """The limit that a value is above."""

    is_severe: bool
    limit: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A value above `mild` is flagged (or warned of), one above `severe` invalid (or refused).

    None: never. `reason` is why the limits are these.
    """

    name: str
    unit: str
    mild: float | None
    severe: float | None
    reason: str

    def crossed(self, value: float) -> CrossedLimit | None:
        """Return the limit that `value` is above, the severe one first; None: neither."""
        if self.severe is not None and value > self.severe:
            return CrossedLimit(is_severe=True, limit=self.severe)
        if self.mild is not None and value > self.mild:
            return CrossedLimit(is_severe=False, limit=self.mild)
        return None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules with their limits, by name."""

    rules: tuple[Rule, ...]

    def __getitem__(self, name: str) -> Rule:
        """Return the rule of that name. Raises UnknownName."""
        for rule in self.rules:
            if rule.name == name:
                return rule
        names = ", ".join(rule.name for rule in self.rules)
        raise UnknownName(f"there is no rule {name!r}", hint=f"the rules are {names}")

    def changed(self, name: str, *, mild: float | None, severe: float | None) -> RuleSet:
        """Return these rules with other limits for one of them. Raises UnknownName, UsageError."""
        rule = self[name]
        for value in (mild, severe):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"the limit of {name} must be a number of {rule.unit}, not {value}")
        other = replace(rule, mild=mild, severe=severe)
        return RuleSet(tuple(other if item is rule else item for item in self.rules))

    def with_limits(self, limits: Mapping[str, Sequence[float | None]]) -> RuleSet:
        """Return these rules with the limits that `limits()` gave; a rule that is not in them stays."""
        kept = [
            replace(rule, mild=limits[rule.name][0], severe=limits[rule.name][1])
            if rule.name in limits
            else rule
            for rule in self.rules
        ]
        return RuleSet(tuple(kept))

    def limits(self) -> dict[str, tuple[float | None, float | None]]:
        """Return rule -> its two limits: what is stored with a run."""
        return {rule.name: (rule.mild, rule.severe) for rule in self.rules}

    def markdown_table(self, mild: str, severe: str) -> str:
        """Return the table of docs/validity.md; `mild` and `severe` are the heads of the limits' columns."""
        lines = [f"| rule | of | {mild} above | {severe} above | because |", "|---|---|---|---|---|"]
        for rule in self.rules:
            shown = ["never" if value is None else f"{value:g}" for value in (rule.mild, rule.severe)]
            lines.append(f"| `{rule.name}` | {rule.unit} | {shown[0]} | {shown[1]} | {rule.reason} |")
        return "\n".join(lines) + "\n"


_CPU, _TIME = "% of all CPU time", "% of the time"

# fmt: off
VALIDITY = RuleSet((
    Rule("steal", _CPU, 1, 10, "above 1 % it shows in the figure; above 10 % the figure is the neighbour's"),
    Rule("others_cpu", _CPU, 5, None, "hits all environments alike, in random order: intervals get wider"),
    Rule("pressure_cpu", _TIME, 5, None, "tasks waited for a CPU though the benchmark leaves some free"),
    Rule("pressure_memory", _TIME, 5, None, "the environment's own memory limit may be the cause"),
    Rule("pressure_io", _TIME, 5, None, "tasks waited for a disk though the benchmark uses none"),
    Rule("swap", "pages", 0, None, "read or written; the environment's own memory limit may be the cause"),
    Rule("cpus", "CPUs", None, 0, "changed, or are not those expected: another machine was measured"),
    Rule("quota", _TIME, 0, 1, "a CPU limit that the environment does not set stopped the benchmark"),
    Rule("heat", "times", 0, None, "the processor was throttled, if only for a moment"),
    Rule("heat_time", _TIME, None, 1, "the CPU was slower than its facts have it"),
    Rule("clock_step", _TIME, 0.1, 1, "the wall clock was set, by which the tool may have timed itself"),
    Rule("oom_kills", "programs", 0, None, "somewhere on the machine, perhaps for the environment's limit"),
    Rule("kernel_warnings", "warnings", 0, None, "a warning of the kernel takes milliseconds"),
    Rule("kernel_oopses", "faults", None, 0, "a fault of the kernel itself"),
    Rule("hung_tasks", "tasks", None, 0, "blocked for minutes"),
    Rule("kernel_messages", "lines", 0, 0, "that matter; their kind (below) decides which of the two"),
    Rule("boot_attempts", "boots", 1, None, "of a guest whose start is measured: one printed nothing"),
    Rule("retransmits", "% of segments", 0.1, None, "of TCP; the environment's own network may be the cause"),
    Rule("nic_drops", "% of packets", 0.01, None, "the environment's own load may be the cause"),
    Rule("nic_errors", "packets", 0, None, "lost to a cable, a port, a driver; the figure may be right"),
    Rule("link_lost", "changes", None, 0, "the interface lost or got its link while it was measured"),
))
"""The rules of an invocation and their default limits."""

PREFLIGHT = RuleSet((
    Rule("load", "runnable tasks per CPU", 0.2, 1, "refused only together with `pressure_cpu`, or where that"
         " is missing: the average remembers the last run for minutes"),
    Rule("pressure_cpu", "% of the last 10 s", 5, 50, "refused only together with `load`:"
         " the last 10 s may be perfctl's own work"),
    Rule("pressure_memory", "% of the last 10 s", 5, 20, "a host that is out of memory measures its disk"),
    Rule("pressure_io", "% of the last 10 s", 5, None, "another program's files are not the benchmark's"),
    Rule("steal", "% of all CPU time", 1, None, "since the last run, else since boot: the run counts anew"),
    Rule("swap", "KiB in use", 0, None, "swapped out long ago, it does no harm; the run counts what moves"),
    Rule("heat", "times", 0, None, "since the last run, else since boot: the run counts anew"),
    Rule("governor", "CPUs", 0, None, "not on `performance`: wider intervals, alike for all environments"),
    Rule("frequency_cap", "CPUs", 0, None, "held below what they can do; so is every environment"),
    Rule("changed_frequency", "settings", None, 0, "governor, driver, preference, turbo: both runs would look"
         " right, and not be comparable"),
    Rule("neighbours", "processes", 0, None, "containers and guests that run already may be idle"),
))
"""The rules of a host before a run and their default limits."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits that a run is held to, fixed before it starts and stored with it."""

    validity: RuleSet = field(default=VALIDITY)
    preflight: RuleSet = field(default=PREFLIGHT)

    def to_json(self) -> str:
        """Return the limits of both sets of rules, by rule."""
        return canonical_json({"validity": self.validity.limits(), "preflight": self.preflight.limits()})

    @classmethod
    def from_json(cls, text: str | None) -> Thresholds:
        """Return the limits of a run; limits that it does not have (None: all) are as in this version."""
        content = json.loads(text) if text else {}
        return cls(
            VALIDITY.with_limits(content.get("validity", {})),
            PREFLIGHT.with_limits(content.get("preflight", {})),
        )


def parse_thresholds(validity: Iterable[str], preflight: Iterable[str]) -> Thresholds:
    """Return the default limits with those that a user typed, each as RULE=MILD,SEVERE.

    Raises UsageError for what is no limit, UnknownName for a rule that does not exist.
    """
    return Thresholds(
        _parse_changes(VALIDITY, "--validity", validity, "steal=2,20"),
        _parse_changes(PREFLIGHT, "--preflight", preflight, "load=0.5,2"),
    )


def _parse_changes(rules: RuleSet, option: str, given: Iterable[str], example: str) -> RuleSet:
    for item in given:
        name, equals, limits = item.partition("=")
        words = limits.split(",")
        if not equals or len(words) != 2:
            raise UsageError(
                f"{option} {item!r} is not RULE=LIMIT,LIMIT", hint=f"for example: {option} {example}"
            )
        mild, severe = (_parse_limit(word, option, item) for word in words)
        rules = rules.changed(name.strip(), mild=mild, severe=severe)
    return rules


def _parse_limit(word: str, option: str, item: str) -> float | None:
    if word.strip() == NEVER:
        return None
    try:
        return float(word)
    except ValueError as error:
        raise UsageError(
            f"{option} {item!r}: {word.strip()!r} is no number", hint=f"a number, or {NEVER}"
        ) from error
