"""What the floors of this part load when they are imported: heavy libraries only when they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("perfctl.output", ("rich", "numpy", "scipy", "sqlalchemy")),
        ("perfctl.render", ("rich", "numpy", "scipy", "sqlalchemy", "click", "jinja2")),
        ("perfctl.cli.compare", ("rich", "numpy", "scipy", "sqlalchemy")),
        ("perfctl.stats", ("scipy", "click")),
        ("perfctl.compare", ("scipy", "click", "rich", "sqlalchemy")),
    ],
)
def test_heavy_libraries_stay_out(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""
