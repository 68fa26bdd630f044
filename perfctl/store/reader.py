"""Read with one statement at a time, from whatever engine the database has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Executable, Row, select

from perfctl.errors import UnknownName
from perfctl.model import Direction, Metric
from perfctl.store import tables as db
from perfctl.store.database import Database
from perfctl.store.records import RunSummary, StoredShard
from perfctl.store.run_views import ended_at_of_run, v_run


class Reader:
    """Reads an open database, for any number of threads. Raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _rows(self, statement: Executable) -> Sequence[Row[*tuple[Any, ...]]]:
        """Return all rows of an answer."""
        return self._database.read(lambda connection: connection.execute(statement).all())

    def _row(self, statement: Executable) -> Row[*tuple[Any, ...]] | None:
        """Return the first row of an answer, None where it has none."""
        return self._database.read(lambda connection: connection.execute(statement).first())

    def _value(self, statement: Executable) -> Any:
        """Return the first column of an answer's only row."""
        return self._database.read(lambda connection: connection.execute(statement).scalar_one())

    def _summaries(self, run_id: str | None = None) -> list[RunSummary]:
        """Return what `perfctl runs` tells of every run (or the one), the one that was begun first first."""
        hosts = defaultdict(list)
        planned = db.run_host.c
        for of_run, name in self._rows(select(planned.run_id, planned.name).order_by(planned.name)):
            hosts[of_run].append(name)
        shards = defaultdict(list)
        for of_run, *values in self._rows(select(db.shard).order_by(db.shard.c.number)):
            shards[of_run].append(StoredShard(*values))
        run, counted = db.run.c, v_run.c
        statement = (
            select(
                *(run.run_id, run.suite, counted.status, run.started_at, ended_at_of_run),
                run.planned_invocations,
                *(counted.ok, counted.failed, counted.skipped, counted.interrupted),
            )
            .join_from(db.run, v_run, counted.run_id == run.run_id)
            .order_by(run.rowid)
        )
        if run_id is not None:
            statement = statement.where(run.run_id == run_id)
        return [
            RunSummary(
                *(identity, suite, status, started_at, ended_at, tuple(hosts[identity])),
                *(*numbers, tuple(shards[identity])),
            )
            for identity, suite, status, started_at, ended_at, *numbers in self._rows(statement)
        ]

    def _metrics(self) -> dict[int, Metric]:
        """Return every metric by its number in this database, the headlines first."""
        found = db.metric.c
        rows = self._rows(
            select(
                *(found.metric_pk, found.name, found.unit, found.direction, found.description),
                *(found.is_headline, found.show_difference),
            ).order_by(found.is_headline.desc(), found.name, found.metric_pk)
        )
        return {
            pk: Metric(name, unit, Direction(direction), description, bool(headline), bool(difference))
            for pk, name, unit, direction, description, headline, difference in rows
        }

    def _environment_names(self) -> dict[str, str]:
        found = db.environment.c
        return dict(map(tuple, self._rows(select(found.environment_id, found.name))))


def only(kind: str, wanted: str, ids: Iterable[str], *, hint: str) -> str:
    """Return the one id that begins or ends as wanted. Raises UnknownName."""
    found = [key for key in ids if wanted and (key.startswith(wanted) or key.endswith(wanted))]
    if not found:
        raise UnknownName(f"there is no {kind} {wanted!r}", hint=hint)
    if len(found) > 1:
        raise UnknownName(
            f"{wanted!r} matches {len(found)} {kind}s: {', '.join(found[:5])}", hint="give more of the id"
        )
    return found[0]
