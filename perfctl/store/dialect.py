"""What SQLAlchemy does not translate between engines by itself, in the words of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from sqlalchemy import TEXT, Connection, Double, Executable, Insert, Table, func, insert, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine


def insert_once(connection: Connection, table: Table[Any]) -> Insert[()]:
    """Return the statement that stores a row unless one with its key is there."""
    statement: Insert[()] = _insert(connection, table).on_conflict_do_nothing()
    return statement


def insert_artifact(connection: Connection, table: Table[Any]) -> Insert[()]:
    """Return the statement that stores raw bytes unless they are there; what was pruned is there again."""
    insertion = _insert(connection, table)
    statement: Insert[()] = insertion.on_conflict_do_update(
        index_elements=[table.c.sha256],
        set_={"content": insertion.excluded.content},
        # As a word of SQL: a value would be one more parameter.
        where=func.length(table.c.content) == literal_column("0"),
    )
    return statement


def _insert(connection: Connection, table: Table[Any]) -> Any:
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


class Prepared:
    """A statement that is compiled once and then run by the driver, in a tenth of SQLAlchemy's time.

    For what is stored with every invocation. Values are stored as they are, and errors are the driver's.
    """

    def __init__(
        self, make: Callable[[Connection], Executable], columns: Sequence[str] | None = None
    ) -> None:
        """Take what makes the statement for a connection's engine, and the columns that it fills, if any."""
        self._make, self._columns = make, columns
        self._compiled: dict[str, SQLCompiler] = {}

    def _of(self, connection: Connection) -> tuple[Any, SQLCompiler]:
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            if not dialect.positional:
                kind: Any = type(dialect)
                dialect = kind(paramstyle="format")
            statement: Any = self._make(connection)
            self._compiled[dialect.name] = statement.compile(dialect=dialect, column_keys=self._columns)
        driver: Any = connection.connection.driver_connection
        return driver.cursor(), self._compiled[dialect.name]

    def run(self, connection: Connection, values: Mapping[str, object]) -> Any:
        """Run it with the values of its parameters, by name, and return the driver's cursor."""
        cursor, compiled = self._of(connection)
        return cursor.execute(compiled.string, list(map(values.get, compiled.positiontup or ())))

    def many(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run it for every row of values, in the order of the columns."""
        cursor, compiled = self._of(connection)
        cursor.executemany(compiled.string, rows)


def insert_many(connection: Connection, table: Table[Any], rows: Iterable[tuple[Any, ...]]) -> None:
    """Store many rows, each with the values of all columns in their order, the fastest way there is."""
    if connection.dialect.name != "postgresql":
        prepared_insert(table).many(connection, rows)
        return
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    driver: Any = connection.connection.driver_connection
    names, types = _copied(table)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN BINARY") as copy:
        copy.set_types(types)
        copy.write_row(first)
        for row in rows:
            copy.write_row(row)


@cache
def _copied(table: Table[Any]) -> tuple[str, list[str]]:
    """Return the columns of a table as COPY takes them, and their types in PostgreSQL's words."""
    kinds = {int: "int8", float: "float8", bool: "bool", bytes: "bytea", str: "text"}
    columns = list(table.columns)
    return ", ".join(column.name for column in columns), [
        kinds[column.type.python_type] for column in columns
    ]


@cache
def prepared_insert(table: Table[Any]) -> Prepared:
    """Return the statement that stores a row of a table, with NULL in the columns that are not given.

    Of a table with numbered rows it answers with the number of the row.
    """
    number = table.autoincrement_column
    numbered_by_itself = {"rowid"} if number is None else {"rowid", number.name}
    columns = [name for name in table.c.keys() if name not in numbered_by_itself]  # noqa: SIM118
    statement = insert(table) if number is None else insert(table).returning(number)
    return Prepared(lambda _: statement, columns)


class utc_text(FunctionElement[str]):  # noqa: N801 (a function in SQL)
    """Unix seconds as text such as 2026-01-31T12:00:00Z."""

    inherit_cache = True
    name = "utc_text"
    type = TEXT()


@compiles(utc_text, "sqlite")
def _utc_text_sqlite(element: utc_text, compiler: SQLCompiler, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:%M:%SZ', {moment}, 'unixepoch')"


@compiles(utc_text, "postgresql")
def _utc_text_postgresql(element: utc_text, compiler: SQLCompiler, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"""to_char(to_timestamp(floor({moment})) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"""


class json_items(FunctionElement[Any]):  # noqa: N801 (a function in SQL)
    """The items of a list in a JSON object that is kept as text: rows with one column, `value`."""

    inherit_cache = True
    name = "json_items"

    def __init__(self, text: ColumnElement[Any], key: str) -> None:
        super().__init__(text, literal_column(repr(key)))


@compiles(json_items, "sqlite")
def _json_items_sqlite(element: json_items, compiler: SQLCompiler, **options: Any) -> str:
    text, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_each({text}, '$.' || {key})"


@compiles(json_items, "postgresql")
def _json_items_postgresql(element: json_items, compiler: SQLCompiler, **options: Any) -> str:
    text, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"jsonb_array_elements(CAST({text} AS jsonb) -> {key})"


class json_value(FunctionElement[Any]):  # noqa: N801 (a function in SQL)
    """A text or, with `of`, another value of a JSON object; NULL where the object does not have it."""

    inherit_cache = True
    name = "json_value"

    def __init__(self, of_object: ColumnElement[Any], key: str, of: TypeEngine[Any] | None = None) -> None:
        super().__init__(of_object, literal_column(repr(key)))
        self.type = of or TEXT()


@compiles(json_value, "sqlite")
def _json_value_sqlite(element: json_value, compiler: SQLCompiler, **options: Any) -> str:
    of_object, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"json_extract({of_object}, '$.' || {key})"


@compiles(json_value, "postgresql")
def _json_value_postgresql(element: json_value, compiler: SQLCompiler, **options: Any) -> str:
    of_object, key = (compiler.process(clause, **options) for clause in element.clauses)
    kind = compiler.dialect.type_compiler_instance.process(element.type)
    return f"CAST(CAST({of_object} AS jsonb) ->> {key} AS {kind})"


NUMBER: Double[float] = Double()
