"""The type of arguments and options that are texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.types import StringParamType

from perfctl.cli.settings import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Text(StringParamType):
    """A text; where it is the name of a run, a suite, a host, ... a shell completes it."""

    def __init__(self, settings_of: Callable[[click.Context], Settings]) -> None:
        self._settings_of = settings_of

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Return the names that begin as the incomplete one."""
        from perfctl.output.names import completions

        return completions(param.name or "", self._settings_of, ctx, incomplete)
