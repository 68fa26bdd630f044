"""The help of every command on one page: Markdown for docs/cli.md, and the man page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

WIDTH = 100
"""Of the help in Markdown, in characters."""

EXIT_CODES = (
    ("0", "all is well"),
    ("1", "the system refuses (no space, too many open files), or an internal error"),
    ("2", "usage: an unknown name, option or key"),
    ("3", "some hosts or invocations failed; the rest is kept"),
    ("4", "no host reachable, or none matched"),
    ("5", "a regression, or a gate was crossed"),
    ("6", "another holder measures or changes the host"),
    ("7", "refused: preflight, safety or drift"),
    ("8", "wrong data or schema"),
    ("124", "timeout"),
    ("130, 129, 143", "interrupted, hung up (a closed terminal), terminated"),
)
"""Every exit code, and what it means."""

_FILES = (
    ("perfctl.toml", "The settings of a project: inventory, db. It makes its folder a project."),
    ("~/.config/perfctl/config.toml", "The same for all folders of a user."),
    ("results.db", "The results of a project."),
    ("~/.local/share/perfctl/results.db", "The results of all folders that are no project."),
    ("inventory/", "The inventory of a project."),
    ("suites/", "Its suites, a TOML file each."),
)

_INTRODUCTION = """\
# The command line

This page is generated: `python -m perfctl.cli.reference > docs/cli.md` writes it, and a test fails when it is
out of date.

The options of every command are accepted before and after it (`perfctl --db x.db runs`,
`perfctl runs --db x.db`); the last place in which one is given counts. After `--` they go to
ansible-playbook like everything else there.

Data goes to standard output, everything else to standard error.
"""

_STREAMS = """\
A reader of standard output that goes away (`| head -1`) changes no exit code. Standard error never stalls a
command: what nobody reads in time is left out. When standard output cannot be written (a full disk), that is
exit code 1, but for `run` and `resume`, whose exit code says how the run went.
"""


def markdown_page(root: click.Group) -> str:
    """Return docs/cli.md. It does not depend on the machine, the terminal or the settings."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES)
    parts = [
        f"{_INTRODUCTION.rstrip()} Exit codes:\n\n| code | meaning |\n| ---: | --- |\n{codes}\n{_STREAMS}"
    ]
    for level, context in _contexts(_context(root, "perfctl", None), 2):
        text = context.get_help().rstrip()
        parts.append(f"{'#' * level} {context.command_path}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def man_page(root: click.Group, version: str) -> str:
    """Return the source of perfctl(1), for man. It depends on nothing else, either."""
    top = _context(root, "perfctl", None)
    shared = {*(name for param in root.get_params(top) for name in param.opts)}
    lines = [
        '.\\" Generated: python -m perfctl.cli.reference --man > docs/perfctl.1',
        f'.TH PERFCTL 1 "" "perfctl {version}" "perfctl"',
        ".SH NAME",
        f"perfctl \\- {_roff(_sentence(root))}",
        ".SH SYNOPSIS",
        r"\fBperfctl\fR [\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        *_paragraphs(_INTRODUCTION.partition("\n\n")[2].partition("\n\n")[2]),
        ".SH OPTIONS OF EVERY COMMAND",
        *_options(top, set()),
        ".SH COMMANDS",
    ]
    for _, context in _contexts(top, 1):
        if context is top:
            continue
        usage = " ".join(context.command.collect_usage_pieces(context))
        lines += [f".SS {_roff(context.command_path)} {_roff(usage)}"]
        lines += [*_paragraphs(inspect.cleandoc(context.command.help or "")), *_options(context, shared)]
    lines.append(".SH EXIT STATUS")
    for code, meaning in EXIT_CODES:
        lines += [".TP", rf"\fB{code}\fR", _roff(meaning)]
    lines += [".PP", *_paragraphs(_STREAMS), ".SH FILES"]
    for name, meaning in _FILES:
        lines += [".TP", rf"\fI{_roff(name)}\fR", _roff(meaning)]
    return "\n".join(lines) + "\n"


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


def _sentence(command: click.Command) -> str:
    return (command.help or "").strip().rstrip(".")


def _options(context: click.Context, left_out: set[str]) -> Iterator[str]:
    for param in context.command.get_params(context):
        record = param.get_help_record(context) if isinstance(param, click.Option) else None
        if record is not None and left_out.isdisjoint(param.opts):
            yield from (".TP", rf"\fB{_roff(record[0])}\fR", _roff(record[1]))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a text's paragraphs; those that begin with a backspace keep their lines, as in click's help."""
    for place, part in enumerate(re.split(r"\n\s*\n", text.strip())):
        if place:
            yield ".PP"
        if part.startswith("\b"):
            yield from (".nf", *map(_roff, part.removeprefix("\b").strip("\n").splitlines()), ".fi")
        else:
            yield _roff(" ".join(part.replace("`", "").split()))


def _roff(text: str) -> str:
    """Return text as roff takes it: no line of it is a request, and hyphens are those that are typed."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return rf"\&{text}" if text.startswith((".", "'")) else text
