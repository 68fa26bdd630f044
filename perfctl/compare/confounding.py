"""What else differs between two environments of a run: another build of a program is compared, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from perfctl.facts import RunChange
from perfctl.model import Target

Digests = Mapping[tuple[str, str], Mapping[str, str]]
"""(host, environment) -> {program: sha256}"""


class Confounders:
    """What else differs between two environments on a target; asked for once and remembered."""

    def __init__(
        self,
        digests: Digests,
        programs: Mapping[str, Collection[str]],
        changes: Sequence[RunChange] = (),
    ) -> None:
        self._digests = digests
        self._programs = programs
        self._changes = changes
        self._known: dict[tuple[str, Target, str, str], str] = {}

    def between(self, benchmark: str, target: Target, environment: str, base: str) -> str:
        """Return e.g. 'sysbench on h1: sha256 1b2c3d4e in container, 5f6a7b8c in native', or ''."""
        key = (benchmark, target, environment, base)
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def changed(self, benchmark: str, target: Target, environment: str, base: str) -> str:
        """Return what changed while the two were measured, in words, or ''."""
        programs = self._programs.get(benchmark)
        found = (item for item in self._changes if item.concerns(target, (environment, base), programs))
        return "; ".join(map(str, found))

    def _find(self, benchmark: str, target: Target, environment: str, base: str) -> str:
        found = []
        for host in target.hosts:
            here = self._digests.get((host, environment), {})
            there = self._digests.get((host, base), {})
            for program in sorted(here.keys() & there.keys() & set(self._programs.get(benchmark, here))):
                if here[program] != there[program]:
                    found.append(
                        f"{program} on {host}: sha256 {here[program][:8]} in {environment},"
                        f" {there[program][:8]} in {base}"
                    )
        return "; ".join(found)
