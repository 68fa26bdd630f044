"""What Alembic runs: the migrations, on the connection that `perfctl.store.migration` hands over."""

from __future__ import annotations

from alembic import context

from perfctl.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite cannot alter a table much: Alembic copies it ("batch mode"), drops the old one, renames the copy.
    render_as_batch=True,
    # The caller's transaction is around all migrations: all of them happen, or none.
    transactional_ddl=False,
)
context.run_migrations()
