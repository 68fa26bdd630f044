"""What is read, each function on one connection and in one statement or a few."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from perfctl.errors import UnknownName
from perfctl.model import (
    USAGE_METRICS,
    Direction,
    Metric,
    Observation,
    Reason,
    ResourceUsage,
    Status,
    Target,
)
from perfctl.store.records import (
    BlockState,
    Count,
    Failure,
    InvocationDetail,
    InvocationState,
    RunDetail,
    RunSummary,
    StoredArtifact,
    StoredBenchmark,
    StoredEnvironment,
    StoredEvent,
)

IN_ORDER = "run.rowid"
"""The order in which runs were begun in this file. A controller's clock may go back; SQLite gives each new
row a higher number than all others, and keeps their order when it copies a file."""


def find_run(connection: sqlite3.Connection, wanted: str) -> str:
    """Return the id of the run that `wanted` names: an id, its unique beginning or end, or 'latest'.

    Raises UnknownName when there is none, or more than one.
    """
    if wanted == "latest":
        row = connection.execute(f"SELECT run_id FROM run ORDER BY {IN_ORDER} DESC").fetchone()
        if row is None:
            raise UnknownName("the database has no run yet", hint="`perfctl run --suite cpu` makes one")
        return str(row[0])
    ids = (str(run_id) for (run_id,) in connection.execute("SELECT run_id FROM run ORDER BY run_id"))
    return _only("run", wanted, ids, hint="`perfctl runs` lists them; 'latest' is the newest")


def _only(kind: str, wanted: str, ids: Iterable[str], *, hint: str) -> str:
    """Return the one id that begins or ends as wanted. Raises UnknownName."""
    found = [key for key in ids if wanted and (key.startswith(wanted) or key.endswith(wanted))]
    if not found:
        raise UnknownName(f"there is no {kind} {wanted!r}", hint=hint)
    if len(found) > 1:
        raise UnknownName(
            f"{wanted!r} matches {len(found)} {kind}s: {', '.join(found[:5])}", hint="give more of the id"
        )
    return found[0]


def list_runs(connection: sqlite3.Connection, run_id: str | None = None) -> list[RunSummary]:
    """Return every run (or the one), the one that was begun first in this file first."""
    where, arguments = ("WHERE run.run_id = ?", (run_id,)) if run_id else ("", ())
    hosts = defaultdict(list)
    for host_run, name in connection.execute("SELECT run_id, name FROM run_host ORDER BY run_id, name"):
        hosts[host_run].append(name)
    rows = connection.execute(
        "SELECT run.run_id, run.suite, run.status, run.started_at, run.ended_at, run.planned_invocations,"
        " v_run.ok, v_run.failed, v_run.skipped, v_run.interrupted"
        f" FROM run JOIN v_run ON v_run.run_id = run.run_id {where} ORDER BY {IN_ORDER}",
        arguments,
    )
    return [
        RunSummary(identity, suite, status, started_at, ended_at, tuple(hosts[identity]), *numbers)
        for identity, suite, status, started_at, ended_at, *numbers in rows
    ]


def run_detail(connection: sqlite3.Connection, run_id: str) -> RunDetail:
    """Return everything stored about one run."""
    summary = list_runs(connection, run_id)[0]
    seed, baseline, command, inventory, version = connection.execute(
        "SELECT seed, baseline, command_json, inventory_json, perfctl_version FROM run WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    return RunDetail(
        summary=summary,
        seed=seed,
        baseline=baseline,
        command=tuple(json.loads(command)),
        inventory=tuple(json.loads(inventory)),
        perfctl_version=version,
        environments=_environments(connection, run_id),
        benchmarks=_benchmarks(connection, run_id),
        counts=tuple(counts(connection, run_id)),
        failures=_failures(connection, run_id),
        events=_events(connection, run_id),
    )


def plan_json(connection: sqlite3.Connection, run_id: str) -> str:
    """Return the plan as it was stored."""
    return str(connection.execute("SELECT plan_json FROM run WHERE run_id = ?", (run_id,)).fetchone()[0])


def _environments(connection: sqlite3.Connection, run_id: str) -> tuple[StoredEnvironment, ...]:
    rows = connection.execute(
        "SELECT run_environment.name, kind, description, environment_id"
        " FROM run_environment JOIN environment USING (environment_id) WHERE run_id = ? ORDER BY position",
        (run_id,),
    )
    return tuple(StoredEnvironment(*row) for row in rows)


def _benchmarks(connection: sqlite3.Connection, run_id: str) -> tuple[StoredBenchmark, ...]:
    rows = connection.execute(
        "SELECT name, workload, parameters_json, benchmark_id"
        " FROM run_benchmark JOIN benchmark USING (benchmark_id) WHERE run_id = ? ORDER BY position",
        (run_id,),
    )
    return tuple(
        StoredBenchmark(name, workload, json.loads(parameters), key)
        for name, workload, parameters, key in rows
    )


def counts(connection: sqlite3.Connection, run_id: str) -> list[Count]:
    """Return how many invocations ended in which way."""
    rows = connection.execute(
        "SELECT status, reason, count(*) FROM v_invocation WHERE run_id = ? GROUP BY status, reason"
        " ORDER BY status = 'ok' DESC, count(*) DESC, status, reason",
        (run_id,),
    )
    return [
        Count(Status(status), Reason(reason) if reason else None, number) for status, reason, number in rows
    ]


def _failures(connection: sqlite3.Connection, run_id: str) -> tuple[Failure, ...]:
    kept = defaultdict(list)
    for invocation_id, name in connection.execute(
        "SELECT invocation_id, name FROM v_artifact JOIN invocation USING (invocation_id)"
        f" WHERE run_id = ? AND status <> 'ok' {_ARTIFACT_ORDER}",
        (run_id,),
    ):
        kept[invocation_id].append(name)
    rows = connection.execute(
        "SELECT invocation_id, benchmark, host, peer, block, attempt, environment, status, reason, detail,"
        " exit_code FROM v_invocation WHERE run_id = ? AND status <> 'ok' ORDER BY started, invocation_id",
        (run_id,),
    )
    return tuple(_failure(row, tuple(kept[row[0]])) for row in rows)


def _failure(row: tuple[Any, ...], kept: tuple[str, ...]) -> Failure:
    key, benchmark, host, peer, block, attempt, environment, status, reason, detail, exit_code = row
    return Failure(
        invocation_id=key,
        benchmark=benchmark,
        target=Target(host, peer),
        block=block,
        attempt=attempt,
        environment=environment,
        status=Status(status),
        reason=Reason(reason),
        detail=detail,
        exit_code=exit_code,
        kept=kept,
    )


_ARTIFACT_ORDER = "ORDER BY name LIKE 'counters_%', name LIKE 'std%', name"
"""A guest's artifacts first: they are what people need most."""


def find_invocation(connection: sqlite3.Connection, run_id: str, wanted: str) -> str:
    """Return the id of the run's invocation that `wanted` names: an id, its unique beginning or end.

    Raises UnknownName when there is none, or more than one.
    """
    rows = connection.execute(
        "SELECT invocation_id FROM invocation JOIN block USING (block_id) WHERE run_id = ? ORDER BY 1",
        (run_id,),
    )
    hint = f"`perfctl show {run_id}` names those that failed, v_invocation has all"
    return _only("invocation", wanted, (str(key) for (key,) in rows), hint=hint)


_DETAIL = (
    *("invocation_id", "run_id", "benchmark", "target", "environment", "accelerator", "vcpus"),
    *(
        "boot_attempts",
        "block",
        "attempt",
        "replicate",
        "status",
        "reason",
        "validity",
        "detail",
        "exit_code",
        "started",
        "duration_s",
    ),
    "fingerprint_id",
)
_USAGE = (*(metric.name for metric in USAGE_METRICS), "usage_source", "usage_missing")


def invocation_detail(connection: sqlite3.Connection, invocation_id: str) -> InvocationDetail:
    """Return everything stored about one invocation."""
    row = connection.execute(
        f"SELECT {', '.join((*_DETAIL, *_USAGE))}, argv_json FROM v_invocation WHERE invocation_id = ?",
        (invocation_id,),
    ).fetchone()
    fields = dict(zip(_DETAIL, row, strict=False))
    usage = dict(zip(_USAGE, row[len(_DETAIL) :], strict=False))
    source, missing = usage.pop("usage_source"), usage.pop("usage_missing")
    kept = connection.execute(
        f"SELECT name, size_bytes, sha256 FROM v_artifact WHERE invocation_id = ? {_ARTIFACT_ORDER}",
        (invocation_id,),
    )
    return InvocationDetail(
        **fields
        | {
            "status": Status(fields["status"]),
            "reason": Reason(fields["reason"]) if fields["reason"] else None,
            "argv": tuple(json.loads(row[-1])),
            "usage": ResourceUsage(**usage, source=source, missing=missing or ""),
            "artifacts": tuple(StoredArtifact(*item) for item in kept),
        }
    )


def _events(connection: sqlite3.Connection, run_id: str) -> tuple[StoredEvent, ...]:
    rows = connection.execute(
        "SELECT happened_at, level, place, text FROM event WHERE run_id = ? ORDER BY rowid",
        (run_id,),
    )
    return tuple(StoredEvent(*row) for row in rows)


def block_states(connection: sqlite3.Connection, run_id: str) -> list[BlockState]:
    """Return every attempt at every block that has begun, in the order in which they began."""
    done = defaultdict(list)
    for block_id, environment, replicate, status in connection.execute(
        "SELECT block_id, environment.name, replicate, invocation.status FROM invocation"
        " JOIN block USING (block_id) JOIN environment USING (environment_id)"
        " WHERE run_id = ? ORDER BY position",
        (run_id,),
    ):
        done[block_id].append(InvocationState(environment, replicate, Status(status)))
    rows = connection.execute(
        "SELECT block_id, benchmark, host.name, peer.name, block_index, attempt, status FROM block"
        " JOIN host ON host.host_id = block.host_id LEFT JOIN host AS peer ON peer.host_id = block.peer_id"
        " WHERE run_id = ? ORDER BY block.rowid",
        (run_id,),
    )
    return [
        BlockState(block_id, benchmark, Target(host, peer), index, attempt, status, tuple(done[block_id]))
        for block_id, benchmark, host, peer, index, attempt, status in rows
    ]


_BLOCKS_TO_COMPARE = """
SELECT block_id, block.benchmark, host.name, peer.name, block_index
FROM block
JOIN v_block USING (block_id)
JOIN run_benchmark ON run_benchmark.run_id = block.run_id AND run_benchmark.name = block.benchmark
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
WHERE block.run_id = ? AND attempt_counts
ORDER BY run_benchmark.position, block.target, block_index
"""

_VALUES = """
SELECT block_id, position, metric_pk, environment_id, replicate, value, accelerator, validity
FROM block
JOIN invocation USING (block_id)
JOIN invocation_metric USING (invocation_pk)
WHERE run_id = ? AND invocation.status = 'ok' AND value IS NOT NULL
"""


_USAGE_VALUES = f"""
SELECT block_id, position, environment_id, replicate, accelerator, validity, usage_source, usage_missing,
    {", ".join(metric.name for metric in USAGE_METRICS)}
FROM block
JOIN invocation USING (block_id)
WHERE run_id = ? AND invocation.status = 'ok' AND (usage_source IS NOT NULL OR usage_missing IS NOT NULL)
"""


def observations(
    connection: sqlite3.Connection, run_id: str, *, with_usage: bool = False
) -> list[Observation]:
    """Return one value per invocation and metric: those that are `ok`, of the attempt that counts.

    That is a block's last complete attempt; where there is none, its last one: a leg that failed must not
    hide those that ran beside it.

    Ordered by the plan's benchmarks, target, block, position in the block, and metric (the headline first).
    `with_usage`: after those of a block what its commands used, also where it is missing and why is known.
    """
    used = _usage_values(connection, run_id) if with_usage else {}
    metrics = metrics_by_number(connection)
    environments = dict(connection.execute("SELECT environment_id, name FROM environment"))
    # Names and order come from small tables: joining and sorting them in SQL takes three times as long.
    values: dict[str, list[tuple[int, int, str, int, float, str | None, str | None]]] = defaultdict(list)
    for block_id, *value in connection.execute(_VALUES, (run_id,)):
        values[block_id].append(tuple(value))
    ranks = {pk: rank for rank, pk in enumerate(metrics)}
    found = []
    for block_id, benchmark, host, peer, index in connection.execute(_BLOCKS_TO_COMPARE, (run_id,)):
        target = Target(host, peer)
        for _, metric, environment, replicate, value, accelerator, validity in sorted(
            values[block_id], key=lambda row: (row[0], ranks[row[1]])
        ):
            found.append(
                Observation(
                    benchmark,
                    metrics[metric],
                    target,
                    index,
                    environments[environment],
                    replicate,
                    value,
                    accelerator,
                    validity,
                )
            )
        for environment, replicate, *row in used.get(block_id, ()):
            leg = (environments[environment], replicate)
            found += _of_usage((benchmark, target, index, *leg), *row)
    return found


def _of_usage(
    invocation: tuple[str, Target, int, str, int],
    accelerator: str | None,
    validity: str | None,
    source: str | None,
    missing: str | None,
    *numbers: float | None,
) -> Iterator[Observation]:
    """Yield what one command used; `invocation` is benchmark, target, block and leg."""
    benchmark, target, block, environment, replicate = invocation
    for metric, number in zip(USAGE_METRICS, numbers, strict=True):
        value = math.nan if number is None else number
        why = (missing or "no value") if number is None else ""
        place = (target, block, environment, replicate)
        yield Observation(benchmark, metric, *place, value, accelerator, validity, source, why)


def _usage_values(connection: sqlite3.Connection, run_id: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each block, in the order of its positions."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for block_id, _, *row in sorted(connection.execute(_USAGE_VALUES, (run_id,)), key=lambda row: row[:2]):
        found[block_id].append(tuple(row))
    return found


def metrics_by_number(connection: sqlite3.Connection) -> dict[int, Metric]:
    """Return every metric by its number, the headlines first."""
    return {
        pk: Metric(name, unit, Direction(direction), description, bool(headline), bool(difference))
        for pk, name, unit, direction, description, headline, difference in connection.execute(
            "SELECT metric_pk, name, unit, direction, description, is_headline, show_difference FROM metric"
            " ORDER BY is_headline DESC, name, metric_pk"
        )
    }


def digests(connection: sqlite3.Connection, run_id: str) -> dict[tuple[str, str], dict[str, str]]:
    """Return {(host, environment): {program: sha256}} as last seen inside each environment of a run."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for host, environment, program, sha256 in connection.execute(
        "SELECT host.name, environment.name, program, sha256 FROM environment_snapshot"
        " JOIN host USING (host_id) JOIN environment USING (environment_id)"
        " JOIN workload_version USING (fingerprint_id)"
        " WHERE run_id = ? AND sha256 IS NOT NULL ORDER BY environment_snapshot.rowid, program",
        (run_id,),
    ):
        found.setdefault((host, environment), {})[program] = sha256
    return found
