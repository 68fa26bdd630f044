"""How much of a job's output is kept, on this machine: cut on the host, collected in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path

import pytest

from perfctl.errors import Interrupted
from perfctl.job import JobShell, JobTimeout
from perfctl.shell import Transport
from tests.contract.job_spool import RUN, agent_pid, completed_of
from tests.processes import unique_seconds, wait_until, with_argument

LIMIT_BYTES = 100_000


@pytest.mark.parametrize(
    ("printed", "kept", "is_cut"), [(99_999, 99_999, 0), (100_000, 100_000, 0), (3_000_000, 100_000, 1)]
)
def test_what_is_over_the_limit_is_dropped_and_the_job_goes_on(
    jobs: JobShell, printed: int, kept: int, is_cut: bool
) -> None:
    script = f"head -c {printed} /dev/zero; echo said >&2; exit 3"
    done = jobs.run_job("inv-1", ["sh", "-c", script], 60, output_limit_bytes=LIMIT_BYTES)
    assert (done.stdout, done.stderr, done.exit_code) == (bytes(kept), b"said\n", 3)
    assert done.cut_at_bytes == (LIMIT_BYTES if is_cut else None)
    assert b"==> /proc/stat <==\n" in done.counters_after
    jobs.acknowledge("inv-1")
    # A later command has its own limit.
    assert jobs.run(["head", "-c", "200000", "/dev/zero"], timeout_s=60).stdout == bytes(200_000)


def test_stderr_has_the_same_limit(jobs: JobShell) -> None:
    script = "echo said; head -c 200000 /dev/zero >&2"
    done = jobs.run_job("inv-1", ["sh", "-c", script], 60, output_limit_bytes=LIMIT_BYTES)
    assert (done.stdout, done.stderr, done.cut_at_bytes) == (b"said\n", bytes(LIMIT_BYTES), LIMIT_BYTES)
    jobs.acknowledge("inv-1")


def test_outputs_are_cut_on_the_hosts_disk_while_the_job_runs(jobs: JobShell) -> None:
    seconds = unique_seconds()
    script = f"head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2; echo more; exec sleep {seconds}"

    def measure() -> None:
        with pytest.raises(Interrupted):
            jobs.run_job("inv-1", ["sh", "-c", script], 300, output_limit_bytes=LIMIT_BYTES)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the job to have printed everything")
    folder = Path(jobs.spool) / "output"
    sizes = {f"inv-1.{name}": LIMIT_BYTES + 1 for name in ("out", "err")}
    wait_until(
        lambda: {path.name: path.stat().st_size for path in folder.glob("inv-1.*")} == sizes,
        "both outputs to be cut",
    )
    jobs.cancel()
    thread.join(timeout=60)


def test_a_job_that_printed_too_much_and_timed_out_says_both(jobs: JobShell) -> None:
    with pytest.raises(JobTimeout) as caught:
        jobs.run_job("inv-1", ["yes"], 0.5, output_limit_bytes=LIMIT_BYTES)
    done = caught.value.completed
    assert (done.stdout, done.cut_at_bytes) == (b"y\n" * (LIMIT_BYTES // 2), LIMIT_BYTES)
    jobs.acknowledge("inv-1")


def test_a_later_controller_knows_the_limit_too(jobs: JobShell, transport: Transport, root: str) -> None:
    jobs.run_job("inv-1", ["head", "-c", "200000", "/dev/zero"], 60, output_limit_bytes=LIMIT_BYTES)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    done = completed_of(later)["inv-1"]
    assert (len(done.stdout), done.cut_at_bytes) == (LIMIT_BYTES, LIMIT_BYTES)
    later.acknowledge("inv-1")
    later.stop()
    assert not Path(later.spool).exists()


@pytest.mark.parametrize(("printed", "limit_bytes"), [(16 << 20, 16 << 20), (32 << 20, 1 << 20)])
def test_collecting_an_output_takes_little_more_memory_than_what_is_kept(
    jobs: JobShell, printed: int, limit_bytes: int
) -> None:
    argv = ["head", "-c", str(printed), "/dev/zero"]
    jobs.run(["true"], timeout_s=60)
    tracemalloc.start()
    try:
        done = jobs.run_job("inv-1", argv, 300, output_limit_bytes=limit_bytes)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(done.stdout) == limit_bytes
    # The rest are the pieces that are under way on the connection.
    assert peak_bytes < 1.25 * limit_bytes + (6 << 20)
    jobs.acknowledge("inv-1")


def test_what_a_background_command_prints_is_bounded_too(jobs: JobShell) -> None:
    process = jobs.spawn(["sh", "-c", "echo first; exec sleep 600"])
    wait_until(lambda: process.output() == "first\n", "its output")
    process.stop()
    assert process.output() == "first\n"


def test_a_hundred_megabytes_are_cut_on_the_way_and_the_agent_stays_small(jobs: JobShell) -> None:
    argv = ["head", "-c", str(100 << 20), "/dev/zero"]
    done = jobs.run_job("inv-1", argv, 300, output_limit_bytes=LIMIT_BYTES)
    assert (len(done.stdout), done.cut_at_bytes, done.exit_code) == (LIMIT_BYTES, LIMIT_BYTES, 0)
    jobs.acknowledge("inv-1")
    assert len(jobs.run(["head", "-c", str(20 << 20), "/dev/zero"], timeout_s=300).stdout) == 20 << 20
    status = Path(f"/proc/{agent_pid(jobs.spool)}/status").read_text()
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kib < 15 << 10
