"""The results database: one SQLite file with every run, its raw outputs and every sample.

    with open_store("results.db", create=True) as store:
        store.begin_run(...); store.begin_block(...); store.record_invocation(...)
        store.observations("latest")

    store.py         Store, open_store: what other packages use
    recording.py     writes
    reading.py       reads of one run; omissions.py, validity.py, evidence.py and exporting.py too
    history.py       reads over many runs
    series.py        samples: checked, packed, summarised
    artifact.py      raw bytes
    connection.py    opening a file, errors     writer.py    the one writing thread
    schema.py        revision, schema.sql, views.sql     tables.py    the schema as typed tables
    derived.py       rows computed from samples     reparsing.py    samples read from raw outputs
    query.py         users' SQL; queries/*.sql
    upkeep.py        info, check, backup, upgrade
    migration.py     and migrations/ (Alembic)

docs/database.md describes the tables, the views and the rules.
"""

from __future__ import annotations

from perfctl.store.evidence import Evidence
from perfctl.store.exporting import MeasuredInvocation, SampleSeries
from perfctl.store.history import HistoryCell, HistoryRun, NamedBenchmark, NativeValue, Snapshot
from perfctl.store.omissions import Omission
from perfctl.store.query import NamedQuery, named_queries, named_query, query
from perfctl.store.records import (
    BlockState,
    Count,
    Failure,
    InvocationDetail,
    InvocationState,
    Reparsed,
    Rows,
    RunDetail,
    RunSummary,
    StoredArtifact,
    StoredBenchmark,
    StoredEnvironment,
    StoredEvent,
)
from perfctl.store.store import Store, open_store
from perfctl.store.upkeep import Check, DatabaseInfo, Upgrade, backup, check, database_info, upgrade
from perfctl.store.validity import ValidityCount

__all__ = [
    "BlockState",
    "Check",
    "Count",
    "DatabaseInfo",
    "Evidence",
    "Failure",
    "HistoryCell",
    "HistoryRun",
    "InvocationDetail",
    "InvocationState",
    "MeasuredInvocation",
    "NamedBenchmark",
    "NamedQuery",
    "NativeValue",
    "Omission",
    "Reparsed",
    "Rows",
    "RunDetail",
    "RunSummary",
    "SampleSeries",
    "Snapshot",
    "Store",
    "StoredArtifact",
    "StoredBenchmark",
    "StoredEnvironment",
    "StoredEvent",
    "Upgrade",
    "ValidityCount",
    "backup",
    "check",
    "database_info",
    "named_queries",
    "named_query",
    "open_store",
    "query",
    "upgrade",
]
