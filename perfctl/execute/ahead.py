"""Read on leased hosts what a run needs to know first, while their agents start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from perfctl.errors import PerfctlError
from perfctl.execute.leftovers import left_runs
from perfctl.execute.survey import read_host_facts, targets_of
from perfctl.job.hosts import LeasedHost
from perfctl.model import Fingerprint, Host, Plan


class ReadAhead:
    """What was read ahead, by host: the runs that have left something there, and the facts.

    What could not be read is not there: who needs it reads it again, and reports why.
    """

    def __init__(self) -> None:
        self.left: dict[str, list[str]] = {}
        self.facts: dict[str, Fingerprint] = {}

    def readers(self, plan: Plan, hosts: Sequence[Host]) -> tuple[Callable[[LeasedHost], None], ...]:
        """Return what reads a host of the plan; each may run at the same time as the others."""
        targets = targets_of(plan)

        def read_left(leased: LeasedHost) -> None:
            with suppress(PerfctlError):
                self.left[leased.host.name] = left_runs(leased)

        def read_facts(leased: LeasedHost) -> None:
            with suppress(PerfctlError):
                self.facts[leased.host.name] = read_host_facts(
                    leased.transport, leased.host, plan, hosts, targets
                )

        return read_left, read_facts
