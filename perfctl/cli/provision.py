"""perfctl provision: prepare the hosts for runs."""

from __future__ import annotations

from functools import partial

import click

from perfctl.cli.command import Command, repeat_options
from perfctl.cli.format import format_option
from perfctl.cli.progress_options import progress_options
from perfctl.cli.settings import Settings
from perfctl.cli.variables import read_variables
from perfctl.errors import UsageError


@progress_options
@click.command(cls=Command)
@click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory.")
@click.option(
    "--tags",
    multiple=True,
    metavar="TAG",
    help="Only this part: tools, engine, bridge, docker, image, layers, vm; repeat for more.",
)
@click.option(
    "-e",
    "--extra-vars",
    multiple=True,
    metavar="KEY=VALUE|@FILE",
    help="Set a variable, or all variables of a YAML or JSON file. No secrets here: use vault.",
)
@click.option("--check", is_flag=True, help="Change nothing; print what would be changed.")
@click.option("--diff", is_flag=True, help="Show how files are changed.")
@click.option("--force", is_flag=True, help="Provision hosts whose stamp is current, too.")
@click.option("--undo", is_flag=True, help="Undo what was made for virtual machines (nothing else so far).")
@click.option(
    "--purge-packages",
    is_flag=True,
    help="With --undo: also remove the packages that were installed for them.",
)
@format_option
@click.argument("ansible_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def provision(
    settings: Settings,
    limit: str | None,
    tags: tuple[str, ...],
    extra_vars: tuple[str, ...],
    check: bool,
    diff: bool,
    force: bool,
    undo: bool,
    purge_packages: bool,
    fmt: str,
    ansible_arguments: tuple[str, ...],
) -> None:
    """Prepare the hosts for runs: tools, engine, bridge, docker, the perf-tools image.

    Hosts with `perf_vm_host: true` are also prepared for virtual machines. --undo reverts that part only: it
    removes guests of perfctl, their images, disks, keys and firewall rule, and restores the bridge's and
    libvirt's settings.

    Safe to repeat. A NIC that carries the ssh session, a foreign bridge or conflicting docker settings are
    refused (exit code 7) before anything is changed. Arguments after -- go to ansible-playbook.
    """
    from perfctl.model import Event, Note
    from perfctl.output import progress
    from perfctl.provision import provision as run_provision
    from perfctl.provision import undo as run_undo
    from perfctl.render import print_view
    from perfctl.render.provision import provision_view

    if purge_packages and not undo:
        raise UsageError("--purge-packages goes with --undo only")
    if undo and force:
        raise UsageError("--undo always looks at every host", hint="leave out --force")
    work = partial(run_provision, force=force, project_dir=settings.project_dir)
    if undo:
        work = partial(run_undo, purge_packages=purge_packages)
    with progress(style=settings.progress) as listener:

        def heard(event: Event) -> None:
            if diff and isinstance(event, Note) and "\n+++ " in event.text:
                click.echo(f"# {event.where}\n{event.text}\n")
            else:
                listener(event)

        report = work(
            settings.inventory,
            limit=limit,
            tags=tags,
            extra_vars=read_variables(extra_vars),
            check=check,
            diff=diff,
            passthrough=ansible_arguments,
            listener=heard,
        )
    print_view(provision_view(report), fmt)
    report.raise_for_failures()
    if not (check or undo):
        measure = repeat_options("perfctl run --suite cpu", "inventory", "database", "project_dir")
        click.echo(f"measure there: {measure}", err=True)
