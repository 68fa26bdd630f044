"""What a rule found, or why it could not be applied: shared by the rules of invocations, hosts and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What follows from a finding."""

    FLAGGED = "flagged"
    """The invocation counts; a verdict is also given without it."""
    INVALID = "invalid"
    """The invocation is kept and counted, but no figure rests on it."""
    WARN = "warn"
    """The user is told before the run."""
    REFUSE = "refuse"
    """The run does not start on this host, unless it is forced."""
    ARTEFACT = "likely artefact"
    """The value cannot be what it says it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that was crossed: the value seen, in `unit`, and the limit it is above.

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
    """The metric whose value it is about; '' for all of the invocation, or the host."""


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A rule that could not be applied, and why. It never counts as a rule that was kept."""

    rule: str
    reason: str


def format_number(value: float) -> str:
    """Return a number for a sentence: three significant digits, and all digits before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
