"""What a guest costs until it can be used, and whether killed runs leave anything of one behind.

    bench_guest.py INVENTORY [HOST] [--kills N]

Prints figures; asserts nothing, because the machine is noisy.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from perfctl.environments import environment
from perfctl.environments.drivers import driver_for
from perfctl.environments.vm import left_behind
from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.model import Host, new_id
from perfctl.ssh import connect

BOOTS = 7
KILLS = 50
LATEST_KILL_S = 25.0
"""By then a run of `SUITE` is through its survey and inside its second guest."""

SUITE = """\
[suite]
name = "killed"
description = "Guests only: one after another is booted."
baseline = "vm"
environments = ["vm"]
blocks = 100

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", time_s = 1 }
"""


def bench_cached(host: Host) -> None:
    """From open() to the end of the first command, with the image at hand."""
    run_id = new_id()
    transport = connect(host)
    jobs = JobShell.start(transport, run_id, lifetime_s=3600)
    walls_s: list[float] = []
    accelerator = ""
    try:
        for _ in range(BOOTS):
            driver = driver_for(
                environment("vm"),
                run_id=run_id,
                invocation_id=new_id(),
                host_address=host.network_address,
            )
            start = time.perf_counter()
            with driver.open(jobs) as guest:
                guest.run(["true"], timeout_s=60)
                walls_s.append(time.perf_counter() - start)
                accelerator = guest.boot.accelerator if guest.boot else "no guest"
    finally:
        jobs.stop()
        transport.close()
    median_s = statistics.median(walls_s)
    print(
        f"a cached guest ({accelerator}): {median_s:.1f} s from open() to the end of the first command, "
        f"{min(walls_s):.1f} to {max(walls_s):.1f} s in {BOOTS} boots (target 8 s, two idle cores)"
    )


def bench_rebuilt(inventory: str, host: Host) -> None:
    """What making another image adds to a provisioning that finds it made."""
    other = ["--extra-vars", f"perf_vm_image_free_mb={1025 + random.SystemRandom().randrange(500)}"]
    rebuilt_s = _provision_s(inventory, host, other)
    cached_s = _provision_s(inventory, host, other)
    _provision_s(inventory, host, [])
    print(
        f"a rebuilt image: {rebuilt_s - cached_s:.1f} s more than one that is there "
        f"({rebuilt_s:.1f} to {cached_s:.1f} s with Ansible's own work; target 30 s)"
    )


def _provision_s(inventory: str, host: Host, extra: list[str]) -> float:
    start = time.perf_counter()
    argv = ["-i", inventory, "provision", "--force", "--tags", "vm", "--limit", host.name, *extra]
    done = _perfctl(*argv)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


def bench_kills(inventory: str, host: Host, kills: int) -> None:
    """Kill runs with guests at random moments, reap them, and count what still stands."""
    moments = random.Random(1)
    left: Counter[str] = Counter()
    reaped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "killed.toml"
        suite.write_text(SUITE)
        common = ["--db", f"{folder}/results.db", "-i", inventory]
        run = [*common, "run", "--suite", str(suite), "--limit", host.name, "--force"]
        for _ in range(kills):
            _killed_after(moments.uniform(0.5, LATEST_KILL_S), run)
            reaping = _perfctl(*common, "reap", "latest", "--format", "json")
            if not (Path(folder) / "results.db").exists():
                continue  # it had not begun
            if reaping.returncode:
                raise SystemExit(reaping.stderr)
            for row in json.loads(reaping.stdout)["rows"]:
                reaped[row["kind"]] += 1
            left.update(_left(host, _latest(common)))
    # A tap that has lost its guest does not say whose it was.
    left["tap"] = _left(host, None)["tap"]
    print(
        f"{kills} runs killed at random moments and reaped: {left['domain']} domains, {left['tap']} taps, "
        f"{left['folder']} overlays, {left['address']} addresses are left (target 0); reap had found "
        f"{reaped['environment']} guests, {reaped['job']} jobs, {reaped['server']} servers"
    )


def _killed_after(seconds: float, arguments: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "perfctl", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.kill()
    process.wait(timeout=60)


def _latest(common: list[str]) -> str:
    listed = _perfctl(*common, "runs", "--format", "json")
    return str(json.loads(listed.stdout)["rows"][-1]["run_id"])


def _left(host: Host, run_id: str | None) -> Counter[str]:
    transport = connect(host)
    try:
        return Counter(line.partition(" ")[0] for line in left_behind(transport, run_id))
    finally:
        transport.close()


def _perfctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "perfctl", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=1800, check=False)


def main() -> None:
    """Print the figures for one host of an inventory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inventory")
    parser.add_argument("host", nargs="?")
    parser.add_argument("--kills", type=int, default=KILLS)
    given = parser.parse_args()
    host = load_hosts([given.inventory], limit=given.host)[0]
    bench_cached(host)
    bench_rebuilt(given.inventory, host)
    bench_kills(given.inventory, host, given.kills)


if __name__ == "__main__":
    main()
