"""The option `--format`, which every command that prints a view has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from perfctl.errors import UsageError
from perfctl.render import DEFAULT_FORMAT, FORMATS

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_Command = TypeVar("_Command", bound=Callable[..., Any])


class FormatName(click.ParamType[str]):
    """The name of a format that is registered when the option is read; `names` gives those that are."""

    name = "format"

    def __init__(self, names: Callable[[], Collection[str]]) -> None:
        self._names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return the names, e.g. '[table|json]'."""
        return f"[{'|'.join(self._names())}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Return the names that begin as the incomplete one."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self._names() if name.startswith(incomplete)]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name. Fails for one that is not registered."""
        if value not in self._names():
            self.fail(f"{value!r} is not one of {', '.join(self._names())}", param, ctx)
        return str(value)


def format_option(command: _Command) -> _Command:
    """Give a click command `--format`, passed as `fmt`."""
    option = click.option(
        "--format",
        "fmt",
        type=FormatName(lambda: FORMATS),
        default=DEFAULT_FORMAT,
        show_default=True,
        help="How to print the result on stdout.",
    )
    return option(command)


def refuse_format(reason: str, *, hint: str) -> None:
    """Raise UsageError, with the reason and a hint, when the command line has `--format`."""
    if click.get_current_context().get_parameter_source("fmt") is ParameterSource.COMMANDLINE:
        raise UsageError(f"--format has no effect here: {reason}", hint=hint)
