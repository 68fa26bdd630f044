"""The modules that roles bring along, as Python modules."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.role_readmes import ROLES_DIR


def load(path: str) -> ModuleType:
    """Return a module of a role, given as ROLE/library/NAME.py."""
    file = ROLES_DIR / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # No compiled file beside a role: it would be shipped.
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
