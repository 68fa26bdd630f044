"""All samples of a run, for programs that go on with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfctl.store import MeasuredInvocation, RunDetail, Store


@dataclass(frozen=True, slots=True)
class SampleReport:
    """A run, and every invocation of it with its samples."""

    detail: RunDetail
    invocations: Sequence[MeasuredInvocation]

    def of_environment(self, name: str) -> SampleReport:
        """Return the same with the invocations of one environment."""
        return replace(self, invocations=[item for item in self.invocations if item.environment == name])

    @property
    def used(self) -> list[MeasuredInvocation]:
        """The invocations whose values comparisons use."""
        return [item for item in self.invocations if item.is_used]


def sample_report(store: Store, run: str) -> SampleReport:
    """Return everything that was measured in `run` (an id, its beginning or end, 'latest')."""
    stored = store.run(run)
    return SampleReport(stored.detail(), stored.measured_invocations())
