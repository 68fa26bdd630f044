"""Environment variables of the commands in an environment. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perfctl.model import Environment

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OURS = "PERFCTL_"


def check_variable(name: str, value: str) -> None:
    """Raise ValueError, in words that follow 'it', for what cannot be an environment's variable."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"names {name!r}: letters, digits and '_', no digit first")
    if name.startswith(_OURS):
        raise ValueError(f"names {name}: variables that begin with {_OURS} are perfctl's own")
    if "\0" in value:
        raise ValueError(f"has a value of {name} with a NUL character, which no variable can hold")


def with_variables(environment: Environment, argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` with the environment's variables; `argv` itself without any."""
    assignments = [f"{name}={value}" for name, value in environment.env]
    return ["env", *assignments, *argv] if assignments else list(argv)
