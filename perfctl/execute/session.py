"""The session of a run: what its blocks share while it is executed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfctl.execute.ahead import ReadAhead
from perfctl.execute.bandwidth import NativeBandwidth
from perfctl.execute.fleet import Fleet
from perfctl.execute.survey import SurveyResults
from perfctl.model import Benchmark, Environment, Fingerprint, Listener, Plan
from perfctl.plan.request import PlannedRun
from perfctl.store import Store
from perfctl.validity.thresholds import Thresholds

if TYPE_CHECKING:
    from perfctl.store import RunReader


@dataclass(slots=True)
class RunSession:
    """An execution of a run, the first or a resumed one: connected hosts, database, facts and survey."""

    planned: PlannedRun
    """Replaced when the plan grows."""
    store: Store
    fleet: Fleet
    listener: Listener
    survey: SurveyResults = field(default_factory=dict)
    """What was read inside the environments before the first block."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the user ends the run."""
    facts: dict[str, Fingerprint] = field(default_factory=dict)
    """The facts of the hosts before the first block."""
    took_s: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """By benchmark, environment and host: how long the measured command took the last time."""
    ahead: ReadAhead = field(default_factory=ReadAhead)
    """What was read on the hosts while their agents started."""
    bandwidth: NativeBandwidth = field(init=False)
    """The memory bandwidth measured on the hosts so far."""

    def __post_init__(self) -> None:
        """Read the bandwidth from the run's own database."""
        self.bandwidth = NativeBandwidth(self.store, self.run_id)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.planned.run_id

    @property
    def stored(self) -> RunReader:
        """The run as it is in the database."""
        return self.store.run(self.run_id)

    @property
    def plan(self) -> Plan:
        """The plan, with the second stages added so far."""
        return self.planned.plan

    @property
    def thresholds(self) -> Thresholds:
        """The limits by which invocations and hosts are judged."""
        return self.planned.thresholds

    def environment(self, name: str) -> Environment:
        """Return the plan's environment of that name."""
        return next(item for item in self.plan.environments if item.name == name)

    def benchmark(self, name: str) -> Benchmark:
        """Return the plan's benchmark of that name."""
        return next(item for item in self.plan.benchmarks if item.name == name)
