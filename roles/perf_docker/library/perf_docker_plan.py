#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Work out docker.service's drop-in from the vendor's unit, and what stands against it. Changes nothing."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_docker_plan
short_description: Work out docker.service's drop-in and what stands against it
description:
  - Reads the vendor's unit, other drop-ins, C(daemon.json), C(/etc/default/docker) and the running daemon.
  - Changes nothing.
options:
  flags:
    description: Flags for dockerd, as C(--name=value) or C(--name).
    type: list
    elements: str
    required: true
  drop_in:
    description: Path of our own drop-in, which does not count as somebody else's.
    type: path
    required: true
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Work out the drop-in
  perf_docker_plan:
    flags: [--bridge=br1, --mtu=9000]
    drop_in: /etc/systemd/system/docker.service.d/50-perfctl.conf
"""

RETURN = r"""
exec_start:
  description: The vendor's command line with our flags at its end; empty when no flag is needed.
  type: str
  returned: always
refusals:
  description: Why it must not be done.
  type: list
  returned: always
running:
  description: Whether the running dockerd has all our flags already.
  type: bool
  returned: always
missing:
  description: Our flags that the running dockerd lacks.
  type: list
  returned: always
present:
  description: The text of our drop-in as it is, empty when there is none.
  type: str
  returned: always
containers:
  description: Names of running containers, which a restart stops.
  type: list
  returned: always
"""

SHORT = {
    "-b": "--bridge",
    "-D": "--debug",
    "-H": "--host",
    "-l": "--log-level",
    "-G": "--group",
    "-s": "--storage-driver",
}
DAEMON_JSON = Path("/etc/docker/daemon.json")
DEFAULTS = Path("/etc/default/docker")


def split_flag(flag: str) -> tuple[str, str | None]:
    """Return a flag's long name and its value (None for a switch)."""
    name, equals, value = flag.partition("=")
    return SHORT.get(name, name), value if equals else None


def split_arguments(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return [(long name, value)] of a dockerd command line; a value may be a word of its own."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            continue
        name, value = split_flag(word)
        if value is None and rest and not rest[0].startswith(("-", "$")):
            value = rest.pop(0)
        found.append((name, value))
    return found


def config_keys(name: str) -> tuple[str, str]:
    """Return the keys of daemon.json that mean this flag: those of repeated flags are in the plural."""
    key = name.lstrip("-")
    plural = key[:-1] + "ies" if key.endswith("y") else key + "s"
    return (key, plural)


def same(configured: Any, value: str | None) -> bool:
    """Return whether a value of daemon.json says the same as a flag's."""
    if isinstance(configured, bool):
        return configured == (value in (None, "true", "1"))
    return str(configured) == str(value)


def settle(flags: Sequence[str], config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return (flags still needed, complaints): an option both in daemon.json and in a flag stops dockerd."""
    needed, complaints = [], []
    for flag in flags:
        name, value = split_flag(flag)
        keys = [key for key in config_keys(name) if key in config]
        if not keys:
            needed.append(flag)
        elif not same(config[keys[0]], value):
            complaints.append(
                f"{DAEMON_JSON} says {json.dumps({keys[0]: config[keys[0]]})}, perfctl needs {flag}; "
                "dockerd takes an option from one place only"
            )
    return needed, complaints


def exec_starts(text: str) -> list[str]:
    """Return the ExecStart lines of a unit, continuation lines joined."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    lines = [line.strip() for line in joined.splitlines()]
    return [line.partition("=")[2].strip() for line in lines if line.startswith("ExecStart=")]


def clashes(words: Sequence[str], flags: Sequence[str], place: object) -> list[str]:
    """Return a complaint for each of our flags that `words` already has."""
    taken = {name for name, _ in split_arguments(words)}
    return [f"{place} already gives dockerd {flag}" for flag in flags if split_flag(flag)[0] in taken]


def default_options(text: str) -> list[str]:
    """Return the words of DOCKER_OPTS in /etc/default/docker."""
    found = re.findall(r"^\s*DOCKER_OPTS=(.*)$", text, re.M)
    return (
        [word for part in shlex.split(found[-1], comments=True) for word in shlex.split(part)]
        if found
        else []
    )


def read(path: Path) -> str:
    """Return a file's text, '' when there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


def output(argv: Sequence[str]) -> str:
    """Return what a command writes, '' when it cannot."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def running_arguments() -> list[tuple[str, str | None]]:
    """Return [(name, value)] of the dockerd that runs as docker.service, [] when none does."""
    pid = output(["systemctl", "show", "--value", "-p", "MainPID", "docker.service"]).strip()
    words = read(Path("/proc", pid, "cmdline")).split("\0")[1:] if pid not in ("", "0") else []
    return split_arguments([word for word in words if word])


def foreign_drop_ins(own: Path) -> list[Path]:
    """Return the drop-ins of others that set ExecStart: ours would silently win over, or lose to, them."""
    folders = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
    paths = {path.resolve() for name in folders for path in Path(name).glob("docker.service.d/*.conf")}
    return [path for path in sorted(paths - {own.resolve()}) if exec_starts(read(path))]


def plan(flags: Sequence[str], drop_in: Path) -> dict[str, Any]:
    """Return the module's result."""
    result: dict[str, Any] = {
        "exec_start": "",
        "refusals": [],
        "containers": [],
        "missing": [],
        "running": True,
    }
    result["present"] = read(drop_in)
    unit = Path(
        output(["systemctl", "show", "--value", "-p", "FragmentPath", "docker.service"]).strip() or "/nowhere"
    )
    try:
        config = json.loads(read(DAEMON_JSON).strip() or "{}")
    except ValueError as error:
        result["refusals"].append(f"{DAEMON_JSON} is no JSON: {error}")
        return result
    needed, complaints = settle(flags, config)
    result["refusals"] += complaints
    if not unit.exists():
        # The engine is not there yet: what can be checked is checked, the rest when it is.
        return result
    starts = exec_starts(read(unit))
    result["refusals"] += clashes(shlex.split(starts[-1]) if starts else [], needed, unit)
    result["refusals"] += clashes(default_options(read(DEFAULTS)), needed, DEFAULTS)
    if flags:
        result["refusals"] += [
            f"{path} sets ExecStart, and is not ours" for path in foreign_drop_ins(drop_in)
        ]
    if not starts:
        result["refusals"].append(f"{unit} has no ExecStart")
    elif needed:
        result["exec_start"] = " ".join([starts[-1], *needed])
    have = running_arguments()
    result["missing"] = [flag for flag in needed if split_flag(flag) not in have]
    result["running"] = not result["missing"]
    result["containers"] = output(["docker", "ps", "--format", "{{.Names}}"]).split()
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "flags": {"type": "list", "elements": "str", "required": True},
            "drop_in": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **plan(module.params["flags"], Path(module.params["drop_in"])))


if __name__ == "__main__":
    main()
