"""The classes of all commands, and the options that every one of them has.

`-i`, `--db`, `--project` and `--debug` are accepted before the command, after it, and between a group and its
command. The last place in which one is given counts, also for `-i`, which may be repeated in it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from perfctl.cli.settings import Settings, load_settings
from perfctl.cli.text import Text

_GIVEN = "perfctl.cli.given"
"""Key of `Context.meta`, which all contexts of one command line share: values by parameter name."""


class SettingOption(click.Option):
    """An option whose value goes into the settings and not to the command's function."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, expose_value=False, callback=_remember, **kwargs)


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    # Contexts are parsed from the outermost to the innermost, so the innermost value stays.
    if value or (value == 0.0 and value is not False):
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value


def settings_of(ctx: click.Context) -> Settings:
    """Return the settings by the options that were given so far. Raises as `load_settings` does."""
    return load_settings(**ctx.meta.get(_GIVEN, {}))


class _SharedOption(SettingOption):
    """One that every command has."""


SHARED_OPTIONS = (
    _SharedOption(
        ["-i", "--inventory"],
        multiple=True,
        metavar="PATH",
        help="Ansible inventory; repeat for more. [PERFCTL_INVENTORY]",
    ),
    _SharedOption(["--db", "database"], metavar="PATH|URL", help="The results database. [PERFCTL_DB_URL]"),
    _SharedOption(
        ["--project", "project_dir"],
        type=click.Path(file_okay=False, path_type=Path),
        help="The folder of inventory/, suites/ and, with a perfctl.toml in it, results.db.  [default: here]",
    ),
    _SharedOption(["--debug"], is_flag=True, help="Show the traceback of an error."),
)


class _WithSharedOptions(click.Command):
    """Adds the shared options, but for those whose name the command itself uses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in (it for it in (*self.params, *SHARED_OPTIONS) if it.type is click.STRING):
            param.type = Text(settings_of)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the shared options."""
        own = super().get_params(ctx)
        taken = {word for param in own for word in (param.name, *param.opts)}
        return [*own, *(option for option in SHARED_OPTIONS if taken.isdisjoint((option.name, *option.opts)))]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then the shared ones."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for title, is_shared in (("Options", False), ("Options of every command", True)):
            chosen = [option for option in options if isinstance(option, _SharedOption) is is_shared]
            with formatter.section(title):
                formatter.write_dl([record for item in chosen if (record := item.get_help_record(ctx))])


class Command(_WithSharedOptions):
    """A command; its function gets `Settings` by `click.pass_obj`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Load the settings, now that every option is known, and run the command."""
        from perfctl.playbook import remove_stale_folders

        ctx.obj = settings_of(ctx)
        remove_stale_folders()
        return super().invoke(ctx)


class Group(_WithSharedOptions, click.Group):
    """A group of commands."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def repeat_options(command: str, *names: str) -> str:
    """Return a command to type next: `command` and those shared options of this command line that it needs.

    `names` are parameter names: inventory, database, project_dir. Only options that were given are repeated;
    what the environment and perfctl.toml say holds for the next command, too.
    """
    given = click.get_current_context().meta.get(_GIVEN, {})
    words = [command]
    for option in SHARED_OPTIONS:
        if option.name in names and option.name in given:
            value = given[option.name]
            values = value if isinstance(value, tuple) else (value,)
            words += [shlex.join((option.opts[0], str(item))) for item in values]
    return " ".join(words)
