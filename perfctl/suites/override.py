"""Apply the parameters of the command line: each to every benchmark that has it, and to one at least."""

from __future__ import annotations

from collections.abc import Mapping

from perfctl.errors import UsageError
from perfctl.model import Parameter
from perfctl.suites.table import close_hint
from perfctl.workloads import Workload, parameter_from_text

_WHERE = "--param"


class Overrides:
    """NAME=VALUE pairs, and which of them a benchmark has used."""

    def __init__(self, given: Mapping[str, str]) -> None:
        """Take the pairs. Raises UsageError for `test`, which makes a benchmark what it is."""
        if "test" in given:
            raise UsageError(
                "the parameter test cannot be set for a whole suite",
                where=_WHERE,
                hint="choose another suite, or write one with the benchmark you want",
            )
        self._given = given
        self._used: set[str] = set()
        self._known: set[str] = set()

    def apply(self, tool: Workload, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """Return what changes in a benchmark with these (complete) parameters. Raises SuiteError."""
        self._known |= set(parameters) - {"test"}
        specs = {spec.name: spec for spec in tool.parameter_specs}
        mine = [name for name in self._given if name in parameters]
        self._used |= set(mine)
        return {name: parameter_from_text(specs[name], self._given[name], where=_WHERE) for name in mine}

    def require_all_used(self) -> None:
        """Raise UsageError for a name that no benchmark has."""
        for name in self._given:
            if name not in self._used:
                with_unit = sorted(known for known in self._known if known.startswith(f"{name}_"))
                everything = f"their parameters are: {', '.join(sorted(self._known))}"
                hint = close_hint(name, self._known, otherwise=everything)
                if with_unit:
                    hint = f"did you mean {' or '.join(with_unit)}?"
                raise UsageError(
                    f"no benchmark of the suite has a parameter {name!r}", where=_WHERE, hint=hint
                )

    @property
    def hint(self) -> str:
        """The hint for two benchmarks that became equal; '' when nothing was set."""
        if not self._given:
            return ""
        return (
            f"leave out one of: {', '.join(f'--param {name}={text}' for name, text in self._given.items())}"
        )
