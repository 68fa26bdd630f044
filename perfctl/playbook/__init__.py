"""Run playbooks through ansible-runner, and report every task as it ends: the only user of Ansible.

Ansible changes hosts; it never times anything. A failed host is a value here (`PlaybookResult`), so that a
caller can report every host; `raise_for_failures()` turns the first one into an error.

ansible-runner works in a thread of its own and hands its events over through a queue: listeners are called
in the caller's thread, and Ctrl-C there ends Ansible and its workers before it is raised further. What a
module has already started on a remote host runs to its end there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfctl import assets
from perfctl.errors import NoHostMatched, PlaybookFailed, UsageError
from perfctl.model import Listener, ignore
from perfctl.playbook.event_log import EventLog, HostStats, PlaybookResult, TaskFailure, last_lines
from perfctl.playbook.private_folder import private_folder, remove_stale_folders
from perfctl.playbook.runner import Runner

__all__ = ["HostStats", "PlaybookResult", "TaskFailure", "remove_stale_folders", "run_playbook"]

_PROMPTS = ("-k", "--ask-pass", "-K", "--ask-become-pass", "-J", "--ask-vault-pass", "--ask-vault-password")


def run_playbook(
    playbook: str | Path,
    *,
    inventory: Sequence[str],
    timeout_s: float,
    extra_vars: Mapping[str, Any] | None = None,
    limit: str | None = None,
    tags: Sequence[str] = (),
    skip_tags: Sequence[str] = (),
    check: bool = False,
    diff: bool = False,
    passthrough: Sequence[str] = (),
    listener: Listener = ignore,
    forks: int | None = None,
) -> PlaybookResult:
    """Run a playbook (a path, or the name of one that ships with perfctl); return the result for every host.

    `listener` gets a TaskEnded for every task and host, and a Note for every diff and warning, in this
    thread. `passthrough` goes to ansible-playbook as it is (vault, become, user). At most `forks` hosts run
    at once (default 50). Give no secrets in `extra_vars`: use vault.

    Raises CommandTimeout after `timeout_s`, NoHostMatched, UsageError for options that would prompt,
    and PlaybookFailed when the playbook could not start. Failed hosts are values.
    """
    arguments = _arguments(check=check, diff=diff, passthrough=passthrough)
    log = EventLog(listener)
    with private_folder() as private_dir:
        if extra_vars:
            arguments += [
                "-e",
                f"@{_write_private(private_dir / 'variables.json', json.dumps(dict(extra_vars)))}",
            ]
        options: dict[str, Any] = {
            "playbook": str(_find(playbook)),
            # What does not exist as a path is a host list ("h1,h2,") or a plugin's own word.
            "inventory": [str(Path(item).absolute()) if Path(item).exists() else item for item in inventory],
            "cmdline": shlex.join(arguments),
            "limit": limit or None,
            "tags": ",".join(tags) or None,
            "skip_tags": ",".join(skip_tags) or None,
            "forks": forks or 50,
        }
        return_code = Runner(private_dir, options, timeout_s).follow(log)
    return _result(log, return_code, playbook=str(playbook), limit=limit)


def _write_private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _find(playbook: str | Path) -> Path:
    """Return the absolute path: a name alone means one of ours."""
    path = Path(playbook)
    if path.parent == Path() and not path.exists():
        path = assets.playbooks_dir() / path.with_suffix(path.suffix or ".yml")
    if not path.is_file():
        raise UsageError("no such playbook", where=str(path))
    return path.absolute()


def _arguments(*, check: bool, diff: bool, passthrough: Sequence[str]) -> list[str]:
    prompts = [item for item in passthrough if item in _PROMPTS]
    if prompts:
        raise UsageError(
            f"{prompts[0]} would prompt, and perfctl shows no prompt",
            hint="give a file: --connection-password-file, --become-password-file, --vault-password-file",
        )
    return [*(["--check"] if check else []), *(["--diff"] if diff else []), *passthrough]


def _result(log: EventLog, return_code: int, *, playbook: str, limit: str | None) -> PlaybookResult:
    if not log.hosts and (log.no_host_matched or not return_code):
        raise NoHostMatched(
            "no host matched",
            where=f"--limit {limit}" if limit else None,
            hint="check the inventory and --limit",
        )
    failures = tuple(
        failure
        for failure in log.failures.values()
        if not log.hosts or not log.hosts.get(failure.host, HostStats(failures=1)).succeeded
    )
    if return_code and not failures:
        lines = [line for line in log.messages if not line.startswith("[WARNING]")] or log.messages
        raise PlaybookFailed(
            last_lines("\n".join(lines)) or f"ansible-playbook ended with {return_code}",
            where=playbook,
        )
    return PlaybookResult(log.hosts, failures)
