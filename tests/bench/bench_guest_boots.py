"""How often a guest that starts a container hangs, and how long it takes until the container has started.

    bench_guest_boots.py INVENTORY [--boots N] [--vcpus N] [--consoles FOLDER]

Guests boot on all hosts of the inventory at once, one after another on each. The hosts are taken to be a lab
on one machine: the guests of each get CPUs of their own as far as there are enough. Prints figures; asserts
nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from perfctl.environments import environment
from perfctl.environments.container import ContainerDriver
from perfctl.environments.nested import NestedDriver
from perfctl.environments.vm import VmDriver
from perfctl.errors import CommandTimeout, EnvironmentFailure
from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.model import Environment, Host, new_id
from perfctl.ssh import connect

BOOTS = 200
WORK = ["sysbench", "threads", "--threads=2", "--time=2", "run"]
"""Many switches between threads, after `docker run` has started the container."""
WORK_TIMEOUT_S = 300
BOOT_TIMEOUT_S = 900
FIRST_OUTPUT_S = 36
"""Far longer than perfctl waits (180 s without output): on a machine that is busy otherwise, slow must
not be taken for hanging."""

HANGS = {
    "soft lockup": re.compile(r"watchdog: BUG: soft lockup"),
    "RCU stall": re.compile(r"rcu: INFO: rcu_.*stall"),
}


@dataclass(frozen=True, slots=True)
class Boot:
    """One guest: how it ended ('ok', a kind of hang, or another reason), and after how long."""

    ending: str
    wall_s: float
    console: bytes = b""
    attempts: int = 1


def boot(host: Host, jobs: JobShell, wanted: Environment, run_id: str) -> Boot:
    """Start a container in a new guest, run `WORK` in it, and say how that ended."""
    assert wanted.within is not None
    identity = new_id()
    outer = VmDriver(
        wanted.within,
        run_id=run_id,
        invocation_id=identity,
        with_engine=True,
        first_output_s=FIRST_OUTPUT_S,
        boot_timeout_s=BOOT_TIMEOUT_S,
    )

    def inner(address: str) -> ContainerDriver:
        return ContainerDriver(wanted, run_id=run_id, invocation_id=identity, host_address=address)

    driver = NestedDriver(outer, inner)
    start = time.perf_counter()
    try:
        with driver.open(jobs) as shell:
            ready_s = time.perf_counter() - start
            try:
                done = shell.run(WORK, timeout_s=WORK_TIMEOUT_S)
            except CommandTimeout:
                console = shell.artifacts().get("console", b"")
                return Boot(classify(console, "timeout"), time.perf_counter() - start, console)
            attempts = shell.boot.attempts if shell.boot else 0
            return Boot("ok" if done.exit_code == 0 else f"exit {done.exit_code}", ready_s, b"", attempts)
    except EnvironmentFailure as failure:
        console = failure.artifacts.get("console", b"")
        return Boot(classify(console, failure.reason), time.perf_counter() - start, console)
    except CommandTimeout:
        # `docker run` itself did not end; the guest is gone with its console.
        return Boot("timeout of docker run", time.perf_counter() - start)


def classify(console: bytes, reason: str) -> str:
    """Return what a console shows of a hang, or else the reason."""
    text = console.decode("utf-8", "replace")
    seen = [name for name, pattern in HANGS.items() if pattern.search(text)]
    return " and ".join(seen) or ("silent (no byte)" if not text and reason == "guest_silent" else reason)


def boot_all(
    host: Host, wanted: Environment, boots: int, tell: Callable[[Host, int, Boot], None]
) -> list[Boot]:
    """Boot that many guests on one host, one after another."""
    run_id = new_id()
    transport = connect(host)
    jobs = JobShell.start(transport, run_id, lifetime_s=24 * 3600)
    found: list[Boot] = []
    try:
        for number in range(boots):
            found.append(boot(host, jobs, wanted, run_id))
            tell(host, number, found[-1])
    finally:
        jobs.stop()
        transport.close()
    return found


def placed(vcpus: int, position: int) -> Environment:
    """Return `container-in-vm`, its guest on the CPUs that are this host's turn."""
    cpus = os.cpu_count() or 1
    first = position * vcpus
    listed = ",".join(str((first + index) % cpus) for index in range(vcpus))
    inner = environment("container-in-vm")
    return replace(inner, within=replace(environment("vm"), vcpus=vcpus, cpuset_cpus=listed))


def report(boots: Sequence[Boot], vcpus: int) -> None:
    """Print how they ended and how long they took."""
    endings = Counter(each.ending for each in boots)
    good_s = [each.wall_s for each in boots if each.ending == "ok"]
    again = sum(each.attempts > 1 for each in boots)
    print(f"{len(boots)} guests that start a container, {vcpus} vCPUs: {dict(endings)}; second boots {again}")
    if good_s:
        print(
            f"until the container has started: {statistics.median(good_s):.1f} s "
            f"({min(good_s):.1f} to {max(good_s):.1f} s)"
        )


def main() -> None:
    """Boot guests on all hosts of an inventory and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("inventory")
    parser.add_argument("--boots", type=int, default=BOOTS)
    parser.add_argument("--vcpus", type=int, default=1)
    parser.add_argument("--consoles", type=Path, help="a folder for the consoles of guests that failed")
    given = parser.parse_args()

    def tell(host: Host, number: int, done: Boot) -> None:
        ended = f"{done.ending} {done.wall_s:.1f} s, boot {done.attempts}"
        print(f"{host.name} {number + 1}: {ended} (load {os.getloadavg()[0]:.1f})", flush=True)
        if given.consoles and done.ending != "ok":
            given.consoles.mkdir(parents=True, exist_ok=True)
            (given.consoles / f"{host.name}-{number + 1}.log").write_bytes(done.console)

    hosts = load_hosts([given.inventory])
    each = -(-given.boots // len(hosts))
    with ThreadPoolExecutor(len(hosts)) as pool:
        futures = [
            pool.submit(boot_all, host, placed(given.vcpus, position), each, tell)
            for position, host in enumerate(hosts)
        ]
        report([boot for future in futures for boot in future.result()], given.vcpus)


if __name__ == "__main__":
    main()
