#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Install docker.service's drop-in and restart the engine; take it back when the engine does not come up."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_docker_drop_in
short_description: Install docker.service's drop-in and restart the engine
description:
  - Writes the drop-in, restarts docker.service and waits until the engine answers. When it does not, the
    drop-in is what it was before (or gone), the engine is started again as it was, and the module fails with
    what dockerd said.
  - All of it happens on the host, so that it also ends when the connection or the controller is lost.
options:
  path:
    description: Path of the drop-in.
    type: path
    required: true
  content:
    description: Its text.
    type: str
    required: true
  running:
    description: Whether the running dockerd is as the drop-in says; otherwise it is restarted in any case.
    type: bool
    required: true
  timeout_s:
    description: How long the engine may take to start and to answer, in seconds.
    type: int
    default: 120
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Install the drop-in
  perf_docker_drop_in:
    path: /etc/systemd/system/docker.service.d/50-perfctl.conf
    content: "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --mtu=9000\n"
    running: false
"""

RETURN = r""" # """

UNIT, SOCKET = "docker.service", "docker.socket"
COMMAND_TIMEOUT_S = 30
POLL_S = 0.25
MOST_LINES = 3
TIMED_OUT, NOT_FOUND = 124, 127
"""The exit codes of a command that takes too long, and of one that cannot be run."""


class EngineError(Exception):
    """The engine did not start, or does not answer; the message says so without the reason."""


# -- what dockerd said -----------------------------------------------------------------------------


def reasons(journal: str) -> str:
    """Return what dockerd gave as its reason to end, from the messages in its journal; '' without any."""
    found = []
    for line in journal.splitlines():
        level = re.search(r"\blevel=(\w+)", line)
        if level and level.group(1) not in ("error", "fatal", "panic"):
            continue
        message = re.search(r'\bmsg="((?:[^"\\]|\\.)*)"', line) if level else None
        text = (message.group(1).replace('\\"', '"') if message else line).strip()
        if text and text not in found:
            found.append(text)
    # dockerd names its reason last, in a line without a level or with level=fatal.
    return "; ".join(found[-MOST_LINES:])


# -- this host -------------------------------------------------------------------------------------


def run(argv: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> tuple[int, str]:
    """Return a command's exit code, or TIMED_OUT or NOT_FOUND, and its output."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TIMED_OUT, ""
    except OSError as error:
        return NOT_FOUND, str(error)
    return done.returncode, done.stdout.decode(errors="replace")


def is_active() -> bool:
    """Return whether the engine runs as docker.service."""
    return run(["systemctl", "is-active", "--quiet", UNIT])[0] == 0


def restart(timeout_s: float) -> None:
    """Have systemd read its files, and restart the engine. Raises EngineError unless it answers in time."""
    run(["systemctl", "daemon-reload"], timeout_s)
    # What failed a few times in a row is not started any more otherwise.
    run(["systemctl", "reset-failed", UNIT, SOCKET])
    deadline = time.monotonic() + timeout_s
    code, _ = run(["systemctl", "restart", UNIT], timeout_s)
    if code == TIMED_OUT:
        raise EngineError(f"dockerd did not start in {timeout_s:g} s")
    if code != 0:
        raise EngineError("dockerd did not start")
    while run(["docker", "version", "--format", "{{.Server.Version}}"])[0] not in (0, NOT_FOUND):
        if not is_active():
            raise EngineError("dockerd ended after it had started")
        if time.monotonic() > deadline:
            raise EngineError(f"dockerd did not answer in {timeout_s:g} s")
        time.sleep(POLL_S)


def said_since(begin: float) -> str:
    """Return what dockerd said since a time (of time.time()), as the end of a sentence."""
    since = ["--since", f"@{int(begin)}"]
    run(["journalctl", "--sync"])
    _, journal = run(["journalctl", "-u", UNIT, "-t", "dockerd", "-o", "cat", "--no-pager", "-q", *since])
    text = reasons(journal)
    return f": {text}" if text else f" (journalctl -u {UNIT})"


def write(path: Path, data: bytes | None) -> None:
    """Make a file what it must be in one step; None removes it."""
    if data is None:
        if path.exists():
            path.unlink()
        return
    # systemd does not read a file with this ending.
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.chmod(0o644)
    fresh.replace(path)


def apply(path: Path, data: bytes, timeout_s: float) -> None:
    """Install the drop-in and restart the engine.

    Raises EngineError, with dockerd's reason, when it does not come up: everything is as it was by then.
    """
    before = path.read_bytes() if path.exists() else None
    made_folder, was_active = not path.parent.exists(), is_active()
    if made_folder:
        path.parent.mkdir()
        path.parent.chmod(0o755)
    begin = time.time()
    write(path, data)
    try:
        restart(timeout_s)
    except EngineError as error:
        reason = f"{error} with {path}{said_since(begin)}"
        write(path, before)
        if made_folder:
            path.parent.rmdir()
        raise EngineError(f"{reason}. {start_as_before(was_active, timeout_s)}") from None


def start_as_before(was_active: bool, timeout_s: float) -> str:
    """Start the engine without the change, or stop it if it did not run; return what has become of it."""
    taken_back = "The change was taken back"
    if not was_active:
        run(["systemctl", "daemon-reload"], timeout_s)
        run(["systemctl", "stop", UNIT], timeout_s)
        run(["systemctl", "reset-failed", UNIT, SOCKET])
        return f"{taken_back}; the engine did not run before"
    begin = time.time()
    try:
        restart(timeout_s)
    except EngineError as error:
        return f"{taken_back}, but without it, too, {error}{said_since(begin)}"
    return f"{taken_back}, and the engine runs as before"


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True},
            "running": {"type": "bool", "required": True},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    path, data = Path(module.params["path"]), module.params["content"].encode()
    before = path.read_bytes() if path.exists() else b""
    if before == data and module.params["running"]:
        module.exit_json(changed=False)
    diff = {
        "before": before.decode(errors="replace"),
        "after": data.decode(),
        "before_header": str(path),
        "after_header": str(path),
    }
    if not module.check_mode:
        # A change that is begun is brought to its end, also when the connection goes away.
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        try:
            apply(path, data, module.params["timeout_s"])
        except EngineError as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=True, diff=diff)


if __name__ == "__main__":
    main()
