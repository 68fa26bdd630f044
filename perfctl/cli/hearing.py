"""Which of Ansible's many events a person wants to hear."""

from __future__ import annotations

from perfctl.model import Event, Listener, TaskEnded

_CHECKING = "Validating arguments against arg spec"


def without_idle_tasks(listener: Listener) -> Listener:
    """Return a listener that is spared skipped tasks and Ansible's checks of a role's arguments."""

    def heard(event: Event) -> None:
        if not (isinstance(event, TaskEnded) and _is_idle(event)):
            listener(event)

    return heard


def _is_idle(event: TaskEnded) -> bool:
    return event.outcome == "skipped" or (event.outcome == "ok" and _CHECKING in event.task)
