"""What a detached job costs over ssh, against a bare exec on the same open connection.

    bench_job.py INVENTORY [HOST]

Prints ratios; asserts nothing, because the machine is noisy. The two are timed in turn, so that both meet the
same noise.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable

from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.shell import Completed
from perfctl.ssh import connect
from perfctl.ssh.shell import SshShell

TURNS = 200


def wall_ms(action: Callable[[], object]) -> float:
    """Return how long `action` takes, in milliseconds."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def inside_ms(done: Completed) -> float:
    """Return how long the command itself ran, by the host's clock."""
    assert done.started_ns is not None and done.ended_ns is not None
    return (done.ended_ns - done.started_ns) / 1e6


def bare_exec(shell: SshShell) -> None:
    """One `true` on a new channel of the open connection, with nothing of ours around it."""
    channel = shell._connection.transport.open_session()
    channel.exec_command("true")
    channel.recv(1)
    channel.recv_exit_status()
    channel.close()


def bench_overhead(shell: SshShell, jobs: JobShell) -> None:
    """The median of a job running `true`, whole and without the command itself, to that of the bare exec."""
    bare, whole, around = [], [], []
    for _ in range(TURNS):
        bare.append(wall_ms(lambda: bare_exec(shell)))
        start = time.perf_counter()
        done = jobs.run(["true"], timeout_s=30)
        whole.append((time.perf_counter() - start) * 1e3)
        around.append(whole[-1] - inside_ms(done))
    base = statistics.median(bare)
    print(
        f"a job running true: {statistics.median(whole) / base:.2f} x one bare ssh exec of true "
        f"({statistics.median(whole):.1f} ms to {base:.1f} ms); without the command itself "
        f"{statistics.median(around) / base:.2f} x (target 2.5)"
    )


SWITCHES = """
for entry in /proc/[0-9]*; do
  tr "\\0" " " <$entry/cmdline 2>/dev/null | grep -q "^[^ ]*sh $1 " && grep ctxt $entry/status
done
"""


def bench_quiet(shell: SshShell, jobs: JobShell) -> None:
    """What crosses the connection, and what of ours runs on the host, while a job sleeps."""
    count = ["sh", "-c", SWITCHES, "sh", f"{jobs.spool}/server.sh"]
    thread = threading.Thread(target=lambda: jobs.run(["sleep", "4"], timeout_s=60))
    thread.start()
    time.sleep(1)
    switches = shell.run(count, timeout_s=30).text
    # The goodbye of that channel is still on its way.
    time.sleep(0.5)
    before = shell.traffic_bytes()
    time.sleep(1)
    after = shell.traffic_bytes()
    again = shell.run(count, timeout_s=30).text
    thread.join()
    moved = [end - start for start, end in zip(before, after, strict=True)]
    print(
        f"while a job sleeps: {moved[0]} bytes sent and {moved[1]} received in 1 s; the "
        f"{len(switches.splitlines()) // 2} waiting processes of the job server were switched to "
        f"{'never' if switches == again else 'SOMETIMES'} (target 0, 0, never)"
    )


READINGS = 100
# Reads as the job server does half way through a job; `times` says what this shell's commands have used.
LOOK = f"""
watched= job=$2/bench child=$$
read_view before >"$job.seen"
n=0
while [ $n -lt {READINGS} ]; do n=$((n + 1)); read_view half -v at_ms=0 >"$job.half"; done
times
set -- /proc/[0-9]*
echo "$#"
"""


def bench_look(shell: SshShell, jobs: JobShell) -> None:
    """What the probe of the host's processes half way through a job costs of one processor."""
    argv = ["sh", "-c", f'. "$1" list "$2" >/dev/null; {LOOK}', "sh", f"{jobs.spool}/server.sh", jobs.spool]
    lines = shell.run(argv, timeout_s=120).text.split("\n")
    minutes_and_seconds = [word.rstrip("s").split("m") for line in lines[:2] for word in line.split()]
    used_s = sum(60 * float(minutes) + float(seconds) for minutes, seconds in minutes_and_seconds)
    print(
        f"a probe of the host's processes half way: {used_s / READINGS * 1e3:.1f} ms of one processor, "
        f"with {lines[2]} processes (target 10 ms)"
    )


def main() -> None:
    """Print the figures for one host of an inventory."""
    inventory, *names = sys.argv[1:]
    host = load_hosts([inventory], limit=names[0] if names else None)[0]
    shell = connect(host)
    assert isinstance(shell, SshShell), f"{host.name} is not reached by ssh"
    jobs = JobShell.start(shell, "bench-job", lifetime_s=300)
    try:
        jobs.run(["true"], timeout_s=30)
        bench_overhead(shell, jobs)
        bench_quiet(shell, jobs)
        bench_look(shell, jobs)
    finally:
        jobs.stop()
        shell.close()


if __name__ == "__main__":
    main()
