"""Read YAML that a user wrote: no tag makes anything but plain values, and no alias makes a text grow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

_MOST_VALUES = 1_000_000
_QUOTED_NAME = re.compile(r"\b(alias|anchor|tag|tag handle) ['\"].*", re.DOTALL)
"""A password that begins with * or ! is read as the name of one."""
_PLAIN = "tag:yaml.org,2002:"
# A date that is none, a number of thousands of digits, `!!int ""`: PyYAML has no error of its own for them.
_ODD = (ValueError, LookupError, AttributeError, TypeError, RecursionError)


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises ValueError, whose message has nothing of the text: it may hold a secret.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        is_bounded = _expanded(node, {}) <= _MOST_VALUES
        value = loader.construct_document(node) if node is not None and is_bounded else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = _QUOTED_NAME.sub(r"\1", str(getattr(error, "problem", "")))
        raise ValueError(f"this is no YAML{line}: {problem}") from error
    except _ODD as error:
        raise ValueError(f"this is no YAML: {type(error).__name__}") from error
    if not is_bounded:
        raise ValueError(f"this YAML is too large: its aliases stand for more than {_MOST_VALUES:,} values")
    return value


def texts_of_yaml(name: str, text: str) -> Iterator[tuple[str, str]]:
    """Yield each text in a YAML text with the key that is nearest to it, `name` where there is none.

    What has a tag of Ansible's is a text. What is there many times, by aliases, comes once for each key.
    Raises ValueError for what is no YAML.
    """
    import yaml

    try:
        ahead: list[tuple[str, Any]] = [(name, yaml.compose(text, yaml.SafeLoader))]
    except (yaml.YAMLError, *_ODD) as error:
        raise ValueError("no YAML") from error
    seen = set()
    while ahead:
        name, node = ahead.pop()
        if node is None or (name, id(node)) in seen:
            continue
        seen.add((name, id(node)))
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                ahead.append((str(key.value) if isinstance(key, yaml.ScalarNode) else name, value))
        elif isinstance(node, yaml.SequenceNode):
            ahead += [(name, item) for item in reversed(node.value)]
        elif node.tag == f"{_PLAIN}str" or not node.tag.startswith(_PLAIN):
            yield name, node.value


def _expanded(node: Any, known: dict[int, float]) -> float:
    """Return how many values a node stands for once its aliases are written out; one in itself has no end."""
    if id(node) not in known:
        known[id(node)] = math.inf
        value = getattr(node, "value", "")
        inner = [] if isinstance(value, str) else value
        parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]
