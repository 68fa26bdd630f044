"""What was true of the hosts of a run: the facts that they share, and those that tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfctl.model import Fact, FactState, Fingerprint

SHOWN_FACTS = (
    *("cpu.model", "cpu.online", "cpu.microcode", "cpu.smt.active", "cpu.freq.driver", "cpu.freq.governor"),
    *("cpu.boost", "cpu.intel_no_turbo", "memory.total", "memory.thp", "numa.online", "vm.virtualization"),
    *("vm.product_name", "vm.bios_version", "os.release", "kernel.release", "kernel.cmdline"),
    *("time.current_clocksource", "cgroup.version", "net.tcp_congestion_control", "storage.scheduler"),
)
"""What a reader asks about a host first. All other facts are shown only where hosts differ in them."""

_FEWEST_FOR_UNIQUE = 3
"""Of two hosts that differ in a fact each has its own value anyway."""


@dataclass(frozen=True, slots=True)
class FactValues:
    """One fact on several hosts. A value that could not be read is in parentheses, e.g. '(missing)'."""

    name: str
    values: Mapping[str, str]
    """Host -> value, in the order of the hosts."""

    @property
    def most_common(self) -> str:
        """The value that most hosts have; of equally common ones that of the first host."""
        return Counter(self.values.values()).most_common(1)[0][0]

    @property
    def odd_hosts(self) -> dict[str, str]:
        """The hosts that have another value than most, and which."""
        usual = self.most_common
        return {host: value for host, value in self.values.items() if value != usual}


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The static facts of the hosts of one run, before it."""

    hosts: tuple[str, ...]
    """Those of which facts were read."""
    shared: tuple[FactValues, ...]
    """Of `SHOWN_FACTS` those in which all hosts agree."""
    differing: tuple[FactValues, ...]
    """Facts in which hosts differ."""
    unique: tuple[str, ...]
    """Names of facts of which every host has a value of its own, as a serial number."""


def host_facts(fingerprints: Mapping[str, Fingerprint]) -> HostFacts:
    """Return what is shared and what differs. A host without any fact is left out."""
    found = {host: _static(fingerprint) for host, fingerprint in fingerprints.items() if fingerprint.facts}
    names = dict.fromkeys([*SHOWN_FACTS, *sorted({name for facts in found.values() for name in facts})])
    rows = [
        FactValues(name, {host: _text(facts.get(name)) for host, facts in found.items()}) for name in names
    ]
    differing, unique = [], []
    for row in rows:
        kinds = len(set(row.values.values()))
        if kinds == len(found) >= _FEWEST_FOR_UNIQUE:
            unique.append(row.name)
        elif kinds > 1:
            differing.append(row)
    return HostFacts(tuple(found), _shared(rows), tuple(differing), tuple(unique))


def _shared(rows: Sequence[FactValues]) -> tuple[FactValues, ...]:
    unread = {_text(None), *(_text(Fact("", state, "")) for state in FactState if state != FactState.PRESENT)}
    return tuple(
        row
        for row in rows
        if row.name in SHOWN_FACTS
        and len(set(row.values.values()) - unread) == len(set(row.values.values())) == 1
    )


def _static(fingerprint: Fingerprint) -> dict[str, Fact]:
    return {fact.name: fact for fact in fingerprint.facts if fact.is_static}


def _text(fact: Fact | None) -> str:
    if fact is None:
        return "(not read)"
    return fact.value if fact.state is FactState.PRESENT else f"({fact.state.value})"
