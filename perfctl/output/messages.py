"""Errors on stderr: what happened, where, what to do."""

from __future__ import annotations

import os
import sys
from typing import IO

from perfctl.errors import PerfctlError
from perfctl.output.text import joined_lines, visible


def wants_color(stream: IO[str]) -> bool:
    """Return whether `stream` is a terminal that may be coloured (https://no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def error_text(error: PerfctlError, *, color: bool = False) -> str:
    """Return at most three lines without a final newline; each part is put on one line."""
    red, off = ("\x1b[1;31m", "\x1b[0m") if color else ("", "")
    lines = [f"{red}error:{off} {_without_label('error:', error.message)}"]
    if error.where:
        lines.append(f"  where: {_without_label('where:', error.where)}")
    if error.hint:
        lines.append(f"  try:   {_without_label('try:', error.hint)}")
    return "\n".join(lines)


def print_error(error: PerfctlError, stream: IO[str] | None = None) -> None:
    """Write `error` to stderr (or `stream`)."""
    target = sys.stderr if stream is None else stream
    print(error_text(error, color=wants_color(target)), file=target, flush=True)


def _without_label(label: str, text: str) -> str:
    """Return `text` on one line, without the label that it may have already: virsh says "error: " itself."""
    line = _one_line(text)
    return line[len(label) :].lstrip() if line.lower().startswith(label) else line


def _one_line(text: str) -> str:
    return visible(joined_lines(text))
