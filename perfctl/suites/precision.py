"""The precision of a benchmark's comparison: from a suite, the command line, or its workload."""

from __future__ import annotations

import re

from perfctl.errors import UsageError
from perfctl.workloads import OpeningWorkload, Parameters, Workload

FINEST, COARSEST = 0.0001, 0.5


def usual_precision(tool: Workload, parameters: Parameters) -> float:
    """Return the default half-width as a share of the value.

    1 % for CPU and memory, 2 % for network and storage, 5 % for opening an environment, by their variance.
    """
    if isinstance(tool, OpeningWorkload):
        return 0.05
    return 0.02 if tool.load(parameters).uses & {"network", "storage"} else 0.01


def precision_from_text(text: str, *, where: str) -> float:
    """Return '1%' or '0.5 %' as a share. Raises UsageError for anything else, and outside 0.01 % to 50 %."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*%", text.strip(), re.ASCII)
    hint = "a share of the value with its sign, such as 1%: the interval will be the ratio ±1 %"
    if not found:
        raise UsageError(f"the precision cannot be {text!r}", where=where, hint=hint)
    share = float(found[1]) / 100
    if not FINEST <= share <= COARSEST:
        raise UsageError(
            f"a precision of {text.strip()} is not between {100 * FINEST:g}% and {100 * COARSEST:g}%",
            where=where,
            hint=hint,
        )
    return share
