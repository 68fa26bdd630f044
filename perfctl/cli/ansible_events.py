"""Leave out those of Ansible's events that a person does not need."""

from __future__ import annotations

from perfctl.model import Event, Listener, TaskEnded

_CHECKING = "Validating arguments against arg spec"


def without_idle_tasks(listener: Listener) -> Listener:
    """Return a listener that gets no skipped tasks and none of Ansible's checks of a role's arguments."""

    def filtered(event: Event) -> None:
        if not (isinstance(event, TaskEnded) and _is_idle(event)):
            listener(event)

    return filtered


def _is_idle(event: TaskEnded) -> bool:
    return event.outcome == "skipped" or (event.outcome == "ok" and _CHECKING in event.task)
