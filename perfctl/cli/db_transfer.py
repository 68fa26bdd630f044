"""`perfctl db merge|push|pull`: copy runs from one database into another."""

from __future__ import annotations

from collections.abc import Callable
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import Store
    from perfctl.transfer import Merged


def _refuse_password(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from perfctl.store import refuse_password

    refuse_password(value, "an argument")
    return value


_dry_run = click.option("--dry-run", is_flag=True, help="Print what is new and write nothing.")


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    return _dry_run(format_option(click.pass_obj(command)))


@click.command(cls=Command)
@click.argument("other", metavar="OTHER", callback=_refuse_password)
@_options
def merge(settings: Settings, other: str, dry_run: bool, fmt: str) -> None:
    """Copy every run of the database OTHER (a path or a URL) into this one.

    What is here already is recognised: merging twice adds nothing. What is new is printed first. Where a row
    that never changes has other content here, nothing is written (exit 8). See docs/transfer.md.
    """
    _merge(other, settings.database_url, (), dry_run, fmt)


@click.command(cls=Command)
@click.argument("url", metavar="URL", callback=_refuse_password)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@_options
def push(settings: Settings, url: str, runs: tuple[str, ...], dry_run: bool, fmt: str) -> None:
    """Copy runs of this database (all, or each RUN) into the one at URL, which is made if there is none."""
    _merge(settings.database_url, url, runs, dry_run, fmt)


@click.command(cls=Command)
@click.argument("url", metavar="URL", callback=_refuse_password)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@_options
def pull(settings: Settings, url: str, runs: tuple[str, ...], dry_run: bool, fmt: str) -> None:
    """Copy each RUN of the database at URL into this one."""
    _merge(url, settings.database_url, runs, dry_run, fmt)


def _merge(source_url: str, target_url: str, runs: tuple[str, ...], dry_run: bool, fmt: str) -> None:
    from perfctl.render import print_view
    from perfctl.render.transfer import merged_view
    from perfctl.store import open_store
    from perfctl.transfer import merge

    with (
        _opened(source_url) as source,
        open_store(target_url, create=not dry_run, read_only=dry_run) as target,
    ):
        done = merge(
            source,
            target,
            runs=[source.run(run).id for run in runs] or None,
            dry_run=dry_run,
            show=lambda found: print_view(merged_view(found), fmt),
        )
    say_end(done, dry_run=dry_run)


def _opened(url: str) -> Store:
    from perfctl.errors import SchemaMismatch
    from perfctl.store import open_store

    try:
        return open_store(url, read_only=True)
    except SchemaMismatch as error:
        if "db upgrade" in (error.hint or ""):
            error.hint = f"perfctl --db {quote(url)} db upgrade"
        raise


def say_end(done: Merged, *, dry_run: bool) -> None:
    """Say whether rows were written, and how many."""
    if dry_run:
        click.echo("nothing was written (--dry-run)", err=True)
    elif done.is_nothing:
        click.echo("nothing to do: all of it is there", err=True)
    else:
        click.echo(f"{done.new.total():,} rows are new, {done.changed.total():,} were updated", err=True)
