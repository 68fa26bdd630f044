"""The results database: one SQLite file with every run, its raw outputs and every sample.

    with open_store("results.db", create=True) as store:
        store.begin_run(...); store.begin_block(...); store.record_invocation(...)
        store.observations("latest")

    store.py         the door: Store, open_store
    recording.py     what is written      reading.py   what is read
    omissions.py     what gave no value, and why
    validity.py      whether invocations count
    history.py       over many runs      evidence.py     what a value was read from
    series.py        samples: checked, packed, summed up                 artifact.py   raw bytes
    connection.py    opening a file and naming what is wrong with it     writer.py  the one writing thread
    schema.py        the revision; schema.sql and views.sql              tables.py  the schema as typed tables
    derived.py       rows made from samples                              query.py    users' SQL; queries/*.sql
    reparsing.py     samples made from raw outputs
    upkeep.py        info, check, backup, upgrade                        migration.py  and
    migrations/      from one revision to the next (Alembic)

docs/database.md describes the tables, the views and the rules.
"""

from __future__ import annotations

from perfctl.store.evidence import Evidence
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
    "NamedBenchmark",
    "NamedQuery",
    "NativeValue",
    "Omission",
    "Reparsed",
    "Rows",
    "RunDetail",
    "RunSummary",
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
