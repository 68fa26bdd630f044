"""The kernel's log, kept with the job that ran when it was written."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from perfctl.job import JobShell
from perfctl.shell import Completed, Stream
from perfctl.shell.local import LocalShell
from perfctl.validity import counter_files
from perfctl.validity.context import Expected
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.rules import Validity, judge_counters
from tests.contract.job_spool import RUN
from tests.processes import can_read_kernel_log, unique_seconds


def log_of(done: Completed) -> list[str]:
    """Return the records of the kernel's log that came with a job, all of them."""
    records, is_cut = counter_files.kernel_log(counter_files.parse_files(done.counters_after))
    assert records is not None and not is_cut
    return records


def judged(done: Completed) -> Validity:
    """Return the verdict on a job."""
    counters = InvocationCounters.parse(
        done.counters_before, done.counters_after, started_ns=done.started_ns, ended_ns=done.ended_ns
    )
    return judge_counters(counters.delta, counters.duration_s, Expected())


@pytest.fixture
def kernel_log() -> None:
    """Say what these tests need."""
    assert can_read_kernel_log() and not os.geteuid(), "this test needs root on a machine that shows its log"


@pytest.mark.usefixtures("kernel_log")
def test_what_comes_into_the_kernels_log_is_kept_with_the_job_that_ran_then(jobs: JobShell) -> None:
    word = f"perfctl test {unique_seconds()}"
    write = ["sh", "-c", 'echo "<4>WARNING: $1" >/dev/kmsg; sleep 0.1', "sh", word]
    assert any(word in record for record in log_of(jobs.run(write, timeout_s=30)))
    after = jobs.run(["true"], timeout_s=30)
    assert not any(word in record for record in log_of(after))
    assert "kernel_messages" not in {item.rule for item in judged(after).unjudged}
    with Path("/dev/kmsg").open("w") as log:
        log.write(f"<4>between {word}")
    time.sleep(0.1)
    assert not any(word in record for record in log_of(jobs.run(["true"], timeout_s=30)))


@pytest.mark.usefixtures("kernel_log")
def test_a_program_that_crashes_flags_the_invocation(jobs: JobShell) -> None:
    # The one thing of weight that the kernel can be brought to say without harm; a program's own words in
    # its log do not count.
    assert Path("/proc/sys/debug/exception-trace").read_text().strip() == "1"
    crash = "import ctypes, os; print(os.getpid(), flush=True); ctypes.string_at(0)"
    done = jobs.run(["sh", "-c", '"$0" -c "$1"; sleep 0.1', sys.executable, crash], timeout_s=30)
    (finding,) = (item for item in judged(done).findings if item.rule == "kernel_messages")
    assert f"[{done.text.strip()}]: segfault at 0" in finding.sentence


STORM = """
PATH=/usr/sbin:/sbin:$PATH
trap 'ip link del pfctest-a; ip link del pfctest-b' EXIT
ip link add pfctest-b type bridge
ip link add pfctest-a type veth peer name pfctest-c
ip link set pfctest-a up
n=0
while [ $n -lt 500 ]; do
  n=$((n + 1))
  echo "link set pfctest-a master pfctest-b"
  echo "link set pfctest-a nomaster"
done | ip -batch -
"""


@pytest.mark.usefixtures("kernel_log")
def test_of_a_storm_in_the_log_a_part_is_kept_and_the_rest_is_not_the_next_jobs(
    jobs: JobShell,
) -> None:
    done = jobs.run(["/bin/bash", "-c", STORM], timeout_s=60)
    assert done.exit_code == 0, done.error_text
    records, is_cut = counter_files.kernel_log(counter_files.parse_files(done.counters_after))
    assert records is not None and is_cut
    assert 30_000 < sum(map(len, records)) < 200_000
    reasons = {item.rule: item.reason for item in judged(done).unjudged}
    assert reasons["kernel_messages"] == "the kernel wrote more into its log than was kept"
    after = log_of(jobs.run(["true"], timeout_s=30))
    assert len([record for record in after if "pfctest" in record]) < 20


class WithoutKernelLog(LocalShell):
    """This machine as a container: what is in the place of the kernel's log says nothing."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return super().run([*self._hide(), *argv], timeout_s=timeout_s, stdin=stdin)

    def stream(self, argv: Sequence[str]) -> Stream:
        return super().stream([*self._hide(), *argv])

    @staticmethod
    def _hide() -> list[str]:
        return ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /dev/kmsg && exec "$@"', "sh"]


@pytest.mark.usefixtures("kernel_log")
def test_where_the_kernels_log_cannot_be_read_its_rule_is_not_judged(root: str) -> None:
    jobs = JobShell.start(WithoutKernelLog("box"), RUN, lifetime_s=600, spool_root=root)
    try:
        done = jobs.run(["true"], timeout_s=30)
        assert b"kernel log" not in done.counters_after
        (reason,) = (item.reason for item in judged(done).unjudged if item.rule == "kernel_messages")
        assert reason == "the kernel's log could not be read there"
    finally:
        jobs.stop()
