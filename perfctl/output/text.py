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
