"""Variables (-e KEY=VALUE, -e '{"key": ...}', -e @FILE) and parameters (--param NAME=VALUE)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.redaction import is_secret_name, register, texts_in


def read_variables(items: Sequence[str]) -> dict[str, Any]:
    """Return the variables of all `-e` options; a later one wins. Values are YAML, so 1500 is a number.

    Raises UsageError for what cannot be read.
    """
    variables: dict[str, Any] = {}
    for item in items:
        variables |= _read(item)
    for name, value in variables.items():
        for key, text in texts_in(name, value):
            if is_secret_name(name) or is_secret_name(key):
                register(key, text)
    return variables


def parse_parameters(items: Sequence[str]) -> dict[str, str]:
    """Return the parameters of all `--param` options; a later one wins. Raises UsageError."""
    parameters: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {item!r} is not NAME=VALUE", hint="for example: --param time_s=2")
        parameters[name.strip()] = value.strip()
    return parameters


def _read(item: str) -> dict[str, Any]:
    if item.startswith("@"):
        try:
            return _mapping(Path(item[1:]).expanduser().read_text(encoding="utf-8"), item)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the variables: {error}", where=item[1:]) from error
    if item.lstrip().startswith("{"):
        return _mapping(item, "-e")
    name, equals, value = item.partition("=")
    if not equals or not name.strip().isidentifier():
        raise UsageError("one -e is neither KEY=VALUE nor @FILE", hint="for example: -e perf_bridge_mtu=1500")
    return {name.strip(): _yaml(value, f"-e {name.strip()}")}


def _mapping(text: str, where: str) -> dict[str, Any]:
    content = _yaml(text, where)
    if not isinstance(content, dict):
        hint = "a file that vault has encrypted goes to Ansible itself: perfctl provision -- -e @FILE"
        raise UsageError("these are no variables", where=where, hint=hint)
    return content


def _yaml(text: str, where: str) -> Any:
    from perfctl.inventory.yaml_text import load_yaml

    try:
        return load_yaml(text)
    except ValueError as error:
        raise UsageError(str(error), where=where) from error
