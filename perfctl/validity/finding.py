"""The findings of rules, and why a rule could not be applied; for invocations, hosts and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The consequence of a finding."""

    FLAGGED = "flagged"
    """The invocation counts; a verdict is also given without it."""
    INVALID = "invalid"
    """The invocation is kept, but no figure is computed from it."""
    WARN = "warn"
    """The user is warned before the run."""
    REFUSE = "refuse"
    """The run does not start on this host without --force."""
    ARTEFACT = "likely artefact"
    """The value is more than the hardware can do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that was crossed: the value `seen`, in `unit`, and the limit that it is above.

    `sentence` is for the user, with the likely cause where one is known; `hint` names the command or option
    that helps ('' for none).
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
    """A rule that could not be applied, and why. It never counts as a rule that was met."""

    rule: str
    reason: str


def format_number(value: float) -> str:
    """Return a number for a sentence: three significant digits, and all digits before the point."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
