"""perfctl bundle: one run as one file, checked and read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Group
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)
_signers = click.option(
    "--signers", type=_FILE, metavar="FILE", help="Only if one of these has signed it: IDENTITY KEY-TYPE KEY."
)


class _BundleGroup(Group):
    """A group in which what is no command is a run to write."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of these arguments: `write` where none is named."""
        named = args if args[0] in self.commands or args[0].startswith("-") else ["write", *args]
        return super().resolve_command(ctx, named)


@click.group(cls=_BundleGroup)
def bundle() -> None:
    """Write a run as one file, check such a file, or copy its run into the database; see docs/transfer.md.

    `perfctl bundle RUN -o FILE` is short for `perfctl bundle write RUN -o FILE`.
    """


@bundle.command()
@click.argument("run")
@click.option("-o", "--output", type=_FILE, required=True, metavar="FILE", help="The file to write.")
@click.option("--sign", "key", type=_FILE, metavar="KEY", help="Sign it with this ssh key.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.pass_obj
def write(settings: Settings, run: str, output: Path, key: Path | None, force: bool) -> None:
    """Write RUN with its rows, raw outputs and a manifest of hashes as one file."""
    from perfctl.store import open_store
    from perfctl.transfer import write_bundle

    with open_store(settings.database_url, read_only=True) as store:
        write_bundle(store, store.run(run).id, output, force=force, key=key)
    click.echo(f"written: {output} ({output.stat().st_size:,} bytes)", err=True)


@bundle.command()
@click.argument("file", type=_FILE)
@_signers
@format_option
def verify(file: Path, signers: Path | None, fmt: str) -> None:
    """Check every byte of FILE, and its signature; exit 8 when something was changed. Needs no database."""
    from perfctl.render import print_view
    from perfctl.render.transfer import bundle_view
    from perfctl.transfer import verify_bundle

    print_view(bundle_view(verify_bundle(file, signers=signers)), fmt)


@bundle.command(name="import")
@click.argument("file", type=_FILE)
@_signers
@click.option("--dry-run", is_flag=True, help="Print what is new and write nothing.")
@format_option
@click.pass_obj
def import_(settings: Settings, file: Path, signers: Path | None, dry_run: bool, fmt: str) -> None:
    """Check FILE and copy its run into the database, as `perfctl db merge` does."""
    from perfctl.cli.db_transfer import say_end
    from perfctl.render import print_view
    from perfctl.render.transfer import merged_view
    from perfctl.store import open_store
    from perfctl.transfer import import_bundle

    with open_store(settings.database_url, create=not dry_run, read_only=dry_run) as store:
        done = import_bundle(
            file,
            store,
            signers=signers,
            dry_run=dry_run,
            show=lambda found: print_view(merged_view(found), fmt),
        )
    say_end(done, dry_run=dry_run)
