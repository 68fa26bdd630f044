"""Numbers from numbers: estimates, exact tests and intervals for paired differences. No I/O, no model.

Differences are those of logarithms, so shares and ratios are one scale: 0.01 is about 1 %. What cannot be
had is None with a reason, never 0; NaN and infinity raise ValueError. Arrays of differences have one
comparison per row: thousands of comparisons of the same size cost little more than one. docs/measurement.md
says why each rule is so.

paired          one host: Hodges-Lehmann estimate, exact signed-rank interval and p
order           the median's interval by order statistics, outliers (flags), the rate of A/A tests
                (clopper_pearson), the equivalence margin
fleet           a fleet: t over hosts, or these hosts only; I^2; the range. A suite: the geometric mean
hosts, stratified       its parts: over_hosts, heterogeneity, bca, stratified
pairs           the same for network work, clustered by host
two_sample      two runs, unpaired: Hodges-Lehmann shift, exact rank-sum interval and p; over a few hosts
multiplicity    many comparisons: benjamini_hochberg, holm
equivalence     the position against the equivalence margin
precision       how many blocks: Stein's second stage after the pilot; what the tests detect
levels          variance per level, and the repetitions that follow
change_points   over time: E-divisive and the rule for an alarm

Each is imported from its module. A run needs `precision` alone, and neither numpy nor scipy unless a second
stage is decided.
"""
