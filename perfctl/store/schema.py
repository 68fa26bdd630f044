"""What the schema allows, and its revision: for everybody, without SQLAlchemy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

REVISION = "0012"
"""The newest migration. Revisions are numbers, so that older and newer can be told apart."""

RUN_STATUSES = ("planned", "running", "complete", "partial", "interrupted")
"""A run that is measured in shards stays 'planned'; what became of it is said by its shards."""
SHARD_STATUSES = ("running", "complete", "partial", "interrupted")
BLOCK_STATUSES = ("running", "complete", "failed", "interrupted")
INVOCATION_STATUSES = ("ok", "failed", "skipped", "interrupted")
ACCELERATORS = ("kvm", "tcg")
VALIDITIES = ("valid", "flagged", "invalid")
PRUNED = ("run", "raw outputs")
"""What can be removed of a run: all that was measured, or what the programs printed alone."""
USAGE_SOURCES = ("wait4", "cgroup")

OUTPUTS = ("stdout", "stderr", "counters_before", "counters_after")
"""What is kept of every invocation, in columns of its own; no other artifact may have such a name."""


def statements(script: str) -> Iterator[str]:
    """Yield the statements of an SQL script one by one (`executescript` would end the open transaction)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
