"""What is written, each function inside a transaction of the writer thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat

from perfctl.errors import DataError, UnknownName
from perfctl.model import (
    USAGE_METRICS,
    Block,
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Host,
    InvocationRecord,
    Metric,
    Plan,
    ResourceUsage,
    Status,
    canonical_json,
    content_hash,
    new_id,
)
from perfctl.redaction import redact, redact_tree
from perfctl.store import artifact, schema
from perfctl.store.series import Series, Summary, pack

Key = tuple[int, int]
"""The invocation's and the metric's number in this file."""


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What is known of a run before it starts."""

    run_id: str
    plan_json: str
    command: tuple[str, ...]
    perfctl_version: str
    inventory: tuple[str, ...]
    thresholds_json: str | None = None


@dataclass(frozen=True, slots=True)
class PreparedInvocation:
    """An invocation ready to be written: hashed, compressed and summed up outside the writer thread.

    `outputs` has its own output and counters, `artifacts` what else is kept; None is what has no bytes.
    """

    record: InvocationRecord
    outputs: Mapping[str, artifact.Artifact | None]
    artifacts: Mapping[str, artifact.Artifact | None]
    series: list[tuple[Series, Summary]]


def _insert(
    connection: sqlite3.Connection, table: str, row: Mapping[str, object], *, once: bool = False
) -> sqlite3.Cursor:
    """Store one row; `once`: unless a row with this key is there."""
    marks = ", ".join("?" * len(row))
    suffix = " ON CONFLICT DO NOTHING" if once else ""
    return connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks}){suffix}", tuple(row.values())
    )


def insert_run(connection: sqlite3.Connection, header: RunHeader, plan: Plan, hosts: Sequence[Host]) -> None:
    """Store a run and the hosts, environments and benchmarks of its plan."""
    run_id = header.run_id
    run = {
        "run_id": run_id,
        "suite": plan.suite,
        "seed": plan.seed,
        "baseline": plan.baseline,
        "plan_json": header.plan_json,
        "planned_invocations": plan.invocation_count,
        "command_json": canonical_json(redact_tree(header.command)),
        "inventory_json": canonical_json(header.inventory),
        "perfctl_version": header.perfctl_version,
        "status": "running",
        "started_at": time.time(),
        "thresholds_json": header.thresholds_json,
    }
    _insert(connection, "run", run)
    for host in hosts:
        host_id = _insert_host(connection, host)
        _insert(connection, "run_host", {"run_id": run_id, "name": host.name, "host_id": host_id})
    for position, environment in enumerate(plan.environments):
        _insert_environment(connection, environment)
        link = {"run_id": run_id, "name": environment.name, "environment_id": environment.key}
        _insert(connection, "run_environment", link | {"position": position})
    for position, benchmark in enumerate(plan.benchmarks):
        row = {
            "benchmark_id": benchmark.key,
            "workload": benchmark.workload,
            "parameters_json": canonical_json(dict(benchmark.parameters)),
            "scope": benchmark.scope,
            "expected_s": benchmark.expected_s,
        }
        _insert(connection, "benchmark", row, once=True)
        link = {"run_id": run_id, "name": benchmark.name, "benchmark_id": benchmark.key}
        _insert(connection, "run_benchmark", link | {"position": position})


def _insert_host(connection: sqlite3.Connection, host: Host) -> str:
    # No variables, keys or passwords: a database is passed on to others.
    row = {
        "name": host.name,
        "address": host.address,
        "connection": host.connection,
        "port": host.port,
        "user_name": host.user,
        "test_address": host.test_address,
        "resource": host.resource,
    }
    host_id = content_hash(row)
    _insert(connection, "host", {"host_id": host_id} | row, once=True)
    return host_id


def _insert_environment(connection: sqlite3.Connection, environment: Environment) -> None:
    row = {
        "environment_id": environment.key,
        "name": environment.name,
        "kind": environment.kind,
        "description": environment.description,
        "fields_json": canonical_json(environment.identity()),
    }
    _insert(connection, "environment", row, once=True)


def update_run(connection: sqlite3.Connection, run_id: str, status: str) -> None:
    """Set a run's status. When it ends, blocks that are still open were interrupted; when it goes on, whoever
    resumes it decides about them."""
    ended_at = None if status == "running" else time.time()
    cursor = connection.execute(
        "UPDATE run SET status = ?, ended_at = ? WHERE run_id = ?", (status, ended_at, run_id)
    )
    if cursor.rowcount == 0:
        raise UnknownName(f"there is no run {run_id}")
    if ended_at is not None:
        connection.execute(
            "UPDATE block SET status = 'interrupted', ended_at = ? WHERE run_id = ? AND status = 'running'",
            (ended_at, run_id),
        )


def update_plan(connection: sqlite3.Connection, run_id: str, plan: Plan, plan_json: str) -> None:
    """Replace a run's plan by one that has grown; hosts, environments and benchmarks stay as they are."""
    cursor = connection.execute(
        "UPDATE run SET plan_json = ?, planned_invocations = ? WHERE run_id = ?",
        (plan_json, plan.invocation_count, run_id),
    )
    if cursor.rowcount == 0:
        raise UnknownName(f"there is no run {run_id}")


def insert_fingerprint(connection: sqlite3.Connection, fingerprint: Fingerprint) -> str:
    """Store the static facts once per content hash, with the programs' versions among them."""
    key = fingerprint.key
    row = {"fingerprint_id": key, "facts_json": _facts_json(fingerprint, is_static=True)}
    if _insert(connection, "fingerprint", row, once=True).rowcount:
        for program, found in _programs(fingerprint).items():
            link = {"fingerprint_id": key, "program": program}
            _insert(connection, "workload_version", link | found)
    return key


def _facts_json(fingerprint: Fingerprint, *, is_static: bool) -> str:
    facts = [fact for fact in fingerprint.facts if fact.is_static is is_static]
    return canonical_json(sorted([fact.name, fact.state.value, fact.value] for fact in facts))


def _programs(fingerprint: Fingerprint) -> dict[str, dict[str, str]]:
    """Return {program: {"version": ..., "sha256": ...}} from facts such as `tool.sysbench.sha256`."""
    programs: dict[str, dict[str, str]] = {}
    for fact in fingerprint.facts:
        if fact.name.startswith("tool.") and fact.is_static and fact.state is FactState.PRESENT:
            program, _, what = fact.name.removeprefix("tool.").rpartition(".")
            if program and what in ("version", "sha256"):
                programs.setdefault(program, {})[what] = fact.value
    return programs


def insert_host_snapshot(
    connection: sqlite3.Connection, run_id: str, host: str, phase: str, fingerprint: Fingerprint
) -> str:
    """Store the facts of a host before or after a run and return the snapshot's key."""
    row = {
        "host_snapshot_id": new_id(),
        "run_id": run_id,
        "host_id": _planned(connection, run_id, "host", host),
        "phase": phase,
        "fingerprint_id": insert_fingerprint(connection, fingerprint),
        "dynamic_json": _facts_json(fingerprint, is_static=False),
        "taken_at": time.time(),
    }
    _insert(connection, "host_snapshot", row)
    return str(row["host_snapshot_id"])


def with_description(fingerprint: Fingerprint, description: Mapping[str, str]) -> Fingerprint:
    """Return the facts with what the environment is made of as facts `environment.NAME`; '' is missing."""
    described = tuple(
        Fact(f"environment.{name}", FactState.PRESENT if value else FactState.MISSING, value)
        for name, value in sorted(description.items())
    )
    return Fingerprint(fingerprint.facts + described)


def insert_environment_snapshot(
    connection: sqlite3.Connection, run_id: str, host: str, environment: str, fingerprint: Fingerprint
) -> str:
    """Store the facts inside an environment on a host and return the fingerprint's key."""
    key = insert_fingerprint(connection, fingerprint)
    row = {
        "environment_snapshot_id": new_id(),
        "run_id": run_id,
        "host_id": _planned(connection, run_id, "host", host),
        "environment_id": _planned(connection, run_id, "environment", environment),
        "fingerprint_id": key,
        "dynamic_json": _facts_json(fingerprint, is_static=False),
        "taken_at": time.time(),
    }
    _insert(connection, "environment_snapshot", row)
    return key


def _planned(connection: sqlite3.Connection, run_id: str, kind: str, name: str) -> str:
    """Return the key of a host, environment or benchmark of a run's plan."""
    row = connection.execute(
        f"SELECT {kind}_id FROM run_{kind} WHERE run_id = ? AND name = ?", (run_id, name)
    ).fetchone()
    if row is None:
        raise UnknownName(f"the run {run_id} has no {kind} {name!r}")
    return str(row[0])


def insert_block(connection: sqlite3.Connection, run_id: str, block: Block, attempt: int) -> str:
    """Store that a block begins, and in which order its invocations will come; return its key."""
    peer = block.target.peer
    row = {
        "block_id": new_id(),
        "run_id": run_id,
        "benchmark": block.benchmark,
        "benchmark_id": _planned(connection, run_id, "benchmark", block.benchmark),
        "target": str(block.target),
        "host_id": _planned(connection, run_id, "host", block.target.host),
        "peer_id": None if peer is None else _planned(connection, run_id, "host", peer),
        "block_index": block.index,
        "attempt": attempt,
        "order_json": canonical_json([(item.environment, item.replicate) for item in block.invocations]),
        "status": "running",
        "started_at": time.time(),
    }
    _insert(connection, "block", row)
    return str(row["block_id"])


def update_block(connection: sqlite3.Connection, block_id: str, status: str) -> None:
    """Set how a block ended."""
    cursor = connection.execute(
        "UPDATE block SET status = ?, ended_at = ? WHERE block_id = ?", (status, time.time(), block_id)
    )
    if cursor.rowcount == 0:
        raise UnknownName(f"there is no block {block_id}")


def prepare(record: InvocationRecord, series: Sequence[Series]) -> PreparedInvocation:
    """Do all the work on an invocation that needs no database.

    Raises DataError when it is not ok and has no reason, or the other way round.
    """
    if (record.status is Status.OK) != (record.reason is None):
        raise DataError(f"an invocation with the status {record.status} and the reason {record.reason}")
    return PreparedInvocation(
        record,
        {name: artifact.pack(getattr(record, name)) for name in schema.OUTPUTS},
        {name: artifact.pack(data) for name, data in record.artifacts.items()},
        [(one, one.summary()) for one in series],
    )


def _usage_row(usage: ResourceUsage | None) -> dict[str, object]:
    if usage is None:
        return {}
    values = {metric.name: getattr(usage, metric.name) for metric in USAGE_METRICS}
    return {**values, "usage_source": usage.source, "usage_missing": usage.missing or None}


def insert_invocation(connection: sqlite3.Connection, prepared: PreparedInvocation) -> None:
    """Store an invocation: raw bytes first, then samples and derived rows, in the same transaction."""
    record = prepared.record
    found = connection.execute(
        "SELECT block.run_id, benchmark.workload FROM block JOIN benchmark USING (benchmark_id)"
        " WHERE block_id = ?",
        (record.block_id,),
    ).fetchone()
    if found is None:
        raise UnknownName(f"there is no block {record.block_id}")
    run_id, workload = found
    row = {
        "invocation_id": record.id,
        "block_id": record.block_id,
        "environment_id": _planned(connection, run_id, "environment", record.environment),
        "replicate": record.replicate,
        "position": record.position,
        "status": record.status.value,
        "reason": None if record.reason is None else record.reason.value,
        "detail": redact(record.detail),
        "argv_json": canonical_json(record.argv),
        "exit_code": record.exit_code,
        "started_at": record.started_at,
        "host_started_ns": record.host_started_ns,
        "host_ended_ns": record.host_ended_ns,
        "fingerprint_id": record.fingerprint_id,
        "accelerator": record.accelerator,
        "validity": record.validity,
        "validity_json": record.validity_json,
        "vcpus": record.vcpus,
        "boot_attempts": record.boot_attempts,
        **_usage_row(record.usage),
    }
    for name, output in prepared.outputs.items():
        row[f"{name}_sha256"] = artifact.insert(connection, output)
    invocation_pk = int(_insert(connection, "invocation", row).lastrowid or 0)
    for name, kept in prepared.artifacts.items():
        link = {"invocation_pk": invocation_pk, "name": name, "sha256": artifact.insert(connection, kept)}
        _insert(connection, "invocation_artifact", link)
    insert_samples(connection, invocation_pk, workload, prepared.series)


@lru_cache(maxsize=1024)
def _metric_id(workload: str, metric: Metric) -> str:
    return content_hash([workload, metric.name, metric.unit, metric.direction, metric.headline])


def _metric_numbers(
    connection: sqlite3.Connection, workload: str, metrics: Sequence[Metric]
) -> dict[str, int]:
    """Return the metrics' numbers in this file by their names; the first description seen of each is kept."""
    by_id = {_metric_id(workload, metric): metric for metric in metrics}
    marks = ", ".join("?" * len(by_id))
    found = connection.execute(
        f"SELECT metric_id, metric_pk, show_difference FROM metric WHERE metric_id IN ({marks})", tuple(by_id)
    ).fetchall()
    numbers = {}
    for metric_id, metric_pk, show_difference in found:
        metric = by_id.pop(metric_id)
        numbers[metric.name] = int(metric_pk)
        if show_difference != metric.show_difference:
            # A newer perfctl tells it otherwise, and that goes for what was measured before, too.
            connection.execute(
                "UPDATE metric SET show_difference = ? WHERE metric_pk = ?",
                (int(metric.show_difference), metric_pk),
            )
    for metric_id, metric in by_id.items():
        row = {
            "metric_id": metric_id,
            "workload": workload,
            "name": metric.name,
            "unit": metric.unit,
            "direction": metric.direction.value,
            "is_headline": int(metric.headline),
            "description": metric.description,
            "show_difference": int(metric.show_difference),
        }
        numbers[metric.name] = int(_insert(connection, "metric", row).lastrowid or 0)
    return numbers


def insert_samples(
    connection: sqlite3.Connection,
    invocation_pk: int,
    workload: str,
    found: Sequence[tuple[Series, Summary]],
) -> None:
    """Store samples as rows or packed, and their derived rows. One statement for each table is fastest."""
    numbers = _metric_numbers(connection, workload, [series.metric for series, _ in found])
    rows = [((invocation_pk, numbers[series.metric.name]), series, summary) for series, summary in found]
    connection.executemany(
        "INSERT INTO sample (invocation_pk, metric_pk, sample_index, is_warmup, value)"
        " VALUES (?, ?, ?, ?, ?)",
        chain.from_iterable(
            zip(*map(repeat, key), series.indexes, series.warmups, series.values, strict=False)
            for key, series, _ in rows
            if not series.is_packed
        ),
    )
    connection.executemany(
        "INSERT INTO series (invocation_pk, metric_pk, sample_count, warmup_count, value_sum, packed)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (*key, summary.sample_count, summary.warmup_count, summary.value_sum, pack(series.values))
            for key, series, summary in rows
            if series.is_packed
        ],
    )
    insert_summaries(connection, [(key, summary) for key, _, summary in rows])


def insert_summaries(connection: sqlite3.Connection, rows: Iterable[tuple[Key, Summary]]) -> None:
    """Store derived rows."""
    connection.executemany(
        "INSERT INTO invocation_metric (invocation_pk, metric_pk, value, sample_count, warmup_count,"
        " value_sum, minimum, maximum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (*key, row.value, row.sample_count, row.warmup_count, row.value_sum, row.minimum, row.maximum)
            for key, row in rows
        ],
    )


def insert_event(connection: sqlite3.Connection, run_id: str, level: str, place: str, text: str) -> None:
    """Store an event of a run."""
    row = {
        "event_id": new_id(),
        "run_id": run_id,
        "happened_at": time.time(),
        "level": level,
        "place": place,
        "text": redact(text),
    }
    _insert(connection, "event", row)
