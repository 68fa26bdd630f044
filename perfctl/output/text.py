"""Make text from elsewhere safe to print."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return `text` with control characters as escapes: a tool's output must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )
