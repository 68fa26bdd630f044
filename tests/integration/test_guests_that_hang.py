"""Real guests that stall or print nothing: ended at once, booted once more, and never left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from perfctl.environments import environment
from perfctl.environments.drivers import remove_all
from perfctl.environments.vm import VmDriver, left_behind
from perfctl.environments.vm.domain import Domain
from perfctl.errors import EnvironmentDied
from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.model import new_id
from perfctl.ssh import connect
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("third")

TEST_RUN = new_id()
COMMAND_TIMEOUT_S = 300
"""Far more than it takes until a stall is seen: a command that waits for its own end is a failure."""


@pytest.fixture(scope="module")
def host(third_host: LabAtHand) -> Iterator[JobShell]:
    """Return the job shell of the lab's third host; no guest of this file is left at its end."""
    transport = connect(load_hosts([str(third_host.inventory)])[0])
    jobs = JobShell.start(transport, TEST_RUN, lifetime_s=1800)
    yield jobs
    assert remove_all(jobs, TEST_RUN) == []
    assert left_behind(jobs, TEST_RUN) == []
    jobs.stop()
    transport.close()


class Hanging(VmDriver):
    """A driver whose first guests print nothing: their kernel knows no serial port."""

    silent_boots = 0

    def _domain(self, *args, **kwargs) -> Domain:
        domain = super()._domain(*args, **kwargs)
        self.silent_boots -= 1
        if self.silent_boots < 0:
            return domain
        words = domain.command_line.split()
        kept = [word for word in words if not word.startswith(("console=", "8250."))]
        return replace(domain, command_line=" ".join([*kept, "8250.nr_uarts=0"]))

    def _boot(self, *args, **kwargs) -> dict[str, float]:
        # As long as it takes to be sure of nothing; a guest that prints has as long as ever.
        self._output_timeout_s = 2 if self.silent_boots >= 0 else 30
        return super()._boot(*args, **kwargs)


def driver(silent_boots: int = 0) -> Hanging:
    made = Hanging(environment("vm"), run_id=TEST_RUN, invocation_id=new_id())
    made.silent_boots = silent_boots
    return made


STALL = """
echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
mount -t debugfs debugfs /sys/kernel/debug
for runtime in /sys/kernel/debug/sched/fair_server/cpu*/runtime; do
  [ ! -e "$runtime" ] || echo 0 >"$runtime"
done
while :; do true | true; done &
while :; do chrt -f 99 timeout 8 chrt -f 98 sh -c 'while :; do :; done'; sleep 0.1; done
"""
"""While processes end, which takes RCU's grace periods, nothing else runs for seconds on the only CPU, the
kernel's own threads included: that is a stall of RCU as the kernel defines it. From 6.12 on the kernel
otherwise keeps a twentieth of the time for those that have no real-time priority."""


def test_a_command_under_which_the_kernel_stalls_ends_with_the_guest(host):
    with pytest.raises(EnvironmentDied) as caught, driver().open(host) as guest:
        domain = guest.domain
        assert guest.boot.attempts == 1
        try:
            guest.run(["sh", "-c", STALL], timeout_s=COMMAND_TIMEOUT_S)
        finally:
            # Before the driver removes it: a guest that spins must not disturb what comes next.
            listed = host.run(["virsh", "list", "--name"], timeout_s=60)
    assert caught.value.reason == "guest_stalled"
    assert "rcu: INFO: rcu_" in str(caught.value)
    assert b"stall" in caught.value.artifacts["console"]
    assert listed.exit_code == 0 and domain not in listed.text


def test_a_soft_lockup_ends_a_server_and_what_waits_for_the_guest(host):
    said = "<0>watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [runc:488]"
    with driver().open(host) as guest:
        process = guest.spawn(["sleep", "600"])
        with pytest.raises(EnvironmentDied, match="soft lockup - CPU#0 stuck for 26s!") as caught:
            guest.run(["sh", "-c", f"echo '{said}' >/dev/kmsg; sleep 600"], timeout_s=COMMAND_TIMEOUT_S)
        assert caught.value.reason == "guest_stalled"
        assert not guest.is_alive()
        assert not process.is_running()
        process.stop()


def test_a_guest_that_prints_nothing_is_booted_once_more_and_its_own_time_counts(host):
    with driver(silent_boots=1).open(host) as guest:
        assert guest.boot.attempts == 2
        assert 0 < guest.opening_s["console"] < guest.opening_s["kernel"] < guest.opening_s["ssh"]
        assert guest.artifacts()["console"].startswith(b"[    0.000000] Linux version")
        folders = [line for line in left_behind(host, TEST_RUN) if line.startswith("folder")]
        assert folders == [f"folder {guest.domain}"]


def test_a_guest_that_prints_nothing_twice_is_given_up(host):
    silent = driver(silent_boots=99)
    with pytest.raises(EnvironmentDied, match="printed nothing for 2 s") as caught, silent.open(host):
        pytest.fail("the body ran")
    assert silent.silent_boots == 97
    assert caught.value.reason == "guest_silent"
    assert caught.value.artifacts["console"] == b""
    assert left_behind(host, TEST_RUN) == []
