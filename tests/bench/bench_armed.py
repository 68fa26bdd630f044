"""What a joint start costs: how long the controller's release takes, and how far apart jobs begin.

Where the inventory has fewer hosts than forty (in `make bench` the lab has two), each gets connections more,
each with an agent of its own: the controller has the work of forty. Prints; asserts nothing.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from perfctl.inventory import load_hosts
from perfctl.job import JobShell, Request, StartSkew, arm_together
from perfctl.job.hosts import each_of
from perfctl.model import Host
from perfctl.shell import Completed
from perfctl.ssh import connect

TURNS = 20
ON_ONE_HOST = 8
HOSTS = 40


def joint_start(fleet: Sequence[JobShell], count: int, argv: tuple[str, ...]) -> tuple[float, StartSkew]:
    """Start `count` jobs on each host together; return the seconds of the release, and the skew."""
    placed = [(jobs, [Request(f"armed-{n}", argv, 60.0) for n in range(count)]) for jobs in fleet]
    with arm_together(placed) as start:
        release_s = start.release()
        outcomes = start.outcomes()
        skew = start.skew()
    for jobs, found in zip(fleet, outcomes, strict=True):
        for number, outcome in enumerate(found):
            assert isinstance(outcome, Completed), outcome
            jobs.acknowledge(f"armed-{number}")
        # What is stored goes with a later request, and the names are wanted again.
        for _ in range(16 - count):
            jobs.acknowledge("none")
        jobs.run(["true"], timeout_s=60)
    return release_s, skew


def bench_one_host(jobs: JobShell) -> None:
    """How far apart the jobs of one host begin."""
    for argv in (("sleep", "0.1"), ("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")):
        skews = [joint_start([jobs], ON_ONE_HOST, argv)[1].seconds * 1e3 for _ in range(TURNS)]
        print(
            f"{ON_ONE_HOST} jobs ({argv[0]}) on one host begin within {statistics.median(skews):.2f} ms "
            f"(median of {TURNS}; at most {max(skews):.2f}; target 2)"
        )


def bench_many_hosts(fleet: Sequence[JobShell]) -> None:
    """How long the controller takes to release all hosts, and how far apart their jobs begin."""
    found = [joint_start(fleet, 1, ("sleep", "0.1")) for _ in range(TURNS)]
    releases = [release_s * 1e3 for release_s, _ in found]
    skews = [skew.seconds * 1e3 for _, skew in found]
    uncertain = [skew.uncertainty_s * 1e3 for _, skew in found]
    print(
        f"the controller releases {len(fleet)} hosts in {statistics.median(releases):.2f} ms "
        f"(median of {TURNS}; at most {max(releases):.2f}; target 3); their jobs begin within "
        f"{statistics.median(skews):.1f} ms, give or take {statistics.median(uncertain):.1f} ms "
        f"(at most {max(skews):.1f})"
    )


def main() -> None:
    """Print the figures for the hosts of an inventory."""
    hosts = load_hosts([sys.argv[1]])
    places = [(hosts[number % len(hosts)], number) for number in range(max(HOSTS, len(hosts)))]
    fleet: dict[int, JobShell] = {}
    with ExitStack() as stack:

        def start(place: tuple[Host, int]) -> None:
            host, number = place
            transport = connect(host)
            stack.callback(transport.close)
            run = f"bench-armed-{number}"
            fleet[number] = JobShell.start(transport, run, lifetime_s=900, python=host.python)
            stack.callback(fleet[number].stop)

        each_of(places, start)
        bench_one_host(fleet[0])
        bench_many_hosts([fleet[number] for number in sorted(fleet)])


if __name__ == "__main__":
    main()
