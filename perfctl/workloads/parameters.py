"""Resolve the parameters that a user gave into those of a benchmark: defaults, types, limits, close names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from perfctl.errors import SuiteError, UsageError
from perfctl.model import Parameter
from perfctl.workloads.base import ParameterSpec, Workload

_OPTION = "--param"
_MOST_BITS = 63
"""Of a whole number, beside the sign: what the programs take."""
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def applicable_specs(workload: Workload, test: Parameter | None) -> tuple[ParameterSpec, ...]:
    """Return the parameters that apply to this value of the parameter `test`; None: those of every test."""
    return tuple(spec for spec in workload.parameter_specs if not spec.tests or test in spec.tests)


def resolve_parameters(
    workload: Workload, given: Mapping[str, Any], *, where: str | None = None
) -> dict[str, Parameter]:
    """Return all parameters that apply, in the order of the documentation, defaults filled in.

    `where` names the file and table for the error. Raises SuiteError for an unknown name, a parameter of
    another test, a wrong type, a value out of its limits, or values that do not go together.
    """
    by_name = {spec.name: spec for spec in workload.parameter_specs}
    for name in given:
        if name not in by_name:
            raise _unknown(workload, name, given[name], where)
    test = None
    if "test" in by_name:
        test = _checked(by_name["test"], given.get("test", by_name["test"].default), where)
    specs = applicable_specs(workload, test)
    for name in given:
        if by_name[name] not in specs:
            tests = " or ".join(by_name[name].tests)
            raise SuiteError(
                f"parameter {name} does not apply to test {test}",
                where=where,
                hint=f"{name} belongs to test {tests}; leave it out or change test",
            )
    resolved = {spec.name: _checked(spec, given.get(spec.name, spec.default), where) for spec in specs}
    try:
        workload.check(resolved)
    except UsageError as error:
        raise SuiteError(error.message, where=where, hint=error.hint) from error
    return resolved


def parameter_from_text(spec: ParameterSpec, text: str, *, where: str | None = None) -> Parameter:
    """Return the value that `text` (of a command line) means for this parameter. Raises SuiteError."""
    value: Any = text
    if isinstance(spec.default, bool):
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif isinstance(spec.default, int | float):
        try:
            value = type(spec.default)(text)
        except ValueError:
            value = text
    return _checked(spec, value, where)


def parameters_from_texts(workload: Workload, texts: Mapping[str, str]) -> dict[str, Parameter]:
    """Return all parameters of a workload, those of a command line in `texts`. Raises SuiteError."""
    specs = {spec.name: spec for spec in workload.parameter_specs}
    given = {
        name: parameter_from_text(specs[name], text, where=_OPTION) if name in specs else text
        for name, text in texts.items()
    }
    return resolve_parameters(workload, given, where=_OPTION)


def _unknown(workload: Workload, name: str, value: Any, where: str | None) -> SuiteError:
    names = [spec.name for spec in workload.parameter_specs]
    with_unit = [known for known in names if known.startswith(f"{name}_")]
    close = with_unit or get_close_matches(name, names, n=3)
    hint = f"its parameters are: {', '.join(names)}"
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    message = f"{workload.name} has no parameter {name!r:.80} ({name:.80} = {_written(value)})"
    return SuiteError(message, where=where, hint=hint)


def _checked(spec: ParameterSpec, value: Parameter, where: str | None) -> Parameter:
    """Return the value in its parameter's own type, or raise SuiteError."""
    kind = type(spec.default)
    if kind is float and type(value) is int and value.bit_length() <= _MOST_BITS:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise SuiteError(
            f"parameter {spec.name} must be {_KINDS[kind]}, not {_written(value)}",
            where=where,
            hint=_type_hint(spec, value),
        )
    problem = _problem(spec, value)
    if problem:
        raise SuiteError(
            f"parameter {spec.name} = {_written(value)}: {problem}",
            where=where,
            hint=f"{spec.name}: {spec.description}",
        )
    return value


def _written(value: Any) -> str:
    """Return a value as a message quotes it: its first 200 characters."""
    try:
        return f"{value!r:.200}"
    except ValueError:
        # Python writes no whole number of more than 4,300 digits.
        return "a number of thousands of digits"


def _problem(spec: ParameterSpec, value: Parameter) -> str:
    """Return what is wrong with a value of the right type, '' when nothing is."""
    if spec.choices and value not in spec.choices:
        return _choices_text(spec.choices)
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return "it has more than 64 bits"
    if isinstance(value, str):
        if not value.isprintable():
            return "it must not have control characters"
        if spec.pattern and not re.fullmatch(spec.pattern, value):
            return f"it must match {spec.pattern}"
        return ""
    unit = f" {spec.unit}" if spec.unit else ""
    if spec.minimum is not None and value < spec.minimum:
        return f"the minimum is {spec.minimum:g}{unit}"
    if spec.maximum is not None and value > spec.maximum:
        return f"the maximum is {spec.maximum:g}{unit}"
    return ""


def _choices_text(choices: Sequence[Parameter]) -> str:
    return "it must be one of " + ", ".join(repr(choice) for choice in choices)


def _type_hint(spec: ParameterSpec, value: Any) -> str:
    if isinstance(value, list):
        return "one value; a suite may give a list, which makes one benchmark for each value"
    number = re.fullmatch(r"\s*([\d.]+)\s*[A-Za-z]+\s*", value) if isinstance(value, str) else None
    if number and spec.unit and not isinstance(spec.default, str):
        return f"write the bare number; {spec.name} is in {spec.unit}, e.g. {spec.name} = {spec.default}"
    if isinstance(value, str) and not isinstance(spec.default, str):
        return f"write it without quotes, e.g. {spec.name} = {str(spec.default).lower()}"
    unit = f" (in {spec.unit})" if spec.unit else ""
    return f"{spec.name}{unit}: {spec.description}"
