"""`perfctl completion`: what a shell needs to complete its command lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from perfctl.cli.command import Command

VARIABLE = "_PERFCTL_COMPLETE"
"""The variable of the environment by which a shell asks for completions; click derives it from the name."""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the lines that have SHELL complete commands, options, runs, suites, hosts and environments.

    \b
    bash   in ~/.bashrc: eval "$(perfctl completion bash)"
    zsh    in ~/.zshrc, after compinit: eval "$(perfctl completion zsh)"
    fish   perfctl completion fish > ~/.config/fish/completions/perfctl.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    lines = kind(click.get_current_context().find_root().command, {}, "perfctl", VARIABLE)
    # Not by `source()`, which starts a bash to ask for its version.
    click.echo(lines.source_template % lines.source_vars())
