"""perfctl lab: a fleet of systemd hosts on this machine, for trying and testing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from perfctl.cli.command import Group, repeat_options
from perfctl.cli.format import format_option
from perfctl.cli.progress_options import progress_options
from perfctl.cli.settings import Settings

_name_option = click.option("--name", default="lab", show_default=True, help="Which lab of several.")


@click.group(cls=Group)
def lab() -> None:
    """A fleet of systemd hosts on this machine, for trying and testing.

    Each host is a container that boots systemd, accepts ssh and has its own docker engine, a management NIC
    (eth0) and a test NIC (eth1, MTU 9000).
    """


@progress_options
@lab.command()
@click.option("--hosts", type=click.IntRange(min=1), help="How many hosts in all.  [default: 2, or as it is]")
@click.option(
    *("--release", "releases"),
    type=click.Choice(["11", "12", "13"]),
    multiple=True,
    help="Debian release of the hosts; repeated: they get them in turn.  [default: this machine's]",
)
@click.option(
    *("--cgroup", "cgroups"),
    type=click.Choice(["machine", "v2"]),
    multiple=True,
    help="Control groups they see: the machine's, or version 2 alone; repeated: in turn.  [default: machine]",
)
@click.option(
    "--light/--no-light", default=None, help="Hosts run only sshd, without systemd: for labs of many hosts."
)
@_name_option
@click.option(
    "--management-subnet", metavar="CIDR", help="The network that carries ssh.  [default: 172.31.240.0/24]"
)
@click.option(
    "--test-subnet", metavar="CIDR", help="The network that carries tests.  [default: 10.241.0.0/16]"
)
@click.option("--with-image", is_flag=True, help="Also build the perf-tools image, for provisioning to load.")
@click.pass_obj
def up(settings: Settings, /, with_image: bool, **request: Any) -> None:
    """Bring a lab up and write its inventory.

    Prints the path of the inventory, for `perfctl -i`. A docker engine is installed and started when none
    answers. Repeating it is quick and restores what is missing; a larger --hosts adds hosts. With `--release
    12 --release 13`, hosts 1, 3, ... are Debian 12 and hosts 2, 4, ... Debian 13.
    """
    from perfctl.lab import LabRequest
    from perfctl.lab import up as bring_up
    from perfctl.output import progress

    lab = LabRequest(**request)
    with progress(style=settings.progress) as listener:
        result = bring_up(settings.project_dir, lab, with_image=with_image, listener=listener)
    click.echo(str(result.inventory))
    if not result.spec.light:
        path = result.inventory
        here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        provision = repeat_options(f"perfctl provision -i {shlex.quote(str(here))}", "project_dir")
        click.echo(f"prepare its hosts for runs: {provision}", err=True)


@lab.command()
@_name_option
@format_option
@click.pass_obj
def status(settings: Settings, name: str, fmt: str) -> None:
    """Show what every host of a lab is doing; exit code 3 when one is not ready."""
    from perfctl.errors import PartialFailure
    from perfctl.lab import status as read_status
    from perfctl.render import print_view
    from perfctl.render.lab import lab_view

    hosts = read_status(settings.project_dir, name)
    print_view(lab_view(hosts), fmt)
    waiting = [host.host for host in hosts if not host.is_ready]
    if waiting:
        raise PartialFailure(
            f"not ready: {', '.join(waiting)}",
            where=name,
            hint=f"bring them back: {repeat_options(f'perfctl lab up --name {name}', 'project_dir')}",
        )


@progress_options
@lab.command()
@_name_option
@click.option("--keep-engine", is_flag=True, help="Do not stop the docker engine that the lab started.")
@click.option("--purge", is_flag=True, help="Also remove images and archives that are kept for the next lab.")
@click.pass_obj
def down(settings: Settings, name: str, keep_engine: bool, purge: bool) -> None:
    """Remove a lab: its containers, volumes, networks, key and inventory, and nothing else.

    Its images stay as a cache. A docker engine that the lab started by hand (no systemd) is stopped when no
    container runs on it any more.
    """
    from perfctl.lab import down as take_down
    from perfctl.output import progress

    with progress(style=settings.progress) as listener:
        found = take_down(settings.project_dir, name, keep_engine=keep_engine, purge=purge, listener=listener)
    gone, none = f"the lab {name} is gone", f"no lab {name} in {settings.project_dir}: nothing to do"
    click.echo(gone if found else none, err=True)
