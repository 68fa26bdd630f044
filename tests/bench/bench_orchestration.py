"""What orchestration costs around the work, as ratios against named peers in the same run.

Needs a provisioned lab: `make bench` brings it up. Prints; asserts nothing, because the machine is noisy.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

WORK_S = 2.0
PERFCTL = [sys.executable, "-m", "perfctl"]

SUITE = """\
[suite]
name = "bench-net"
description = "Ten measurements of two seconds: round trips and streams between two hosts."
baseline = "native"
environments = ["native"]
blocks = 1
"""
BENCHMARK = """
[[benchmark]]
name = "{name}"
workload = "netperf"
parameters = {{ test = "{test}", time_s = 2, {size} }}
"""


def wall_s(action: Callable[[], object]) -> float:
    """Return how long `action` takes, in seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run(argv: list[str], *, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command, capture it, and fail loudly."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def cpu_s() -> float:
    """Return the processor time of all processes that were run so far, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bench_help() -> None:
    """CPU time of `perfctl --help`, the best of ten, in a process of its own."""
    used = []
    for _ in range(10):
        before_s = cpu_s()
        run([*PERFCTL, "--help"])
        used.append(cpu_s() - before_s)
    print(f"perfctl --help: {min(used) * 1e3:.0f} ms CPU (target 120)")


def bench_second_provision(inventory: str) -> None:
    """Wall time of a `provision` that has nothing to do, against the `ansible -m command` of one task."""
    argv = [*PERFCTL, "-i", inventory, "provision"]
    # Where the hosts lack an engine or the image this takes minutes: said, for whoever waits for the rest.
    print("provisioning what is missing ...", flush=True)
    first_s = wall_s(lambda: run(argv, timeout_s=1500))
    stamped_s = min(wall_s(lambda: run(argv)) for _ in range(3))
    print(
        f"second provision, answered by the stamp: {stamped_s:.2f} s for two hosts (target 2);"
        f" the one before took {first_s:.0f} s",
        flush=True,
    )


def bench_ten_netperf(inventory: str) -> None:
    """Ten 2-second netperf measurements: wall beyond the 20 s of work, against bare ssh and Ansible."""
    sizes = [
        "request_bytes = 1",
        "message_bytes = 16384",
        "request_bytes = 64",
        "message_bytes = 32768",
        "request_bytes = 128",
    ]
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "bench-net.toml"
        text = SUITE
        for number, size in enumerate(sizes):
            test = "TCP_RR" if "request" in size else "TCP_STREAM"
            text += BENCHMARK.format(name=f"{test.lower()}_{number}", test=test, size=size)
        suite.write_text(text)
        argv = [*PERFCTL, "-i", inventory, "--db", f"{folder}/bench.db", "run", "--suite", str(suite)]
        used_s = cpu_s()
        beyond_s = statistics.median(wall_s(lambda: run(argv)) - 10 * WORK_S for _ in range(3))
        used_s = (cpu_s() - used_s) / 3
    ssh_s = 10 * bare_ssh_s(inventory)
    ansible_s = 10 * ansible_command_s(inventory)
    print(
        f"ten 2-second netperf measurements: {beyond_s:.2f} s beyond the 20 s of work, "
        f"whole process (target 0.8); {used_s:.2f} s of the controller's processor; "
        f"bare multiplexed ssh {ssh_s:.2f} s ({beyond_s / ssh_s:.1f} x), "
        f"ansible -m command {ansible_s:.1f} s ({ansible_s / beyond_s:.0f} x ours)"
    )


def first_host(inventory: str) -> dict[str, str]:
    """Return the variables of the inventory's first host."""
    listing = json.loads(run(["ansible-inventory", "-i", inventory, "--list"]).stdout)
    variables: dict[str, dict[str, str]] = listing["_meta"]["hostvars"]
    return variables[sorted(variables)[0]]


def bare_ssh_s(inventory: str) -> float:
    """Median seconds of `ssh host true` over a multiplexed OpenSSH connection."""
    host = first_host(inventory)
    with tempfile.TemporaryDirectory() as folder:
        options = [*host["ansible_ssh_common_args"].split(), "-i", host["ansible_ssh_private_key_file"]]
        base = ["ssh", *options, "-o", f"ControlPath={folder}/m", "-o", "ControlMaster=auto"]
        target = f"{host.get('ansible_user', 'root')}@{host['ansible_host']}"
        run([*base, "-o", "ControlPersist=60", target, "true"])
        try:
            return statistics.median(wall_s(lambda: run([*base, target, "true"])) for _ in range(20))
        finally:
            run([*base, "-O", "exit", target])


def ansible_command_s(inventory: str) -> float:
    """Median seconds of `ansible -m command -a true` on the inventory's hosts."""
    argv = ["ansible", "-i", inventory, "all", "-m", "ansible.builtin.command", "-a", "true"]
    run(argv)
    return statistics.median(wall_s(lambda: run(argv)) for _ in range(3))


def main() -> None:
    """Print every figure."""
    inventory = sys.argv[1]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:
        # Compiled, as pip leaves it, whatever is set here: else a third of a start is compiling.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        bench_help()
        bench_second_provision(inventory)
        bench_ten_netperf(inventory)


if __name__ == "__main__":
    main()
