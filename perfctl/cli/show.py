"""`perfctl show`: one run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.store import InvocationDetail, RunReader


@click.command(cls=Command)
@click.argument("run")
@click.option("--invocation", metavar="ID", help="Show this invocation of the run, and its artifacts.")
@click.option(
    "--artifact",
    metavar="NAME",
    help="Write this artifact of the invocation to stdout, byte for byte: stdout, stderr, console, ...",
)
@format_option
@click.pass_obj
def show(settings: Settings, run: str, invocation: str | None, artifact: str | None, fmt: str) -> None:
    """Show one run: its plan, its hosts, how its invocations ended, what failed and why.

    RUN is a run's id, its unique beginning or end, or 'latest'. ID is an invocation's id, or its unique
    beginning or end. JSON has everything, CSV only the run's own row.
    """
    from perfctl.errors import UsageError
    from perfctl.render import print_view
    from perfctl.render.show import invocation_view, run_view
    from perfctl.store import open_store

    if artifact is not None and invocation is None:
        raise UsageError("--artifact needs --invocation", hint=f"perfctl show {run} names what failed")
    with open_store(settings.database_url, read_only=True) as store:
        stored = store.run(run)
        if invocation is None:
            view = run_view(stored.detail(), stored.validity_counts())
        else:
            found = stored.invocation(invocation)
            if artifact is not None:
                sys.stdout.buffer.write(_bytes_of(stored, found, artifact))
                sys.stdout.flush()
                return
            view = invocation_view(found, stored.assessment(found.invocation_id))
    print_view(view, fmt)


def _bytes_of(run: RunReader, invocation: InvocationDetail, name: str) -> bytes:
    """Return what is kept under that name, which may be nothing. Raises UnknownName."""
    from perfctl.errors import UnknownName

    kept = {item.name: item.sha256 for item in invocation.artifacts}
    if name not in kept:
        raise UnknownName(
            f"no {name!r} is kept of the invocation {invocation.invocation_id}",
            hint=f"it has: {', '.join(kept) or 'nothing'}",
        )
    sha256 = kept[name]
    return b"" if sha256 is None else run.artifact(sha256)
