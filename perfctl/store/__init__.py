"""The results database, in a file or on a server: every run, its raw outputs and every sample.

    with open_store("results.db", create=True) as store:
        store.writer.begin_run(...); store.writer.begin_block(...); store.writer.record_invocation(...)
        store.run("latest").observations()
        store.history.runs()

    store.py         Store, open_store: what other packages use
    run_reader.py    reads of one run, with run_values.py, run_judgements.py, run_facts.py and run_parts.py
                     run_records.py    what they return
    history.py       reads of all     records.py    what they return
    writer.py        writes, one at a time     recording.py    how an invocation is stored
    tables.py        the schema as typed tables     schema.py    its words
    views.py         the views over it, of run_views.py and invocation_views.py
    location.py      paths and URLs     database.py    what an engine does     dialect.py    how each says it
    sqlite.py        a database in a file     postgresql.py    a database on a server
    revision.py      create, recognise       migration.py     and migrations/ (Alembic): from one to the next
    series.py        samples: checked, packed, summarised     artifact.py    raw bytes
    derived.py       rows computed from samples     reparsing.py    samples read from raw outputs
    user_query.py    users' SQL, server_query.py on a server; queries/*.sql     query_limits.py    for both
    upkeep.py        info, check, backup, upgrade     pruning.py    remove what runs have measured

docs/database.md describes the tables, the views and the rules.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from perfctl.store.location import location_of, refuse_password
from perfctl.store.store import Store, open_store

if TYPE_CHECKING:
    from perfctl.store.pruning import Pruned, prune_runs
    from perfctl.store.records import (
        HistoryCell,
        HistoryRun,
        NamedBenchmark,
        NativeValue,
        Reparsed,
        Rows,
        RunSummary,
        Snapshot,
        StoredBenchmark,
        StoredShard,
    )
    from perfctl.store.run_reader import RunReader
    from perfctl.store.run_records import (
        BlockState,
        Count,
        Evidence,
        Failure,
        InvocationDetail,
        InvocationState,
        MeasuredInvocation,
        Omission,
        RunDetail,
        SampleSeries,
        StoredArtifact,
        StoredEnvironment,
        StoredEvent,
        Tombstone,
        ValidityCount,
    )
    from perfctl.store.upkeep import (
        Check,
        DatabaseInfo,
        Upgrade,
        backup,
        check,
        compact,
        database_info,
        upgrade,
    )
    from perfctl.store.user_query import NamedQuery, named_queries, named_query, query

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
    "Pruned",
    "Reparsed",
    "Rows",
    "RunDetail",
    "RunReader",
    "RunSummary",
    "SampleSeries",
    "Snapshot",
    "Store",
    "StoredArtifact",
    "StoredBenchmark",
    "StoredEnvironment",
    "StoredEvent",
    "StoredShard",
    "Tombstone",
    "Upgrade",
    "ValidityCount",
    "backup",
    "check",
    "compact",
    "database_info",
    "location_of",
    "named_queries",
    "named_query",
    "open_store",
    "prune_runs",
    "query",
    "refuse_password",
    "upgrade",
]

_MODULES = {
    "records": (
        *("HistoryCell", "HistoryRun", "NamedBenchmark", "NativeValue", "Reparsed", "Rows", "RunSummary"),
        *("Snapshot", "StoredBenchmark", "StoredShard"),
    ),
    "run_records": (
        *("BlockState", "Count", "Evidence", "Failure", "InvocationDetail", "InvocationState"),
        *("MeasuredInvocation", "Omission", "RunDetail", "SampleSeries", "StoredArtifact"),
        *("StoredEnvironment", "StoredEvent", "Tombstone", "ValidityCount"),
    ),
    "run_reader": ("RunReader",),
    "pruning": ("Pruned", "prune_runs"),
    "upkeep": ("Check", "DatabaseInfo", "Upgrade", "backup", "check", "compact", "database_info", "upgrade"),
    "user_query": ("NamedQuery", "named_queries", "named_query", "query"),
}


def __getattr__(name: str) -> object:
    """Import a module when something of it is first used: SQLAlchemy takes a quarter of a second."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
