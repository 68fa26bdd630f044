"""What a rule found: the words that validity, preflight and bounds share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from perfctl.errors import UnknownName, UsageError


class Severity(StrEnum):
    """What follows from a finding."""

    FLAGGED = "flagged"
    """The invocation counts; a verdict is also given without it."""
    INVALID = "invalid"
    """The invocation is kept and counted, but no figure rests on it."""
    WARN = "warn"
    """The user hears of it before the run."""
    REFUSE = "refuse"
    """The run does not start on this host, unless it is forced."""
    ARTEFACT = "likely artefact"
    """The value cannot be what it says it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that was crossed: what was seen, in `unit`, and the limit it lies above.

    `sentence` says it in words, with the likely cause where one is known; `hint` names the command or the
    option that helps ('' where there is none).
    """

    rule: str
    severity: Severity
    seen: float
    unit: str
    limit: float
    sentence: str
    hint: str = ""
    metric: str = ""
    """The one whose value it is about; '' for all of the invocation, or the host."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A rule that could not be applied, and why. It is never taken for a rule that was kept."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Crossed:
    """The limit that a value lies above."""

    is_severe: bool
    limit: float


@dataclass(frozen=True, slots=True)
class Rule:
    """A value above `mild` is flagged (or warned of), one above `severe` invalid (or refused).

    None: the rule never goes that far. `reason` says why the limits are these.
    """

    name: str
    unit: str
    mild: float | None
    severe: float | None
    reason: str

    def crossed(self, seen: float) -> Crossed | None:
        """Return which limit `seen` lies above, the severe one first; None: neither."""
        if self.severe is not None and seen > self.severe:
            return Crossed(is_severe=True, limit=self.severe)
        if self.mild is not None and seen > self.mild:
            return Crossed(is_severe=False, limit=self.mild)
        return None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The limits of all rules. Kept with the run: who judges again later must judge by the same."""

    rules: tuple[Rule, ...]

    def __getitem__(self, name: str) -> Rule:
        """Return the rule of that name. Raises UnknownName."""
        for rule in self.rules:
            if rule.name == name:
                return rule
        names = ", ".join(rule.name for rule in self.rules)
        raise UnknownName(f"there is no rule {name!r}", hint=f"the rules are {names}")

    def changed(self, name: str, *, mild: float | None, severe: float | None) -> Thresholds:
        """Return these limits with other ones for one rule. Raises UnknownName, UsageError."""
        rule = self[name]
        for value in (mild, severe):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"the limit of {name} must be a number of {rule.unit}, not {value}")
        other = replace(rule, mild=mild, severe=severe)
        return Thresholds(tuple(other if item is rule else item for item in self.rules))

    def with_limits(self, limits: Mapping[str, Sequence[float | None]]) -> Thresholds:
        """Return these rules with the limits that `limits()` gave; what is not in them stays as it is."""
        kept = [
            replace(rule, mild=limits[rule.name][0], severe=limits[rule.name][1])
            if rule.name in limits
            else rule
            for rule in self.rules
        ]
        return Thresholds(tuple(kept))

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


def in_words(value: float) -> str:
    """Return a number for a sentence: three digits, and all of those before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
