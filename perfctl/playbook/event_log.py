"""Record ansible-runner's events: how every task ended on every host, and why one failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfctl.errors import PlaybookFailed
from perfctl.model import Listener, Note, TaskEnded, TaskStarted
from perfctl.redaction import redact

_OUTCOMES = {
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": "failed",
    "runner_on_async_failed": "failed",
    "runner_on_unreachable": "unreachable",
}


_DEBUG = ("ansible.builtin.debug", "debug")
_NO_HOSTS = "leaves us with no hosts to target"


@dataclass(frozen=True, slots=True)
class HostStats:
    """How many tasks ended in which way on one host; a rescued failure counts as `rescued` alone."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the host was reached and nothing failed on it."""
        return not self.failures and not self.unreachable


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that ended its host's play; `message` is the module's own."""

    host: str
    task: str
    message: str
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class PlaybookResult:
    """The result of a playbook for every host that it ran on."""

    hosts: Mapping[str, HostStats]
    failures: tuple[TaskFailure, ...]

    def raise_for_failures(self) -> None:
        """Raise PlaybookFailed with the first failure's host, task and message; nothing without failures."""
        if not self.failures:
            return
        first, more = self.failures[0], len(self.failures) - 1
        hint = f"{more} more host(s) failed" if more else None
        raise PlaybookFailed(first.message, where=f"{first.host}, task '{first.task}'", hint=hint)


@dataclass(slots=True)
class EventLog:
    """A playbook as its events have recorded it so far: results, failures, Ansible's own messages."""

    listener: Listener
    failures: dict[str, TaskFailure] = field(default_factory=dict)
    hosts: dict[str, HostStats] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    no_host_matched: bool = False

    def record(self, event: Mapping[str, Any]) -> None:
        """Record one event, and pass what users should see to the listener."""
        kind, data = str(event.get("event", "")), _mapping(event.get("event_data"))
        printed = redact(str(event.get("stdout", "")).replace("\r", "").strip())
        if kind in _OUTCOMES:
            self._task_ended(kind, data, printed)
        elif kind == "runner_on_start":
            self.listener(TaskStarted(str(data.get("host", "")), _task_name(data)))
        elif kind == "runner_on_file_diff":
            if printed:
                self.listener(Note("info", f"{data.get('host', '')}, {_task_name(data)}", printed))
        elif kind == "playbook_on_stats":
            self.hosts = _stats(data)
        elif kind == "playbook_on_no_hosts_matched":
            self.no_host_matched = True
        elif kind in ("verbose", "error", "warning", "system_warning"):
            self._printed(printed)

    def _task_ended(self, kind: str, data: Mapping[str, Any], printed: str) -> None:
        host, task, result = str(data.get("host", "")), _task_name(data), _mapping(data.get("res"))
        outcome, message = _OUTCOMES[kind], ""
        if outcome in ("failed", "unreachable"):
            message = redact(failure_message(result)) or printed or "no message"
            if _THROUGH_OTHERS in message:
                message += " (a jump host or ProxyCommand ended the connection, not the host itself)"
            if data.get("ignore_errors"):
                outcome = "ok"
            else:
                self.failures[host] = TaskFailure(host, task, message, unreachable=outcome == "unreachable")
        elif outcome == "ok" and result.get("changed"):
            outcome = "changed"
        if data.get("resolved_action", data.get("task_action")) in _DEBUG and result.get("msg"):
            self.listener(Note("info", host, redact(str(result["msg"]))))
        self.listener(TaskEnded(host, task, outcome, message))

    def _printed(self, text: str) -> None:
        if not text:
            return
        self.messages.append(text)
        self.no_host_matched |= _NO_HOSTS in text
        if text.startswith("[WARNING]"):
            self.listener(Note("warning", "ansible", text.removeprefix("[WARNING]:").strip()))


_THROUGH_OTHERS = "UNKNOWN port 65535"
"""The name that ssh prints for the other end of a connection that is not its own socket."""


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, empty where there is none: what a module returns is its own affair."""
    return value if isinstance(value, Mapping) else {}


_MOST_LEVELS = 20
"""Of results within results: a loop within a loop is two."""


def failure_message(result: Mapping[str, Any], levels: int = _MOST_LEVELS) -> str:
    """Return a module's message from the result of a failed task, '' without one."""
    results = result.get("results")
    items = results if isinstance(results, (list, tuple)) and levels else ()
    failed = [item for item in items if isinstance(item, Mapping) and item.get("failed")]
    if failed:
        return "; ".join(filter(None, (failure_message(item, levels - 1) for item in failed)))
    message = str(result.get("msg") or result.get("censored") or result.get("reason") or "").strip()
    # The message of a command is only "non-zero return code"; the reason is in its output.
    details = str(result.get("stderr") or result.get("module_stderr") or "").strip()
    if not details and result.get("rc"):
        details = str(result.get("stdout") or result.get("module_stdout") or "").strip()
    if not details or details in message:
        return message
    is_empty = not message or message == "non-zero return code"
    return last_lines(details) if is_empty else f"{message}: {last_lines(details)}"


def _stats(data: Mapping[str, Any]) -> dict[str, HostStats]:
    keys = {"ok": "ok", "changed": "changed", "failures": "failures", "dark": "unreachable"}
    keys |= {"skipped": "skipped", "rescued": "rescued"}
    names = sorted({str(name) for key in ("processed", *keys) for name in _mapping(data.get(key))})
    return {
        name: HostStats(**{ours: _count(_mapping(data.get(key)).get(name)) for key, ours in keys.items()})
        for name in names
    }


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _task_name(data: Mapping[str, Any]) -> str:
    role, task = str(data.get("role") or ""), str(data.get("task", ""))
    return f"{role}: {task}" if role and not task.startswith(f"{role} ") else task


def last_lines(text: str, *, count: int = 12) -> str:
    """Return the end of a long text."""
    return "\n".join(text.splitlines()[-count:])
