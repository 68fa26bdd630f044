"""Resolve simple templates in inventory values, which ansible-inventory --list leaves unresolved."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.inventory.vault import LiteralText, Vault
from perfctl.redaction import environment_secret, is_secret_name, register

_MAX_DEPTH = 20
_MOST_EXPRESSIONS = 1000
"""Of one value: templates that each name two others would else take for ever."""
_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_QUOTED = r"""(?:'([^']*)'|"([^"]*)")"""
_VARIABLE = re.compile(
    rf"""([A-Za-z_]\w*)((?:\.\w+|\[(?:'[^']*'|"[^"]*"|\d+)\])*)"""
    rf"""(?:\s*\|\s*(?:default|d)\(\s*(?:{_QUOTED}|(-?\d{{1,18}}))\s*(?:,\s*[Tt]rue\s*)?\))?"""
)
_ENVIRONMENT = re.compile(rf"(?:lookup|query)\(\s*['\"](?:ansible\.builtin\.)?env['\"]\s*,\s*{_QUOTED}\s*\)")
_HINT = "write the value out; variables, their parts, default() and lookup('env', ...) work"
_STEP = re.compile(r"""\.(\w+)|\['([^']*)'\]|\["([^"]*)"\]|\[(\d+)\]""")
_INDEX = re.compile(r"\d{1,9}", re.ASCII)


class Resolver:
    """Resolves other variables, their parts, defaults and environment variables."""

    def __init__(self, sources: Sequence[str], vault: Vault) -> None:
        self.sources = tuple(sources)
        self._vault = vault
        self._expressions = 0
        self._constants: dict[str, str] = {"ansible_playbook_python": sys.executable}
        folders = {_folder_of(Path(source)) for source in sources if Path(source).exists()}
        if len(folders) == 1:
            self._constants["inventory_dir"] = str(folders.pop())
        if len(sources) == 1 and Path(sources[0]).is_file():
            self._constants["inventory_file"] = str(Path(sources[0]).absolute())

    def value(self, host: str, name: str, variables: Mapping[str, Any]) -> Any:
        """Return the variable `name` of a host, resolved; None when it is not set.

        A secret is registered with `redaction`. Raises UsageError, which has no part of a secret's value.
        """
        known = {
            **self._constants,
            "inventory_hostname": host,
            "inventory_hostname_short": host.split(".")[0],
        }
        where = f"{host}: {name}"
        self._expressions = 0
        try:
            found = self._resolve(variables.get(name), where, {**known, **variables}, 0)
        except UsageError as error:
            if error.hint == _HINT and is_secret_name(name):
                # The names in a template that is none, such as p{{ass}}, may be parts of the secret.
                raise UsageError(
                    "this value is read as a template and cannot be resolved",
                    where=where,
                    hint="for a text that is no template: !unsafe 'TEXT' in YAML, or vault",
                ) from None
            raise
        if is_secret_name(name) and found is not None:
            register(name, str(found))
        return found

    def _resolve(self, value: Any, where: str, variables: Mapping[str, Any], depth: int) -> Any:
        value = self._vault.open(value, where)
        if isinstance(value, LiteralText):
            return str(value)
        if not isinstance(value, str) or "{" not in value:
            return value
        if "{%" in value:
            raise _unsupported(value, where)
        if depth > _MAX_DEPTH:
            raise UsageError(f"the template refers to itself: {value}", where=where, hint=_HINT)
        whole = _TEMPLATE.fullmatch(value.strip())
        if whole and "{{" not in whole[1]:
            return self._expression(whole[1], value, where, variables, depth)
        # Behind the last end there is no template: from each {{ it would be looked for in vain.
        head, end, tail = value.rpartition("}}")
        return (
            _TEMPLATE.sub(
                lambda found: str(self._expression(found[1], value, where, variables, depth)), head + end
            )
            + tail
        )

    def _expression(self, text: str, value: str, where: str, variables: Mapping[str, Any], depth: int) -> Any:
        self._expressions += 1
        if self._expressions > _MOST_EXPRESSIONS:
            text = f"the value takes more than {_MOST_EXPRESSIONS:,} templates to resolve"
            raise UsageError(text, where=where, hint=_HINT)
        text = text.strip()
        found = _ENVIRONMENT.fullmatch(text)
        if found:
            named = found[1] or found[2] or ""
            # What no name of a variable can be, such as half of a character, os.environ cannot look up.
            return environment_secret(named, dict(os.environ).get(named, ""), where=where)
        found = _VARIABLE.fullmatch(text)
        if not found:
            raise _unsupported(value, where)
        name, steps, single, double, number = found.groups()
        current = self._walk(name, steps, variables)
        if current is None:
            default = next((item for item in (single, double, number) if item is not None), None)
            if default is None:
                raise UsageError(f"{value}: there is no variable {name}{steps}", where=where, hint=_HINT)
            return int(default) if number is not None else default
        return self._resolve(current, where, variables, depth + 1)

    @staticmethod
    def _walk(name: str, steps: str, variables: Mapping[str, Any]) -> Any:
        current: Any = variables.get(name)
        for key in map("".join, _STEP.findall(steps)):
            if isinstance(current, Mapping):
                current = current.get(key)
            elif isinstance(current, list) and _INDEX.fullmatch(key) and int(key) < len(current):
                current = current[int(key)]
            else:
                return None
        return current


def _folder_of(source: Path) -> Path:
    absolute = source.absolute()
    return absolute if absolute.is_dir() else absolute.parent


def _unsupported(value: str, where: str) -> UsageError:
    return UsageError(
        f"perfctl cannot resolve the template {value}",
        where=where,
        hint=_HINT,
    )
