"""Read suites: TOML files that define what to measure, where, and how often.

    NAME or FILE --load_suite()--> Suite: every benchmark with all its parameters, every environment in full

Names are looked up in the project's suites/ folder, then among those of this package. docs/suites.md
describes the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfctl.environments.catalogue import CATALOGUE
from perfctl.errors import SuiteError, UnknownName, UsageError
from perfctl.model import OUTPUT_LIMIT_BYTES, Benchmark, Environment, Suite
from perfctl.suites.environment import Definitions
from perfctl.suites.layers import layer_of, with_layer
from perfctl.suites.override import Overrides
from perfctl.suites.precision import precision_from_text, usual_precision
from perfctl.suites.sweep import expand
from perfctl.suites.table import Table, close_hint, read_toml
from perfctl.suites.workload_tables import Workloads, known_workloads, read_workloads
from perfctl.workloads import WORKLOADS, Workload, resolve_parameters

DEFAULT_BASELINE = "native"
DEFAULT_ENVIRONMENTS = ("native", "container")
MOST_BLOCKS = 10_000
"""Of a benchmark: a plan lists every one of them."""

_OUTPUT_LIMIT = "output_limit_bytes"
_SMALLEST_LIMIT_BYTES, _LARGEST_LIMIT_BYTES = 4096, 512 << 20
"""An output is read into memory as a whole, and a database has no value of more than 1e9 bytes."""

_BUILT_IN = Path(__file__).parent


def load_suite(
    name_or_path: str,
    *,
    environments: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
    overrides: Mapping[str, str] | None = None,
    blocks: int | None = None,
    precision: str | None = None,
    project_dir: Path | None = None,
) -> Suite:
    """Return a suite; a name with '/' or the ending .toml is a file.

    `environments` replaces the suite's (its baseline is put in front when it is not among them), `benchmarks`
    leaves out all but these, `overrides` sets parameters by name and text in every benchmark that has them.
    `blocks` fixes the number of blocks, `precision` ('1%') has every benchmark choose it for that half-width;
    only one of the two.
    `project_dir` (default: the working directory) may have a suites/ folder.
    Raises UnknownName for a suite, an environment or a benchmark that does not exist, SuiteError for a wrong
    file and UsageError for wrong overrides.
    """
    folder = project_dir or Path()
    path = _find(name_or_path, folder)
    suite = _read(path, Overrides(overrides or {}), folder, environments=environments, benchmarks=benchmarks)
    if blocks is not None and precision is not None:
        raise UsageError(
            "--blocks and --precision exclude each other",
            hint="--blocks fixes the number of blocks, --precision has each benchmark choose it",
        )
    if blocks is not None and blocks < 1:
        raise UsageError(f"a suite needs at least 1 block, not {blocks}", where="--blocks")
    if blocks is not None and blocks > MOST_BLOCKS:
        raise UsageError(f"a suite has at most {MOST_BLOCKS:,} blocks", where="--blocks")
    if blocks is None and precision is None:
        return suite
    share = None if precision is None else precision_from_text(precision, where="--precision")
    measured = tuple(replace(item, precision=share, blocks=None) for item in suite.benchmarks)
    return replace(suite, blocks=blocks, benchmarks=measured)


def all_workloads(project_dir: Path) -> Workloads:
    """Return the workloads of this package, of the user and of the project. Raises SuiteError."""
    return WORKLOADS | known_workloads(project_dir)


def find_workload(name: str, *, suite: str | None = None, project_dir: Path | None = None) -> Workload:
    """Return a workload: of this package, of the user, of the project, or of a suite that is named.

    Raises UnknownName, and SuiteError for a wrong file.
    """
    folder = project_dir or Path()
    known = dict(all_workloads(folder))
    if suite is not None:
        path = _find(suite, folder)
        known |= read_workloads(read_toml(path), path, files_dir=folder)
    if name not in known:
        hint = close_hint(name, known, otherwise=f"there are: {', '.join(known)}")
        raise UnknownName(f"there is no workload {name!r:.200}", hint=hint)
    return known[name]


def list_suites(project_dir: Path | None = None) -> list[Suite]:
    """Return the built-in suites, then the project's; one of the project hides a built-in of its name.

    Raises SuiteError for a wrong file in the project.
    """
    folder = project_dir or Path()
    return [_read(path, Overrides({}), folder) for path in _files(folder).values()]


def _files(project_dir: Path) -> dict[str, Path]:
    """Return every known suite file by its name."""
    paths = [*sorted(_BUILT_IN.glob("*.toml")), *sorted((project_dir / "suites").glob("*.toml"))]
    return {path.stem: path for path in paths}


def _find(name_or_path: str, project_dir: Path) -> Path:
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.exists():
            raise UnknownName(
                f"there is no suite file {name_or_path}", hint="perfctl suites lists the built-in ones"
            )
        return path
    files = _files(project_dir)
    if name_or_path not in files:
        hint = close_hint(name_or_path, files, otherwise=f"there are: {', '.join(files)}")
        raise UnknownName(
            f"there is no suite {name_or_path!r}", hint=f"{hint} A file is named with its .toml."
        )
    return files[name_or_path]


def _read(
    path: Path,
    overrides: Overrides,
    project_dir: Path,
    *,
    environments: Sequence[str] | None = None,
    benchmarks: Sequence[str] | None = None,
) -> Suite:
    try:
        content = read_toml(path)
        own = read_workloads(content, path, files_dir=project_dir)
        workloads = {**all_workloads(project_dir), **own}
        return _suite(path, content, overrides, environments, benchmarks, workloads)
    except RecursionError:
        # Also environments that name each other by the hundred.
        hint = "leave out levels of tables, lists, within and server"
        raise SuiteError("the suite is nested too deeply", where=str(path), hint=hint) from None


def _suite(
    path: Path,
    content: Mapping[str, Any],
    overrides: Overrides,
    environments: Sequence[str] | None,
    benchmarks: Sequence[str] | None,
    workloads: Workloads,
) -> Suite:
    top = Table(content, where=str(path), keys=("suite", "environments", "workloads", "benchmark"))
    head = Table(
        top.value("suite", dict),
        where=f"{path}: [suite]",
        keys=(
            *("name", "description", "baseline", "environments", "blocks", "precision"),
            _OUTPUT_LIMIT,
        ),
    )
    own = Definitions(top.value("environments", dict, {}), path=str(path)).environments()
    known = dict(CATALOGUE) | own
    baseline = head.value("baseline", str, DEFAULT_BASELINE)
    chosen = _environments(head, baseline, known, environments)
    extent = _extent(head)
    reading = _Reading(overrides, extent, workloads)
    measured = _benchmarks(content.get("benchmark", []), path, reading, benchmarks)
    overrides.require_all_used()
    return Suite(
        name=head.name("name", path.stem),
        description=head.value("description", str, ""),
        baseline=baseline,
        environments=with_layer(chosen, layer_of(measured, where=str(path))),
        benchmarks=measured,
        blocks=extent.blocks,
        source=str(path),
    )


def _environments(
    head: Table, baseline: str, known: Mapping[str, Environment], requested: Sequence[str] | None
) -> tuple[Environment, ...]:
    """Return the suite's environments, or those requested; the baseline is always among them."""
    everything = f"there are: {', '.join(known)}"
    names = head.texts("environments", DEFAULT_ENVIRONMENTS)
    for name in dict.fromkeys((*names, baseline)):
        if name not in known:
            key = "baseline" if name not in names else "environments"
            raise head.wrong(
                key, f"has no {name!r} to name", hint=close_hint(name, known, otherwise=everything)
            )
    if baseline not in names:
        raise head.wrong("environments", f"must have the baseline {baseline!r} among them")
    if requested is not None:
        for name in requested:
            if name not in known:
                hint = close_hint(name, known, otherwise=everything)
                raise UnknownName(f"there is no environment {name!r}", hint=hint)
        names = tuple(dict.fromkeys(requested))
        if baseline not in names:
            names = (baseline, *names)
    return tuple(known[name] for name in names)


@dataclass(frozen=True, slots=True)
class _Extent:
    """How much is measured: a number of blocks, a precision, or neither: the workload's usual precision.

    And how much is kept of what it prints.
    """

    blocks: int | None
    precision: float | None
    output_limit_bytes: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """What holds for all benchmarks of a file."""

    overrides: Overrides
    extent: _Extent
    workloads: Workloads

    def workload(self, table: Table) -> Workload:
        """Return the workload that a benchmark's table names. Raises SuiteError."""
        name = table.value("workload", str)
        if name not in self.workloads:
            hint = close_hint(name, self.workloads, otherwise=f"there are: {', '.join(self.workloads)}")
            raise SuiteError(f"there is no workload {name!r:.200}", where=table.where, hint=hint)
        return self.workloads[name]


def _extent(head: Table) -> _Extent:
    blocks = _count(head, "blocks")
    return _Extent(blocks, _precision(head, blocks), _output_limit_bytes(head) or OUTPUT_LIMIT_BYTES)


def _output_limit_bytes(table: Table) -> int | None:
    limit = table.optional(_OUTPUT_LIMIT, int)
    if limit is not None and not _SMALLEST_LIMIT_BYTES <= limit <= _LARGEST_LIMIT_BYTES:
        allowed = f"from {_SMALLEST_LIMIT_BYTES:,} to {_LARGEST_LIMIT_BYTES:,}"
        raise table.wrong(_OUTPUT_LIMIT, f"must be {allowed}", hint="a number of bytes: 1048576 is 1 MiB")
    return limit


def _count(table: Table, key: str) -> int | None:
    count = table.optional(key, int)
    if count is not None and count < 1:
        raise table.wrong(key, "must be at least 1")
    if key == "blocks" and count is not None and count > MOST_BLOCKS:
        raise table.wrong(key, f"must be at most {MOST_BLOCKS:,}")
    return count


def _precision(table: Table, blocks: int | None) -> float | None:
    text = table.optional("precision", str)
    if text is None:
        return None
    if blocks is not None:
        hint = "leave one of them out: a precision chooses the number of blocks"
        raise table.wrong("precision", f"does not go with blocks = {blocks}", hint=hint)
    try:
        return precision_from_text(text, where=table.where)
    except UsageError as error:
        raise SuiteError(error.message, where=table.where, hint=error.hint) from error


def _benchmarks(
    content: Any, path: Path, reading: _Reading, requested: Sequence[str] | None
) -> tuple[Benchmark, ...]:
    """Return the suite's benchmarks, or those requested, in the suite's order.

    The name of a table whose parameters are lists asks for all that it stands for.
    """
    where = f"{path}: [[benchmark]]"
    if not isinstance(content, list):
        raise SuiteError("benchmark must be a list of tables", where=str(path), hint="write [[benchmark]]")
    if not content:
        raise SuiteError(
            "the suite has no benchmark", where=str(path), hint="write at least one [[benchmark]]"
        )
    tables = [
        (number, whole, item)
        for number, whole in enumerate(content, start=1)
        for item in expand(whole, f"{where} {number}")
    ]
    if requested is not None:
        names = list(dict.fromkeys(name for _, *both in tables for name in map(_name_of, both) if name))
        for name in requested:
            if name not in names:
                hint = close_hint(name, names, otherwise=f"there are: {', '.join(names)}")
                raise UnknownName(f"there is no benchmark {name!r}", where=str(path), hint=hint)
    found: dict[str, Benchmark] = {}
    by_key: dict[str, str] = {}
    for number, whole, item in tables:
        # What has no name, or is no table at all, is refused below.
        if (
            requested is not None
            and _name_of(item)
            and not {_name_of(whole), _name_of(item)} & set(requested)
        ):
            continue
        benchmark = _benchmark(item, f"{where} {number}", reading)
        if benchmark.name in found:
            raise SuiteError(f"two benchmarks are named {benchmark.name}", where=f"{where} {number}")
        twin = by_key.setdefault(benchmark.key, benchmark.name)
        if twin != benchmark.name:
            raise SuiteError(
                f"{benchmark.name} and {twin} measure the same: their parameters are equal",
                where=f"{where} {number}",
                hint=reading.overrides.hint or "leave one of them out",
            )
        found[benchmark.name] = benchmark
    return tuple(found.values())


def _name_of(item: Any) -> str | None:
    return str(item["name"]) if isinstance(item, dict) and "name" in item else None


def _benchmark(item: Any, where: str, reading: _Reading) -> Benchmark:
    extent = reading.extent
    table = Table(
        item,
        where=where,
        keys=("name", "workload", "parameters", "blocks", "precision", "targets", _OUTPUT_LIMIT),
    )
    name = table.name("name")
    where = table.where = f"{where} ({name})"
    tool = reading.workload(table)
    given = table.value("parameters", dict, {})
    parameters = resolve_parameters(tool, given, where=f"{where}, parameters")
    changed = reading.overrides.apply(tool, parameters)
    if changed:
        parameters = resolve_parameters(tool, parameters | changed, where=f"--param for {name}")
    blocks = _count(table, "blocks")
    precision = _precision(table, blocks or extent.blocks)
    if precision is None and (blocks or extent.blocks) is None:
        precision = extent.precision or usual_precision(tool, parameters)
    return Benchmark(
        name,
        tool.name,
        parameters,
        expected_s=tool.expected_s(parameters),
        scope=tool.scope,
        precision=precision,
        blocks=blocks,
        targets=_count(table, "targets"),
        output_limit_bytes=_output_limit_bytes(table) or extent.output_limit_bytes,
        definition=tool.definition,
        files_dir=tool.files_dir,
    )


__all__ = [
    "DEFAULT_BASELINE",
    "DEFAULT_ENVIRONMENTS",
    "MOST_BLOCKS",
    "all_workloads",
    "find_workload",
    "list_suites",
    "load_suite",
]
