"""Parameters that a suite gives as a list: one benchmark for each value.

name = "requests"                               requests-128     request_bytes = 128
parameters.request_bytes = [128, 1024]   --->   requests-1024    request_bytes = 1024
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

from perfctl.errors import SuiteError

MOST_BENCHMARKS = 200
"""That one table may stand for."""

_WORD = re.compile(r"[A-Za-z0-9._-]+")


def expand(item: Any, where: str) -> list[Any]:
    """Return the tables that a table [[benchmark]] stands for: itself where no parameter is a list.

    Several lists give every combination, the last one changing first. Raises SuiteError for a list that is
    empty, names a value twice, or has one that no name can have in it.
    """
    parameters = item.get("parameters") if isinstance(item, dict) else None
    if not isinstance(parameters, dict) or not isinstance(item.get("name"), str):
        return [item]
    lists = {name: value for name, value in parameters.items() if isinstance(value, list)}
    if not lists:
        return [item]
    where = f"{where} ({item['name']:.80}), parameters"
    count = math.prod(map(len, lists.values()))
    if not 0 < count <= MOST_BENCHMARKS:
        raise SuiteError(
            f"the lists of {', '.join(lists)} make {count} benchmarks",
            where=where,
            hint=f"from 1 to {MOST_BENCHMARKS}: give every list at least one value, or fewer",
        )
    words = [[_word(name, value, where) for value in values] for name, values in lists.items()]
    for name, of_list in zip(lists, words, strict=True):
        if len(set(of_list)) < len(of_list):
            raise SuiteError(
                f"the list of {name} has a value twice", where=where, hint="leave one of them out"
            )
    return [
        {
            **item,
            "name": "-".join([item["name"], *named]),
            "parameters": parameters | dict(zip(lists, values, strict=True)),
        }
        for values, named in zip(itertools.product(*lists.values()), itertools.product(*words), strict=True)
    ]


def _word(name: str, value: Any, where: str) -> str:
    word = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list | dict) or not _WORD.fullmatch(word):
        raise SuiteError(
            f"{name} has {value!r:.80} in its list, which cannot be a part of a benchmark's name",
            where=where,
            hint="write a [[benchmark]] of its own for it",
        )
    return word
