"""The generated files of the roles that provision.

Each role's README is made from its argument specification and its defaults, the list of the benchmarks'
packages from what the workloads declare.

python -m tests.role_readmes          write them
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from perfctl.workloads import WORKLOADS

ROLES_DIR = Path(__file__).resolve().parents[1] / "roles"
ROLES = (
    "perf_tools",
    "perf_engine",
    "perf_bridge",
    "perf_docker",
    "perf_image",
    "perf_layers",
    "perf_vm_host",
    "perf_vm_image",
)
BENCHMARKS = ROLES_DIR / "perf_tools" / "files" / "benchmarks.txt"


def benchmark_packages() -> str:
    """Return the Debian packages of all workloads without a layer of their own, one on each line."""
    names = {name for tool in WORKLOADS.values() if not tool.layer for name in tool.packages}
    return "".join(f"{name}\n" for name in sorted(names))


def readme(role: str) -> str:
    """Return the text of a role's README."""
    folder = ROLES_DIR / role
    spec = yaml.safe_load((folder / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]
    defaults = yaml.safe_load((folder / "defaults" / "main.yml").read_text())
    lines = [f"# {role}", "", f"{spec['short_description']}.", ""]
    lines += [f"- {_markdown(text)}" for text in spec["description"]]
    lines += ["", "| variable | type | default | what it is |", "|---|---|---|---|"]
    for name, option in spec["options"].items():
        cells = (f"`{name}`", _type(option), _default(defaults[name]), _markdown(option["description"]))
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", _entry_points(folder), ""]
    lines += [
        "<!-- Made from meta/argument_specs.yml and defaults/main.yml by: python -m tests.role_readmes -->",
        "",
    ]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Return Ansible's C(...) as Markdown's code, on one line."""
    return re.sub(r"C\(([^)]*)\)", r"`\1`", " ".join(text.split()))


def _type(option: dict[str, Any]) -> str:
    elements = option.get("elements")
    return f"{option['type']} of {elements}" if elements else str(option["type"])


def _default(value: Any) -> str:
    if value == "":
        return "empty"
    text = " ".join(str(value).lower().split() if isinstance(value, bool) else str(value).split())
    return "`" + text.replace("|", "\\|") + "`"


def _entry_points(folder: Path) -> str:
    points = {
        "main": "makes it so",
        "preflight": "refuses before anything is changed",
        "begin": "starts to build on the controller",
        "keep": "ends that and keeps the image for the hosts",
        "verify": "reads it back",
        "undo": "takes it back",
    }
    there = [
        f"`{name}` {text}" for name, text in points.items() if (folder / "tasks" / f"{name}.yml").exists()
    ]
    return f"Entry points: {', '.join(there)}."


def main() -> None:
    """Write all of them."""
    BENCHMARKS.write_text(benchmark_packages())
    for role in ROLES:
        (ROLES_DIR / role / "README.md").write_text(readme(role))


if __name__ == "__main__":
    main()
