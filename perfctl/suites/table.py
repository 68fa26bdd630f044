"""Read one table of a TOML file key by key; errors name the file, the table and the key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from perfctl.errors import SuiteError

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
NAME_RULE = "letters, digits, '.', '_' and '-', a letter or digit first"
_Value = TypeVar("_Value", str, int, bool, dict[str, Any])
_KINDS = {str: "a text", int: "a whole number", bool: "true or false", dict: "a table"}


def close_hint(name: str, known: Collection[str], *, otherwise: str) -> str:
    """Return 'did you mean ...?' for names that come close, else `otherwise`."""
    close = get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def refuse_long_numbers(content: Any, where: str) -> None:
    """Raise SuiteError for a whole number of more than 64 bits, at any depth: TOML has none."""
    if isinstance(content, dict):
        for key, value in content.items():
            refuse_long_numbers(value, f"{where}: {key}" if isinstance(value, int) else where)
    elif isinstance(content, list):
        for value in content:
            refuse_long_numbers(value, where)
    elif isinstance(content, int) and content.bit_length() > _MOST_BITS:
        raise SuiteError("a whole number has more than 64 bits", where=where)


_MOST_BITS = 63
"""Beside the sign."""


_COMMAND = 'the program and its arguments, e.g. ["stress-ng", "--cpu", "1"]; no shell reads them'


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a file. Raises SuiteError when it cannot be read, or is no TOML."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"cannot read the file: {error}", where=str(path)) from error
    except ValueError as error:
        # TOMLDecodeError is one, and so is what Python says of a number of more than 4,300 digits.
        raise SuiteError(f"this is no TOML: {error}", where=str(path), hint="see docs/suites.md") from error
    refuse_long_numbers(content, str(path))
    return content


class Table:
    """A TOML table and its position in a file; every reader raises SuiteError for a wrong type."""

    def __init__(
        self, content: Any, *, where: str, keys: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> None:
        """Take a table that may have these keys and no others; `instead` has hints for likely mistakes."""
        self.where = where
        if not isinstance(content, dict):
            raise SuiteError(f"this must be a table, not {_written(content)}", where=where)
        self._content = content
        for key in content:
            if key not in keys:
                allowed = f"allowed: {', '.join(keys)}"
                hint = (instead or {}).get(key) or close_hint(key, keys, otherwise=allowed)
                raise SuiteError(f"wrong key {_written(key)}", where=where, hint=hint)

    def has(self, key: str) -> bool:
        """Return whether the key is there."""
        return key in self._content

    def value(self, key: str, kind: type[_Value], default: _Value | None = None) -> _Value:
        """Return the value of a key, `default` when it is missing; without a default it must be there."""
        value = self._content.get(key, default)
        if value is None:
            raise SuiteError(f"key {key!r} is missing", where=self.where, hint=f"{key}: {_KINDS[kind]}")
        if type(value) is not kind:
            raise self.wrong(key, f"must be {_KINDS[kind]}")
        return value

    def optional(self, key: str, kind: type[_Value]) -> _Value | None:
        """Return the value of a key, None when it is missing."""
        return self.value(key, kind) if self.has(key) else None

    def flag(self, key: str) -> bool:
        """Return true or false, false when the key is missing."""
        return self.value(key, bool) if self.has(key) else False

    def argv(self, key: str) -> tuple[str, ...]:
        """Return a command: a list of texts, the program first."""
        return self._argv(key, self._content.get(key))

    def argvs(self, key: str) -> tuple[tuple[str, ...], ...]:
        """Return a list of commands, none when the key is missing."""
        value = self._content.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list of commands", hint=_COMMAND)
        return tuple(self._argv(key, item) for item in value)

    def _argv(self, key: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "must be a command: a list of texts", hint=_COMMAND)
        if any("\0" in item for item in value):
            raise self.wrong(key, "must not have a character NUL")
        if not value[0].strip() or value[0].startswith("-") or "{" in value[0]:
            raise self.wrong(key, "must begin with a program", hint=_COMMAND)
        return tuple(value)

    def number_or_text(self, key: str, default: str) -> str:
        """Return a number from 0 up as text, or a text like '{time_s}'; `default` when the key is missing."""
        value = self._content.get(key, default)
        if isinstance(value, str) and (value == default or re.fullmatch(r"\{[a-z][a-z0-9_]*\}", value)):
            return value
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise self.wrong(
                key, "must be a number, or a parameter in braces", hint=f'e.g. {key} = "{{time_s}}"'
            )
        return repr(value)

    def number(self, key: str) -> float | None:
        """Return a number, whole or not, None when the key is missing."""
        value = self._content.get(key)
        if value is not None and type(value) not in (int, float):
            raise self.wrong(key, "must be a number")
        return None if value is None else float(value)

    def texts(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a list of texts, none of them twice."""
        value = self._content.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "must be a list of texts")
        if len(set(value)) < len(value):
            raise self.wrong(key, "names something twice")
        for item in value:
            self._require_argument(key, item)
        return tuple(value)

    def argument(self, key: str) -> str:
        """Return a text that a program may get as an argument."""
        value = self.value(key, str)
        self._require_argument(key, value)
        return value

    def _require_argument(self, key: str, text: str) -> None:
        if not text.strip():
            raise self.wrong(key, "must not be empty")
        if text.lstrip().startswith("-"):
            raise self.wrong(key, "must not begin with '-': a program would take it for an option")
        if not text.isprintable():
            raise self.wrong(key, "must not have control characters")

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return a text that is one of `choices`."""
        value = self.value(key, str, default)
        if value not in choices:
            raise self.wrong(key, f"must be one of {', '.join(map(repr, choices))}")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """Return a text that can be a name: letters, digits, '.', '_' and '-'."""
        value = self.value(key, str, default)
        if not re.fullmatch(NAME, value):
            raise self.wrong(key, f"must be {NAME_RULE}")
        return value

    def wrong(self, key: str, problem: str, *, hint: str | None = None) -> SuiteError:
        """Return the error for a key with a wrong value."""
        written = _written(self._content[key]) if key in self._content else "(not given)"
        return SuiteError(f"{key} = {written}: it {problem}", where=self.where, hint=hint)


def _written(value: Any) -> str:
    return f"{value!r:.{_MOST_QUOTED}}"


_MOST_QUOTED = 200
"""Characters of a wrong value in a message."""
