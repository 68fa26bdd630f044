"""Numbers from numbers: estimates, exact tests and intervals for paired differences. No I/O, no model.

Differences are those of logarithms, so shares and ratios are one scale: 0.01 is about 1 %. What cannot be
had is None with a reason, never 0; NaN and infinity raise ValueError. Arrays of differences have one
comparison per row: thousands of comparisons of the same size cost little more than one. docs/measurement.md
says why each rule is so.

one host        paired, paired_rows     Hodges-Lehmann estimate, exact signed-rank interval and p
                median_interval         order statistics
a fleet         fleet                   the rule: t over hosts, or these hosts only; I^2; the range
                over_hosts, stratified, heterogeneity, bca      its parts
                fleet_of_pairs, over_pairs      the same for network work, clustered by host
a suite         geometric_mean          aligned directions; refused when the sets differ
two runs        two_sample, rank_sum_p  unpaired: Hodges-Lehmann shift, exact rank-sum interval and p
                stratified_two_sample   the same over a few hosts
many            benjamini_hochberg, holm
how large       position, log_margin, equivalence_margin       against the equivalence margin
how many        second_stage            Stein's second stage after the pilot
                minimum_detectable_effect, blocks_needed        of the paired test
                minimum_detectable_shift                        of the rank-sum test
                variance_components, best_repetitions           variance per level
over time       change_points           E-divisive and the rule for an alarm
health          clopper_pearson         of the A/A rate
                outliers                flags
"""

from perfctl.stats.change_points import ChangePoint, ChangeState, block_shift_p, change_points, e_divisive
from perfctl.stats.equivalence import Position, log_margin, position
from perfctl.stats.estimate import Estimate
from perfctl.stats.fleet import FleetResult, Population, SuiteResult, fleet, geometric_mean
from perfctl.stats.hodges_lehmann import IntervalRank, estimates, interval_rank, intervals
from perfctl.stats.hosts import Heterogeneity, bca, heterogeneity, over_hosts, standard_error
from perfctl.stats.levels import best_repetitions, variance_components
from perfctl.stats.multiplicity import benjamini_hochberg, holm
from perfctl.stats.order import (
    OUTLIER_LIMIT,
    EquivalenceMargin,
    clopper_pearson,
    equivalence_margin,
    median_interval,
    outliers,
)
from perfctl.stats.paired import PairedResult, paired, paired_rows
from perfctl.stats.pairs import fleet_of_pairs, over_pairs
from perfctl.stats.precision import (
    N_MAX,
    PILOT_BLOCKS,
    SecondStage,
    blocks_needed,
    minimum_detectable_effect,
    minimum_detectable_effect_over_hosts,
    minimum_detectable_shift,
    second_stage,
    stdev,
)
from perfctl.stats.signed_rank import EXACT_UP_TO, p_value, p_values
from perfctl.stats.stratified import stratified
from perfctl.stats.two_sample import rank_sum_p, stratified_two_sample, two_sample

__all__ = [
    "EXACT_UP_TO",
    "N_MAX",
    "OUTLIER_LIMIT",
    "PILOT_BLOCKS",
    "ChangePoint",
    "ChangeState",
    "EquivalenceMargin",
    "Estimate",
    "FleetResult",
    "Heterogeneity",
    "IntervalRank",
    "PairedResult",
    "Population",
    "Position",
    "SecondStage",
    "SuiteResult",
    "bca",
    "benjamini_hochberg",
    "best_repetitions",
    "block_shift_p",
    "blocks_needed",
    "change_points",
    "clopper_pearson",
    "e_divisive",
    "equivalence_margin",
    "estimates",
    "fleet",
    "fleet_of_pairs",
    "geometric_mean",
    "heterogeneity",
    "holm",
    "interval_rank",
    "intervals",
    "log_margin",
    "median_interval",
    "minimum_detectable_effect",
    "minimum_detectable_effect_over_hosts",
    "minimum_detectable_shift",
    "outliers",
    "over_hosts",
    "over_pairs",
    "p_value",
    "p_values",
    "paired",
    "paired_rows",
    "position",
    "rank_sum_p",
    "second_stage",
    "standard_error",
    "stdev",
    "stratified",
    "stratified_two_sample",
    "two_sample",
    "variance_components",
]
