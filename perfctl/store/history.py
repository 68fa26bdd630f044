"""Reads over many runs: the values behind trends and the rolling A/A rate, and the facts behind them.

Each is a statement or two over all blocks; a few hundred runs take about a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, tuple_

from perfctl.model import Target
from perfctl.store import tables as db
from perfctl.store.dialect import NUMBER, json_value
from perfctl.store.reader import Reader
from perfctl.store.records import (
    HistoryCell,
    HistoryRun,
    NamedBenchmark,
    NativeValue,
    RunSummary,
    Snapshot,
    StoredBenchmark,
)
from perfctl.store.run_views import status_of_run, v_block

_OF_BASELINES = and_(
    db.invocation_metric.c.metric_pk.in_(select(db.metric.c.metric_pk).where(db.metric.c.is_headline)),
    tuple_(db.block.c.run_id, db.invocation.c.environment_id).in_(
        select(db.run.c.run_id, db.run_environment.c.environment_id).join_from(
            db.run,
            db.run_environment,
            and_(
                db.run_environment.c.run_id == db.run.c.run_id,
                db.run_environment.c.name == db.run.c.baseline,
            ),
        )
    ),
)


class History(Reader):
    """All runs of a database, the one that was begun first in it first."""

    def runs(self) -> list[HistoryRun]:
        """Return every run, without the counts that `summaries` has."""
        run = db.run.c
        rows = self._rows(
            select(
                *(run.run_id, run.suite, status_of_run, run.started_at, run.baseline, run.perfctl_version)
            ).order_by(run.rowid)
        )
        return [HistoryRun(*row) for row in rows]

    def summaries(self) -> list[RunSummary]:
        """Return every run, and how many of its invocations ended in which way."""
        return self._summaries()

    def pruned_runs(self) -> set[str]:
        """Return the runs of which only the plan is left."""
        gone = db.tombstone.c
        return {run_id for (run_id,) in self._rows(select(gone.run_id).where(gone.what == "run"))}

    def named_benchmarks(self) -> list[NamedBenchmark]:
        """Return every benchmark under every name it had in a plan, that of the newest run last."""
        planned, found = db.run_benchmark.c, db.benchmark.c
        rows = self._rows(
            select(
                planned.name,
                found.workload,
                found.parameters_json,
                found.benchmark_id,
                found.definition,
                func.count(),
            )
            .select_from(db.run_benchmark.join(db.benchmark).join(db.run))
            .group_by(planned.name, found.benchmark_id)
            .order_by(func.max(db.run.c.rowid), planned.name)
        )
        return [
            NamedBenchmark(
                StoredBenchmark(name, workload, json.loads(parameters), key, definition or ""), runs
            )
            for name, workload, parameters, key, definition, runs in rows
        ]

    def benchmark_cells(self, name: str) -> list[HistoryCell]:
        """Return the values of the benchmarks of a name that a comparison uses, all metrics and legs."""
        return self._cells(db.block.c.benchmark == name)

    def cells_of_key(self, key: str) -> list[HistoryCell]:
        """Return the same of one benchmark (`Benchmark.key`), whatever it was called."""
        return self._cells(db.block.c.benchmark_id == key)

    def baseline_cells(self) -> list[HistoryCell]:
        """Return the headline values of both replicates of the baseline, for the A/A rate."""
        return self._cells(_OF_BASELINES)

    def _cells(self, which: ColumnElement[bool]) -> list[HistoryCell]:
        metrics, environments = self._metrics(), self._environment_names()
        hosts = dict(map(tuple, self._rows(select(db.host.c.host_id, db.host.c.name))))
        block, measured, found = db.block.c, db.invocation.c, db.invocation_metric.c
        values: dict[tuple[Any, ...], dict[int, float]] = {}
        # By names: before its facts were read, the host of a run has another row than afterwards.
        for run_id, benchmark, benchmark_key, metric, host, peer, *of_leg, index, value in self._rows(
            select(
                *(block.run_id, block.benchmark, block.benchmark_id, found.metric_pk, block.host_id),
                *(block.peer_id, measured.environment_id, measured.replicate, measured.accelerator),
                *(block.block_index, found.value),
            )
            .select_from(
                db.block.join(v_block, v_block.c.block_id == block.block_id)
                .join(db.invocation, measured.block_id == block.block_id)
                .join(db.invocation_metric)
            )
            .where(
                *(which, v_block.c.attempt_counts, measured.status == "ok", found.value.is_not(None)),
                measured.validity.is_distinct_from("invalid"),
            )
        ):
            names = (hosts[host], hosts[peer] if peer else None)
            key = (run_id, benchmark, benchmark_key, metric, *names, *of_leg)
            values.setdefault(key, {})[index] = value
        cells = []
        for leg_key, blocks in values.items():
            run_id, benchmark, benchmark_key, metric, host, peer, environment, replicate, accelerator = (
                leg_key
            )
            target = Target(host, peer)
            leg = (environments[environment], environment, replicate, accelerator)
            in_order = dict(sorted(blocks.items()))
            cells.append(
                HistoryCell(run_id, benchmark, benchmark_key, metrics[metric], target, *leg, in_order)
            )
        places = {run.run_id: place for place, run in enumerate(self.runs())}
        return sorted(
            cells,
            key=lambda cell: (
                *(places[cell.run_id], cell.benchmark, cell.benchmark_key, str(cell.target)),
                *(not cell.metric.headline, cell.metric.name, cell.metric.unit),
                *(cell.environment, cell.replicate, cell.accelerator or ""),
            ),
        )

    def native_values(self, run_id: str, host: str, keys: Sequence[str]) -> list[NativeValue]:
        """Return the headline values of benchmarks (`Benchmark.key`) on a run's host, its own included.

        Of native invocations that are ok and not invalid, whatever became of their blocks; the oldest first.
        """
        # Imported here so that opening a database does not wait for it.
        from perfctl.environments.kinds import BASELINE_KINDS

        block, measured, found = db.block.c, db.invocation.c, db.invocation_metric.c
        limits = (
            json_value(db.environment.c.fields_json, name, kind).label(name)
            for name, kind in (
                ("cpuset_cpus", None),
                ("cpuset_mems", None),
                ("cpu_quota", NUMBER),
                ("memory_mib", db.INTEGERS),
            )
        )
        rows = self._rows(
            select(block.run_id, block.benchmark_id, *limits, db.metric.c.name, db.metric.c.unit, found.value)
            .select_from(
                db.run_host.join(db.block, block.host_id == db.run_host.c.host_id)
                .join(db.invocation, measured.block_id == block.block_id)
                .join(db.environment, db.environment.c.environment_id == measured.environment_id)
                .join(db.invocation_metric, found.invocation_pk == measured.invocation_pk)
                .join(db.metric)
            )
            .where(
                *(db.run_host.c.run_id == run_id, db.run_host.c.name == host),
                *(block.benchmark_id.in_(keys), block.peer_id.is_(None)),
                *(db.environment.c.kind.in_(BASELINE_KINDS), measured.status == "ok"),
                *(measured.validity.is_distinct_from("invalid"), db.metric.c.is_headline),
                found.value.is_not(None),
            )
            .order_by(measured.invocation_pk)
        )
        return [
            NativeValue(run, key, (cpus, nodes, quota, memory), metric, unit, value)
            for run, key, cpus, nodes, quota, memory, metric, unit, value in rows
        ]

    def snapshots(self) -> list[Snapshot]:
        """Return the last fingerprint of every host before a run, and of every environment there."""
        before, inside = db.host_snapshot.c, db.environment_snapshot.c
        of_hosts = self._rows(
            select(before.run_id, db.host.c.name, before.fingerprint_id)
            .join_from(db.host_snapshot, db.host)
            .where(before.phase == "before")
            .order_by(before.rowid)
        )
        of_environments = self._rows(
            select(
                inside.run_id,
                db.host.c.name,
                db.environment.c.name.label("environment"),
                inside.fingerprint_id,
            )
            .select_from(db.environment_snapshot.join(db.host).join(db.environment))
            .order_by(inside.rowid)
        )
        last = {(run_id, host, None): key for run_id, host, key in of_hosts}
        last |= {(run_id, host, environment): key for run_id, host, environment, key in of_environments}
        return [Snapshot(*place, key) for place, key in last.items()]
