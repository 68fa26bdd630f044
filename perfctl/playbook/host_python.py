"""Which Python Ansible needs on a host, and which one it will use there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from pathlib import Path

from perfctl.model import Host
from perfctl.playbook.runner import default_interpreter

_FLOOR = re.compile(r"^_PY_MIN = \((\d+), (\d+)\)$", re.MULTILINE)
_FLOOR_FILE = Path("module_utils", "basic.py")


def lowest_python() -> tuple[int, int] | None:
    """Return the lowest version of Python on which the modules of the installed ansible-core run.

    Each module begins by comparing it with its own; importing that code would take 0.2 s. None where
    ansible-core does not say it there any more: then its own message is what users get.
    """
    spec = importlib.util.find_spec("ansible")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / _FLOOR_FILE
        if path.is_file() and (match := _FLOOR.search(path.read_text())):
            return int(match[1]), int(match[2])
    return None


def ansible_core_version() -> str:
    """Return the version of the installed ansible-core, such as 2.19.14."""
    return importlib.metadata.version("ansible-core")


def interpreter_of(host: Host) -> str | None:
    """Return the interpreter that Ansible will use on a host, None where only Ansible itself can find it."""
    named = host.variables.get("ansible_python_interpreter")
    text = default_interpreter(os.environ) if named is None else str(named)
    return None if text.startswith("auto") or "{{" in text else text
