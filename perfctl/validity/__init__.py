"""Judge whether a host, an invocation or a value counts. All rules are here, pure and fixed before a run.

    Fingerprint of a host        --judge_host()--------->  Preflight    whether the host is fit to be measured
    InvocationCounters           --judge_counters()----->  Validity     whether the invocation counts
    value, Bound                 --judge_bound()-------->  Finding      a value above what the hardware can do
    MeasuredInvocation, samples  --assess_invocation()-->  Assessment   both, as the database keeps them

thresholds      the limits, and options that change them
preflight       judge_host
counter_files, kernel_log, counters     the kernel's counters around an invocation
context, rules  judge_counters
bounds, bandwidth       what the hardware can do
assessment, finding     verdicts as the database keeps them
invocation      assess_invocation: what a run knows of an invocation

Each is imported from its module: a run is planned by its thresholds alone, and verdicts are read without
environments and workloads. docs/validity.md has every rule and its limits.
"""
