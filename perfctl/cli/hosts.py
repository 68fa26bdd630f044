"""perfctl hosts: who holds which host."""

from __future__ import annotations

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option
from perfctl.cli.settings import Settings
from perfctl.errors import HostUnreachable, PartialFailure


@click.command(cls=Command)
@click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory.")
@click.option(
    "--steal", is_flag=True, help="Take the hosts from whoever holds them, and end what runs there."
)
@click.option("--yes", is_flag=True, help="With --steal: do not ask.")
@format_option
@click.pass_obj
def hosts(settings: Settings, limit: str | None, steal: bool, yes: bool, fmt: str) -> None:
    """Show who measures or changes each host of the inventory now, and what runs have left there.

    A host is free, held, or stale: its holder is gone, and the next one gets it. --steal is for a holder
    that will not come back, or must not: its jobs are ended, their results stay, and it can begin nothing
    more there.
    """
    from perfctl.execute import host_statuses, steal_hosts
    from perfctl.render import print_view
    from perfctl.render.hosts import hosts_view

    statuses = host_statuses(settings.inventory, limit=limit)
    taken = [status for status in statuses if steal and status.leases]
    if taken:
        if not yes:
            for status in taken:
                click.echo(f"{status.host.name}: {status.state}, {status.leases[0]}", err=True)
            click.confirm("Take these hosts away, and end what runs there?", abort=True, err=True)
        failures = steal_hosts([status.host for status in taken]).failures
        if failures:
            raise PartialFailure(
                "; ".join(f"{where}: {why}" for where, why in failures), hint="mend it, then try again"
            )
        statuses = host_statuses(settings.inventory, limit=limit)
    print_view(hosts_view(statuses), fmt)
    lost = [(status.host.name, status.error) for status in statuses if status.error]
    if lost:
        kind = HostUnreachable if len(lost) == len(statuses) else PartialFailure
        error = lost[0][1]
        raise kind(error.message, where=", ".join(name for name, _ in lost), hint=error.hint)
