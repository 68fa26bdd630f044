"""What was measured in a run."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from perfctl.model import USAGE_METRICS, Metric, Observation, Status, Target
from perfctl.store import artifact
from perfctl.store import tables as db
from perfctl.store.invocation_views import duration_s, peer
from perfctl.store.run_parts import BLOCK, BLOCKS, IN_PLAN_ORDER, OfRun, reason_of, with_values
from perfctl.store.run_records import NOT_RUN, Evidence, MeasuredInvocation, Omission, SampleSeries
from perfctl.store.run_views import v_block
from perfctl.store.series import unpack


class ValuesOfRun(OfRun):
    """The values of a run, and what has none."""

    def _counting_blocks(self, *columns: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
        return (
            select(*BLOCK, *columns)
            .select_from(BLOCKS)
            .where(db.block.c.run_id == self.id, v_block.c.attempt_counts)
            .order_by(*IN_PLAN_ORDER)
        )

    def observations(self, *, with_usage: bool = False) -> list[Observation]:
        """Return one value per invocation and metric: those that are `ok`, of the attempt that counts.

        That is a block's last complete attempt; where there is none, its last one: a leg that failed must not
        hide those that ran beside it.

        Ordered by the plan's benchmarks, target, block, position in the block, and metric (the headline
        first). `with_usage`: after those of a block what its commands used (`USAGE_METRICS`), also where it
        is missing and why is known.
        """
        used = self._usage() if with_usage else {}
        metrics = self._metrics()
        environments = self._environment_names()
        measured, found = db.invocation.c, db.invocation_metric.c
        # Names and order come from small tables: joining and sorting them in SQL takes three times as long.
        values = defaultdict(list)
        for row in self._rows(
            select(
                *(measured.block_id, measured.position, found.metric_pk, measured.environment_id),
                *(measured.replicate, found.value, measured.accelerator, measured.validity),
            )
            .select_from(db.block.join(db.invocation).join(db.invocation_metric))
            .where(db.block.c.run_id == self.id, measured.status == "ok", found.value.is_not(None))
        ):
            values[row[0]].append(row)
        if not values:
            self.require_kept()
        ranks = {pk: rank for rank, pk in enumerate(metrics)}
        observations = []
        for block_id, benchmark, host, other, index in self._rows(self._counting_blocks()):
            target = Target(host, other)
            for _, _, metric, environment, *leg in sorted(
                values[block_id], key=lambda row: (row[1], ranks[row[2]])
            ):
                replicate, value, accelerator, validity = leg
                observations.append(
                    Observation(
                        *(benchmark, metrics[metric], target, index, environments[environment]),
                        *(replicate, value, accelerator, validity),
                    )
                )
            for _, environment, replicate, *usage in sorted(used.get(block_id, ()), key=itemgetter(0)):
                invocation = (benchmark, target, index, environments[environment], replicate)
                observations += _of_usage(invocation, *usage)
        return observations

    def _usage(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return what the commands of each block used: position, leg, and what `_of_usage` takes."""
        measured = db.invocation.c
        found = defaultdict(list)
        for block_id, *row in self._rows(
            select(
                *(measured.block_id, measured.position, measured.environment_id, measured.replicate),
                *(measured.accelerator, measured.validity, measured.usage_source, measured.usage_missing),
                *(measured[metric.name] for metric in USAGE_METRICS),
            )
            .join_from(db.block, db.invocation)
            .where(
                *(db.block.c.run_id == self.id, measured.status == "ok"),
                or_(measured.usage_source.is_not(None), measured.usage_missing.is_not(None)),
            )
        ):
            found[block_id].append(tuple(row))
        return found

    def omissions(self) -> list[Omission]:
        """Return the invocations without a value, or without some of their values, and why.

        Of the attempts that count, as `observations`. Planned legs of a block that has ended without them are
        'not run'; blocks that never began are not here.
        """
        done: dict[str, dict[tuple[str, int], tuple[str, bool]]] = defaultdict(dict)
        ended = db.invocation.c
        for block_id, environment, replicate, status, reason, detail in self._rows(
            select(
                *(ended.block_id, db.environment.c.name, ended.replicate),
                *(ended.status, ended.reason, ended.detail),
            )
            .select_from(db.invocation.join(db.block).join(db.environment))
            .where(db.block.c.run_id == self.id)
        ):
            is_ok = status == "ok"
            done[block_id][environment, replicate] = (detail if is_ok else f"{status} ({reason})", is_ok)
        found = []
        for block_id, benchmark, host, other, index, order in self._rows(
            self._counting_blocks(db.block.c.order_json)
        ):
            legs = done[block_id]
            for environment, replicate in json.loads(order):
                reason, is_partial = legs.get((environment, replicate), (NOT_RUN, False))
                if reason:
                    leg = (environment, replicate)
                    found.append(Omission(benchmark, Target(host, other), index, *leg, reason, is_partial))
        return found

    def evidence(self, metric: str) -> list[Evidence]:
        """Return every invocation in the order of the plan, of any status, with its value of `metric`."""
        measured = db.invocation.c
        invocations, columns = with_values(BLOCKS, db.block.c.block_id, metric)
        rows = self._rows(
            select(
                *(measured.invocation_id, db.block.c.benchmark, db.host.c.name, peer.c.name.label("peer")),
                *(db.block.c.block_index, db.block.c.attempt, v_block.c.attempt_counts),
                *(db.environment.c.name.label("environment"), measured.replicate, measured.position),
                *(measured.accelerator, measured.status, measured.reason, measured.validity, measured.detail),
                *(measured.started_at, duration_s, *columns),
            )
            .select_from(invocations)
            .where(db.block.c.run_id == self.id)
            .order_by(*IN_PLAN_ORDER, db.block.c.attempt, measured.position, measured.replicate)
        )
        evidence = []
        for key, benchmark, host, other, block, attempt, counts, *leg in rows:
            environment, replicate, position, accelerator, status, reason, *rest = leg
            evidence.append(
                Evidence(
                    *(key, benchmark, Target(host, other), block, attempt, bool(counts)),
                    *(environment, replicate, position, accelerator),
                    *(Status(status), reason_of(reason), *rest),
                )
            )
        return evidence

    def kept_counters(self, invocation_id: str) -> tuple[bytes, bytes] | None:
        """Return the counters just before and just after an invocation, None where they were not kept."""
        kept = db.invocation.c
        row = self._row(
            select(kept.counters_before_sha256, kept.counters_after_sha256).where(
                kept.invocation_id == invocation_id
            )
        )
        if row is None or None in row:
            return None
        before, after = self._database.read(
            lambda connection: [artifact.read(connection, sha256) for sha256 in row]
        )
        return before, after

    def measured_invocations(self) -> list[MeasuredInvocation]:
        """Return every invocation, of any status, with all its samples, in the plan's order.

        The metrics of each are in the order of the plan, the headline first.
        """
        metrics = self._metrics()
        series = self._series(metrics)
        ranks = {number: rank for rank, number in enumerate(metrics)}
        measured = db.invocation.c
        rows = self._rows(
            select(
                *(
                    measured.invocation_pk,
                    measured.invocation_id,
                    db.block.c.benchmark,
                    db.benchmark.c.workload,
                ),
                *(db.host.c.name, peer.c.name.label("peer"), db.environment.c.name.label("environment")),
                *(measured.replicate, db.block.c.block_index, db.block.c.attempt, v_block.c.attempt_counts),
                *(measured.position, measured.accelerator, measured.status, measured.reason),
                *(measured.validity, measured.detail, measured.started_at, duration_s),
            )
            .select_from(
                BLOCKS.join(db.benchmark, db.benchmark.c.benchmark_id == db.block.c.benchmark_id)
                .join(db.invocation, measured.block_id == db.block.c.block_id)
                .join(db.environment, db.environment.c.environment_id == measured.environment_id)
            )
            .where(db.block.c.run_id == self.id)
            .order_by(*IN_PLAN_ORDER, db.block.c.attempt, measured.position, measured.replicate)
        )
        invocations = []
        for number, key, benchmark, workload, host, other, *rest in rows:
            environment, replicate, block, attempt, counts, position, accelerator, status, reason, *last = (
                rest
            )
            validity, detail, started_at, took_s = last
            of_metrics = series.get(number, {})
            invocations.append(
                MeasuredInvocation(
                    *(key, benchmark, workload, Target(host, other), environment, replicate, block, attempt),
                    *(bool(counts), position, accelerator, Status(status), reason_of(reason)),
                    *(validity, detail, started_at, took_s),
                    tuple(of_metrics[metric] for metric in sorted(of_metrics, key=ranks.__getitem__)),
                )
            )
        return invocations

    def _series(self, metrics: Mapping[int, Metric]) -> dict[int, dict[int, SampleSeries]]:
        """Return all samples by invocation and metric, whether they are kept as rows or packed."""
        found: dict[int, dict[int, SampleSeries]] = defaultdict(dict)
        of_run = db.block.c.run_id == self.id
        one = db.sample.c
        statement = (
            select(one.invocation_pk, one.metric_pk, one.sample_index, one.is_warmup, one.value)
            .select_from(db.block.join(db.invocation).join(db.sample))
            .where(of_run)
            .order_by(one.invocation_pk, one.metric_pk, one.sample_index)
        )
        # Series have the same indexes and the same warm-up again and again: each is kept once.
        same: dict[tuple[int, ...], tuple[int, ...]] = {}
        same_warmups: dict[tuple[int, ...], tuple[bool, ...]] = {}

        def read(connection: Connection) -> None:
            # A million rows are never in memory at once.
            samples = connection.execute(statement.execution_options(yield_per=10_000))
            for (invocation, metric), rows in groupby(samples, itemgetter(0, 1)):
                _, _, indexes, warmups, values = zip(*rows, strict=True)
                indexes = same.setdefault(indexes, indexes)
                if warmups not in same_warmups:
                    same_warmups[warmups] = tuple(map(bool, warmups))
                found[invocation][metric] = SampleSeries(
                    metrics[metric], indexes, same_warmups[warmups], values
                )

        self._database.read(read)
        packed = db.series.c
        for invocation, metric, warmup_count, blob in self._rows(
            select(packed.invocation_pk, packed.metric_pk, packed.warmup_count, packed.packed)
            .select_from(db.block.join(db.invocation).join(db.series))
            .where(of_run)
        ):
            values = tuple(unpack(blob))
            places = tuple(range(len(values)))
            is_warmup = tuple(place < warmup_count for place in places)
            found[invocation][metric] = SampleSeries(metrics[metric], places, is_warmup, values)
        return found

    def values_of(self, invocation_id: str, metric: str) -> tuple[float, ...]:
        """Return all samples of `metric` of one invocation, in order, warm-up included."""
        which = and_(db.invocation.c.invocation_id == invocation_id, db.metric.c.name == metric)
        rows = self._rows(
            select(db.sample.c.value)
            .select_from(db.sample.join(db.invocation).join(db.metric))
            .where(which)
            .order_by(db.sample.c.sample_index)
        )
        packed = self._rows(
            select(db.series.c.packed).select_from(db.series.join(db.invocation).join(db.metric)).where(which)
        )
        return (*(value for (value,) in rows), *(value for (blob,) in packed for value in unpack(blob)))


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
