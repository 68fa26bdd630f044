"""Try perfctl on every kind of host that a lab can have, and print a table of what worked (make releases).

    python -m tests.releases [HOST ...]          HOST: 11, 12, 13 or 12-v2; all of them by default

For each kind a lab of one host is brought up, provisioned, read back, measured and taken down again, one
after the other. One that fails does not stop the others; what a command said is in .state/releases/HOST.log.
The exit code is 1 when anything failed that docs/support.md says works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfctl.lab.folder import LabFolder

_REPOSITORY = Path(__file__).resolve().parents[1]
_PROJECT = _REPOSITORY / ".state" / "releases"
_NAME = "perfctl-releases"
_SUBNETS = ("--management-subnet", "172.31.236.0/24", "--test-subnet", "10.236.0.0/16")
_HOSTS = {
    "11": ("--release", "11"),
    "12": ("--release", "12"),
    "13": ("--release", "13"),
    "12-v2": ("--release", "12", "--cgroup", "v2"),
}
"""The kinds of hosts, and the options of `lab up` that make one."""
_NO_LIMITS = ("12-v2",)
"""Where the lab's machine has all controllers in control groups of version 1, these hosts have none."""
_NO_GUESTS = ("11",)
"""Where libvirt is 7.0, which does not know the emulated processor that guests get."""
_STEPS = ("lab up", "provision", "guest image", "verify")
_ENVIRONMENTS = ("native", "container", "native-64m", "container-64m", "vm", "container-in-vm")
_TIMEOUT_S = 3600

_SUITE = """\
[suite]
name = "releases"
description = "One short benchmark in every environment."
baseline = "native"
environments = ["native", "container", "native-64m", "container-64m", "vm", "container-in-vm"]
blocks = 1

[environments.native-64m]
kind = "native"
memory_mib = 64
cpu_quota = 1.0

[environments.container-64m]
kind = "container"
memory_mib = 64
cpu_quota = 1.0

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", threads = 1, time_s = 1 }
"""
_INVOCATIONS = "SELECT environment, status, reason, detail FROM v_invocation WHERE replicate = 1"


@dataclass
class Trial:
    """One kind of host: what each step came to, in words that begin with ok where it worked."""

    host: str
    results: dict[str, str] = field(default_factory=dict)

    def failures(self) -> Iterator[str]:
        """Yield what did not come to what it should."""
        for step in (*_STEPS, *_ENVIRONMENTS):
            result = self.results.get(step, "not tried")
            is_refused = "not in force" in result or "discarded" in result or "does not support" in result
            if step.endswith("-64m") and self.host in _NO_LIMITS:
                if not is_refused:
                    yield f"{self.host}, {step}: {result}, though nothing can hold the limit"
            elif "vm" in step and self.host in _NO_GUESTS and "Invalid mode attribute 'maximum'" in result:
                continue
            elif not result.startswith("ok"):
                yield f"{self.host}, {step}: {result}"


def main(hosts: Sequence[str]) -> int:
    """Try the hosts and print the table; return the exit code."""
    if unknown := [host for host in hosts if host not in _HOSTS]:
        print(f"no such host: {unknown[0]}; there are {', '.join(_HOSTS)}", file=sys.stderr)
        return 2
    _PROJECT.mkdir(parents=True, exist_ok=True)
    trials = []
    for host in hosts or _HOSTS:
        trials.append(Trial(host))
        _try(trials[-1])
        print(f"# {host}: {trials[-1].results}", file=sys.stderr, flush=True)
    print(table(trials))
    failures = [failure for trial in trials for failure in trial.failures()]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


def table(trials: Sequence[Trial]) -> str:
    """Return a Markdown table: a row for each step, a column for each host."""
    lines = [["", *(trial.host for trial in trials)], ["---"] * (len(trials) + 1)]
    for step in (*_STEPS, *_ENVIRONMENTS):
        lines.append([step, *(trial.results.get(step, "not tried") for trial in trials)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _try(trial: Trial) -> None:
    log = _PROJECT / f"{trial.host}.log"
    log.write_text("")
    up = ("lab", "up", "--name", _NAME, "--hosts", "1", *_HOSTS[trial.host], *_SUBNETS)
    inventory = ("-i", str(LabFolder(_PROJECT, _NAME).inventory))
    steps = {
        "lab up": up,
        "provision": ("provision", *inventory, "--tags", "tools,engine,bridge,docker,image"),
        "guest image": ("provision", *inventory),
        "verify": ("verify", *inventory),
    }
    try:
        for step, arguments in steps.items():
            started = time.monotonic()
            done = _perfctl(log, *arguments)
            took_s = time.monotonic() - started
            trial.results[step] = f"ok, {took_s:.0f} s" if done.returncode == 0 else _last_line(done.stderr)
            if done.returncode and step in ("lab up", "provision"):
                return
        trial.results |= _measure(log, trial.host, inventory)
    finally:
        _perfctl(log, "lab", "down", "--name", _NAME)


def _measure(log: Path, host: str, inventory: Sequence[str]) -> dict[str, str]:
    """Return what measuring in each environment came to."""
    suite, database = _PROJECT / "releases.toml", _PROJECT / f"{host}.db"
    suite.write_text(_SUITE)
    database.unlink(missing_ok=True)
    to = ("--db", str(database))
    _perfctl(log, "run", "--suite", str(suite), *inventory, *to)
    listed = _perfctl(log, "query", _INVOCATIONS, "--format", "json", *to)
    if listed.returncode:
        return {"native": _last_line(listed.stderr)}
    return {
        row["environment"]: row["status"] if row["status"] == "ok" else f"{row['status']}: {row['detail']}"
        for row in json.loads(listed.stdout)["rows"]
    }


def _perfctl(log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "perfctl", "--project", str(_PROJECT), *arguments]
    done = subprocess.run(
        argv,
        cwd=_REPOSITORY,
        # Labs are made one after another on a machine that was busy just now.
        env=os.environ | {"PERFCTL_FORCE": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    with log.open("a") as file:
        print("$", *arguments, done.stdout, done.stderr, f"exit code {done.returncode}", sep="\n", file=file)
    return done


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
