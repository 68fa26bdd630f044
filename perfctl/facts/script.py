"""Build the script that reads the facts: the functions once, then the calls that emit every row."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from perfctl.facts.registry import (
    REGISTRY,
    Cgroup,
    CommandOutput,
    FactSpec,
    File,
    Function,
    Gathered,
    Variable,
)

_HERE = Path(__file__).parent


@functools.cache
def _functions() -> str:
    # Comments stay in the repository: the script travels with every reading.
    shell = "\n".join(_without_comments(name) for name in ("core.sh", "rows.sh"))
    return f"{shell}\ngather_awk={shlex.quote(_without_comments('gather.awk'))}\n"


def _without_comments(name: str) -> str:
    return re.sub(r"^\s*#.*\n|^\n", "", (_HERE / name).read_text(), flags=re.MULTILINE)


def _call(function: str, *words: str) -> str:
    return " ".join([function, *map(shlex.quote, words)])


def _gather(specs: Sequence[FactSpec]) -> list[str]:
    """Return the lines that read everything that lies in files, each file once."""
    rows: list[str] = []
    paths: list[str] = []
    lines: list[str] = []
    for spec in specs:
        match spec.source:
            case File(path):
                rows.append(f"{spec.name}|file|{path}")
                paths.append(path)
            case Gathered(kind, pattern, key):
                rows.append(f"{spec.name}|{kind}|{pattern}|{key}")
                paths.append(pattern)
            case Cgroup(v2, v1_controller, v1):
                lines.append(_call("own_cgroup", v2, v1_controller, v1))
                lines.append(f'set -- "$@" "{spec.name}|file|$at"; paths="$paths $at"')
    known = " ".join(dict.fromkeys(paths))
    return [_call("set --", *rows), f"paths={shlex.quote(known)}", *lines, 'gather "$@"']


def _commands(specs: Sequence[FactSpec]) -> list[str]:
    """Return the lines that read everything else."""
    lines: list[str] = []
    functions: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        match spec.source:
            case Variable(variable):
                lines.append(_call("variable", spec.name, variable))
            case CommandOutput(words, any_exit_code):
                lines.append(f"{'either' if any_exit_code else 'run'} {spec.name} {words}")
            case Function(function, _, arguments):
                functions.setdefault((function, arguments), []).append(spec.name)
    return lines + [" ".join([function, *names, words]) for (function, words), names in functions.items()]


def script(
    *,
    inside: bool,
    programs: Sequence[str],
    version_argvs: Sequence[Sequence[str]] = (),
    peers: Sequence[str] = (),
) -> str:
    """Return the POSIX sh script that reads every row, or only those marked `inside`."""
    specs = [spec for spec in REGISTRY if spec.inside or not inside]
    functions = [spec for spec in specs if isinstance(spec.source, Function)]
    left = _commands(functions)
    if programs:
        left.append(_call("tools", *programs))
    left += [_call("version", *argv) for argv in version_argvs]
    left += [f"run net.route.{shlex.quote(peer)} ip route get {shlex.quote(peer)}" for peer in peers]
    right = [*_gather(specs), *_commands([spec for spec in specs if spec not in functions])]
    # Two halves of about the same length side by side. No command of the second may eat what the first wrote,
    # which lies on the second's stdin.
    first = ["{", *left, "close", "}"]
    second = ["{", "exec 3<&0 </dev/null", *right, "close", "pass_on <&3", "echo '#end'", "}"]
    lines = [_functions(), "watch >/dev/null &", *first, "|", *second, "kill $!", ""]
    return "\n".join(lines).replace("\n|\n", " | ")
