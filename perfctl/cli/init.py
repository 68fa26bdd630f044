"""`perfctl init`: a project folder with comments."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.pass_obj
def init(settings: Settings, folder: Path) -> None:
    """Make FOLDER (default: here) a project: settings, an inventory, an example of a suite, .gitignore.

    Each file has comments on what may stand in it. What is there already stays as it is.
    """
    from perfctl.render.project import write_project

    for path, is_new in write_project(folder).items():
        click.echo(f"{'wrote' if is_new else 'kept '} {path}", err=True)
    where = "" if folder.absolute() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"prepare the hosts, after a look at inventory/hosts.yml: {where}perfctl provision", err=True)
