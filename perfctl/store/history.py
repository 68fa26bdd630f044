"""Queries over many runs: the values behind trends and the rolling A/A rate, and the facts behind them.

Each is one statement over all blocks; a few hundred runs take about a second.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfctl.model import Fact, FactState, Fingerprint, Metric, Target
from perfctl.model.environment import Limits
from perfctl.store.reading import IN_ORDER, metrics_by_number
from perfctl.store.records import StoredBenchmark


@dataclass(frozen=True, slots=True)
class HistoryRun:
    """One run among others. `started_at` is in Unix seconds."""

    run_id: str
    suite: str
    status: str
    started_at: float
    baseline: str
    perfctl_version: str


@dataclass(frozen=True, slots=True)
class NamedBenchmark:
    """A benchmark under one of its names, and how many runs planned it by that name."""

    benchmark: StoredBenchmark
    runs: int


@dataclass(frozen=True, slots=True)
class HistoryCell:
    """The values of one leg in one run, by block; blocks without a value are left out.

    `benchmark_key` and `environment_key` are the content hashes of what the names stood for in that run.
    """

    run_id: str
    benchmark: str
    benchmark_key: str
    metric: Metric
    target: Target
    environment: str
    environment_key: str
    replicate: int
    accelerator: str | None
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which fingerprint was read in a run: of a host before it, or inside an environment there (the last)."""

    run_id: str
    host: str
    environment: str | None
    """None: the host itself."""
    fingerprint_id: str


@dataclass(frozen=True, slots=True)
class NativeValue:
    """A value of a benchmark, measured natively on a host; `limits` are its environment's."""

    run_id: str
    benchmark_key: str
    limits: Limits
    metric: str
    unit: str
    value: float


_CELLS = """
SELECT
    block.run_id, block.benchmark, benchmark_id, metric_pk, host_id, peer_id, environment_id, replicate,
    accelerator, block_index, value
FROM block
JOIN v_block USING (block_id)
JOIN invocation USING (block_id)
JOIN invocation_metric USING (invocation_pk)
WHERE {which} AND attempt_counts AND invocation.status = 'ok' AND value IS NOT NULL
    AND validity IS NOT 'invalid'
"""

_OF_BASELINES = """metric_pk IN (SELECT metric_pk FROM metric WHERE is_headline)
    AND (block.run_id, environment_id) IN (
        SELECT run.run_id, environment_id FROM run
        JOIN run_environment ON run_environment.run_id = run.run_id AND name = baseline
    )"""


_NATIVE_VALUES = """
SELECT
    block.run_id, benchmark_id,
    json_extract(fields_json, '$.cpuset_cpus'), json_extract(fields_json, '$.cpuset_mems'),
    json_extract(fields_json, '$.cpu_quota'), json_extract(fields_json, '$.memory_mib'),
    metric.name, unit, value
FROM run_host
JOIN block ON block.host_id = run_host.host_id
JOIN invocation USING (block_id)
JOIN environment USING (environment_id)
JOIN invocation_metric USING (invocation_pk)
JOIN metric USING (metric_pk)
WHERE run_host.run_id = ? AND run_host.name = ? AND benchmark_id IN ({keys}) AND peer_id IS NULL
    AND kind IN ({kinds}) AND invocation.status = 'ok' AND validity IS NOT 'invalid' AND is_headline
    AND value IS NOT NULL
ORDER BY invocation_pk
"""


def benchmark_cells(connection: sqlite3.Connection, name: str) -> list[HistoryCell]:
    """Return the cells of one benchmark, by its name, in all runs; those that a comparison uses."""
    return _cells(connection, _CELLS.format(which="block.benchmark = ?"), (name,))


def cells_of_key(connection: sqlite3.Connection, key: str) -> list[HistoryCell]:
    """Return the cells of one benchmark, by its key, in all runs, whatever its name was."""
    return _cells(connection, _CELLS.format(which="benchmark_id = ?"), (key,))


def baseline_cells(connection: sqlite3.Connection) -> list[HistoryCell]:
    """Return the cells of the baseline's replicates in all runs, headline metrics only, the oldest first."""
    return _cells(connection, _CELLS.format(which=_OF_BASELINES), ())


def _cells(connection: sqlite3.Connection, sql: str, arguments: tuple[str, ...]) -> list[HistoryCell]:
    metrics = metrics_by_number(connection)
    hosts = dict(connection.execute("SELECT host_id, name FROM host"))
    environments = dict(connection.execute("SELECT environment_id, name FROM environment"))
    values: dict[tuple[Any, ...], dict[int, float]] = {}
    for *key, block, value in connection.execute(sql, arguments):
        values.setdefault(tuple(key), {})[block] = value
    found = []
    for key, blocks in values.items():
        run_id, benchmark, benchmark_key, metric, host, peer, environment, replicate, accelerator = key
        target = Target(hosts[host], hosts[peer] if peer else None)
        leg = (environments[environment], environment, replicate, accelerator)
        in_order = dict(sorted(blocks.items()))
        found.append(HistoryCell(run_id, benchmark, benchmark_key, metrics[metric], target, *leg, in_order))
    places = {run.run_id: place for place, run in enumerate(history_runs(connection))}
    return sorted(
        found,
        key=lambda cell: (
            *(places[cell.run_id], cell.benchmark, cell.benchmark_key, str(cell.target)),
            *(not cell.metric.headline, cell.metric.name, cell.metric.unit),
            *(cell.environment, cell.replicate, cell.accelerator or ""),
        ),
    )


def native_values(
    connection: sqlite3.Connection, run_id: str, host: str, keys: Sequence[str]
) -> list[NativeValue]:
    """Return the headline values of these benchmarks on a run's host in all runs, this one included.

    Of native invocations that are ok and not invalid, whatever became of their blocks; the oldest first.
    """
    # Imported here so that opening a database does not wait for it.
    from perfctl.environments.kinds import BASELINE_KINDS

    sql = _NATIVE_VALUES.format(keys=_marks(keys), kinds=_marks(BASELINE_KINDS))
    rows = connection.execute(sql, (run_id, host, *keys, *BASELINE_KINDS))
    return [
        NativeValue(run, key, (cpus, nodes, quota, memory), metric, unit, value)
        for run, key, cpus, nodes, quota, memory, metric, unit, value in rows
    ]


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def history_runs(connection: sqlite3.Connection) -> list[HistoryRun]:
    """Return every run, the one that was begun first in this file first."""
    rows = connection.execute(
        f"SELECT run_id, suite, status, started_at, baseline, perfctl_version FROM run ORDER BY {IN_ORDER}"
    )
    return [HistoryRun(*row) for row in rows]


def named_benchmarks(connection: sqlite3.Connection) -> list[NamedBenchmark]:
    """Return every benchmark under every name it had in a plan, that of the newest run last."""
    rows = connection.execute(
        "SELECT name, workload, parameters_json, benchmark_id, count(*) FROM run_benchmark"
        " JOIN benchmark USING (benchmark_id) JOIN run USING (run_id)"
        f" GROUP BY name, benchmark_id ORDER BY max({IN_ORDER}), name"
    )
    return [
        NamedBenchmark(StoredBenchmark(name, workload, json.loads(parameters), key), runs)
        for name, workload, parameters, key, runs in rows
    ]


def snapshots(connection: sqlite3.Connection) -> list[Snapshot]:
    """Return the last fingerprint of every host before a run, and of every environment there."""
    rows = connection.execute(
        "SELECT run_id, host.name, NULL, fingerprint_id, host_snapshot.rowid FROM host_snapshot"
        " JOIN host USING (host_id) WHERE phase = 'before'"
        " UNION ALL"
        " SELECT run_id, host.name, environment.name, fingerprint_id, environment_snapshot.rowid"
        " FROM environment_snapshot JOIN host USING (host_id) JOIN environment USING (environment_id)"
        " ORDER BY 5"
    )
    last = {(run_id, host, environment): key for run_id, host, environment, key, _ in rows}
    return [Snapshot(*place, key) for place, key in last.items()]


def facts(connection: sqlite3.Connection, run_id: str, host: str, environment: str | None) -> Fingerprint:
    """Return what the last snapshot holds, its dynamic facts included; no facts where there is none."""
    if environment is None:
        row = connection.execute(
            "SELECT facts_json, dynamic_json FROM host_snapshot JOIN fingerprint USING (fingerprint_id)"
            " JOIN host USING (host_id) WHERE run_id = ? AND host.name = ? AND phase = 'before'"
            " ORDER BY host_snapshot.rowid DESC",
            (run_id, host),
        ).fetchone()
    else:
        row = connection.execute(
            "SELECT facts_json, dynamic_json FROM environment_snapshot"
            " JOIN fingerprint USING (fingerprint_id) JOIN host USING (host_id)"
            " JOIN environment USING (environment_id)"
            " WHERE run_id = ? AND host.name = ? AND environment.name = ?"
            " ORDER BY environment_snapshot.rowid DESC",
            (run_id, host, environment),
        ).fetchone()
    return fingerprint_of(*(row or ("[]", "[]")))


_READINGS = """
SELECT taken_at AS moment, host.name, '' AS environment, facts_json, dynamic_json
FROM host_snapshot JOIN fingerprint USING (fingerprint_id) JOIN host USING (host_id) WHERE run_id = ?1
UNION ALL
SELECT taken_at, host.name, environment.name, facts_json, dynamic_json
FROM environment_snapshot JOIN fingerprint USING (fingerprint_id) JOIN host USING (host_id)
JOIN environment USING (environment_id) WHERE run_id = ?1
UNION ALL
SELECT invocation.started_at, host.name, environment.name, NULL, NULL
FROM block JOIN invocation USING (block_id) JOIN environment USING (environment_id)
JOIN host ON host.host_id IN (block.host_id, block.peer_id) WHERE run_id = ?1 AND invocation.status = 'ok'
ORDER BY moment
"""


def readings(connection: sqlite3.Connection, run_id: str) -> dict[tuple[str, str], list[Fingerprint]]:
    """Return the facts of each (host, environment), '' for the host itself, as often as they were read.

    Of readings between which nothing was measured there only the last is kept.
    """
    found: dict[tuple[str, str], list[Fingerprint]] = {}
    is_measured: set[tuple[str, str]] = set()
    for _, host, environment, static, dynamic in connection.execute(_READINGS, (run_id,)):
        place = (host, environment)
        if static is None:
            is_measured |= {place, (host, "")}
            continue
        several = found.setdefault(place, [])
        if several and place not in is_measured:
            several.pop()
        is_measured.discard(place)
        several.append(fingerprint_of(static, dynamic))
    return found


def previous_facts(connection: sqlite3.Connection, run_id: str, host: str) -> Fingerprint | None:
    """Return the facts of a run's host as last read: after another run, or in this one; None if never."""
    row = connection.execute(
        "SELECT facts_json, dynamic_json FROM host_snapshot JOIN fingerprint USING (fingerprint_id)"
        " WHERE host_id = (SELECT host_id FROM run_host WHERE run_id = ?1 AND name = ?2)"
        " AND (phase = 'after' OR run_id = ?1)"
        " ORDER BY host_snapshot.rowid DESC LIMIT 1",
        (run_id, host),
    ).fetchone()
    return None if row is None else fingerprint_of(*row)


def fingerprint_of(static: str, dynamic: str) -> Fingerprint:
    """Return the facts of a fingerprint's and a snapshot's JSON."""
    return Fingerprint(
        tuple(
            Fact(name, FactState(state), value, is_static)
            for text, is_static in ((static, True), (dynamic, False))
            for name, state, value in json.loads(text)
        )
    )
