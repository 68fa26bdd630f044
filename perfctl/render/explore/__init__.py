"""The database in Datasette: what its views are, what to look at first, and how it is started."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.store import Store, named_queries, open_store, query

PLUGINS = Path(__file__).parent / "plugins"
"""What Datasette loads: the aggregate median(x) of `perfctl query`."""

VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "v_run": ("A row per run, with how its invocations ended.", ("suite", "status")),
    "v_block": ("A row per attempt at a block; attempt_counts is 1 for the one that counts.", ("benchmark",)),
    "v_invocation": (
        "A row per invocation, with its status and reason.",
        ("benchmark", "environment", "host", "status", "validity"),
    ),
    "v_value": (
        "A row per invocation and metric: value is the median of its samples. Of the baseline replicate 1 is"
        " compared, replicate 2 is for the A/A test.",
        ("benchmark", "environment", "host", "metric", "validity"),
    ),
    "v_sample": ("A row per sample, where they are kept as rows.", ("benchmark", "environment", "metric")),
    "v_finding": ("What the rules of validity found.", ("rule", "severity", "environment")),
    "v_artifact": ("What is kept of each invocation.", ("name",)),
}
"""View -> what it is, and the columns by which it is narrowed down."""


def metadata(store: Store) -> dict[str, Any]:
    """Return Datasette's metadata for a database: titles, descriptions, facets and canned queries.

    The tables below the views are hidden: only views keep their columns from version to version.
    """
    views = {
        name: {"description": description, "facets": list(facets), "size": 50}
        for name, (description, facets) in VIEWS.items()
    }
    names = query(store, "SELECT name FROM sqlite_master WHERE type = 'table'").rows
    hidden = {str(name): {"hidden": True} for (name,) in names}
    queries = {
        item.name: {
            "title": item.name,
            "description": item.description,
            "sql": item.sql,
            **({"params": ["all_metrics"]} if item.takes_all_metrics else {}),
        }
        for item in named_queries()
    }
    return {
        "title": "perfctl",
        "description": "Every run, value and sample; perfctl compare has the verdicts.",
        "databases": {store.path.stem: {"tables": hidden | views, "queries": queries}},
    }


def serve(database_url: str, *, port: int) -> None:
    """Become Datasette, which serves the database on this machine until it is stopped.

    Raises UsageError when it is not installed, and as `open_store` does.
    """
    with open_store(database_url, read_only=True) as store:
        path, described = store.path, json.dumps(metadata(store)).encode()
    if importlib.util.find_spec("datasette") is None:
        raise UsageError("Datasette is not installed", hint="pip install 'perfctl[explore]'")
    arguments = [
        *("datasette", "serve", str(path), "--metadata", "-", "--plugins-dir", str(PLUGINS)),
        *("--host", "127.0.0.1", "--port", str(port), "--setting", "sql_time_limit_ms", "10000"),
    ]
    # It reads its metadata from stdin, so that no file is left behind: they are less than a pipe holds.
    reading, writing = os.pipe()
    os.write(writing, described)
    os.close(writing)
    os.dup2(reading, 0)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", *arguments])
