"""`perfctl selftest`: how often the baseline differs from itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.cli.format import format_option

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings


@click.command(cls=Command)
@format_option
@click.pass_obj
def selftest(settings: Settings, fmt: str) -> None:
    """How often the baseline differs from itself, over all runs and on every host (exit 7: too often).

    Every block runs the baseline twice, and by chance 1 such A/A test in 20 has p <= 0.05. A host with
    significantly more failures is in quarantine: gates leave it out until enough further tests pass.
    docs/gates.md has the rule. With no test, or too few, the exit code is 0.
    """
    from perfctl.errors import Refused
    from perfctl.render import print_view
    from perfctl.render.health import health_view
    from perfctl.report.health import health
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        found = health(store)
    print_view(health_view(found), fmt)
    hint = "docs/gates.md says how quarantine ends; `perfctl trend BENCHMARK` shows the raw baselines"
    if found.quarantined:
        names = ", ".join(str(item.target) for item in found.quarantined)
        raise Refused(f"in quarantine: {names}", where="selftest", hint=hint)
    if found.is_unsound:
        raise Refused("the baseline differs from itself too often", where="selftest", hint=hint)
