"""Judge whether a host, an invocation or a value counts. All rules are here, pure and fixed before a run.

    Fingerprint of a host        --judge_host()--------->  Preflight    whether the host is fit to be measured
    InvocationCounters           --judge_counters()----->  Validity     whether the invocation counts
    value, Bound                 --judge_bound()-------->  Finding      a value above what the hardware can do
    MeasuredInvocation, samples  --assess_invocation()-->  Assessment   both, as the database keeps them

docs/validity.md has every rule and its limits. `invocation`, which collects what a run knows, and
`bandwidth` are imported by themselves: reading verdicts needs neither environments nor workloads.
"""

from __future__ import annotations

from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.context import JudgementContext
from perfctl.validity.counters import InvocationCounters, parse_counters
from perfctl.validity.finding import Finding, Severity, Unjudged
from perfctl.validity.preflight import Preflight, judge_host
from perfctl.validity.rules import InvocationVerdict, Validity, judge_counters
from perfctl.validity.thresholds import PREFLIGHT, VALIDITY, Thresholds, parse_thresholds

__all__ = [
    "PREFLIGHT",
    "VALIDITY",
    "Assessment",
    "Finding",
    "InvocationCounters",
    "InvocationVerdict",
    "JudgementContext",
    "Preflight",
    "Severity",
    "Thresholds",
    "Unjudged",
    "Validity",
    "assess",
    "judge_counters",
    "judge_host",
    "parse_counters",
    "parse_thresholds",
]
