"""Where exports go: stdout, a file, or a folder with one file per environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from perfctl.errors import UsageError
from perfctl.render import print_text
from perfctl.render.export import EXPORTS
from perfctl.render.files import write_new
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def export_samples(report: SampleReport, fmt: str, *, by_environment: bool) -> dict[str, str | bytes]:
    """Return {file name: content} of a run's samples; without `by_environment` it is one file."""
    chosen = EXPORTS[fmt]
    if chosen.samples is None:
        raise UsageError(f"{fmt} has no place for samples", hint="--what comparisons")
    if not by_environment:
        return {f"samples{chosen.suffix}": chosen.samples(report)}
    names = [item.name for item in report.detail.environments]
    return {
        f"{place}-{safe_name(name)}{chosen.suffix}": chosen.samples(report.of_environment(name))
        for place, name in enumerate(names, 1)
    }


def export_comparisons(report: ComparisonReport, fmt: str) -> dict[str, str | bytes]:
    """Return {file name: content} of a run's comparisons: one file."""
    chosen = EXPORTS[fmt]
    if chosen.comparisons is None:
        raise UsageError(f"{fmt} has no place for comparisons", hint="it makes its own: --what samples")
    return {f"comparisons{chosen.suffix}": chosen.comparisons(report)}


def safe_name(name: str) -> str:
    """Return a name that is a file's on any system, at most 60 characters."""
    return _UNSAFE.sub("_", name).strip("._")[:60] or "environment"


def write_exports(parts: Mapping[str, str | bytes], output: Path | None, *, force: bool) -> list[Path]:
    """Write the parts and return where; without `output` to stdout, what is text.

    Raises UsageError as `write_new` does.
    """
    if output is None:
        for content in parts.values():
            if isinstance(content, bytes):
                raise UsageError("this format is no text", hint="-o FILE")
            print_text(content)
        return []
    is_folder = output.is_dir()
    written = []
    for name, content in parts.items():
        path = output / name if is_folder else output
        write_new(
            path, content if isinstance(content, bytes) else content.encode("utf-8", "replace"), force=force
        )
        written.append(path)
    return written
