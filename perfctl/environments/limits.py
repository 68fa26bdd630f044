"""What an environment may use of its host: how CPUs are written, and what counts as a limit. Pure."""

from __future__ import annotations

import re

_MAX_CPU = 8191
"""The highest number that Linux can be built for."""


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs (or NUMA nodes) of a list such as '0-3,8', in the order written.

    Raises ValueError, in words that follow 'it'.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if match is None:
            raise ValueError(f"must be numbers and ranges with commas between them, not {part!r}")
        first = int(match[1])
        last = int(match[2] or match[1])
        if last < first:
            raise ValueError(f"has a range that goes backwards: {part}")
        if last > _MAX_CPU:
            raise ValueError(f"must not go beyond {_MAX_CPU}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ValueError("names something twice")
    return tuple(found)
