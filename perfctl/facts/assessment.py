"""One invocation judged as a whole, and all that the database keeps of it, so that it can be judged again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from perfctl.facts.bounds import Bound, claimed_bytes, device_bytes, judge_bound
from perfctl.facts.counters import CounterDelta, parse_counters
from perfctl.facts.finding import Finding, Rule, Severity, Thresholds, Unjudged
from perfctl.facts.preflight import PREFLIGHT
from perfctl.facts.thresholds import VALIDITY, Expected
from perfctl.facts.validity import Validity, Verdict, judge_validity
from perfctl.model import canonical_json

Values = Mapping[str, tuple[float, str]]
"""Metric -> the invocation's value and its unit."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A rate of data that must have crossed one of the host's devices, or its memory."""

    rate: str
    """The metric of the payload per second."""
    time: str
    """The metric of the seconds that the rate is the mean of."""
    direction: Literal["sent", "received", "read", "written"]
    device: str | None
    """The interface or disk that counts its bytes; None: they are in no counter that was read."""
    bound: Bound | None
    """What the wire carries, or the memory, where that is known."""


@dataclass(frozen=True, slots=True)
class Server:
    """The host of the other half of a pair: what is expected there, and why it was not read ('': it was)."""

    host: str
    expected: Expected
    unread: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What an invocation is judged by, beside its counters, its values and the limits."""

    expected: Expected
    own_cpu_us: int | None = None
    """The CPU time of the benchmark's own tasks where it is known otherwise than by the counters."""
    claims: tuple[Claim, ...] = ()
    server: Server | None = None
    boot_attempts: int | None = None
    """How often the guest was booted whose start is what was measured; None where no guest's start was."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The texts of the counters before and after, and CLOCK_MONOTONIC of the start and the end."""

    before: bytes
    after: bytes
    started_ns: int | None
    ended_ns: int | None
    server_before: bytes = b""
    server_after: bytes = b""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A verdict on an invocation, and the case it was made in."""

    validity: Validity
    case: Case

    def to_json(self) -> str:
        """Return what is kept beside the verdict: findings, rules not judged, and the case."""
        case = {"expected": _expectations(self.case.expected), "own_cpu_us": self.case.own_cpu_us}
        if self.case.boot_attempts is not None:
            case["boot_attempts"] = self.case.boot_attempts
        server = self.case.server
        if server is not None:
            case["server"] = asdict(server) | {"expected": _expectations(server.expected)}
        return canonical_json(
            {
                "findings": [asdict(finding) for finding in self.validity.findings],
                "unjudged": [asdict(item) for item in self.validity.unjudged],
                "case": case | {"claims": [asdict(claim) for claim in self.case.claims]},
            }
        )

    @classmethod
    def from_json(cls, verdict: str, text: str) -> Assessment:
        """Return what `to_json` wrote; what a newer perfctl added to it is left out."""
        content = json.loads(text)
        findings = tuple(
            replace(_made(Finding, item), severity=Severity(item["severity"])) for item in content["findings"]
        )
        unjudged = tuple(_made(Unjudged, item) for item in content["unjudged"])
        case = content["case"]
        server = None
        if case.get("server"):
            server = _made(Server, case["server"] | {"expected": _expected(case["server"]["expected"])})
        claims = tuple(map(_claim, case["claims"]))
        return cls(
            Validity(Verdict(verdict), findings, unjudged),
            Case(
                *(_expected(case["expected"]), case["own_cpu_us"], claims, server),
                case.get("boot_attempts"),
            ),
        )


def assess(reading: Reading, case: Case, values: Values, thresholds: Thresholds = VALIDITY) -> Assessment:
    """Judge an invocation by the counters around it, and its values by what the hardware cannot exceed.

    A value above a bound flags the invocation: it is not excluded, for its cause is not known.
    """
    validity = judge_validity(
        reading.before,
        reading.after,
        started_ns=reading.started_ns,
        ended_ns=reading.ended_ns,
        expected=case.expected,
        thresholds=thresholds,
        own_cpu_us=case.own_cpu_us,
    )
    if case.server is not None:
        validity = _worse(validity, _judge_server(reading, case.server, thresholds))
    if case.boot_attempts is not None:
        validity = _worse(validity, _judge_boots(case.boot_attempts, thresholds["boot_attempts"]))
    delta = parse_counters(reading.before, reading.after)
    found = tuple(finding for claim in case.claims for finding in _judge_claim(claim, values, delta))
    if found:
        verdict = Verdict.FLAGGED if validity.verdict is Verdict.VALID else validity.verdict
        validity = replace(validity, verdict=verdict, findings=(*validity.findings, *found))
    return Assessment(validity, case)


def _judge_boots(attempts: int, rule: Rule) -> Validity:
    """Judge the start of a guest by how many boots it took."""
    crossed = rule.crossed(attempts)
    if crossed is None:
        return Validity(Verdict.VALID, (), ())
    severity = Severity.INVALID if crossed.is_severe else Severity.FLAGGED
    text = f"the guest was booted {attempts} times; the last boot is what was measured"
    finding = Finding(rule.name, severity, attempts, rule.unit, crossed.limit, text)
    return Validity(Verdict(severity.value), (finding,), ())


def _judge_server(reading: Reading, server: Server, thresholds: Thresholds) -> Validity:
    """Judge the server's host by the same rules; one that was not read is not judged, and says why."""
    if server.unread or not (reading.server_before and reading.server_after):
        reason = f"at {server.host}: {server.unread or 'its counters were not read'}"
        return Validity(Verdict.VALID, (), (Unjudged("server", reason),))
    judged = judge_validity(
        reading.server_before,
        reading.server_after,
        started_ns=reading.started_ns,
        ended_ns=reading.ended_ns,
        expected=server.expected,
        thresholds=thresholds,
    )
    at = f"at {server.host}: "
    return Validity(
        judged.verdict,
        tuple(replace(item, sentence=at + item.sentence) for item in judged.findings),
        tuple(replace(item, reason=at + item.reason) for item in judged.unjudged),
    )


def _worse(one: Validity, other: Validity) -> Validity:
    order = (Verdict.VALID, Verdict.FLAGGED, Verdict.INVALID)
    return Validity(
        max(one.verdict, other.verdict, key=order.index),
        (*one.findings, *other.findings),
        (*one.unjudged, *other.unjudged),
    )


def _judge_claim(claim: Claim, values: Values, delta: CounterDelta) -> list[Finding]:
    if claim.rate not in values:
        return []
    rate, unit = values[claim.rate]
    found = [None if claim.bound is None else judge_bound(rate, unit, claim.bound)]
    counted = device_bytes(delta, claim.device, claim.direction) if claim.device else None
    if counted is not None and claim.time in values:
        found.append(judge_bound(claimed_bytes(rate, unit, values[claim.time][0]), "bytes", counted))
    return [replace(finding, metric=claim.rate) for finding in found if finding is not None]


def _expectations(expected: Expected) -> dict[str, Any]:
    return asdict(expected) | {"uses": sorted(expected.uses)}


def _expected(item: Mapping[str, Any]) -> Expected:
    made: Expected = _made(Expected, item)
    return replace(made, uses=frozenset(made.uses), interfaces=tuple(made.interfaces))


def _claim(item: Mapping[str, Any]) -> Claim:
    # The first databases say `interface` and `line_rate`: there was nothing but the network.
    bound = item.get("bound", item.get("line_rate"))
    return Claim(
        *(item["rate"], item["time"], item["direction"], item.get("device", item.get("interface"))),
        _made(Bound, bound) if bound else None,
    )


def _made(kind: type[Any], item: Mapping[str, Any]) -> Any:
    names = {each.name for each in fields(kind)}
    return kind(**{name: value for name, value in item.items() if name in names})


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a run is held to, fixed before it starts and kept with it."""

    validity: Thresholds = field(default=VALIDITY)
    preflight: Thresholds = field(default=PREFLIGHT)

    def to_json(self) -> str:
        """Return both tables' limits, by rule."""
        return canonical_json({"validity": self.validity.limits(), "preflight": self.preflight.limits()})

    @classmethod
    def from_json(cls, text: str | None) -> Limits:
        """Return the limits of a run, those of this version for what it does not say (or says nothing of)."""
        content = json.loads(text) if text else {}
        return cls(
            VALIDITY.with_limits(content.get("validity", {})),
            PREFLIGHT.with_limits(content.get("preflight", {})),
        )
