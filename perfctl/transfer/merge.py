"""Merge one database into another: compare everything first, then copy what is new in one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, func, insert, select, update

from perfctl.errors import DataError, UsageError
from perfctl.store import Store
from perfctl.store import tables as db
from perfctl.store.dialect import insert_artifact, prepared_insert
from perfctl.transfer.rules import INVOCATIONS, OF_INVOCATION, OUTPUTS, RULES, Row, Rule, of_run

_AT_ONCE = 500
"""Keys in a statement: engines limit its parameters."""
_ARTIFACTS_AT_ONCE = 50
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
    when a row that never changes has other content in the other database: nothing is written then; and for
    a source that was cut.
    """
    where = target.name
    if source.database.location == target.database.location:
        raise UsageError("this is the database itself", where=where, hint="name another one")
    gone = source.history.pruned_runs() | target.history.pruned_runs()
    if found_gone := gone.intersection(runs or ()):
        raise DataError("what it has measured was pruned", where=f"run {found_gone.pop()}")
    wanted = [run.run_id for run in source.runs() if run.run_id not in gone] if runs is None else list(runs)
    with source.snapshot() as theirs:
        _require_whole(theirs, source.name)
        with target.snapshot() as ours:
            found = _Merging(theirs, ours, is_writing=False).all(wanted, where)
        show(found)
        if dry_run or found.is_nothing:
            return found
        return target.writer.change(lambda ours: _Merging(theirs, ours, is_writing=True).all(wanted, where))


def _require_whole(connection: Connection, where: str) -> None:
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            hint = "copy it once more (`perfctl db backup` there makes a whole copy)"
            raise DataError(f"the database is damaged or was cut: {found}", where=where, hint=hint)


class _Merging:
    """One pass over both databases, which counts what is new or also writes it."""

    def __init__(self, source: Connection, target: Connection, *, is_writing: bool) -> None:
        self._source = source
        self._target = target
        self._is_writing = is_writing
        self._merged = Merged()
        self._conflicts: list[str] = []
        self._added: defaultdict[str, set[Any]] = defaultdict(set)
        """Keys of what several runs refer to, and that is new, by table."""

    def all(self, run_ids: Iterable[str], where: str) -> Merged:
        """Compare, and copy when this is writing. Raises DataError for conflicts."""
        for run_id in run_ids:
            self._merged.runs += 1
            for rule in RULES:
                self._merge_rows(rule, run_id)
            self._merge_invocations(run_id)
        if self._conflicts:
            count = len(self._conflicts)
            raise DataError(
                f"{count} rows have another content there: {'; '.join(self._conflicts[:_SHOWN])}",
                where=where,
                hint="nothing was written. Was one of the two changed by hand or by `perfctl db reparse`, or"
                " was the run resumed in both? Reparse both, or keep one of them",
            )
        return self._merged

    def _merge_rows(self, rule: Rule, run_id: str) -> None:
        """Merge a table that has few rows for each run."""
        name, is_of_run = rule.table.name, "run_id" in rule.table.c
        theirs = _rows(self._source, rule, of_run(rule.table, run_id))
        column = rule.table.c["run_id" if is_of_run else rule.key[0]]
        keys = [run_id] if is_of_run else dict.fromkeys(row[rule.key[0]] for row in theirs)
        ours = [row for some in batches(keys) for row in _rows(self._target, rule, column.in_(some))]
        known = {_values(row, rule.key): row for row in ours}
        taken = {_values(row, rule.also_unique) for row in ours if rule.also_unique}
        new = []
        for row in theirs:
            key = _values(row, rule.key)
            if key in known:
                self._compare(rule, row, known[key])
            elif _values(row, rule.also_unique) in taken:
                self._conflicts.append(f"{name} {_words(row, rule.also_unique)} is another one")
            elif is_of_run or key not in self._added[name]:
                self._added[name].add(key)
                new.append(row)
        self._add(rule.table, new)

    def _compare(self, rule: Rule, theirs: Row, ours: Row) -> None:
        """Note a conflict, or take over how far the row has come."""
        differing = [name for name in rule.compared if theirs[name] != ours[name]]
        if not differing:
            differing = [name for name in rule.changing if theirs[name] != ours[name]]
            theirs_is, ours_is = rule.progress(theirs), rule.progress(ours)
            if not differing or theirs_is < ours_is:
                return
            if theirs_is > ours_is:
                self._merged.changed[rule.table.name] += 1
                if self._is_writing:
                    which = [rule.table.c[name] == theirs[name] for name in rule.key]
                    values = {name: theirs[name] for name in rule.changing}
                    self._target.execute(update(rule.table).where(*which).values(values))
                return
        text = f"{rule.table.name} {_words(theirs, rule.key)} differs in {', '.join(differing)}"
        self._conflicts.append(text)

    def _add(self, table: Table[Any], rows: Sequence[Row]) -> None:
        """Count rows that are new, and store them when this is writing."""
        self._merged.new[table.name] += len(rows)
        if self._is_writing and rows:
            left_out = ("rowid", f"{table.name}_pk")
            names = [column.name for column in table.columns if column.name not in left_out]
            self._target.execute(insert(table), [{name: row[name] for name in names} for row in rows])

    def _merge_invocations(self, run_id: str) -> None:
        measured = db.invocation.c
        of_this = select(measured.invocation_id, measured.invocation_pk).where(of_run(db.invocation, run_id))
        theirs: dict[str, int] = _pairs(self._source, of_this.order_by(measured.invocation_pk))
        ours: dict[str, int] = _pairs(self._target, of_this)
        for both in batches((pk, ours[name]) for name, pk in theirs.items() if name in ours):
            self._compare_invocations(dict(both))
        kept = select(db.metric.c.metric_id, db.metric.c.metric_pk)
        named: dict[str, int] = _pairs(self._target, kept)
        metrics = {pk: named.get(name, 0) for name, pk in _pairs(self._source, kept).items()}
        for new in batches(pk for name, pk in theirs.items() if name not in ours):
            rows = _rows(self._source, INVOCATIONS, measured.invocation_pk.in_(new))
            self._merge_artifacts(rows, new)
            self._add(db.invocation, rows)
            stored = of_this.where(measured.invocation_id.in_([row["invocation_id"] for row in rows]))
            there = _pairs(self._target, stored)
            numbers = {row["invocation_pk"]: there.get(row["invocation_id"], 0) for row in rows}
            for table in OF_INVOCATION:
                self._copy(table, numbers, metrics)

    def _compare_invocations(self, numbers: Mapping[int, int]) -> None:
        """Compare invocations that are in both, by their numbers; samples by what is derived from them."""
        number, name = db.invocation.c.invocation_pk, db.invocation.c.invocation_id
        of_theirs, of_ours = number.in_(list(numbers)), number.in_(list(numbers.values()))
        theirs = _rows(self._source, INVOCATIONS, of_theirs)
        ours = {row["invocation_id"]: row for row in _rows(self._target, INVOCATIONS, of_ours)}
        for row in theirs:
            self._compare(INVOCATIONS, row, ours[row["invocation_id"]])
        values = select(name, db.metric.c.metric_id, *tuple(db.invocation_metric.c)[2:])
        values = values.select_from(db.invocation.join(db.invocation_metric).join(db.metric))
        kept = select(name, *tuple(db.invocation_artifact.c)[1:])
        kept = kept.select_from(db.invocation.join(db.invocation_artifact))
        for what, statement in (("values", values), ("artifacts", kept)):
            here = set(map(tuple, self._source.execute(statement.where(of_theirs))))
            there = set(map(tuple, self._target.execute(statement.where(of_ours))))
            differing = sorted({row[0] for row in here ^ there})
            self._conflicts += [f"the {what} of invocation {one} differ" for one in differing]

    def _merge_artifacts(self, invocations: Sequence[Row], numbers: Sequence[int]) -> None:
        """Merge the raw outputs of invocations, few at a time: they may be large."""
        kept, raw = db.invocation_artifact.c, db.artifact.c
        named = self._source.execute(select(kept.sha256).where(kept.invocation_pk.in_(numbers))).scalars()
        keys = {row[name] for row in invocations for name in OUTPUTS} | set(named)
        for some in batches(sorted(key for key in keys if key), _ARTIFACTS_AT_ONCE):
            there = select(raw.sha256).where(raw.sha256.in_(some), func.length(raw.content) > 0)
            known = {*self._target.execute(there).scalars(), *self._added["artifact"]}
            new = [sha256 for sha256 in some if sha256 not in known]
            self._added["artifact"].update(new)
            self._merged.new["artifact"] += len(new)
            if self._is_writing and new:
                found = self._source.execute(select(db.artifact).where(raw.sha256.in_(new))).mappings()
                self._target.execute(insert_artifact(self._target, db.artifact), list(map(dict, found)))

    def _copy(self, table: Table[Any], numbers: Mapping[int, int], metrics: Mapping[int, int]) -> None:
        """Copy the rows of a table that belong to new invocations, with their numbers there."""
        which = table.c.invocation_pk.in_(list(numbers))
        if not self._is_writing:
            count = self._source.execute(select(func.count()).select_from(table).where(which)).scalar_one()
            self._merged.new[table.name] += count
            return
        rows = []
        for values in map(list, self._source.execute(select(table).where(which))):
            values[0] = numbers[values[0]]
            if "metric_pk" in table.c:
                values[1] = metrics[values[1]]
            if table is db.sample:
                # Whether it is a warm-up: one engine alone has truth values, the other has numbers.
                values[3] = bool(values[3])
            rows.append(tuple(values))
        prepared_insert(table).many(self._target, rows)
        self._merged.new[table.name] += len(rows)


def _rows(connection: Connection, rule: Rule, *which: Any) -> Sequence[Any]:
    """Return rows in the order in which they were stored, or of their keys."""
    order = next(rule.table.c[name] for name in ("rowid", "invocation_pk", *rule.key) if name in rule.table.c)
    statement = select(*rule.table.columns, *rule.also_read).where(*which).order_by(order)
    return connection.execute(statement).mappings().all()


def _pairs(connection: Connection, statement: Any) -> dict[Any, Any]:
    return dict(map(tuple, connection.execute(statement)))


def batches(items: Iterable[T], size: int = _AT_ONCE) -> Iterator[list[T]]:
    """Yield the items in lists that are short enough for one statement."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _values(row: Row, names: Iterable[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _words(row: Row, names: Iterable[str]) -> str:
    return " ".join(map(str, _values(row, names)))
