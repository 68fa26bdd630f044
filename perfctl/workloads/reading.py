"""Read numbers that a benchmark printed; refuse what is missing, not a number or in another unit."""

from __future__ import annotations

import math
import re

from perfctl.errors import OutputError
from perfctl.model import Metric, Reason, Sample

_NUMBER = re.compile(r"\d+(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
"""What tools print; `float` also takes '1_000' and the digits of every script."""


def require_output(stdout: str) -> None:
    """Raise OutputError (no_output) when there is nothing to read."""
    if not stdout.strip():
        raise OutputError(
            "the benchmark printed no output",
            reason=Reason.NO_OUTPUT,
            hint="its stderr and exit code say why; the raw output is kept",
        )


def unparsable(what: str, stdout: str) -> OutputError:
    """Return the error for output that is not `what`; it quotes the first line."""
    first = stdout.strip().splitlines()[0][:120]
    return OutputError(f"this is not {what}; it begins with {first!r}", reason=Reason.UNPARSABLE)


def missing(metric: str, detail: str, *, hint: str | None = None) -> OutputError:
    """Return the error for a metric that the output lacks."""
    return OutputError(f"the output has no {metric}: {detail}", reason=Reason.MISSING_METRIC, hint=hint)


def require_unit(metric: str, unit: str, expected: str) -> None:
    """Raise OutputError (unit_mismatch) unless the tool printed the unit that is expected of it."""
    if unit != expected:
        raise OutputError(
            f"{metric} is in {unit!r:.80}, not in {expected!r}",
            reason=Reason.UNIT_MISMATCH,
            hint="another version of the tool? its version is in the fingerprint",
        )


def to_sample(metric: Metric, text: str | float) -> Sample:
    """Return one sample. Raises OutputError (unparsable) when `text` is no finite number from 0 up."""
    is_number = not isinstance(text, str) or _NUMBER.fullmatch(text)
    value = float(text) if is_number else math.nan
    if not math.isfinite(value) or value < 0:
        raise OutputError(f"{metric.name} is {text!r:.80}, no number from 0 up", reason=Reason.UNPARSABLE)
    return Sample(metric.name, value, metric.unit)
