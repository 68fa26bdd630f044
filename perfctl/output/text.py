"""Make text from elsewhere safe to print."""

from __future__ import annotations

from perfctl.redaction import redact


def visible(text: str) -> str:
    """Return `text` without secrets, and with control characters as escapes.

    A tool's output must not steer the terminal.
    """
    text = redact(text)
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def joined_lines(text: str) -> str:
    """Return `text` on one line, ' | ' between its lines, without secrets.

    A secret of several lines is found before they are joined, or not at all.
    """
    return " | ".join(line.strip() for line in redact(text).splitlines() if line.strip())
