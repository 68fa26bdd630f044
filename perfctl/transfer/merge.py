"""Merge one database into another: compare everything first, then copy what is new in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike, fspath
from shlex import quote
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Table, func, select, update

from perfctl.errors import DataError, SchemaMismatch, UsageError
from perfctl.store import Store, open_store
from perfctl.store import tables as db
from perfctl.store.dialect import prepared_insert
from perfctl.transfer.rules import (
    ARTIFACTS,
    INVOCATIONS,
    OF_INVOCATION,
    OUTPUT_COLUMNS,
    RULES,
    Row,
    Rule,
)

_AT_ONCE = 500
"""Keys in a statement: engines limit its parameters."""
_ARTIFACTS_AT_ONCE = 50
"""Raw outputs that are in memory at a time."""
_SHOWN = 3
"""Conflicts that a message names."""

T = TypeVar("T")


@dataclass(slots=True)
class Merged:
    """What merging adds: how many rows of each table are new, and of how many more is known than before."""

    runs: int = 0
    new: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    """Rows of runs, blocks and hosts of runs that have come further."""
    skipped: list[str] = field(default_factory=list)
    """Runs that were pruned in the database that is merged into."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.new.total() or self.changed.total())


def merge(
    source: Store,
    target: Store,
    *,
    runs: Sequence[str] | None = None,
    dry_run: bool = False,
    show: Callable[[Merged], object] = lambda _: None,
) -> Merged:
    """Copy runs (by their ids; None: all) from one database into another, all or nothing; return what is new.

    `show` is called with what is new before anything is written; with `dry_run` nothing is. Raises DataError
    when a row that never changes has other content in the other database: nothing is written then.
    """
    if source.path == target.path:
        raise UsageError("this is the database itself", where=str(target.path), hint="name another one")
    wanted = [run.run_id for run in source.runs()] if runs is None else list(runs)
    with source.snapshot() as theirs:
        with target.snapshot() as ours:
            found = _Merging(theirs, ours, is_writing=False).all(wanted, str(target.path))
        show(found)
        if dry_run or found.is_nothing:
            return found
        return target.writer.change(
            lambda connection: _Merging(theirs, connection, is_writing=True).all(wanted, str(target.path))
        )


def open_source(url_or_path: str | PathLike[str]) -> Store:
    """Open a database to copy runs from. Raises as `open_store` does; DataError for a cut file."""
    try:
        store = open_store(url_or_path, read_only=True)
    except SchemaMismatch as error:
        if "db upgrade" in (error.hint or ""):
            error.hint = f"perfctl --db {quote(fspath(url_or_path))} db upgrade"
        raise
    try:
        with store.snapshot() as connection:
            if connection.dialect.name == "sqlite":
                found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                if found != "ok":
                    raise DataError(
                        f"the database is damaged or was cut: {found}",
                        where=str(store.path),
                        hint="copy it once more (`perfctl db backup` there makes a whole copy)",
                    )
    except BaseException:
        store.close()
        raise
    return store


class _Merging:
    """One pass over both databases, which counts what is new or also writes it."""

    def __init__(self, source: Connection, target: Connection, *, is_writing: bool) -> None:
        self._source = source
        self._target = target
        self._is_writing = is_writing
        self._merged = Merged()
        self._conflicts: list[str] = []
        self._added = set[tuple[str, Any]]()
        """Keys of what several runs refer to, and that is new."""

    def all(self, run_ids: Iterable[str], where: str) -> Merged:
        """Compare, and copy when this is writing. Raises DataError for conflicts."""
        for run_id in run_ids:
            self._merge_run(run_id)
        if self._conflicts:
            count = len(self._conflicts)
            more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
            raise DataError(
                f"{count} rows have another content there: {'; '.join(self._conflicts[:_SHOWN])}{more}",
                where=where,
                hint="nothing was written. Was one of the two changed by hand or by `perfctl db reparse`, or"
                " was the run resumed in both? Reparse both, or keep one of them",
            )
        return self._merged

    def _merge_run(self, run_id: str) -> None:
        self._merged.runs += 1
        for rule in RULES:
            self._merge_rows(rule, run_id)
        self._merge_invocations(run_id)

    # Tables with few rows for each run

    def _merge_rows(self, rule: Rule, run_id: str) -> None:
        theirs = self._rows(self._source, rule, rule.of_run(run_id))
        if "run_id" in rule.table.c:
            ours = self._rows(self._target, rule, rule.of_run(run_id))
        else:
            ours = self._rows_with_keys(self._target, rule, [row[rule.key[0]] for row in theirs])
        known = {rule.key_of(row): row for row in ours}
        taken = {tuple(row[name] for name in rule.also_unique) for row in ours if rule.also_unique}
        for row in theirs:
            key = rule.key_of(row)
            if key in known:
                self._compare(rule, row, known[key])
            elif rule.also_unique and tuple(row[name] for name in rule.also_unique) in taken:
                self._conflicts.append(f"{rule.name} {_words(row, rule.also_unique)} is another one")
            elif "run_id" in rule.table.c or (rule.name, key) not in self._added:
                self._added.add((rule.name, key))
                self._merged.new[rule.name] += 1
                if self._is_writing:
                    _insert(self._target, rule.table, row)

    def _rows(self, connection: Connection, rule: Rule, *which: Any) -> Sequence[Row]:
        statement = select(*rule.table.columns, *rule.also_read).where(*which)
        order = rule.table.c.rowid if "rowid" in rule.table.c else rule.table.c[rule.key[0]]
        return connection.execute(statement.order_by(order)).mappings().all()

    def _rows_with_keys(self, connection: Connection, rule: Rule, keys: Iterable[Any]) -> list[Row]:
        column = rule.table.c[rule.key[0]]
        return [
            row
            for some in _batches(dict.fromkeys(keys), _AT_ONCE)
            for row in self._rows(connection, rule, column.in_(some))
        ]

    def _compare(self, rule: Rule, theirs: Row, ours: Row) -> None:
        """Note a conflict, or take over how far the row has come."""
        differing = [name for name in rule.compared if theirs[name] != ours[name]]
        if not differing:
            differing = [name for name in rule.changing if theirs[name] != ours[name]]
            if not differing:
                return
            theirs_is, ours_is = rule.progress(theirs), rule.progress(ours)
            if theirs_is < ours_is:
                return
            if theirs_is > ours_is:
                self._merged.changed[rule.name] += 1
                if self._is_writing:
                    which = [rule.table.c[name] == theirs[name] for name in rule.key]
                    values = {name: theirs[name] for name in rule.changing}
                    self._target.execute(update(rule.table).where(*which).values(values))
                return
        self._conflicts.append(f"{rule.name} {_words(theirs, rule.key)} differs in {', '.join(differing)}")

    # Invocations, and what belongs to them

    def _merge_invocations(self, run_id: str) -> None:
        of_run = INVOCATIONS.of_run(run_id)
        names = select(db.invocation.c.invocation_id, db.invocation.c.invocation_pk).where(of_run)
        theirs = dict(map(tuple, self._source.execute(names.order_by(db.invocation.c.invocation_pk))))
        ours = dict(map(tuple, self._target.execute(names)))
        both = [(pk, ours[name]) for name, pk in theirs.items() if name in ours]
        for some in _batches(both, _AT_ONCE):
            self._compare_invocations(dict(some))
        metrics = self._metric_numbers() if self._is_writing else {}
        for new in _batches((pk for name, pk in theirs.items() if name not in ours), _AT_ONCE):
            self._merged.new[db.invocation.name] += len(new)
            rows = self._rows(self._source, INVOCATIONS, db.invocation.c.invocation_pk.in_(new))
            self._merge_artifacts(rows, new)
            numbers = {}
            if self._is_writing:
                numbers = {row["invocation_pk"]: _insert(self._target, db.invocation, row) for row in rows}
            for table in OF_INVOCATION:
                self._copy(table, new, numbers, metrics)

    def _compare_invocations(self, numbers: dict[int, int]) -> None:
        """Compare invocations that are in both; samples by what is derived from them."""
        theirs = self._rows(self._source, INVOCATIONS, db.invocation.c.invocation_pk.in_(numbers))
        rows = self._rows(self._target, INVOCATIONS, db.invocation.c.invocation_pk.in_(numbers.values()))
        ours = {row["invocation_id"]: row for row in rows}
        for row in theirs:
            self._compare(INVOCATIONS, row, ours[row["invocation_id"]])
        for what, columns in (
            ("values", (db.metric.c.metric_id, *list(db.invocation_metric.c)[2:])),
            ("artifacts", tuple(db.invocation_artifact.c)[1:]),
        ):
            of_theirs = _grouped(self._source, numbers, columns)
            of_ours = _grouped(self._target, numbers.values(), columns)
            for row in theirs:
                name = row["invocation_id"]
                if of_theirs.get(name) != of_ours.get(name):
                    self._conflicts.append(f"the {what} of invocation {name} differ")

    def _metric_numbers(self) -> dict[int, int]:
        """Return the number of each metric there, by its number here."""
        numbers = select(db.metric.c.metric_id, db.metric.c.metric_pk)
        ours = dict(map(tuple, self._target.execute(numbers)))
        return {pk: ours[name] for name, pk in self._source.execute(numbers) if name in ours}

    def _merge_artifacts(self, invocations: Sequence[Row], numbers: Sequence[int]) -> None:
        kept = db.invocation_artifact.c
        named = self._source.execute(select(kept.sha256).where(kept.invocation_pk.in_(numbers))).scalars()
        keys = {row[name] for row in invocations for name in OUTPUT_COLUMNS} | set(named)
        for some in _batches(sorted(keys - {None}), _ARTIFACTS_AT_ONCE):
            ours = set(self._sizes(self._target, some))
            for sha256, size_bytes in set(self._sizes(self._source, some)) - ours:
                if sha256 in dict(ours):
                    self._conflicts.append(f"artifact {sha256} differs in size_bytes ({size_bytes})")
                elif (ARTIFACTS.name, sha256) not in self._added:
                    self._added.add((ARTIFACTS.name, sha256))
                    self._merged.new[ARTIFACTS.name] += 1
                    if self._is_writing:
                        found = self._source.execute(
                            select(db.artifact).where(db.artifact.c.sha256 == sha256)
                        )
                        _insert(self._target, db.artifact, found.mappings().one())

    def _sizes(self, connection: Connection, keys: Iterable[str]) -> Iterator[tuple[str, int]]:
        kept = db.artifact.c
        found = connection.execute(select(kept.sha256, kept.size_bytes).where(kept.sha256.in_(keys)))
        return map(tuple, found)  # type: ignore[arg-type]

    def _copy(
        self, table: Table[Any], new: Sequence[int], numbers: dict[int, int], metrics: dict[int, int]
    ) -> None:
        """Copy the rows of a table that belong to new invocations, with their numbers there."""
        which = table.c.invocation_pk.in_(new)
        if not self._is_writing:
            count = self._source.execute(select(func.count()).select_from(table).where(which)).scalar_one()
            self._merged.new[table.name] += count
            return
        has_metric = "metric_pk" in table.c
        truths = [place for place, column in enumerate(table.columns) if _is_truth(column)]
        rows = []
        for row in self._source.execute(select(table).where(which)):
            values = list(row)
            values[0] = numbers[values[0]]
            if has_metric:
                values[1] = metrics[values[1]]
            for place in truths:
                values[place] = bool(values[place])
            rows.append(tuple(values))
        prepared_insert(table).many(self._target, rows)
        self._merged.new[table.name] += len(rows)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most so many."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _insert(connection: Connection, table: Table[Any], row: Row) -> int | None:
    """Store a row, and return the number that it was given if it has one."""
    values = {
        column.name: bool(row[column.name]) if _is_truth(column) else row[column.name]
        for column in table.columns
    }
    cursor = prepared_insert(table).run(connection, values)
    return int(cursor.fetchone()[0]) if table.autoincrement_column is not None else None


def _is_truth(column: Column[Any]) -> bool:
    """Return whether a column has truth values, which are numbers in one engine alone."""
    return column.type.python_type is bool


def _grouped(
    connection: Connection, numbers: Iterable[int], columns: Sequence[Any]
) -> dict[str, set[tuple[Any, ...]]]:
    """Return what invocations have in another table, by their ids."""
    of = columns[-1].table
    joined = select(db.invocation.c.invocation_id, *columns).join_from(db.invocation, of)
    if "metric_pk" in of.c:
        joined = joined.join(db.metric)
    found: dict[str, set[tuple[Any, ...]]] = {}
    for name, *values in connection.execute(joined.where(db.invocation.c.invocation_pk.in_(list(numbers)))):
        found.setdefault(name, set()).add(tuple(values))
    return found


def _words(row: Row, names: Iterable[str]) -> str:
    return " ".join(str(row[name]) for name in names)
