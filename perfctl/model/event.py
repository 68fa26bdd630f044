"""What the four big verbs tell whoever listens, as it happens. Values only; display is the output floor's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perfctl.model.invocation import Reason, Status
from perfctl.model.schedule import Block, Plan, PlannedInvocation


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins (or goes on): `done` of the plan's invocations need not be repeated.

    `estimate_s` is the time of what is planned. Second stages that are not decided yet come on top:
    `later_s` of them by what earlier runs say, and never more than `most_later_s`.
    """

    run_id: str
    plan: Plan
    done: int
    estimate_s: float
    later_s: float = 0.0
    most_later_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkAdded:
    """There are more blocks to do than was said: a second stage was decided, or blocks are run again.

    `blocks` may be empty: the pilot was enough. The times are of what is still to come, as in `RunStarted`.
    """

    where: str
    """The benchmark; '' for several."""
    text: str
    blocks: tuple[Block, ...]
    estimate_s: float
    later_s: float
    most_later_s: float
    is_repetition: bool = False

    @property
    def ahead_s(self) -> float:
        """The time to the end as far as anyone can tell."""
        return self.estimate_s + self.later_s


@dataclass(frozen=True, slots=True)
class InvocationStarted:
    """A benchmark starts; nothing more will be heard of it for about `expected_s`."""

    block: Block
    invocation: PlannedInvocation
    expected_s: float


@dataclass(frozen=True, slots=True)
class InvocationEnded:
    """A benchmark ended and is in the database. `headline` is a short text such as '2,914 events/s'.

    `validity` is 'valid', 'flagged', 'invalid', or None where nobody judged; `remark` says why in short.
    """

    block: Block
    invocation: PlannedInvocation
    status: Status
    reason: Reason | None
    detail: str
    headline: str
    validity: str | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth saying; `level` is info or warning. `where` is a host, a task, a file."""

    level: str
    where: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """A task of a playbook has begun on a host."""

    host: str
    task: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A provisioning task ended on a host; `outcome` is ok, changed, skipped, failed or unreachable."""

    host: str
    task: str
    outcome: str
    message: str = ""

    @property
    def is_idle(self) -> bool:
        """Whether nobody needs to know: it was skipped, or Ansible checked a role's own arguments."""
        return self.outcome == "skipped" or (self.outcome == "ok" and _CHECKING in self.task)


_CHECKING = "Validating arguments against arg spec"


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run is over: complete, partial (some failed) or interrupted."""

    run_id: str
    status: str
    ok: int
    failed: int
    skipped: int = 0


Event = (
    RunStarted | WorkAdded | InvocationStarted | InvocationEnded | Note | TaskStarted | TaskEnded | RunEnded
)
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
