"""docs/cli.md: the help of every command, as the program itself gives it.

Write it anew after a change of any option:

    python -m perfctl.cli.reference > docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from perfctl.cli import main_group

WIDTH = 100

_INTRODUCTION = """\
# The command line

This page is generated: `python -m perfctl.cli.reference > docs/cli.md` writes it, and a test fails when it is
out of date.

The options of every command are accepted before and after it (`perfctl --db x.db runs`,
`perfctl runs --db x.db`); the last place in which one is given counts. After `--` they go to
ansible-playbook like everything else there.

Data goes to standard output, everything else to standard error. Exit codes:

| code | meaning |
| ---: | --- |
| 0 | all is well |
| 1 | the system refuses (no space, too many open files), or an internal error |
| 2 | usage: an unknown name, option or key |
| 3 | some hosts or invocations failed; the rest is kept |
| 4 | no host reachable, or none matched |
| 5 | a regression, or a gate was crossed |
| 6 | another holder measures or changes the host |
| 7 | refused: preflight, safety or drift |
| 8 | wrong data or schema |
| 124 | timeout |
| 130, 129, 143 | interrupted, hung up (a closed terminal), terminated |

A reader of standard output that goes away (`| head -1`) changes no exit code. Standard error never stalls a
command: what nobody reads in time is left out. When standard output cannot be written (a full disk), that is
exit code 1, but for `run` and `resume`, whose exit code says how the run went.
"""


def reference() -> str:
    """Return the page. It does not depend on the machine, the terminal or the settings."""
    parts = [_INTRODUCTION]
    for level, context in _contexts(_context(main_group, "perfctl", None), 2):
        text = context.get_help().rstrip()
        parts.append(f"{'#' * level} {context.command_path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _contexts(context: click.Context, level: int) -> Iterator[tuple[int, click.Context]]:
    yield level, context
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            yield from _contexts(_context(command, name, context), min(level + 1, 4))


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    """Return the context that click would make, at a width that does not depend on the terminal."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
