"""The words of the product as frozen values. No I/O, no clock (but for new keys)."""

from perfctl.model.benchmark import (
    OUTPUT_LIMIT_BYTES,
    Benchmark,
    Direction,
    Metric,
    Parameter,
    Resource,
    Sample,
    Scope,
    Suite,
)
from perfctl.model.comparison import Comparison, Observation
from perfctl.model.environment import Environment
from perfctl.model.event import (
    Event,
    InvocationEnded,
    InvocationStarted,
    Listener,
    Note,
    RunEnded,
    RunStarted,
    TaskEnded,
    WorkAdded,
    ignore,
)
from perfctl.model.fingerprint import Fact, FactState, Fingerprint
from perfctl.model.host import Host, Target
from perfctl.model.identity import canonical_json, content_hash, is_deeper, new_id
from perfctl.model.invocation import SERVER_COUNTERS, TASK, GuestBoot, InvocationRecord, Reason, Status
from perfctl.model.schedule import Block, Decision, Plan, PlannedInvocation, Round, Track
from perfctl.model.usage import USAGE_METRICS, ResourceUsage
from perfctl.model.verdict import (
    FleetComparison,
    HostRatio,
    Judgement,
    Reach,
    ResultWithoutFlagged,
    RunComparison,
    SuiteComparison,
    Verdict,
)

__all__ = [
    "OUTPUT_LIMIT_BYTES",
    "SERVER_COUNTERS",
    "TASK",
    "USAGE_METRICS",
    "Benchmark",
    "Block",
    "Comparison",
    "Decision",
    "Direction",
    "Environment",
    "Event",
    "Fact",
    "FactState",
    "Fingerprint",
    "FleetComparison",
    "GuestBoot",
    "Host",
    "HostRatio",
    "InvocationEnded",
    "InvocationRecord",
    "InvocationStarted",
    "Judgement",
    "Listener",
    "Metric",
    "Note",
    "Observation",
    "Parameter",
    "Plan",
    "PlannedInvocation",
    "Reach",
    "Reason",
    "Resource",
    "ResourceUsage",
    "ResultWithoutFlagged",
    "Round",
    "RunComparison",
    "RunEnded",
    "RunStarted",
    "Sample",
    "Scope",
    "Status",
    "Suite",
    "SuiteComparison",
    "Target",
    "TaskEnded",
    "Track",
    "Verdict",
    "WorkAdded",
    "canonical_json",
    "content_hash",
    "ignore",
    "is_deeper",
    "new_id",
]
