"""perfctl verify: check that the hosts are as provisioned."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.progress_options import progress_options
from perfctl.cli.settings import Settings
from perfctl.cli.variables import read_variables


@progress_options
@click.command(cls=Command)
@click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory.")
@click.option("-e", "--extra-vars", multiple=True, metavar="KEY=VALUE|@FILE", help="As for provision.")
@format_option
@click.argument("ansible_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def verify(
    settings: Settings,
    limit: str | None,
    extra_vars: tuple[str, ...],
    fmt: str,
    ansible_arguments: tuple[str, ...],
) -> None:
    """Check the hosts and report everything that differs from what was provisioned (exit code 7).

    Changes nothing. Arguments after -- go to ansible-playbook.
    """
    from perfctl.output import progress
    from perfctl.provision import verify as run_verify
    from perfctl.render import print_view
    from perfctl.render.provision import verify_view

    with progress(style=settings.progress) as listener:
        report = run_verify(
            settings.inventory,
            limit=limit,
            extra_vars=read_variables(extra_vars),
            passthrough=ansible_arguments,
            listener=listener,
        )
    print_view(verify_view(report), fmt)
    report.raise_for_drift()
