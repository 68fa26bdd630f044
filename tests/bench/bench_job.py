"""What a detached job costs over ssh, against a bare exec on the same open connection.

    bench_job.py INVENTORY [HOST]

Prints ratios; asserts nothing, because the machine is noisy. The two are timed in turn, so that both meet the
same noise.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable

from perfctl.environments import launcher
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
    bare, whole, around, inside, launched = [], [], [], [], []
    has_launcher = jobs.run([launcher.PROGRAM, "true"], timeout_s=30).exit_code == 0
    for _ in range(TURNS):
        bare.append(wall_ms(lambda: bare_exec(shell)))
        start = time.perf_counter()
        done = jobs.run(["true"], timeout_s=30)
        whole.append((time.perf_counter() - start) * 1e3)
        inside.append(inside_ms(done))
        around.append(whole[-1] - inside[-1])
        if has_launcher:
            launched.append(inside_ms(jobs.run([launcher.PROGRAM, "true"], timeout_s=30)))
    base = statistics.median(bare)
    print(
        f"a job running true: {statistics.median(whole) / base:.2f} x one bare exec of true (target 0.7), "
        f"{statistics.median(whole):.2f} ms to {base:.2f} ms; without the command itself "
        f"{statistics.median(around) / base:.2f} x"
    )
    if launched:
        more_ms = statistics.median(launched) - statistics.median(inside)
        ratio = more_ms / base
        print(f"the launcher of a measured command: {more_ms:.2f} ms more, {ratio:.2f} x a bare exec")


# Of the agent and of the relays: which of them has run, and what the agent has used so far.
SWITCHES = """
for entry in /proc/[0-9]*; do
  tr "\\0" " " <$entry/cmdline 2>/dev/null | grep -q "^[^ ]*python.* $1 " && grep ctxt $entry/status
done
"""


def agent_status(shell: SshShell, jobs: JobShell) -> tuple[float, int]:
    """Return the agent's CPU time in milliseconds, without its jobs', and its largest size in KiB."""
    pid = json.loads(shell.get(f"{jobs.spool}/agent.json"))["agent"].split(":")[1]
    fields = shell.get(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()
    size_kib = shell.get(f"/proc/{pid}/status").decode().partition("VmHWM:")[2].split()[0]
    return (int(fields[11]) + int(fields[12])) * 10.0, int(size_kib)


def bench_size(shell: SshShell, jobs: JobShell) -> None:
    """What the agent uses of the host for a job, and its size."""
    before, _ = agent_status(shell, jobs)
    for _ in range(TURNS):
        jobs.run(["true"], timeout_s=30)
    after, size_kib = agent_status(shell, jobs)
    print(
        f"the agent: {(after - before) / TURNS:.2f} ms of one processor per job (target 2), "
        f"{size_kib / 1024:.1f} MiB (target 15)"
    )


def bench_quiet(shell: SshShell, jobs: JobShell) -> None:
    """What crosses the connection, and what of ours runs on the host, while a job sleeps."""
    count = ["sh", "-c", SWITCHES, "sh", jobs.spool]
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
        f"{len(switches.splitlines()) // 2} waiting processes of the agent and its relay were switched to "
        f"{'never' if switches == again else 'SOMETIMES'} (target 0, 0, never)"
    )


READINGS = 100
VIEW = f"""
import os, sys, time
sys.path.insert(0, sys.argv[1])
import agent
view = agent.ProcessView("")
view.read(0)
begin = time.process_time()
for _ in range({READINGS}):
    view.read(1)
print((time.process_time() - begin) / {READINGS} * 1e3, len(agent.processes()))
"""


def bench_view(shell: SshShell, jobs: JobShell) -> None:
    """What the reading of the host's processes half way through a job costs of one processor."""
    done = shell.run(["python3", "-I", "-S", "-B", "-c", VIEW, jobs.spool], timeout_s=120)
    used_ms, count = done.text.split()
    print(
        f"a reading of the host's processes half way: {float(used_ms):.1f} ms of one processor, "
        f"with {count} processes (target 3 ms)"
    )


def main() -> None:
    """Print the figures for one host of an inventory."""
    inventory, *names = sys.argv[1:]
    host = load_hosts([inventory], limit=names[0] if names else None)[0]
    shell = connect(host)
    assert isinstance(shell, SshShell), f"{host.name} is not reached by ssh"
    jobs = JobShell.start(shell, "bench-job", lifetime_s=300, python=host.python)
    try:
        jobs.run(["true"], timeout_s=30)
        bench_overhead(shell, jobs)
        bench_quiet(shell, jobs)
        bench_size(shell, jobs)
        bench_view(shell, jobs)
    finally:
        jobs.stop()
        shell.close()


if __name__ == "__main__":
    main()
