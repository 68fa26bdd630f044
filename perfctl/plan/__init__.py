"""Plan a run: what runs where and in which order, how long it takes, and how many blocks it needs.

make       suite, hosts and a seed ──> Plan
grow       Plan and a pilot's observations ──> Plan with the benchmark's second stage
estimate   Plan and earlier runs ──> duration and minimum detectable effect
json       Plan <──> text, as the database keeps it
"""

from perfctl.plan.estimate import (
    BenchmarkEstimate,
    PriorVariance,
    RunEstimate,
    estimate_run,
    estimate_s,
    prior_variances,
)
from perfctl.plan.grow import grow, with_decision
from perfctl.plan.json import plan_from_json, plan_to_json
from perfctl.plan.make import make_block, make_plan, order_seed, tournament

__all__ = [
    "BenchmarkEstimate",
    "PriorVariance",
    "RunEstimate",
    "estimate_run",
    "estimate_s",
    "grow",
    "make_block",
    "make_plan",
    "order_seed",
    "plan_from_json",
    "plan_to_json",
    "prior_variances",
    "tournament",
    "with_decision",
]
