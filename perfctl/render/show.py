"""`show`: one run, or one of its invocations."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from perfctl.model import USAGE_METRICS, ResourceUsage
from perfctl.model.quantity import duration, quantity
from perfctl.render.runs import run_record, utc_text
from perfctl.render.view import Column, Section, View, columns
from perfctl.store import InvocationDetail, RunDetail, ValidityCount
from perfctl.validity.assessment import Assessment

_SHORT_ID = 12
"""Ids of invocations are hashes: so many characters name one in a run."""


def run_view(detail: RunDetail, validity: Sequence[ValidityCount]) -> View:
    """Return the view of a run: its plan, its hosts, how its invocations ended, what failed and why."""
    record = run_record(detail.summary)
    record |= {name: getattr(detail, name) for name in ("seed", "baseline", "perfctl_version")}
    fields = columns(*record)
    record["shards"] = [
        asdict(item) | {"begun_at": utc_text(item.begun_at), "ended_at": utc_text(item.ended_at)}
        for item in detail.summary.shards
    ]
    record |= {
        "command": list(detail.command),
        "inventory": list(detail.inventory),
        "environments": [asdict(item) for item in detail.environments],
        "benchmarks": [asdict(item) for item in detail.benchmarks],
        "counts": [asdict(item) for item in detail.counts],
        "validity": [asdict(item) for item in validity],
        "failures": [asdict(item) | {"target": str(item.target)} for item in detail.failures],
        "pruned": [asdict(item) | {"pruned_at": utc_text(item.pruned_at)} for item in detail.pruned],
        "events": [asdict(item) | {"happened_at": utc_text(item.happened_at)} for item in detail.events],
    }
    sections = [_head(detail), _counts(detail)]
    sections += [_validity(detail, validity)] if validity else []
    sections += [_failures(detail)] if detail.failures else []
    sections += [_events(detail)] if detail.events else []
    return View("run", fields, [record], sections=sections)


def invocation_view(item: InvocationDetail, judged: Assessment | None) -> View:
    """Return the view of an invocation, what its counters say, and what is kept of it."""
    record = asdict(item)
    usage = record.pop("usage")
    record |= {f"usage_{name}" if name in ("source", "missing") else name: usage[name] for name in usage}
    fields = columns(*record)
    if judged:
        record["findings"] = [asdict(finding) for finding in judged.validity.findings]
        record["not_judged"] = [asdict(rule) for rule in judged.validity.unjudged]
    sections = [_invocation(item), _usage(item.usage)]
    sections += [*([_findings(judged)] if judged else []), _artifacts(item)]
    return View("invocation", fields, [record], sections=sections)


# ---- a run -------------------------------------------------------------------------------------------------


def _head(detail: RunDetail) -> Section:
    run = detail.summary
    took = None if run.ended_at is None else run.ended_at - run.started_at
    stored = run.ok + run.failed + run.skipped + run.interrupted
    facts = {
        "run": run.run_id,
        "suite": run.suite,
        "status": run.status,
        "started": utc_text(run.started_at),
        "took": duration(took),
        "command": shlex.join(detail.command),
        "inventory": ", ".join(detail.inventory),
        "hosts": ", ".join(run.hosts),
        "environments": ", ".join(item.name for item in detail.environments),
        "baseline": detail.baseline,
        "seed": detail.seed,
        "invocations": f"{stored} stored, {run.planned} planned",
        "perfctl": detail.perfctl_version,
    }
    rows = list(facts.items())
    for shard in run.shards:
        text = f"{shard.status} on {shard.controller}, begun {utc_text(shard.begun_at)}"
        rows.append((f"shard {shard.number}/{shard.count}", text))
    rows += [("missing", run.missing)] if run.missing else []
    for gone in detail.pruned:
        text = f"{gone.raw_outputs} raw outputs ({gone.raw_bytes:,} bytes) of {gone.invocations} invocations"
        rows.append((f"pruned: {gone.what}", f"{utc_text(gone.pruned_at)}: {text}"))
    rows += [(f"benchmark {item.name}", _call(item.workload, item.parameters)) for item in detail.benchmarks]
    return Section(columns("what", "value"), rows)


def _call(workload: str, parameters: Mapping[str, Any]) -> str:
    return " ".join([workload, *(f"{name}={value}" for name, value in parameters.items())])


def _counts(detail: RunDetail) -> Section:
    shown = [*columns("status", "reason"), Column("invocations", align="right")]
    return Section(shown, [(item.status, item.reason, item.invocations) for item in detail.counts])


def _validity(detail: RunDetail, validity: Sequence[ValidityCount]) -> Section:
    shown = [*columns("environment"), *columns("valid", "flagged", "invalid", align="right")]
    shown += [Column("not_judged", "not judged", align="right"), Column("rules", "rules crossed (times)")]
    rows = []
    for item in validity:
        rules = ", ".join(f"{rule} ({count})" for rule, count in item.rules)
        rows.append((item.environment, item.valid, item.flagged, item.invalid, item.not_judged, rules))
    query = f"SELECT * FROM v_finding WHERE run_id = '{detail.summary.run_id}'"
    notes = ["what is invalid counts in no comparison, what is flagged counts"]
    if any(item.rules for item in validity):
        notes.append(f'what was seen: perfctl query "{query}"')
    return Section(shown, rows, notes=notes)


def _failures(detail: RunDetail) -> Section:
    names = (
        *("benchmark", "target", "environment", "block", "attempt", "status", "reason"),
        *("exit_code", "detail", "invocation", "kept"),
    )
    rows = []
    for item in detail.failures:
        # The counters are kept of every invocation and say nothing of a failure.
        kept = [name for name in item.kept if "counters_" not in name]
        own = {
            "target": str(item.target),
            "invocation": item.invocation_id[:_SHORT_ID],
            "kept": ", ".join(kept),
        }
        rows.append({name: own[name] if name in own else getattr(item, name) for name in names})
    run_id = detail.summary.run_id
    notes = [
        f"run what failed again: perfctl resume {run_id}",
        f"read what was kept: perfctl show {run_id} --invocation ID --artifact NAME",
    ]
    return Section(columns(*names), rows, notes=notes)


def _events(detail: RunDetail) -> Section:
    rows = [(utc_text(item.happened_at), item.level, item.where, item.text) for item in detail.events]
    return Section(columns("time", "level", "where", "text"), rows)


# ---- an invocation -----------------------------------------------------------------------------------------


def _invocation(item: InvocationDetail) -> Section:
    facts = {
        "invocation": item.invocation_id,
        "run": item.run_id,
        "benchmark": item.benchmark,
        "target": item.target,
        "environment": item.environment,
        "accelerator": item.accelerator,
        "vCPUs": item.vcpus,
        "boot attempts": item.boot_attempts,
        "block": f"{item.block}, attempt {item.attempt}, replicate {item.replicate}",
        "status": item.status if item.reason is None else f"{item.status} ({item.reason})",
        "validity": item.validity,
        "detail": item.detail,
        "exit code": item.exit_code,
        "started": item.started,
        "took": duration(item.duration_s),
        "command": shlex.join(item.argv),
        "fingerprint": item.fingerprint_id,
    }
    return Section(columns("what", "value"), list(facts.items()))


def _usage(usage: ResourceUsage) -> Section:
    """Return what its command has used."""
    values = [(metric, getattr(usage, metric.name)) for metric in USAGE_METRICS]
    rows = [
        (metric.name, quantity(value, metric.unit), metric.description)
        for metric, value in values
        if value is not None
    ]
    notes = {
        "cgroup": ["measured by the container's control group, not comparable with what wait4 says"],
        None: [f"what its command has used is not known: {usage.missing or 'it was not recorded'}"],
    }.get(usage.source, [])
    if usage.source is not None and usage.missing:
        notes = [*notes, f"not known: {usage.missing}"]
    shown = [Column("name", "used by the command"), Column("value", align="right"), Column("what")]
    return Section(shown, rows, notes=notes)


def _findings(judged: Assessment) -> Section:
    found = judged.validity
    rows = [(item.rule, item.severity, item.sentence) for item in found.findings]
    notes = [f"not judged: {item.rule}: {item.reason}" for item in found.unjudged]
    return Section(columns("rule", "severity", "finding"), rows, notes=notes)


def _artifacts(item: InvocationDetail) -> Section:
    shown = [Column("name"), Column("size_bytes", "bytes", align="right"), Column("sha256")]
    rows = [(kept.name, kept.size_bytes, kept.sha256) for kept in item.artifacts]
    short_id = item.invocation_id[:_SHORT_ID]
    note = f"read one: perfctl show {item.run_id} --invocation {short_id} --artifact NAME"
    return Section(shown, rows, notes=[note] if rows else [])
