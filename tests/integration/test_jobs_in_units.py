"""Detached jobs where systemd is PID 1: one transient unit per run and host, which holds everything."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from perfctl.inventory import load_hosts
from perfctl.job import JobShell, JobTimeout, reap
from perfctl.model import new_id
from perfctl.shell import Completed, Transport
from perfctl.ssh import connect
from perfctl.validity.counters import parse_counters
from tests.lab import LabAtHand
from tests.processes import hidden_sleep, unique_seconds, wait_until

pytestmark = pytest.mark.lab("first", stage="up")


@pytest.fixture
def transport(lab: LabAtHand) -> Iterator[Transport]:
    """Return a connection to the lab's first host."""
    made = connect(load_hosts([str(lab.inventory)])[0])
    yield made
    made.close()


@pytest.fixture
def jobs(transport: Transport) -> Iterator[JobShell]:
    """Return a job shell of a run of its own."""
    made = JobShell.start(transport, new_id(), lifetime_s=300)
    yield made
    made.stop()


def run_id(jobs: JobShell) -> str:
    """Return the run's id, the name of its spool folder."""
    return jobs.spool.rpartition("/")[2]


def processes(transport: Transport, pattern: str) -> list[str]:
    """Return the command lines on the host that have `pattern`, without those that look for it."""
    text = transport.run(["ps", "-eo", "args"], timeout_s=30).text
    return [line for line in text.splitlines() if pattern in line]


def test_a_run_is_one_transient_unit(jobs: JobShell, transport: Transport) -> None:
    unit = f"perfctl-{run_id(jobs)}.service"
    names = ["Transient", "KillMode", "RuntimeMaxUSec", "OOMPolicy", "TasksMax", "ActiveState"]
    argv = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    shown = dict(line.split("=", 1) for line in transport.run(argv, timeout_s=30).text.splitlines())
    assert shown == {
        "Transient": "yes",
        "KillMode": "control-group",
        "RuntimeMaxUSec": "5min",
        "OOMPolicy": "continue",
        "TasksMax": "infinity",
        "ActiveState": "active",
    }
    assert jobs.spool == f"/var/lib/perfctl/spool/{run_id(jobs)}"
    assert unit in jobs.run(["cat", "/proc/self/cgroup"], timeout_s=30).text
    jobs.stop()
    gone = transport.run(["systemctl", "is-active", unit], timeout_s=30)
    assert gone.text.strip() == "inactive"
    assert transport.run(["ls", jobs.spool], timeout_s=30).exit_code != 0


def test_the_units_own_processor_time_and_quota_are_among_the_counters(
    jobs: JobShell, transport: Transport
) -> None:
    burn = ["sh", "-c", "i=0; while [ $i -lt $0 ]; do i=$((i+1)); done; times"]
    free = jobs.run([*burn, "100000"], timeout_s=60)
    delta = parse_counters(free.counters_before, free.counters_after)
    used = re.match(r"(\d+)m([\d.]+)s", free.text)
    assert used and delta.own_cpu_us is not None
    assert delta.own_cpu_us >= 1e6 * (60 * int(used[1]) + float(used[2])) - 10_000
    assert delta.quota_stopped_us == 0
    unit = f"perfctl-{run_id(jobs)}.service"
    # So little that it is held back however busy the machine is.
    limit = ["systemctl", "set-property", "--runtime", unit, "CPUQuota=1%"]
    assert transport.run(limit, timeout_s=30).exit_code == 0
    held = jobs.run([*burn, "20000"], timeout_s=60)
    stopped_us = parse_counters(held.counters_before, held.counters_after).quota_stopped_us
    assert stopped_us is not None and stopped_us > 0


def test_what_hides_from_session_and_environment_ends_with_the_unit(
    jobs: JobShell, transport: Transport
) -> None:
    seconds = unique_seconds()
    jobs.run(hidden_sleep(seconds), timeout_s=30)
    wait_until(lambda: processes(transport, f"sleep {seconds}"), "the hidden process")
    jobs.stop()
    assert processes(transport, f"sleep {seconds}") == []


def test_a_timeout_on_the_host(jobs: JobShell, transport: Transport) -> None:
    seconds = unique_seconds()
    with pytest.raises(JobTimeout):
        jobs.run(["sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"], timeout_s=0.5)
    assert processes(transport, f"sleep {seconds}") == []


def test_another_controller_collects_what_a_lost_one_left(lab: LabAtHand) -> None:
    (host, *_) = load_hosts([str(lab.inventory)])
    run = new_id()
    first = connect(host)
    before = JobShell.start(first, run, lifetime_s=300)
    before.run_job("inv-1", ["hostname"], 30)
    before.spawn(["sleep", (seconds := unique_seconds())])
    first.close()
    second = connect(host)
    later = JobShell.start(second, run, lifetime_s=300)
    assert processes(second, f"sleep {seconds}") == []
    (found,) = later.collect_results().values()
    assert isinstance(found, Completed)
    assert found.text.strip() == host.name
    later.acknowledge("inv-1")
    later.stop()
    assert second.run(["ls", later.spool], timeout_s=30).exit_code != 0
    second.close()


def test_reap_finds_a_unit_even_when_its_spool_is_gone(jobs: JobShell, transport: Transport) -> None:
    transport.run(["rm", "-rf", jobs.spool], timeout_s=30)
    assert reap(transport, run_id(jobs)) == [f"server perfctl-{run_id(jobs)}"]
    assert reap(transport, run_id(jobs)) == []


def failed_units(transport: Transport, run: str) -> list[str]:
    """Return the run's units that systemd has kept as failed: they make the whole host `degraded`."""
    argv = ["systemctl", "list-units", "--all", "--failed", "--plain", "--no-legend", f"perfctl-{run}*"]
    return transport.run(argv, timeout_s=30).text.splitlines()


def test_a_unit_that_a_killed_start_left_is_replaced(transport: Transport) -> None:
    run = new_id()
    # It was made, and whoever made it was killed before the server had said its process id.
    left = ["systemd-run", "--collect", f"--unit=perfctl-{run}", "sleep", (seconds := unique_seconds())]
    assert transport.run(left, timeout_s=30).exit_code == 0
    jobs = JobShell.start(transport, run, lifetime_s=300)
    assert jobs.run(["echo", "anew"], timeout_s=30).text == "anew\n"
    assert processes(transport, f"sleep {seconds}") == []
    jobs.stop()


@pytest.mark.parametrize("how", ["killed", "lifetime"])
def test_no_unit_of_ours_stays_failed(transport: Transport, how: str) -> None:
    jobs = JobShell.start(transport, new_id(), lifetime_s=2 if how == "lifetime" else 300)
    unit = f"perfctl-{run_id(jobs)}.service"
    if how == "killed":
        kill = ["systemctl", "kill", "--kill-who=main", "--signal=KILL", unit]
        assert transport.run(kill, timeout_s=30).exit_code == 0
    wait_until(
        lambda: transport.run(["systemctl", "is-active", unit], timeout_s=30).text.strip() == "inactive",
        "the end of the unit",
    )
    assert failed_units(transport, run_id(jobs)) == []
    jobs.stop()


def test_times_are_the_hosts_monotonic_clock(jobs: JobShell) -> None:
    done = jobs.run(["python3", "-c", "import time; print(time.monotonic_ns())"], timeout_s=30)
    assert done.started_ns is not None and done.ended_ns is not None
    assert done.started_ns < int(done.text) < done.ended_ns
