"""`perfctl db`: describe, check, copy, merge, prune or upgrade the results database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Group
from perfctl.cli.db_prune import prune
from perfctl.cli.db_transfer import merge, pull, push
from perfctl.cli.format import format_option
from perfctl.errors import DataError

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.group(cls=Group)
def db() -> None:
    """Describe, check, copy, merge, prune or upgrade the results database; see docs/database.md."""


for _command in (merge, push, pull, prune):
    db.add_command(_command)


@db.command()
@format_option
@click.pass_obj
def info(settings: Settings, fmt: str) -> None:
    """Show the database's path, size and schema, and how many rows each table has."""
    from perfctl.render import print_view
    from perfctl.render.db import database_view
    from perfctl.store import database_info

    print_view(database_view(database_info(settings.database_url)), fmt)


@db.command()
@format_option
@click.pass_obj
def check(settings: Settings, fmt: str) -> None:
    """Check the file, references, raw outputs and derived rows (exit 8: something is wrong)."""
    from perfctl.render import print_view
    from perfctl.render.db import checks_view
    from perfctl.store import check as check_store
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        checks = check_store(store)
    print_view(checks_view(checks), fmt)
    wrong = [item.name for item in checks if item.problems]
    if wrong:
        raise DataError(
            f"something is wrong with: {', '.join(wrong)}",
            where=store.name,
            hint="keep the file and bring back a backup",
        )


@db.command()
@click.argument("run", required=False)
@click.pass_obj
def reparse(settings: Settings, run: str | None) -> None:
    """Read the kept raw outputs again, of RUN or of all runs, and replace the samples.

    For data that an older perfctl measured, after a mistake in a parser was fixed. Make a backup first.
    """
    from perfctl.store import open_store

    with open_store(settings.database_url) as store:
        done = store.writer.reparse(None if run is None else store.run(run).id)
    click.echo(f"{done.read} outputs read again, {done.changed} say something else now", err=True)
    if done.unknown:
        click.echo(f"{done.unknown} not read: this perfctl does not have their workload", err=True)


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(settings: Settings, file: Path) -> None:
    """Copy a database in a file to FILE, also while a run writes to it; FILE must not exist."""
    from perfctl.store import backup as copy_database

    copy_database(settings.database_url, file)
    click.echo(f"copied to {file} ({file.stat().st_size:,} bytes)", err=True)


@db.command()
@click.pass_obj
def upgrade(settings: Settings) -> None:
    """Upgrade the database to this version's schema; a file after a backup beside it."""
    from perfctl.store import upgrade as upgrade_database

    done = upgrade_database(settings.database_url)
    if done.before == done.after:
        click.echo(f"nothing to do: the schema is {done.after}", err=True)
    else:
        kept = f"; as it was before: {done.backup}" if done.backup else ""
        click.echo(f"schema {done.before} -> {done.after}{kept}", err=True)
