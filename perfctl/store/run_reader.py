"""Reads of one run."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import Any

from sqlalchemy import and_, func, select

from perfctl.model import USAGE_METRICS, Reason, Status, Target
from perfctl.store import artifact
from perfctl.store import tables as db
from perfctl.store.invocation_views import v_artifact, v_invocation
from perfctl.store.reader import only
from perfctl.store.records import RunSummary, StoredBenchmark
from perfctl.store.run_facts import FactsOfRun
from perfctl.store.run_judgements import JudgementsOfRun
from perfctl.store.run_parts import BLOCK, BLOCKS, reason_of
from perfctl.store.run_records import (
    BlockState,
    Count,
    Failure,
    InvocationDetail,
    InvocationState,
    RunDetail,
    StoredArtifact,
    StoredEnvironment,
    StoredEvent,
    stored_usage,
)
from perfctl.store.run_values import ValuesOfRun

_GUESTS_ARTIFACTS_FIRST = (
    v_artifact.c.name.like("counters_%"),
    v_artifact.c.name.like("std%"),
    v_artifact.c.name,
)
"""They are what people need most."""


class RunReader(ValuesOfRun, JudgementsOfRun, FactsOfRun):
    """One run of a database: whatever became of it since it was named is read, too."""

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
            pruned=self.pruned(),
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
        return [Count(Status(status), reason_of(reason), invocations) for status, reason, invocations in rows]

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
            select(*BLOCK, db.block.c.attempt, db.block.c.status)
            .select_from(BLOCKS)
            .where(db.block.c.run_id == self.id)
            .order_by(db.block.c.rowid)
        )
        return [
            BlockState(
                block_id, benchmark, Target(host, other), index, attempt, status, tuple(done[block_id])
            )
            for block_id, benchmark, host, other, index, attempt, status in rows
        ]

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
                "reason": reason_of(row.reason),
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
        return self._database.read(lambda connection: artifact.read(connection, sha256))
