"""The workloads that users define in TOML: in a suite, in the project, or for all their projects.

    suite FILE                        [workloads.NAME]   for that suite
    PROJECT/workloads/*.toml          [workloads.NAME]   for all suites of the project
    ~/.config/perfctl/workloads/*.toml                   for all projects of the user

Of two with one name the one that is nearer to the suite counts. docs/workloads.md has the table of the keys.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

import platformdirs

from perfctl.errors import SuiteError
from perfctl.model import Direction, Resource
from perfctl.suites.table import NAME, NAME_RULE, Table, read_toml
from perfctl.workloads import WORKLOADS, DefinedWorkload, ParameterSpec, Workload
from perfctl.workloads.defined import FOLDER, SERVER_ADDRESS, placeholders, placeholders_of
from perfctl.workloads.definition import (
    TIMES,
    Argv,
    Definition,
    FileDefinition,
    MetricDefinition,
    ServerDefinition,
    Source,
)

_SOURCES: Mapping[str, Source] = {
    "json": "json",
    "regex": "regex",
    "key": "key",
    "column": "column",
    "time": "time",
}
_RESOURCES = ("cpu", "memory", "network", "storage")
_SHELLS = frozenset(
    {"sh", "bash", "dash", "ash", "ksh", "zsh", "fish", "csh", "tcsh", "perl", "awk", "gawk", "mawk"}
)
_INTERPRETER = re.compile(r"(?:python|pypy|ruby|node|lua)[\d.]*")
_LARGEST_FILE_BYTES = 64 << 20

KEYS = (
    *(
        "description",
        "command",
        "programs",
        "packages",
        "version",
        "parameters",
        "metrics",
        "setup",
        "cleanup",
    ),
    *("server", "files", "size_bytes", "expected_s", "threads", "uses", "separator", "delimiter", "error"),
)
"""The keys of a workload's table."""

METRIC_KEYS = ("unit", "better", "headline", "samples", "step", "description", *_SOURCES)
"""The keys of a metric's table."""

Workloads = Mapping[str, Workload]
"""Workloads by name."""


def known_workloads(project_dir: Path) -> dict[str, Workload]:
    """Return the workloads of the user's folder and of the project's: the project's hide the user's.

    The files that they copy are in `workloads/` beside them. Raises SuiteError for a wrong file.
    """
    found: dict[str, Workload] = {}
    for folder in (platformdirs.user_config_path("perfctl"), project_dir):
        own: dict[str, Workload] = {}
        for path in sorted((folder / "workloads").glob("*.toml")):
            content = read_toml(path)
            Table(content, where=str(path), keys=("workloads",))
            for name, item in read_workloads(content, path, files_dir=folder).items():
                if name in own:
                    raise SuiteError(f"workload {name} is defined twice", where=str(path.parent))
                own[name] = item
        found |= own
    return found


def read_workloads(content: Mapping[str, Any], path: Path, *, files_dir: Path) -> dict[str, Workload]:
    """Return the workloads of a file's tables `[workloads.NAME]`; `files_dir` has the files they copy.

    Raises SuiteError for a wrong key, type, value or combination.
    """
    found: dict[str, Workload] = {}
    for name, table in (
        Table(content, where=str(path), keys=tuple(content)).value("workloads", dict, {}).items()
    ):
        where = f"{path}: [workloads.{name}]"
        if not re.fullmatch(NAME, name):
            raise SuiteError(
                f"{name!r:.200} is no name for a workload", where=where, hint=f"it must be {NAME_RULE}"
            )
        if name in WORKLOADS:
            raise SuiteError(f"{name} is a built-in workload", where=where, hint="give it another name")
        found[name] = DefinedWorkload(
            _definition(name, Table(table, where=where, keys=KEYS), files_dir), files_dir=files_dir
        )
    return found


def _definition(name: str, table: Table, files_dir: Path) -> Definition:
    command = table.argv("command")
    programs = table.texts("programs") or (command[0],)
    definition = Definition(
        name=name,
        command=command,
        metrics=_metrics(table),
        programs=programs,
        version=table.argv("version") if table.has("version") else (programs[0], "--version"),
        packages=table.texts("packages"),
        parameters=_parameters(table),
        setup=table.argvs("setup"),
        cleanup=table.argvs("cleanup"),
        server=_server(table),
        files=_files(table, files_dir),
        size_bytes=table.value("size_bytes", int, 0),
        expected_s=table.number_or_text("expected_s", "0"),
        threads=table.number_or_text("threads", ""),
        uses=_uses(table),
        separator=table.value("separator", str, ":"),
        delimiter=table.value("delimiter", str, ","),
        error=table.value("error", str, ""),
        description=table.value("description", str, ""),
    )
    _check_placeholders(definition, table)
    _check_scripts(definition, table)
    if definition.error:
        _pattern(table, "error")
    if len(definition.delimiter) != 1:
        raise table.wrong("delimiter", "must be one character")
    if not definition.separator:
        raise table.wrong("separator", "must not be empty")
    if not table.has("expected_s"):
        raise SuiteError(
            "key 'expected_s' is missing",
            where=table.where,
            hint='how many seconds the command takes when all is well, e.g. 10 or "{time_s}"',
        )
    return definition


def _uses(table: Table) -> tuple[Resource, ...]:
    used = table.texts("uses", ("cpu",))
    for resource in used:
        if resource not in _RESOURCES:
            raise table.wrong("uses", f"may have: {', '.join(_RESOURCES)}")
    return tuple(sorted(cast("tuple[Resource, ...]", used)))


def _parameters(table: Table) -> tuple[ParameterSpec, ...]:
    given = table.value("parameters", dict, {})
    where = f"{table.where}, parameters"
    return tuple(_parameter(name, value, where) for name, value in given.items())


def _parameter(name: str, value: Any, where: str) -> ParameterSpec:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SuiteError(
            f"{name!r:.200} is no name for a parameter", where=where, hint="small letters, digits and '_'"
        )
    if name in (SERVER_ADDRESS, FOLDER, "test"):
        raise SuiteError(f"{name} is a word of perfctl's", where=where, hint="give it another name")
    if not isinstance(value, dict):
        value = {"default": value}
    keys = ("default", "unit", "description", "choices", "minimum", "maximum", "pattern")
    own = Table(value, where=f"{where}.{name}", keys=keys)
    default = value.get("default")
    if type(default) not in (str, int, float, bool):
        raise SuiteError(
            f"{name} has no default",
            where=own.where,
            hint="a text, a number, true or false: it fixes the type",
        )
    choices = value.get("choices", [])
    if not isinstance(choices, list) or any(type(item) is not type(default) for item in choices):
        raise own.wrong("choices", "must be a list of values of the default's type")
    if choices and default not in choices:
        raise own.wrong("default", "must be one of its choices")
    if own.has("pattern"):
        _pattern(own, "pattern")
    return ParameterSpec(
        name,
        cast("str | int | float | bool", default),
        own.value("unit", str, ""),
        own.value("description", str, ""),
        choices=tuple(choices),
        minimum=own.number("minimum"),
        maximum=own.number("maximum"),
        pattern=own.value("pattern", str, ""),
    )


def _metrics(table: Table) -> tuple[MetricDefinition, ...]:
    given = table.value("metrics", dict)
    if not given:
        raise table.wrong("metrics", "must have at least one", hint="write [workloads.NAME.metrics.METRIC]")
    found = tuple(
        _metric(name, value, f"{table.where}, metrics.{name}", is_only=len(given) == 1)
        for name, value in given.items()
    )
    leading = [item.name for item in found if item.headline]
    if len(leading) != 1:
        said = f"{len(leading)} of them" if leading else "none"
        raise SuiteError(
            f"one metric must be the headline, and {said} is",
            where=table.where,
            hint="write headline = true in one",
        )
    if found[[item.headline for item in found].index(True)].direction is Direction.NEUTRAL:
        raise SuiteError(
            f"the headline {leading[0]} must say which way is better",
            where=table.where,
            hint='better = "lower"',
        )
    return found


def _metric(name: str, value: Any, where: str, *, is_only: bool) -> MetricDefinition:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SuiteError(
            f"{name!r:.200} is no name for a metric", where=where, hint="small letters, digits and '_'"
        )
    table = Table(value, where=where, keys=METRIC_KEYS)
    sources = [source for source in _SOURCES if table.has(source)]
    if len(sources) != 1:
        said = f"not {' and '.join(sources)}" if sources else "none is given"
        raise SuiteError(
            f"a metric has one place where it is read, {said}",
            where=where,
            hint=f"one of: {', '.join(_SOURCES)}",
        )
    source = _SOURCES[sources[0]]
    unit = table.value("unit", str, TIMES.get(str(value.get("time")), "") if source == "time" else None)
    step = table.number("step")
    if step is not None and step <= 0:
        raise table.wrong("step", "must be above 0")
    place = table.value(source, str)
    _check_place(table, source, place, unit)
    if source == "time" and table.has("samples"):
        raise table.wrong("samples", "does not go with time: a command has one")
    return MetricDefinition(
        name,
        unit,
        Direction(table.choice("better", [item.value for item in Direction])),
        source,
        place,
        headline=is_only if not table.has("headline") else table.flag("headline"),
        has_samples=table.flag("samples"),
        step=step,
        description=table.value("description", str, ""),
    )


def _check_place(table: Table, source: Source, place: str, unit: str) -> None:
    if source == "regex":
        pattern = _pattern(table, "regex")
        if "value" not in pattern.groupindex:
            raise table.wrong(
                "regex", "must have a group 'value'", hint=r"e.g. '^ops: (?P<value>\d+) (?P<unit>\S+)$'"
            )
    elif source == "json":
        import jsonpath

        try:
            jsonpath.compile(place)
        except jsonpath.JSONPathError as error:
            raise table.wrong(
                "json", f"is no JSONPath: {error.args[0]}", hint="as RFC 9535 has it: $.jobs[0].read.iops"
            ) from None
    elif source == "time":
        if place not in TIMES:
            raise table.wrong("time", f"must be one of {', '.join(TIMES)}")
        if unit != TIMES[place]:
            raise table.wrong("unit", f"must be {TIMES[place]!r} for time = {place!r}")
    elif not place.strip():
        raise table.wrong(source, "must not be empty")


def _pattern(table: Table, key: str) -> re.Pattern[str]:
    try:
        return re.compile(table.value(key, str))
    except (re.error, RecursionError, OverflowError) as error:
        raise table.wrong(key, f"is no regular expression: {error}") from None


def _server(table: Table) -> ServerDefinition | None:
    if not table.has("server"):
        return None
    own = Table(table.value("server", dict), where=f"{table.where}, server", keys=("command", "tcp_port"))
    return ServerDefinition(own.argv("command"), own.number_or_text("tcp_port", ""))


def _files(table: Table, files_dir: Path) -> tuple[FileDefinition, ...]:
    found = []
    for source in table.texts("files"):
        path = files_dir / source
        try:
            if not path.is_file():
                raise table.wrong("files", f"has {source!r}, and there is no such file: {path}")
            if path.stat().st_size > _LARGEST_FILE_BYTES:
                raise table.wrong("files", f"has {source!r} of more than {_LARGEST_FILE_BYTES >> 20} MiB")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            mode = stat.S_IMODE(path.stat().st_mode) & 0o755
        except OSError as error:
            raise table.wrong("files", f"has {source!r}, which cannot be read: {error.strerror}") from error
        found.append(FileDefinition(source, PurePosixPath(source).name, digest, mode))
    names = [item.name for item in found]
    if len(set(names)) < len(names):
        raise table.wrong("files", "has two files of one name: they go into one folder")
    return tuple(found)


def _check_placeholders(definition: Definition, table: Table) -> None:
    known = {spec.name for spec in definition.parameters}
    allowed = {FOLDER, *known, *({SERVER_ADDRESS} if definition.server else ())}
    try:
        used = list(placeholders_of(definition))
    except ValueError as error:
        raise SuiteError(
            f"wrong braces: {error}",
            where=table.where,
            hint="{name} is a parameter; write {{ and }} for braces",
        ) from None
    for name in used:
        if name not in allowed:
            raise SuiteError(
                f"there is no parameter {name!r:.80} for {{{name:.80}}}",
                where=table.where,
                hint=f"there are: {', '.join(sorted(allowed))}; write {{{{ and }}}} for braces",
            )
    for name in sorted(known - set(used)):
        raise SuiteError(
            f"parameter {name} is used nowhere", where=table.where, hint=f"put {{{name}}} into a command"
        )
    if definition.server and SERVER_ADDRESS not in used:
        raise SuiteError(
            "the command does not name its server",
            where=table.where,
            hint=f"put {{{SERVER_ADDRESS}}} into it",
        )
    if SERVER_ADDRESS in _names_in((definition.server.command,) if definition.server else ()):
        raise SuiteError(
            "the server cannot know its own address here", where=table.where, hint="have it listen on all"
        )


def _names_in(argvs: Sequence[Argv]) -> Iterator[str]:
    for argv in argvs:
        for item in argv:
            yield from placeholders(item)


def _check_scripts(definition: Definition, table: Table) -> None:
    """Refuse a parameter of text within a script: its value would become code."""
    texts = {spec.name for spec in definition.parameters if isinstance(spec.default, str)}
    server = (definition.server.command,) if definition.server else ()
    for argv in (definition.command, *definition.setup, *definition.cleanup, *server):
        for place, item in enumerate(argv):
            if texts.intersection(placeholders(item)) and _runs_code(argv[:place], item):
                raise SuiteError(
                    f"the parameter in {item!r:.120} would become code of {argv[0]}",
                    where=table.where,
                    hint='give it as an argument of the script: ["sh", "-c", "run \\"$1\\"", "sh", "{name}"]',
                )


def _runs_code(before: Sequence[str], item: str) -> bool:
    """Return whether an argument is code: the first after -c or -e of an interpreter, or awk's program."""
    names = [PurePosixPath(word).name for word in before]
    interpreters = [n for n, word in enumerate(names) if word in _SHELLS or _INTERPRETER.fullmatch(word)]
    if not interpreters:
        return False
    after = before[interpreters[0] + 1 :]
    if names[interpreters[0]].endswith("awk"):
        return all(word.startswith("-") for word in after)
    is_option = re.compile(r"-[A-Za-z]*[ceE]")
    return (bool(after) and bool(is_option.fullmatch(after[-1]))) or bool(
        is_option.match(item) and item[:1] == "-"
    )
