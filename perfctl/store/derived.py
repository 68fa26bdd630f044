"""The derived rows (`invocation_metric`): made again from the samples, and compared with what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from sqlalchemy import Connection, delete, select

from perfctl.errors import DataError
from perfctl.store import tables as db
from perfctl.store.recording import Key, insert_summaries
from perfctl.store.series import Summary, summarise, unpack

_ROWS_AT_ONCE = 10_000


def recompute(connection: Connection) -> Iterator[tuple[Key, Summary]]:
    """Yield ((invocation, metric), summary) for all samples. Raises DataError for a damaged packed series."""
    sample, series = db.sample.c, db.series.c
    rows = connection.execute(
        select(sample.invocation_pk, sample.metric_pk, sample.is_warmup, sample.value)
        .order_by(sample.invocation_pk, sample.metric_pk, sample.sample_index)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for key, group in groupby(rows, key=lambda row: (int(row[0]), int(row[1]))):
        samples = list(group)
        yield key, summarise([row[3] for row in samples], [bool(row[2]) for row in samples])
    packed = connection.execute(
        select(
            *(series.invocation_pk, series.metric_pk, series.sample_count, series.warmup_count, series.packed)
        )
    )
    for invocation_pk, metric_pk, count, warmups, blob in packed:
        values = unpack(blob)
        if len(values) != count:
            raise DataError(f"a packed series has {len(values)} values instead of {count}")
        yield (invocation_pk, metric_pk), summarise(values, [index < warmups for index in range(count)])


def stored(connection: Connection) -> dict[Key, Summary]:
    """Return the derived rows as they are in the database."""
    rows = connection.execute(select(db.invocation_metric))
    return {(row[0], row[1]): Summary(*row[2:]) for row in rows}


def differences(connection: Connection) -> list[str]:
    """Describe each derived row that is missing, differs from its samples or has none."""
    kept = stored(connection)
    found = []
    for key, summary in recompute(connection):
        if key not in kept:
            found.append(f"invocation {key[0]}, metric {key[1]}: no derived row")
        elif kept.pop(key) != summary:
            found.append(f"invocation {key[0]}, metric {key[1]}: the derived row differs from its samples")
    found += [f"invocation {key[0]}, metric {key[1]}: a derived row without samples" for key in kept]
    return found


def rebuild(connection: Connection) -> int:
    """Make all derived rows anew and return how many there are. The caller holds the transaction."""
    summaries = list(recompute(connection))
    connection.execute(delete(db.invocation_metric))
    insert_summaries(connection, summaries)
    return len(summaries)
