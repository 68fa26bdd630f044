"""`perfctl query`: read-only SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.errors import UsageError
from perfctl.output import Column, Format, Table, emit, format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import Rows


@click.command(cls=Command)
@click.argument("sql", required=False)
@click.option("--named", metavar="NAME", help="A query that comes with perfctl.")
@click.option("--list", "wants_list", is_flag=True, help="List the queries that come with perfctl.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop a query that takes longer.",
)
@format_option
@click.pass_obj
def query(
    settings: Settings, sql: str | None, named: str | None, wants_list: bool, timeout_s: float, fmt: Format
) -> None:
    """Read-only SQL over the views v_run, v_invocation, v_value and v_sample.

    One SELECT, as text or by name; docs/database.md lists the columns. For example:

    \b
        perfctl query "SELECT benchmark, environment, median(value) FROM v_value
                       WHERE metric = 'events_per_s' GROUP BY 1, 2"
    """
    from perfctl.store import named_queries, named_query, open_store
    from perfctl.store import query as run_query

    if (sql is not None) + (named is not None) + wants_list != 1:
        raise UsageError("give one of: an SQL text, --named NAME, --list", hint="perfctl query --list")
    if wants_list:
        columns = [Column("name"), Column("description")]
        emit(Table("queries", columns, [(item.name, item.description) for item in named_queries()]), fmt)
        return
    text = named_query(named).sql if named is not None else str(sql)
    with open_store(settings.database_url, read_only=True) as store:
        rows = run_query(store, text, timeout_s=timeout_s)
    emit(_table(rows), fmt)


def _table(found: Rows) -> Table:
    rows = [tuple(_text(value) for value in row) for row in found.rows]
    columns = [
        Column(name, align="right" if _is_numeric([row[place] for row in rows]) else "left")
        for place, name in enumerate(_unique(found.columns))
    ]
    return Table("query", columns, rows)


def _text(value: object) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _is_numeric(values: Sequence[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, (int, float)) for value in present)


def _unique(names: Sequence[str]) -> list[str]:
    """Number the columns that share a name: JSON has each key once."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique.append(candidate)
    return unique
