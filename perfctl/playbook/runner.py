"""One ansible-runner in a thread of its own, and how to end it with all its workers."""

from __future__ import annotations

import configparser
import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfctl import assets
from perfctl.errors import CommandTimeout
from perfctl.playbook.event_log import EventLog
from perfctl.playbook.guard import VARIABLE, end_processes, guarded
from perfctl.playbook.private_folder import never_on_disk

_DEFAULTS = {
    # variable: (section and key of the same setting in ansible.cfg, value)
    "ANSIBLE_GATHERING": ("defaults", "gathering", "explicit"),
    "ANSIBLE_PIPELINING": ("connection", "pipelining", "True"),
    # Ansible's own but for -C: compressing an image that is compressed already takes four times its transfer.
    "ANSIBLE_SSH_ARGS": ("ssh_connection", "ssh_args", "-o ControlMaster=auto -o ControlPersist=60s"),
    "ANSIBLE_HOST_KEY_CHECKING": ("defaults", "host_key_checking", "True"),
    "ANSIBLE_PYTHON_INTERPRETER": ("defaults", "interpreter_python", "/usr/bin/python3"),
    "ANSIBLE_DEPRECATION_WARNINGS": ("defaults", "deprecation_warnings", "False"),
    # Of its own: what a killed Ansible has left there is removed by the next provision, and nobody else's.
    "ANSIBLE_REMOTE_TEMP": ("defaults", "remote_tmp", "~/.ansible/perfctl"),
}
"""The settings where neither the user's environment nor the user's ansible.cfg has another."""

_POLL_S = 0.2
_IDENT = "run"


class Runner:
    """One ansible-runner in its own thread."""

    def __init__(self, private_dir: Path, options: dict[str, Any], timeout_s: float) -> None:
        self._private_dir = private_dir
        self._options = options
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._events: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._timed_out = False
        self._return_code: int | None = None
        self._error: BaseException | None = None

    def follow(self, log: EventLog) -> int:
        """Run to the end and pass every event to `log`; return ansible-playbook's exit code."""
        thread = threading.Thread(target=self._work, name="ansible-runner", daemon=True)
        with guarded(self._private_dir.name):
            thread.start()
            try:
                while (event := self._events.get()) is not None:
                    log.record(event)
            finally:
                # Also on Ctrl-C and on a listener that raises: Ansible must not run on without its caller.
                self._cancelled.set()
                thread.join()
        if self._error is not None:
            raise self._error
        if self._timed_out:
            raise CommandTimeout(
                f"the playbook did not end in {self._timeout_s:g} s",
                where=Path(self._options["playbook"]).name,
            )
        return self._return_code if self._return_code is not None else 1

    def _work(self) -> None:
        try:
            import ansible_runner

            artifacts = self._private_dir / "artifacts" / _IDENT
            artifacts.mkdir(parents=True, mode=0o700)
            with never_on_disk(artifacts / "command"):
                runner = ansible_runner.run(
                    private_data_dir=str(self._private_dir),
                    ident=_IDENT,
                    project_dir=str(Path.cwd()),
                    quiet=True,
                    suppress_env_files=True,
                    envvars=_environment(os.environ, self._private_dir.name),
                    settings={
                        "pexpect_timeout": _POLL_S,
                        "suppress_output_file": True,
                        "fact_cache_type": "memory",
                    },
                    fact_cache_type="memory",
                    event_handler=self._on_event,
                    cancel_callback=self._is_over,
                    **self._options,
                )
            self._return_code = runner.rc
        except BaseException as error:  # noqa: BLE001  (raised again by follow, in the caller's thread)
            self._error = error
        finally:
            self._events.put(None)

    def _on_event(self, event: dict[str, Any]) -> bool:
        self._events.put(event)
        return False  # do not keep it on disk

    def _is_over(self) -> bool:
        """Return whether to cancel. ansible-runner polls it and, because it has one, handles no signals."""
        self._timed_out = not self._cancelled.is_set() and time.monotonic() > self._deadline
        if not self._cancelled.is_set() and not self._timed_out:
            return False
        end_processes(self._private_dir.name)
        return True


def default_interpreter(environ: Mapping[str, str]) -> str:
    """Return the interpreter that Ansible uses on hosts for which the inventory names none."""
    return _environment(environ, "")["ANSIBLE_PYTHON_INTERPRETER"]


def _environment(environ: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return what is to be set in Ansible's environment. The user's own settings are kept."""
    bin_dir = str(Path(sys.executable).parent)
    settings = {
        "PATH": f"{bin_dir}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "ANSIBLE_ROLES_PATH": str(assets.roles_dir()),
        "ANSIBLE_NOCOLOR": "True",
        # Ansible refuses a locale that is not installed (LC_ALL often comes by ssh) or not UTF-8.
        "LC_ALL": "C.UTF-8",
        VARIABLE: mark,
    }
    configured = _configured(environ)
    for variable, (section, key, value) in _DEFAULTS.items():
        if (section, key) in configured:
            # ansible-runner forces some of them unless they are in the environment.
            settings[variable] = environ.get(variable, configured[section, key])
        else:
            settings[variable] = environ.get(variable, value)
    return settings


def _configured(environ: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Return the settings of the ansible.cfg in force; pipelining is read from all its old sections, too."""
    named = environ.get("ANSIBLE_CONFIG")
    candidates = [Path(named)] if named else [Path("ansible.cfg"), Path.home() / ".ansible.cfg"]
    path = next((item for item in [*candidates, Path("/etc/ansible/ansible.cfg")] if item.is_file()), None)
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",))
    with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
        # Ansible itself reports a broken file, with a better message.
        parser.read([path] if path else [])
    found = {(section, key): value for section in parser.sections() for key, value in parser.items(section)}
    for section in ("defaults", "ssh_connection"):
        if (section, "pipelining") in found:
            found.setdefault(("connection", "pipelining"), found[section, "pipelining"])
    return found
