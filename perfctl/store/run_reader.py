"""Reads of one run."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    FromClause,
    Join,
    Select,
    and_,
    case,
    func,
    literal,
    null,
    or_,
    select,
    tuple_,
    union_all,
)

from perfctl.errors import UnknownName
from perfctl.model import (
    USAGE_METRICS,
    Fact,
    FactState,
    Fingerprint,
    Metric,
    Observation,
    Reason,
    Status,
    Target,
)
from perfctl.store import artifact
from perfctl.store import tables as db
from perfctl.store.reader import Reader, only
from perfctl.store.records import (
    NOT_RUN,
    BlockState,
    Count,
    Evidence,
    Failure,
    InvocationDetail,
    InvocationState,
    JudgedValue,
    MeasuredInvocation,
    Omission,
    Place,
    RunDetail,
    RunSummary,
    SampleSeries,
    StoredArtifact,
    StoredBenchmark,
    StoredEnvironment,
    StoredEvent,
    SuspectValues,
    ValidityCount,
    stored_usage,
)
from perfctl.store.series import unpack
from perfctl.store.sqlite import SqliteDatabase
from perfctl.store.views import duration_s, peer, v_artifact, v_block, v_finding, v_invocation

if TYPE_CHECKING:
    from perfctl.facts import RunChange
    from perfctl.validity.assessment import Assessment

_BLOCKS = (
    db.block.join(v_block, v_block.c.block_id == db.block.c.block_id)
    .join(
        db.run_benchmark,
        and_(
            db.run_benchmark.c.run_id == db.block.c.run_id,
            db.run_benchmark.c.name == db.block.c.benchmark,
        ),
    )
    .join(db.host, db.host.c.host_id == db.block.c.host_id)
    .outerjoin(peer, peer.c.host_id == db.block.c.peer_id)
)
"""Attempts at blocks, with what they measure where."""

_IN_PLAN_ORDER = (db.run_benchmark.c.position, db.block.c.target, db.block.c.block_index)
_BLOCK = (
    db.block.c.block_id,
    db.block.c.benchmark,
    db.host.c.name,
    peer.c.name.label("peer"),
    db.block.c.block_index,
)
_GUESTS_ARTIFACTS_FIRST = (
    v_artifact.c.name.like("counters_%"),
    v_artifact.c.name.like("std%"),
    v_artifact.c.name,
)
"""They are what people need most."""


_LEGS_AT_ONCE = 1000
"""PostgreSQL takes 65,535 parameters in a statement, SQLite 32,766 where nobody raised that."""


class RunReader(Reader):
    """One run of a database: whatever became of it since it was named is read, too."""

    def __init__(self, database: SqliteDatabase, run: str) -> None:
        """Find the run that `run` names: an id, its unique beginning or end, or 'latest'.

        Raises UnknownName when there is none, or more than one.
        """
        super().__init__(database)
        self.id = self._find(run)

    def _find(self, wanted: str) -> str:
        if wanted == "latest":
            newest = self._row(select(db.run.c.run_id).order_by(db.run.c.rowid.desc()).limit(1))
            if newest is None:
                raise UnknownName("the database has no run yet", hint="`perfctl run --suite cpu` makes one")
            return str(newest.run_id)
        ids = (str(run_id) for (run_id,) in self._rows(select(db.run.c.run_id).order_by(db.run.c.run_id)))
        return only("run", wanted, ids, hint="`perfctl runs` lists them; 'latest' is the newest")

    def _of_run(self, name: str) -> Any:
        return self._value(select(db.run.c[name]).where(db.run.c.run_id == self.id))

    def plan_json(self) -> str:
        """Return the plan as `begin_run` or, last, `grow_plan` was given it."""
        return str(self._of_run("plan_json"))

    def inventory(self) -> tuple[str, ...]:
        """Return the inventories that the run was given."""
        return tuple(json.loads(self._of_run("inventory_json")))

    def thresholds_json(self) -> str | None:
        """Return the limits that the run was begun with, for `validity.Thresholds.from_json`; None: none."""
        text: str | None = self._of_run("thresholds_json")
        return text

    def summary(self) -> RunSummary:
        """Return what `runs` tells of the run."""
        return self._summaries(self.id)[0]

    def detail(self) -> RunDetail:
        """Return everything stored about the run."""
        return RunDetail(
            summary=self.summary(),
            seed=self._of_run("seed"),
            baseline=self._of_run("baseline"),
            command=tuple(json.loads(self._of_run("command_json"))),
            inventory=self.inventory(),
            perfctl_version=self._of_run("perfctl_version"),
            environments=self._environments(),
            benchmarks=self._benchmarks(),
            counts=tuple(self.counts()),
            failures=self._failures(),
            events=self._events(),
        )

    def _environments(self) -> tuple[StoredEnvironment, ...]:
        planned, found = db.run_environment.c, db.environment.c
        rows = self._rows(
            select(planned.name, found.kind, found.description, found.environment_id)
            .join_from(db.run_environment, db.environment)
            .where(planned.run_id == self.id)
            .order_by(planned.position)
        )
        return tuple(StoredEnvironment(*row) for row in rows)

    def _benchmarks(self) -> tuple[StoredBenchmark, ...]:
        planned, found = db.run_benchmark.c, db.benchmark.c
        rows = self._rows(
            select(planned.name, found.workload, found.parameters_json, found.benchmark_id, found.definition)
            .join_from(db.run_benchmark, db.benchmark)
            .where(planned.run_id == self.id)
            .order_by(planned.position)
        )
        return tuple(
            StoredBenchmark(name, workload, json.loads(parameters), key, definition or "")
            for name, workload, parameters, key, definition in rows
        )

    def _events(self) -> tuple[StoredEvent, ...]:
        events = db.event.c
        rows = self._rows(
            select(events.happened_at, events.level, events.place, events.text)
            .where(events.run_id == self.id)
            .order_by(events.rowid)
        )
        return tuple(StoredEvent(*row) for row in rows)

    def counts(self) -> list[Count]:
        """Return how many invocations ended in which way."""
        ended, number = v_invocation.c, func.count()
        rows = self._rows(
            select(ended.status, ended.reason, number)
            .where(ended.run_id == self.id)
            .group_by(ended.status, ended.reason)
            .order_by((ended.status == "ok").desc(), number.desc(), ended.status, ended.reason)
        )
        return [Count(Status(status), _reason(reason), invocations) for status, reason, invocations in rows]

    def _failures(self) -> tuple[Failure, ...]:
        failed = v_invocation.c
        which = and_(failed.run_id == self.id, failed.status != "ok")
        kept = defaultdict(list)
        for invocation_id, name in self._rows(
            select(v_artifact.c.invocation_id, v_artifact.c.name)
            .join_from(v_artifact, v_invocation, failed.invocation_id == v_artifact.c.invocation_id)
            .where(which)
            .order_by(*_GUESTS_ARTIFACTS_FIRST)
        ):
            kept[invocation_id].append(name)
        wanted = "invocation_id benchmark host peer block attempt environment status reason detail exit_code"
        rows = self._rows(
            select(*(failed[name] for name in wanted.split()))
            .where(which)
            .order_by(failed.started, failed.invocation_id)
        )
        return tuple(
            Failure(
                invocation_id=row.invocation_id,
                benchmark=row.benchmark,
                target=Target(row.host, row.peer),
                block=row.block,
                attempt=row.attempt,
                environment=row.environment,
                status=Status(row.status),
                reason=Reason(row.reason),
                detail=row.detail,
                exit_code=row.exit_code,
                kept=tuple(kept[row.invocation_id]),
            )
            for row in rows
        )

    def block_states(self) -> list[BlockState]:
        """Return every attempt at every block that has begun, in the order in which they began."""
        done = defaultdict(list)
        measured = db.invocation.c
        for block_id, environment, replicate, status in self._rows(
            select(measured.block_id, db.environment.c.name, measured.replicate, measured.status)
            .select_from(db.invocation.join(db.block).join(db.environment))
            .where(db.block.c.run_id == self.id)
            .order_by(measured.position)
        ):
            done[block_id].append(InvocationState(environment, replicate, Status(status)))
        rows = self._rows(
            select(*_BLOCK, db.block.c.attempt, db.block.c.status)
            .select_from(_BLOCKS)
            .where(db.block.c.run_id == self.id)
            .order_by(db.block.c.rowid)
        )
        return [
            BlockState(
                block_id, benchmark, Target(host, other), index, attempt, status, tuple(done[block_id])
            )
            for block_id, benchmark, host, other, index, attempt, status in rows
        ]

    def _counting_blocks(self, *columns: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
        return (
            select(*_BLOCK, *columns)
            .select_from(_BLOCKS)
            .where(db.block.c.run_id == self.id, v_block.c.attempt_counts)
            .order_by(*_IN_PLAN_ORDER)
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
        invocations, columns = _with_values(_BLOCKS, db.block.c.block_id, metric)
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
            .order_by(*_IN_PLAN_ORDER, db.block.c.attempt, measured.position, measured.replicate)
        )
        evidence = []
        for key, benchmark, host, other, block, attempt, counts, *leg in rows:
            environment, replicate, position, accelerator, status, reason, *rest = leg
            evidence.append(
                Evidence(
                    *(key, benchmark, Target(host, other), block, attempt, bool(counts)),
                    *(environment, replicate, position, accelerator),
                    *(Status(status), _reason(reason), *rest),
                )
            )
        return evidence

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
                _BLOCKS.join(db.benchmark, db.benchmark.c.benchmark_id == db.block.c.benchmark_id)
                .join(db.invocation, measured.block_id == db.block.c.block_id)
                .join(db.environment, db.environment.c.environment_id == measured.environment_id)
            )
            .where(db.block.c.run_id == self.id)
            .order_by(*_IN_PLAN_ORDER, db.block.c.attempt, measured.position, measured.replicate)
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
                    *(bool(counts), position, accelerator, Status(status), _reason(reason)),
                    *(validity, detail, started_at, took_s),
                    tuple(of_metrics[metric] for metric in sorted(of_metrics, key=ranks.__getitem__)),
                )
            )
        return invocations

    def _series(self, metrics: Mapping[int, Metric]) -> dict[int, dict[int, SampleSeries]]:
        """Return all samples by invocation and metric, whether they are kept as rows or packed."""
        found: dict[int, dict[int, SampleSeries]] = defaultdict(dict)
        by_series: dict[tuple[int, int], list[tuple[int, bool, float]]] = defaultdict(list)
        of_run = db.block.c.run_id == self.id
        one = db.sample.c
        for invocation, metric, *sample in self._rows(
            select(one.invocation_pk, one.metric_pk, one.sample_index, one.is_warmup, one.value)
            .select_from(db.block.join(db.invocation).join(db.sample))
            .where(of_run)
            .order_by(one.invocation_pk, one.metric_pk, one.sample_index)
        ):
            index, is_warmup, value = sample
            by_series[invocation, metric].append((index, bool(is_warmup), value))
        for (invocation, metric), samples in by_series.items():
            found[invocation][metric] = SampleSeries(metrics[metric], *map(tuple, zip(*samples, strict=True)))
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

    def invocation(self, invocation: str) -> InvocationDetail:
        """Return everything stored about an invocation: by its id, or its unique beginning or end.

        Raises UnknownName when there is none, or more than one.
        """
        known = v_invocation.c
        ids = self._rows(
            select(known.invocation_id).where(known.run_id == self.id).order_by(known.invocation_id)
        )
        hint = f"`perfctl show {self.id}` names those that failed, v_invocation has all"
        found = only("invocation", invocation, (str(key) for (key,) in ids), hint=hint)
        names = [field.name for field in fields(InvocationDetail) if field.name in known]
        row = self._rows(select(v_invocation).where(known.invocation_id == found))[0]
        kept = v_artifact.c
        artifacts = self._rows(
            select(kept.name, kept.size_bytes, kept.sha256)
            .where(kept.invocation_id == found)
            .order_by(*_GUESTS_ARTIFACTS_FIRST)
        )
        return InvocationDetail(
            **{name: row._mapping[name] for name in names}
            | {
                "status": Status(row.status),
                "reason": _reason(row.reason),
                "argv": tuple(json.loads(row.argv_json)),
                "usage": stored_usage(
                    row.usage_source,
                    row.usage_missing,
                    (row._mapping[metric.name] for metric in USAGE_METRICS),
                ),
                "artifacts": tuple(StoredArtifact(*item) for item in artifacts),
            }
        )

    def artifact(self, sha256: str) -> bytes:
        """Return raw bytes by their hash. Raises DataError when they are absent or damaged."""
        with self._database.reading() as connection:
            return artifact.read(connection, sha256)

    # How invocations were judged

    def validity_counts(self) -> tuple[ValidityCount, ...]:
        """Return how many ok invocations of each environment count, and which rules the others crossed."""
        rules: dict[str, list[tuple[str, int]]] = {}
        crossed, judged, planned = v_finding.c, db.invocation.c, db.run_environment.c
        number = func.count(crossed.invocation_id.distinct())
        for environment, rule, count in self._rows(
            select(crossed.environment, crossed.rule, number)
            .join_from(v_finding, db.invocation, judged.invocation_id == crossed.invocation_id)
            .where(crossed.run_id == self.id, judged.status == "ok")
            .group_by(crossed.environment, crossed.rule)
            .order_by(number.desc(), crossed.rule)
        ):
            rules.setdefault(environment, []).append((rule, count))
        rows = self._rows(
            select(
                db.environment.c.name,
                *(
                    func.count().filter(judged.validity.is_not_distinct_from(verdict))
                    for verdict in ("valid", "flagged", "invalid", null())
                ),
            )
            .select_from(
                db.invocation.join(db.block)
                .join(db.environment)
                .join(
                    db.run_environment,
                    and_(planned.run_id == db.block.c.run_id, planned.name == db.environment.c.name),
                )
            )
            .where(db.block.c.run_id == self.id, judged.status == "ok")
            .group_by(db.environment.c.name, planned.position)
            .order_by(planned.position)
        )
        return tuple(
            ValidityCount(name, valid, flagged, invalid, unjudged, tuple(rules.get(name, ())))
            for name, valid, flagged, invalid, unjudged in rows
        )

    def suspect_values(self) -> SuspectValues:
        """Return, for each bound that values exceed, the sentence about the one that exceeds it most.

        Invocations that no comparison uses are left out: invalid ones, and those of attempts that do not
        count.
        """
        crossed, judged = v_finding.c, db.invocation.c
        limit = case((crossed.threshold > 1.0, crossed.threshold), else_=1.0)
        rows = self._rows(
            select(
                *(crossed.benchmark, crossed.metric, db.host.c.name, peer.c.name.label("peer")),
                *(crossed.environment, crossed.rule, crossed.sentence),
            )
            .select_from(
                v_finding.join(db.invocation, judged.invocation_id == crossed.invocation_id)
                .join(db.block, db.block.c.block_id == judged.block_id)
                .join(db.host, db.host.c.host_id == db.block.c.host_id)
                .outerjoin(peer, peer.c.host_id == db.block.c.peer_id)
            )
            .where(
                crossed.run_id == self.id,
                crossed.severity == "likely artefact",
                judged.status == "ok",
                judged.validity != "invalid",
                crossed.attempt_counts,
            )
            .order_by(crossed.rule.desc(), (crossed.seen / limit).desc(), crossed.invocation_id)
        )
        sentences: dict[tuple[str, str, Target, str], dict[str, list[str]]] = {}
        for benchmark, metric, host, other, environment, rule, sentence in rows:
            of_rules = sentences.setdefault((benchmark, metric, Target(host, other), environment), {})
            of_rules.setdefault(rule, []).append(sentence)
        return {key: tuple(map(_farthest, of_rules.values())) for key, of_rules in sentences.items()}

    def findings(self) -> dict[str, tuple[str, ...]]:
        """Return {invocation id: sentences} of the findings of rules and bounds."""
        found: dict[str, tuple[str, ...]] = {}
        for invocation_id, sentence in self._rows(
            select(v_finding.c.invocation_id, v_finding.c.sentence).where(v_finding.c.run_id == self.id)
        ):
            found[invocation_id] = (*found.get(invocation_id, ()), sentence)
        return found

    def judged_values(self, places: Sequence[Place]) -> list[tuple[Place, JudgedValue]]:
        """Return the values at these places with verdict and findings, in their order, those that are there.

        Each is of the attempt at its block that counts.
        """
        judged = db.invocation.c
        leg = (
            *(v_block.c.benchmark, v_block.c.target, v_block.c.block),
            *(db.environment.c.name, judged.replicate),
        )
        found: dict[Place, JudgedValue] = {}
        for metric in dict.fromkeys(place[-1] for place in places):
            invocations, (value, *_) = _with_values(v_block, v_block.c.block_id, metric)
            legs = [place[:-1] for place in places if place[-1] == metric]
            statement = (
                select(*leg, judged.invocation_id, judged.validity, value, judged.validity_json)
                .select_from(invocations)
                .where(v_block.c.run_id == self.id, v_block.c.attempt_counts, value.is_not(None))
            )
            for start in range(0, len(legs), _LEGS_AT_ONCE):
                some = tuple_(*leg).in_(legs[start : start + _LEGS_AT_ONCE])
                for *at, invocation_id, validity, number, text in self._rows(statement.where(some)):
                    benchmark, target, block, environment, replicate = at
                    place = (benchmark, target, block, environment, replicate, metric)
                    found[place] = JudgedValue(invocation_id, validity, number, _sentences(text))
        return [(place, found[place]) for place in places if place in found]

    def assessment(self, invocation_id: str) -> Assessment | None:
        """Return how an invocation (its full id) was judged; None where it was not."""
        judged = db.invocation.c
        text = self._value(select(judged.validity_json).where(judged.invocation_id == invocation_id))
        return None if text is None else _assessment(text)

    # What was true of the machines

    def facts(self, host: str, environment: str | None = None) -> Fingerprint:
        """Return the facts of a host before the run, or inside an environment there; none if never read."""
        snapshot = db.host_snapshot if environment is None else db.environment_snapshot
        statement = (
            select(db.fingerprint.c.facts_json, snapshot.c.dynamic_json)
            .join_from(snapshot, db.fingerprint)
            .join(db.host, db.host.c.host_id == snapshot.c.host_id)
            .where(snapshot.c.run_id == self.id, db.host.c.name == host)
            .order_by(snapshot.c.rowid.desc())
            .limit(1)
        )
        if environment is None:
            statement = statement.where(db.host_snapshot.c.phase == "before")
        else:
            statement = statement.join(
                db.environment, db.environment.c.environment_id == db.environment_snapshot.c.environment_id
            ).where(db.environment.c.name == environment)
        return _fingerprint(*(self._row(statement) or ("[]", "[]")))

    def previous_facts(self, host: str) -> Fingerprint | None:
        """Return the facts of a host as last seen: after another run or in this one; None if never."""
        seen, planned = db.host_snapshot.c, db.run_host.c
        row = self._row(
            select(db.fingerprint.c.facts_json, seen.dynamic_json)
            .join_from(db.host_snapshot, db.fingerprint)
            .join(db.run_host, planned.host_id == seen.host_id)
            .where(
                *(planned.run_id == self.id, planned.name == host),
                or_(seen.phase == "after", seen.run_id == self.id),
            )
            .order_by(seen.rowid.desc())
            .limit(1)
        )
        return None if row is None else _fingerprint(*row)

    def changes(self) -> tuple[RunChange, ...]:
        """Return which facts changed on the run's hosts, and in its environments, while it measured there."""
        # Imported here so that opening a database does not wait for it.
        from perfctl.facts import changes_of

        return changes_of(self._readings())

    def _readings(self) -> dict[tuple[str, str], list[Fingerprint]]:
        """Return the facts of each (host, environment), '' for the host itself, as often as they were read.

        Of readings between which nothing was measured there only the last is kept.
        """
        on_host, inside, measured = db.host_snapshot.c, db.environment_snapshot.c, db.invocation.c
        facts = db.fingerprint.c.facts_json
        host, environment = db.host.c.name.label("host"), db.environment.c.name.label("environment")
        statement: CompoundSelect[*tuple[Any, ...]] = union_all(
            select(
                on_host.taken_at.label("moment"),
                host,
                literal("").label("environment"),
                facts,
                on_host.dynamic_json,
            )
            .select_from(db.host_snapshot.join(db.fingerprint).join(db.host))
            .where(on_host.run_id == self.id),
            select(inside.taken_at, host, environment, facts, inside.dynamic_json)
            .select_from(db.environment_snapshot.join(db.fingerprint).join(db.host).join(db.environment))
            .where(inside.run_id == self.id),
            select(measured.started_at, host, environment, null(), null())
            .select_from(
                db.block.join(db.invocation)
                .join(db.environment)
                .join(db.host, db.host.c.host_id.in_([db.block.c.host_id, db.block.c.peer_id]))
            )
            .where(db.block.c.run_id == self.id, measured.status == "ok"),
        ).order_by("moment")
        found: dict[tuple[str, str], list[Fingerprint]] = {}
        is_measured: set[tuple[str, str]] = set()
        for _, at, within, static, dynamic in self._rows(statement):
            place = (at, within)
            if static is None:
                is_measured |= {place, (at, "")}
                continue
            several = found.setdefault(place, [])
            if several and place not in is_measured:
                several.pop()
            is_measured.discard(place)
            several.append(_fingerprint(static, dynamic))
        return found

    def digests(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return {(host, environment): {program: sha256}}, as last seen inside each environment."""
        seen, programs = db.environment_snapshot.c, db.workload_version.c
        found: dict[tuple[str, str], dict[str, str]] = {}
        for host, environment, program, sha256 in self._rows(
            select(db.host.c.name, db.environment.c.name, programs.program, programs.sha256)
            .select_from(
                db.environment_snapshot.join(db.host)
                .join(db.environment)
                .join(db.workload_version, programs.fingerprint_id == seen.fingerprint_id)
            )
            .where(seen.run_id == self.id, programs.sha256.is_not(None))
            .order_by(seen.rowid, programs.program)
        ):
            found.setdefault((host, environment), {})[program] = sha256
        return found


def _with_values(
    blocks: FromClause, block_id: ColumnElement[str], metric: str
) -> tuple[Join, tuple[ColumnElement[Any], ...]]:
    """Return the invocations of blocks, and their value of a metric, its unit, its samples and its output."""
    measured, found = db.invocation.c, db.invocation_metric.c
    invocations = blocks.join(db.invocation, measured.block_id == block_id).join(
        db.environment, db.environment.c.environment_id == measured.environment_id
    )
    for used in USAGE_METRICS:
        if used.name == metric:
            samples = case((measured[metric].is_not(None), 1), else_=0)
            # It is in no output.
            return invocations, (measured[metric], literal(used.unit), samples, null())
    numbers = select(db.metric.c.metric_pk).where(db.metric.c.name == metric)
    values = and_(found.invocation_pk == measured.invocation_pk, found.metric_pk.in_(numbers))
    joined = invocations.outerjoin(db.invocation_metric, values).outerjoin(
        db.metric, db.metric.c.metric_pk == found.metric_pk
    )
    return joined, (
        found.value,
        db.metric.c.unit,
        func.coalesce(found.sample_count, 0),
        measured.stdout_sha256,
    )


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


def _reason(text: str | None) -> Reason | None:
    return Reason(text) if text else None


def _farthest(sentences: list[str]) -> str:
    count = len(sentences)
    return sentences[0] if count == 1 else f"{sentences[0]} ({count} invocations lie above it)"


def _assessment(text: str) -> Assessment:
    # Imported here so that opening a database does not wait for all facts and rules.
    from perfctl.validity.assessment import Assessment

    return Assessment.from_json(text)


def _sentences(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(item.sentence for item in _assessment(text).validity.findings)


def _fingerprint(static: str, dynamic: str) -> Fingerprint:
    """Return the facts of a fingerprint's and a snapshot's JSON."""
    return Fingerprint(
        tuple(
            Fact(name, FactState(state), value, is_static)
            for text, is_static in ((static, True), (dynamic, False))
            for name, state, value in json.loads(text)
        )
    )
