"""Numbers from numbers: estimates, exact tests and intervals for paired differences. No I/O, no model.

Arrays of differences have one comparison per row: thousands of comparisons of the same size cost little more
than one.
"""

from perfctl.stats.hodges_lehmann import IntervalRank, estimates, interval_rank, intervals
from perfctl.stats.paired import PairedResult, paired, paired_rows
from perfctl.stats.signed_rank import EXACT_UP_TO, p_value, p_values

__all__ = [
    "EXACT_UP_TO",
    "IntervalRank",
    "PairedResult",
    "estimates",
    "interval_rank",
    "intervals",
    "p_value",
    "p_values",
    "paired",
    "paired_rows",
]
