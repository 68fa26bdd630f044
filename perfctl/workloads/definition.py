"""A workload that a user defined, as data: what its table in TOML says. docs/workloads.md has the keys.

    [workloads.NAME] in TOML --read_workloads()--> Definition --DefinedWorkload--> a Workload

A definition goes into the database with its benchmark, as JSON, so that a run can be resumed and its outputs
be read again where the TOML file is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from perfctl.model import Direction, Resource
from perfctl.workloads.base import ParameterSpec

Argv = tuple[str, ...]
"""A command; `{name}` in it stands for a parameter, `{{` and `}}` for braces."""

Source = Literal["json", "regex", "key", "column", "time"]
"""Where a metric is read: see `MetricDefinition.place`."""

TIMES: Mapping[str, str] = {"wall": "s", "user": "s", "system": "s", "max_rss": "bytes"}
"""What can be had of the command itself, whatever it prints, and the unit of each."""


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric, and where it is read."""

    name: str
    unit: str
    direction: Direction
    source: Source
    place: str
    """The JSONPath, the regular expression, the key, the column, or one of `TIMES`."""
    headline: bool = False
    has_samples: bool = False
    """Whether the output has a series of values, one at least; else it must have exactly one."""
    step: float | None = None
    """The smallest step that the program prints, in `unit`; None: not known."""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ServerDefinition:
    """The server of a pair: its command, in the foreground, and the TCP port that it listens on."""

    command: Argv
    tcp_port: str
    """A number, or a parameter in braces."""


@dataclass(frozen=True, slots=True)
class FileDefinition:
    """A file of the project that is copied into the environment before setup."""

    source: str
    """Its path below the folder of the project, or of the user's configuration."""
    name: str
    """Its name in the folder of the workload."""
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class Definition:
    """A workload as its table says; texts that only explain are left out of its JSON."""

    name: str
    command: Argv
    metrics: tuple[MetricDefinition, ...]
    programs: tuple[str, ...]
    version: Argv
    packages: tuple[str, ...] = ()
    parameters: tuple[ParameterSpec, ...] = ()
    setup: tuple[Argv, ...] = ()
    cleanup: tuple[Argv, ...] = ()
    server: ServerDefinition | None = None
    files: tuple[FileDefinition, ...] = ()
    size_bytes: int = 0
    """How much space its folder needs beside `files`."""
    expected_s: str = "0"
    """A number of seconds, or a parameter in braces."""
    threads: str = ""
    """How many CPUs it keeps busy: a number, a parameter in braces, or '': not known."""
    uses: tuple[Resource, ...] = ("cpu",)
    separator: str = ":"
    """Between key and value in a line."""
    delimiter: str = ","
    """Between the columns of a row."""
    error: str = ""
    """A regular expression of lines by which it reports that it failed; '': what most programs print."""
    description: str = ""

    def to_json(self) -> str:
        """Return it as one line that is the same for the same question: words of explanation are left out."""
        plain = replace(
            self,
            description="",
            metrics=tuple(replace(item, description="") for item in self.metrics),
            parameters=tuple(replace(item, description="") for item in self.parameters),
        )
        return json.dumps(asdict(plain), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Definition:
        """Return the definition that `to_json` wrote."""
        fields = json.loads(text)
        fields["metrics"] = tuple(
            MetricDefinition(**item | {"direction": Direction(item["direction"])})
            for item in fields["metrics"]
        )
        fields["parameters"] = tuple(ParameterSpec(**_tuples(item)) for item in fields["parameters"])
        fields["files"] = tuple(FileDefinition(**item) for item in fields["files"])
        if fields["server"] is not None:
            fields["server"] = ServerDefinition(**_tuples(fields["server"]))
        for name in ("setup", "cleanup"):
            fields[name] = tuple(map(tuple, fields[name]))
        return cls(**_tuples(fields))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
