"""The derived rows (`invocation_metric`): made again from the samples, and compared with what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby

from perfctl.errors import DataError
from perfctl.store.recording import Key, insert_summaries
from perfctl.store.series import Summary, summarise, unpack


def recompute(connection: sqlite3.Connection) -> Iterator[tuple[Key, Summary]]:
    """Yield ((invocation, metric), summary) for all samples. Raises DataError for a damaged packed series."""
    rows = connection.execute(
        "SELECT invocation_pk, metric_pk, is_warmup, value FROM sample"
        " ORDER BY invocation_pk, metric_pk, sample_index"
    )
    for key, group in groupby(rows, key=lambda row: (int(row[0]), int(row[1]))):
        samples = list(group)
        yield key, summarise([row[3] for row in samples], [bool(row[2]) for row in samples])
    packed = connection.execute(
        "SELECT invocation_pk, metric_pk, sample_count, warmup_count, packed FROM series"
    )
    for invocation_pk, metric_pk, count, warmups, blob in packed:
        values = unpack(blob)
        if len(values) != count:
            raise DataError(f"a packed series has {len(values)} values instead of {count}")
        yield (invocation_pk, metric_pk), summarise(values, [index < warmups for index in range(count)])


def stored(connection: sqlite3.Connection) -> dict[Key, Summary]:
    """Return the derived rows as they are in the database."""
    rows = connection.execute(
        "SELECT invocation_pk, metric_pk, value, sample_count, warmup_count, value_sum, minimum, maximum"
        " FROM invocation_metric"
    )
    return {(row[0], row[1]): Summary(*row[2:]) for row in rows}


def differences(connection: sqlite3.Connection) -> list[str]:
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


def rebuild(connection: sqlite3.Connection) -> int:
    """Make all derived rows anew and return how many there are. The caller holds the transaction."""
    summaries = list(recompute(connection))
    connection.execute("DELETE FROM invocation_metric")
    insert_summaries(connection, summaries)
    return len(summaries)
