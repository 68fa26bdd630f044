"""Judge one invocation by its counters and its values, and store the verdict with its context."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from perfctl.model import canonical_json
from perfctl.validity.bounds import claimed_bytes, device_bytes, judge_bound
from perfctl.validity.context import JudgementContext, RateClaim, ServerContext, known_fields
from perfctl.validity.counters import CounterDelta, InvocationCounters
from perfctl.validity.finding import Finding, Severity, Unjudged
from perfctl.validity.rules import Validity, judge_counters
from perfctl.validity.thresholds import VALIDITY, Rule, RuleSet

MetricValues = Mapping[str, tuple[float, str]]
"""Metric -> the invocation's value and its unit."""

_WORST_FIRST = (Severity.INVALID, Severity.ARTEFACT, Severity.FLAGGED)


@dataclass(frozen=True, slots=True)
class Assessment:
    """The findings of an invocation, and the context in which it was judged."""

    validity: Validity
    context: JudgementContext

    def to_json(self) -> str:
        """Return the JSON that is stored with the verdict: findings, rules not judged, and the context."""
        return canonical_json(
            {
                "findings": self.validity.findings,
                "unjudged": self.validity.unjudged,
                "case": self.context.to_json(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Assessment:
        """Return the assessment in the text of `to_json`; keys of a newer perfctl are left out."""
        content = json.loads(text)
        findings = tuple(
            replace(known_fields(Finding, item), severity=Severity(item["severity"]))
            for item in content["findings"]
        )
        unjudged = tuple(known_fields(Unjudged, item) for item in content["unjudged"])
        return cls(Validity(findings, unjudged), JudgementContext.from_json(content["case"]))

    def summary(self) -> str:
        """Return the worst finding in a few words for the progress display, '' without any."""
        findings = sorted(self.validity.findings, key=lambda item: _WORST_FIRST.index(item.severity))
        if not findings:
            return ""
        sentence = findings[0].sentence
        if sentence.endswith(")"):
            sentence = sentence.rpartition(" (")[0]
        others = f" (and {len(findings) - 1} more)" if findings[1:] else ""
        return f"{self.validity.verdict}: {sentence}{others}"


def assess(
    counters: InvocationCounters, context: JudgementContext, values: MetricValues, rules: RuleSet = VALIDITY
) -> Assessment:
    """Judge an invocation by the counters around it, and its values by the bounds of the hardware.

    A value above a bound flags the invocation; it still counts, because the cause is not known. Raises
    DataError for values and bounds of different quantities.
    """
    validity = judge_counters(
        counters.delta, counters.duration_s, context.expected, rules, own_cpu_us=context.own_cpu_us
    )
    if context.server is not None:
        validity += _judge_server(counters, context.server, rules)
    if context.boot_attempts is not None:
        validity += _judge_boots(context.boot_attempts, rules["boot_attempts"])
    for claim in context.claims:
        validity += _judge_claim(claim, values, counters.delta)
    return Assessment(validity, context)


def _judge_boots(attempts: int, rule: Rule) -> Validity:
    """Judge the start of a guest by how many boots it took."""
    crossed = rule.crossed(attempts)
    if crossed is None:
        return Validity()
    severity = Severity.INVALID if crossed.is_severe else Severity.FLAGGED
    text = f"the guest was booted {attempts} times; the last boot is what was measured"
    return Validity((Finding(rule.name, severity, attempts, rule.unit, crossed.limit, text),))


def _judge_server(counters: InvocationCounters, server: ServerContext, rules: RuleSet) -> Validity:
    """Judge the server's host by the same rules; without its counters it is not judged, with the reason."""
    at = f"at {server.host}: "
    if server.unread or counters.server_delta is None:
        reason = f"{at}{server.unread or 'its counters were not read'}"
        return Validity(unjudged=(Unjudged("server", reason),))
    judged = judge_counters(counters.server_delta, counters.duration_s, server.expected, rules)
    return Validity(
        tuple(replace(item, sentence=at + item.sentence) for item in judged.findings),
        tuple(replace(item, reason=at + item.reason) for item in judged.unjudged),
    )


def _judge_claim(claim: RateClaim, values: MetricValues, delta: CounterDelta) -> Validity:
    """Compare a rate with its bound, and its bytes with those that the device counted."""
    if claim.rate not in values:
        return Validity()
    rate, unit = values[claim.rate]
    found = [None if claim.bound is None else judge_bound(rate, unit, claim.bound)]
    counted = device_bytes(delta, claim.device, claim.direction) if claim.device else None
    if counted is not None and claim.time in values:
        found.append(judge_bound(claimed_bytes(rate, unit, values[claim.time][0]), "bytes", counted))
    return Validity(tuple(replace(finding, metric=claim.rate) for finding in found if finding is not None))
