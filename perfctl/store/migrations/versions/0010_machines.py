"""Which machine a host was: a part of its key, so that two machines of one name and address are two."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from alembic import op

from perfctl.model.identity import content_hash

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TEXT = sa.TEXT().with_variant(sa.TEXT(collation="C"), "postgresql")
_OF_HOST = ("name", "address", "connection", "port", "user_name", "test_address", "resource", "machine")
_REFERENCES = (
    ("run_host", "host_id"),
    ("host_snapshot", "host_id"),
    ("environment_snapshot", "host_id"),
    ("block", "host_id"),
    ("block", "peer_id"),
)


def _table(name: str, *columns: str) -> Any:
    return sa.table(name, *map(sa.column, columns))


def upgrade() -> None:
    """Give every host of every run the key that has its machine; one whose facts nobody read has none."""
    op.add_column("host", sa.Column("machine", _TEXT, nullable=True))
    connection = op.get_bind()
    host = _table("host", "host_id", *_OF_HOST)
    before = {row.host_id: dict(row._mapping) for row in connection.execute(sa.select(host)).all()}
    machines = _machines(connection)
    known: set[str] = set()

    def insert_once(old: str, machine: str | None) -> str:
        row = {name: before[old][name] for name in _OF_HOST} | {"machine": machine}
        new = content_hash(row)
        if new not in known:
            known.add(new)
            connection.execute(sa.insert(host).values(host_id=new, **row))
        return new

    unused = set(before)
    for name, column in _REFERENCES:
        table = _table(name, "run_id", column)
        key = table.c[column]
        refers = sa.select(table.c.run_id, key).where(key.is_not(None)).distinct()
        for run_id, old in connection.execute(refers).all():
            new = insert_once(old, machines.get((run_id, old)))
            connection.execute(
                sa.update(table).where(table.c.run_id == run_id, key == old).values({column: new})
            )
            unused.discard(old)
    for old in unused:
        insert_once(old, None)
    connection.execute(sa.delete(host).where(host.c.host_id.in_(list(before))))


def _machines(connection: sa.Connection) -> dict[tuple[str, str], str]:
    """Return which machine a host (by its old key) was in a run, by the facts that were read first."""
    seen = _table("host_snapshot", "run_id", "host_id", "dynamic_json", "taken_at")
    found: dict[tuple[str, str], str] = {}
    rows = connection.execute(
        sa.select(seen.c.run_id, seen.c.host_id, seen.c.dynamic_json).order_by(seen.c.taken_at)
    )
    for run_id, host_id, text in rows:
        machine = _machine(json.loads(text))
        if machine is not None:
            found.setdefault((run_id, host_id), machine)
    return found


def _machine(facts: Iterable[Any]) -> str | None:
    values = {name: value for name, state, value in facts if state == "present" and value}
    for kind, name in (("id", "host.machine_id"), ("boot", "host.boot_id")):
        if name in values:
            return f"{kind}:{values[name]}"
    return None
