"""What was true of a host, or inside an environment, when a benchmark ran. Absence is data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from perfctl.model.identity import content_hash


class FactState(StrEnum):
    """Whether a fact could be read."""

    PRESENT = "present"
    MISSING = "missing"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Fact:
    """One row: `name` is dotted (`kernel.cmdline`), `value` is text ('' unless present).

    Dynamic facts (load, MHz, temperatures) change from minute to minute and do not count for the hash.
    """

    name: str
    state: FactState
    value: str
    is_static: bool = True


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """All facts read in one place at one time."""

    facts: tuple[Fact, ...]

    @property
    def key(self) -> str:
        """The content hash of the static rows."""
        return content_hash(sorted((f.name, f.state.value, f.value) for f in self.facts if f.is_static))

    @property
    def machine(self) -> str | None:
        """Which machine it is: `id:` and host.machine_id, else `boot:` and its boot id; None: not known."""
        for kind, name in (("id", "host.machine_id"), ("boot", "host.boot_id")):
            fact = self.get(name)
            if fact is not None and fact.state is FactState.PRESENT and fact.value:
                return f"{kind}:{fact.value}"
        return None

    def get(self, name: str) -> Fact | None:
        """Return the fact of that name, or None when the script does not know it."""
        return next((fact for fact in self.facts if fact.name == name), None)
