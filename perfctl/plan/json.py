"""Write a plan as JSON, and read it back by the types of the model's fields."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from perfctl.errors import DataError
from perfctl.model import Plan, canonical_json, is_deeper

PLAN_SCHEMA_VERSION = 1
_MOST_BITS = 63
"""Of a whole number, beside the sign: what the database holds."""
_MOST_LEVELS = 50
"""Of lists and mappings: a plan has ten, and two for each environment within another one."""


def plan_to_json(plan: Plan) -> str:
    """Return the plan as canonical JSON; `plan_from_json` gives an equal plan back."""
    return canonical_json({"schema_version": PLAN_SCHEMA_VERSION, "plan": plan})


def plan_from_json(text: str, *, where: str | None = None) -> Plan:
    """Return the plan written by `plan_to_json`; `where` names the run for errors.

    Raises DataError, with the place in the plan, when the text is none or its parts do not go together.
    """
    try:
        content = json.loads(text)
        if is_deeper(content, _MOST_LEVELS):
            raise ValueError("it is nested too deeply")
        version = content["schema_version"]
        if version != PLAN_SCHEMA_VERSION:
            raise DataError(
                f"the plan has schema version {version!r:.80}, not {PLAN_SCHEMA_VERSION}",
                where=where,
                hint="resume it with the version of perfctl that started the run",
            )
        plan: Plan = _reader(Plan)(content["plan"])
    except _UnfitError as error:
        raise DataError(f"this is no stored plan: plan{error.place} {error}", where=where) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"this is no stored plan: {type(error).__name__}: {error}", where=where) from error
    _require_known_names(plan, where)
    return plan


def _require_known_names(plan: Plan, where: str | None) -> None:
    """Raise DataError for a name that nothing in the plan has."""
    environments = {item.name for item in plan.environments}
    benchmarks = {item.name for item in plan.benchmarks}
    named = {plan.baseline, *plan.required}
    named |= {item.environment for block in plan.blocks() for item in block.invocations}
    measured = {block.benchmark for block in plan.blocks()} | {item.benchmark for item in plan.decisions}
    for kind, unknown in (("environment", named - environments), ("benchmark", measured - benchmarks)):
        if unknown:
            raise DataError(
                f"this is no stored plan: it has no {kind} {', '.join(sorted(unknown)):.200}", where=where
            )


# ---- a value by the type of its field --------------------------------------------------------------------

_Reader = Callable[[Any], Any]


class _UnfitError(Exception):
    """JSON that cannot be a value of its field; `place` is where, seen from who catches it."""

    place = ""


@cache
def _reader(kind: Any) -> _Reader:
    """Return what makes a value of this type of the model from JSON; it raises _UnfitError."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return partial(_one_of, arguments)
    if origin is Literal:
        return partial(_choice, arguments)
    if origin is tuple:
        return partial(_tuple, arguments)
    if origin is get_origin(Mapping[str, Any]):
        return partial(_mapping, _reader(arguments[1]))
    return partial(_dataclass if is_dataclass(kind) else _scalar, kind)


def _refuse(item: Any) -> NoReturn:
    raise _UnfitError(f"cannot be {item!r:.80}")


def _at(name: str, reader: _Reader, item: Any) -> Any:
    try:
        return reader(item)
    except _UnfitError as error:
        error.place = f".{name:.80}{error.place}"
        raise


def _one_of(kinds: tuple[Any, ...], item: Any) -> Any:
    if item is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    fitting: list[Any] = others if len(others) == 1 else [kind for kind in others if type(item) is kind]
    return _reader(fitting[0])(item) if fitting else _refuse(item)


def _choice(choices: tuple[Any, ...], item: Any) -> Any:
    return item if item in choices else _refuse(item)


def _tuple(kinds: tuple[Any, ...], item: Any) -> tuple[Any, ...]:
    """JSON has lists where the frozen values have tuples."""
    if not isinstance(item, list):
        _refuse(item)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(item)
    if len(item) != len(kinds):
        _refuse(item)
    found = []
    for number, (kind, one) in enumerate(zip(kinds, item, strict=True)):
        try:
            found.append(_reader(kind)(one))
        except _UnfitError as error:
            error.place = f"[{number}]{error.place}"
            raise
    return tuple(found)


def _mapping(reader: _Reader, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        _refuse(item)
    return {key: _at(key, reader, value) for key, value in item.items()}


@cache
def _fields(kind: Any) -> tuple[Mapping[str, _Reader], frozenset[str]]:
    """Return the readers of a dataclass's fields by name, and the names of those without a default."""
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    needed = (f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)
    return readers, frozenset(needed)


def _dataclass(kind: Any, item: Any) -> Any:
    if not isinstance(item, dict):
        _refuse(item)
    readers, needed = _fields(kind)
    for name in needed - item.keys():
        raise _UnfitError(f"has no {name}")
    for name in item.keys() - readers.keys():
        raise _UnfitError(f"has a field {name!r:.80}, which this version of perfctl does not know")
    return kind(**{name: _at(name, readers[name], value) for name, value in item.items()})


def _scalar(kind: Any, item: Any) -> Any:
    """Return a text, a truth value or a number; none of a plan's numbers is below 0."""
    if type(item) is not kind and not (kind is float and type(item) is int):
        _refuse(item)
    if isinstance(item, int) and not 0 <= item < 1 << _MOST_BITS:
        _refuse(item)
    if isinstance(item, float) and not (math.isfinite(item) and item >= 0):
        _refuse(item)
    return item
