"""A workload from a user's definition: no code of the user's, and nothing of a value becomes code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from string import Formatter

from perfctl.errors import UsageError
from perfctl.model import Metric, Parameter, ResourceUsage, Sample, content_hash
from perfctl.workloads.base import FilesSpec, FileToCopy, Load, Parameters, ServerSpec, Workload
from perfctl.workloads.defined_reading import Report
from perfctl.workloads.definition import Argv, Definition, MetricDefinition
from perfctl.workloads.reading import missing, to_sample
from perfctl.workloads.relations import ERROR_LINE

SERVER_ADDRESS = "server_address"
FOLDER = "folder"
"""What else may stand in braces: the address of a pair's server, and the folder for files."""

_START_S = 0.1


class DefinedWorkload(Workload):
    """A program that a user described in TOML."""

    def __init__(self, definition: Definition, *, files_dir: Path | None = None) -> None:
        """Take a definition that `perfctl.suites.workload_tables` has checked, and where its files are."""
        self._definition = definition
        self.name = definition.name
        self.programs = definition.programs
        self.packages = definition.packages
        self.scope = "host" if definition.server is None else "pair"
        self.parameter_specs = definition.parameters
        self.error_lines = re.compile(definition.error, re.MULTILINE) if definition.error else ERROR_LINE
        self.may_be_silent = all(item.source == "time" for item in definition.metrics)
        self.definition = definition.to_json()
        self.files_dir = str(files_dir.absolute()) if files_dir else ""

    @property
    def version_argv(self) -> tuple[str, ...]:
        """Return the definition's command that prints the version."""
        return self._definition.version

    def check(self, parameters: Parameters) -> None:
        """Raise UsageError for a text that a program would take for an option."""
        for name, value in parameters.items():
            if isinstance(value, str) and value.startswith("-"):
                raise UsageError(
                    f"{name} = {value!r:.80} begins with '-'",
                    hint="a program would take it for an option: write the option into the command",
                )

    def metrics(self, parameters: Parameters) -> tuple[Metric, ...]:
        """Return the metrics of the definition."""
        return tuple(metric for _, metric in self._metrics())

    def _metrics(self) -> list[tuple[MetricDefinition, Metric]]:
        return [
            (
                item,
                Metric(
                    *(item.name, item.unit, item.direction, item.description),
                    headline=item.headline,
                    step=item.step,
                ),
            )
            for item in self._definition.metrics
        ]

    def argv(self, parameters: Parameters, *, server_address: str | None = None) -> Sequence[str]:
        """Return the command with its parameters. Raises UsageError for a pair without an address."""
        if self.scope == "pair" and server_address is None:
            raise UsageError(f"{self.name} needs a server", hint="it runs between two hosts")
        values = self._values(parameters)
        if server_address is not None:
            values[SERVER_ADDRESS] = server_address
        return _filled(self._definition.command, values)

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands of setup, in a folder of its own when it has one."""
        values = self._values(parameters)
        return [_filled(argv, values) for argv in self._definition.setup]

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands of cleanup; the last one removes its folder, when it has one."""
        values = self._values(parameters)
        removed = [_removal(values[FOLDER])] if self._has_folder else []
        return [*(_filled(argv, values) for argv in self._definition.cleanup), *removed]

    def folder_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        """Return the commands that make its folder; what a killed run left there, or a link, goes first."""
        folder = self._values(parameters)[FOLDER]
        return [_removal(folder), ["mkdir", "-m", "0700", folder]] if self._has_folder else []

    def files_to_copy(self, parameters: Parameters) -> Sequence[FileToCopy]:
        """Return the files of the project that its folder holds before setup."""
        folder = self._values(parameters)[FOLDER]
        return [
            FileToCopy(item.source, f"{folder}/{item.name}", item.sha256, item.mode)
            for item in self._definition.files
        ]

    def files(self, parameters: Parameters) -> FilesSpec | None:
        """Return its folder, when it has one."""
        if not self._has_folder:
            return None
        return FilesSpec(self._values(parameters)[FOLDER], self._definition.size_bytes)

    def server(self, parameters: Parameters) -> ServerSpec | None:
        """Return the server of a pair; None for one host."""
        server = self._definition.server
        if server is None:
            return None
        values = self._values(parameters)
        return ServerSpec(_filled(server.command, values), int(server.tcp_port.format_map(values)))

    def expected_s(self, parameters: Parameters) -> float:
        """Return what the definition says, and a moment to start."""
        return float(self._definition.expected_s.format_map(self._values(parameters))) + _START_S

    def load(self, parameters: Parameters) -> Load:
        """Return what the definition says that it uses."""
        threads = self._definition.threads.format_map(self._values(parameters))
        return Load(int(threads) if threads else None, frozenset(self._definition.uses))

    def read_samples(self, stdout: str, parameters: Parameters) -> list[Sample]:
        """Read what is printed. Raises OutputError: unparsable, missing_metric, unit_mismatch."""
        report = Report(stdout, self._definition)
        return [
            replace(to_sample(metric, text), index=index)
            for item, metric in self._metrics()
            if item.source != "time"
            for index, text in enumerate(report.texts(item))
        ]

    def usage_samples(self, usage: ResourceUsage | None) -> list[Sample]:
        """Return the metrics that are of the command itself. Raises OutputError (missing_metric)."""
        return [_used(metric, item.place, usage) for item, metric in self._metrics() if item.source == "time"]

    @property
    def _has_folder(self) -> bool:
        return bool(self._definition.files) or FOLDER in set(placeholders_of(self._definition))

    def _values(self, parameters: Parameters) -> dict[str, str]:
        # TOML and its users write true, Python True.
        written = {name: _written(value) for name, value in parameters.items()}
        of_definition = content_hash(self.definition)[:12]
        return written | {FOLDER: f"/var/tmp/perfctl-{self.name}-{of_definition}"}


def placeholders(text: str) -> Iterator[str]:
    """Yield the names in braces. Raises ValueError for braces that do not match."""
    for _, name, form, conversion in Formatter().parse(text):
        if name is not None:
            if form or conversion or not name.isidentifier():
                raise ValueError(f"{{{name}}} is no name of a parameter")
            yield name


def placeholders_of(definition: Definition) -> Iterator[str]:
    """Yield the names in braces of all commands and numbers of a definition."""
    server = definition.server
    argvs = [
        definition.command,
        *definition.setup,
        *definition.cleanup,
        *([server.command] if server else []),
    ]
    texts = [definition.expected_s, definition.threads, *([server.tcp_port] if server else [])]
    for text in (*(item for argv in argvs for item in argv), *texts):
        yield from placeholders(text)


def _removal(folder: str) -> Argv:
    return ("rm", "-rf", "--one-file-system", folder)


def _filled(argv: Argv, values: Mapping[str, str]) -> Argv:
    return tuple(item.format_map(values) for item in argv)


def _written(value: Parameter) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_FIELDS = {"wall": "wall_s", "user": "user_s", "system": "system_s", "max_rss": "max_rss_bytes"}


def _used(metric: Metric, what: str, usage: ResourceUsage | None) -> Sample:
    value = None if usage is None else getattr(usage, _FIELDS[what])
    # The time of a control group has that of the client in it which reached the container.
    if value is None or usage is None or usage.source != "wait4":
        why = usage.missing if usage else "it was not recorded"
        raise missing(metric.name, why or "it is not the command's own", hint="perfctl provision")
    return to_sample(metric, float(value))
