"""Benchmark programs of perfctl's own: standard library alone, for every Python from 3.7 on.

They are never imported: `source` gives their text, which an interpreter gets on its command line. So nothing
is copied anywhere, and every environment runs the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def source(name: str) -> str:
    """Return the text of a program."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
