"""`perfctl show`: one run."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, duration, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import InvocationDetail, RunDetail, Store, ValidityCount
    from perfctl.validity import Assessment


@click.command(cls=Command)
@click.argument("run")
@click.option("--invocation", metavar="ID", help="Show this execution of the run, and what is kept of it.")
@click.option(
    "--artifact",
    metavar="NAME",
    help="Write something kept of the invocation to stdout, byte for byte: stdout, stderr, console, ...",
)
@format_option
@click.pass_obj
def show(settings: Settings, run: str, invocation: str | None, artifact: str | None, fmt: Format) -> None:
    """Show one run: its plan, its hosts, how its invocations ended, what failed and why.

    RUN is a run's id, its unique beginning or end, or 'latest'; so is ID that of an invocation. CSV has only
    the run's own line, JSON all.
    """
    from perfctl.errors import UsageError
    from perfctl.store import open_store

    if artifact is not None and invocation is None:
        raise UsageError("--artifact needs --invocation", hint=f"perfctl show {run} names what failed")
    with open_store(settings.database_url, read_only=True) as store:
        if invocation is None:
            detail = store.run(run)
            validity = store.validity_counts(run)
            for_machines = fmt in ("json", "csv")
            tables = (
                [_table_for_machines(detail, validity)]
                if for_machines
                else _tables_for_people(detail, validity)
            )
        else:
            found = store.invocation(run, invocation)
            if artifact is not None:
                sys.stdout.buffer.write(_bytes_of(store, found, artifact))
                sys.stdout.flush()
                return
            judged = store.assessment(found.invocation_id)
            tables = (
                [_invocation_for_machines(found, judged)]
                if fmt in ("json", "csv")
                else _invocation(found, judged)
            )
    for number, table in enumerate(tables):
        if number:
            click.echo()
        emit(table, fmt)


def _bytes_of(store: Store, invocation: InvocationDetail, name: str) -> bytes:
    """Return what is kept under that name, which may be nothing. Raises UnknownName."""
    from perfctl.errors import UnknownName

    kept = {item.name: item.sha256 for item in invocation.artifacts}
    if name not in kept:
        raise UnknownName(
            f"no {name!r} is kept of the invocation {invocation.invocation_id}",
            hint=f"it has: {', '.join(kept) or 'nothing'}",
        )
    sha256 = kept[name]
    return b"" if sha256 is None else store.artifact(sha256)


def _invocation_for_machines(item: InvocationDetail, judged: Assessment | None) -> Table:
    from dataclasses import asdict

    row = asdict(item)
    columns = [Column(name) for name in row]
    if judged:
        row["findings"] = [asdict(finding) for finding in judged.validity.findings]
        row["not_judged"] = [asdict(rule) for rule in judged.validity.unjudged]
    return Table("invocation", columns, [row])


def _invocation(item: InvocationDetail, judged: Assessment | None) -> list[Table]:
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
    columns = [Column("name"), Column("size_bytes", "bytes", align="right"), Column("sha256")]
    rows = [(kept.name, kept.size_bytes, kept.sha256) for kept in item.artifacts]
    note = f"read one: perfctl show {item.run_id} --invocation {item.invocation_id} --artifact NAME"
    return [
        Table("invocation", [Column("what"), Column("value")], list(facts.items())),
        *([_findings(judged)] if judged else []),
        Table("artifacts", columns, rows, [note] if rows else []),
    ]


def _findings(judged: Assessment) -> Table:
    found = judged.validity
    columns = [Column("rule"), Column("severity"), Column("finding")]
    rows = [(item.rule, item.severity, item.sentence) for item in found.findings]
    notes = [f"not judged: {item.rule}: {item.reason}" for item in found.unjudged]
    return Table("findings", columns, rows, notes)


_SHORT_ID = 12
"""Ids of invocations are hashes: so many characters name one in a run."""


def _table_for_machines(detail: RunDetail, validity: Sequence[ValidityCount]) -> Table:
    from dataclasses import asdict

    from perfctl.cli.runs import run_row, utc_text

    row = run_row(detail.summary)
    row |= {name: getattr(detail, name) for name in ("seed", "baseline", "perfctl_version")}
    columns = [Column(name) for name in row]
    row |= {
        "command": list(detail.command),
        "inventory": list(detail.inventory),
        "environments": [asdict(item) for item in detail.environments],
        "benchmarks": [asdict(item) for item in detail.benchmarks],
        "counts": [asdict(item) for item in detail.counts],
        "validity": [asdict(item) for item in validity],
        "failures": [asdict(item) | {"target": str(item.target)} for item in detail.failures],
        "events": [asdict(item) | {"happened_at": utc_text(item.happened_at)} for item in detail.events],
    }
    return Table("run", columns, [row])


def _tables_for_people(detail: RunDetail, validity: Sequence[ValidityCount]) -> list[Table]:
    tables = [_head(detail), _counts(detail)]
    if validity:
        tables.append(_validity(detail, validity))
    if detail.failures:
        tables.append(_failures(detail))
    if detail.events:
        tables.append(_events(detail))
    return tables


def _head(detail: RunDetail) -> Table:
    from perfctl.cli.runs import utc_text

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
    rows += [(f"benchmark {item.name}", _call(item.workload, item.parameters)) for item in detail.benchmarks]
    return Table("run", [Column("what"), Column("value")], rows)


def _call(workload: str, parameters: Mapping[str, Any]) -> str:
    return " ".join([workload, *(f"{name}={value}" for name, value in parameters.items())])


def _counts(detail: RunDetail) -> Table:
    columns = [Column("status"), Column("reason"), Column("invocations", align="right")]
    rows = [(item.status, item.reason, item.invocations) for item in detail.counts]
    return Table("counts", columns, rows)


def _validity(detail: RunDetail, validity: Sequence[ValidityCount]) -> Table:
    columns = [Column("environment")]
    columns += [Column(name, align="right") for name in ("valid", "flagged", "invalid")]
    columns += [Column("not_judged", "not judged", align="right"), Column("rules", "rules crossed (times)")]
    rows = []
    for item in validity:
        rules = ", ".join(f"{rule} ({count})" for rule, count in item.rules)
        rows.append((item.environment, item.valid, item.flagged, item.invalid, item.not_judged, rules))
    query = f"SELECT * FROM v_finding WHERE run_id = '{detail.summary.run_id}'"
    notes = ["what is invalid counts in no comparison, what is flagged counts"]
    if any(item.rules for item in validity):
        notes.append(f'what was seen: perfctl query "{query}"')
    return Table("validity", columns, rows, notes)


def _failures(detail: RunDetail) -> Table:
    names = (
        "benchmark",
        "target",
        "environment",
        "block",
        "attempt",
        "status",
        "reason",
        "exit_code",
        "detail",
        "invocation",
        "kept",
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
    return Table("failures", [Column(name) for name in names], rows, notes)


def _events(detail: RunDetail) -> Table:
    from perfctl.cli.runs import utc_text

    columns = [Column("time"), Column("level"), Column("where"), Column("text")]
    rows = [(utc_text(item.happened_at), item.level, item.where, item.text) for item in detail.events]
    return Table("events", columns, rows)
