"""What is said in the words of each engine, and that nothing of one is said to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from perfctl.store import open_store, tables, views
from tests.unit import store_cases as cases

OF_SQLITE = ("STRICT", "WITHOUT ROWID", "strftime", "json_each", "json_extract", "REAL", "BLOB")
OF_POSTGRESQL = (
    "BIGINT",
    "DOUBLE PRECISION",
    "BYTEA",
    "jsonb",
    "to_char",
    "IDENTITY",
    "BIGSERIAL",
    "COLLATE",
)


def said(dialect: Dialect) -> str:
    made: list[Any] = [CreateTable(table) for table in tables.METADATA.sorted_tables]
    return "\n".join(str(item.compile(dialect=dialect)) for item in [*made, *views.VIEWS])


@pytest.mark.parametrize(
    ("dialect", "own", "others"),
    [(sqlite.dialect(), OF_SQLITE, OF_POSTGRESQL), (postgresql.dialect(), OF_POSTGRESQL, OF_SQLITE)],
)
def test_tables_and_views_are_made_in_the_words_of_the_engine(
    dialect: Dialect, own: tuple[str, ...], others: tuple[str, ...]
) -> None:
    text = said(dialect)
    assert [word for word in own if word not in text] == []
    assert [word for word in others if word in text] == []


def test_reading_goes_on_after_a_read_that_was_interrupted(tmp_path: Path) -> None:
    with open_store(tmp_path / "results.db", create=True) as store:
        run_id = cases.begin_run(store)
        # What SQLAlchemy does with a connection when Ctrl-C ends a statement.
        store.database.read(lambda connection: connection.invalidate())
        assert store.run("latest").id == run_id
        store.writer.end_run(run_id, "interrupted")
        assert store.runs()[0].status == "interrupted"
