"""The options of commands that take long: on their progress, and on a database that is lost meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import click

from perfctl.cli.command import SettingOption
from perfctl.cli.format import FormatName

_Command = TypeVar("_Command", bound=click.Command)


def _styles() -> Collection[str]:
    from perfctl.output.progress import STYLES

    return STYLES


db_patience_option = click.option(
    *("--db-patience", "db_patience_s"),
    cls=SettingOption,
    type=click.FloatRange(min=0.0),
    metavar="SECONDS",
    help="Wait so long for the database's server when it is lost.  [default: 300]",
)


def progress_options(command: _Command) -> _Command:
    """Give a command the options on its progress; the style is `Settings.progress`."""
    command.params += [
        SettingOption(
            ["--progress"],
            type=FormatName(_styles),
            help="How to show progress on stderr. [PERFCTL_PROGRESS]  [default: by the terminal]",
        ),
        SettingOption(["-q", "--quiet", "is_quiet"], is_flag=True, help="Print only what goes wrong."),
    ]
    return command
