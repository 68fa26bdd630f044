"""The same limits for a native command and a container, proven by what they do on a host with systemd."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from perfctl.environments import EnvironmentShell, environment
from perfctl.environments.catalogue import IMAGE
from perfctl.environments.drivers import driver_for, remove_all
from perfctl.environments.limits import OutOfMemory
from perfctl.errors import EnvironmentDied, EnvironmentUnavailable
from perfctl.inventory import load_hosts
from perfctl.job import JobShell, JobTimeout
from perfctl.model import Environment, new_id
from perfctl.shell import Transport
from perfctl.shell.local import LocalShell
from perfctl.ssh import connect
from tests.lab import LabAtHand
from tests.processes import hidden_sleep, unique_seconds, wait_until
from tests.tiny_image import tiny_image

pytestmark = pytest.mark.lab("first")

KINDS = ("native", "container")
TINY = "perfctl-test/tiny-of-limits:1"

# Keeps two processes busy for 2 s of wall time, then prints the CPU time that both had.
BURN = "timeout 2 sh -c 'while :; do :; done' & timeout 2 sh -c 'while :; do :; done'; wait; times"
# Takes 200 MiB of memory and touches all of it: tail keeps what has no line end.
HOG = "head -c 209715200 /dev/zero | tail -c 209715200 | wc -c"
# Of its own control group: version 1 on a host, version 1 in a container, version 2.
CPU_STAT = """
group=$(sed -n 's/^[0-9]*:cpu\\(,cpuacct\\)\\{0,1\\}://p' /proc/self/cgroup)
cat "/sys/fs/cgroup/cpu$group/cpu.stat" 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null ||
  cat "/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/cpu.stat"
"""
GROUPS = "cat /proc/self/cgroup"


@pytest.fixture(scope="module")
def transport(provisioned_lab: LabAtHand) -> Iterator[Transport]:
    """Return a connection to the lab's first host, provisioned and with the tiny image."""
    made = connect(load_hosts([str(provisioned_lab.inventory)])[0])
    saved = subprocess.run(["docker", "save", tiny_image()], capture_output=True, timeout=120, check=True)
    assert made.run(["docker", "load"], timeout_s=120, stdin=saved.stdout).exit_code == 0
    assert made.run(["docker", "tag", tiny_image(), TINY], timeout_s=60).exit_code == 0
    yield made
    made.run(["docker", "rmi", TINY, tiny_image()], timeout_s=60)
    made.close()


@pytest.fixture
def run_id() -> str:
    """Return a run's id."""
    return new_id()


@pytest.fixture
def jobs(transport: Transport, run_id: str) -> Iterator[JobShell]:
    """Return the job shell of a run; nothing of it may be left afterwards."""
    made = JobShell.start(transport, run_id, lifetime_s=300)
    yield made
    made.stop()
    assert remove_all(transport, run_id) == []
    assert scopes(transport, run_id) == []


def scopes(transport: Transport, run_id: str) -> list[str]:
    """Return the scopes of a run that are there, failed ones too."""
    argv = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"perfctl-{tail(run_id)}-*.scope"]
    return [line.split()[0] for line in transport.run(argv, timeout_s=30).text.splitlines()]


def tail(run_id: str) -> str:
    return run_id.replace("-", "")[-8:]


def processes(transport: Transport, pattern: str) -> list[str]:
    text = transport.run(["ps", "-eo", "args"], timeout_s=30).text
    return [line for line in text.splitlines() if pattern in line]


def limited(run_id: str, kind: str, **limits: Any):
    if kind == "native":
        wanted = Environment("limited", "native", **limits)
    else:
        wanted = Environment("limited", "container", engine="docker", image=TINY, network="bridge", **limits)
    return driver_for(wanted, run_id=run_id, invocation_id=new_id(), host_address="192.0.2.1")


def said(shell: EnvironmentShell, script: str) -> str:
    done = shell.run(["sh", "-c", script], timeout_s=60)
    assert done.exit_code == 0, done
    return done.text


def cpu_seconds(times: str) -> float:
    """Return the user and system time of the children that `times` printed."""
    minutes = re.findall(r"(\d+)m([\d.]+)s", times.splitlines()[-1])
    return sum(60 * int(minute) + float(second) for minute, second in minutes)


# --- what they do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cpu", ["0", "1"])
def test_a_command_runs_on_the_cpus_named_and_no_other(jobs, run_id, kind, cpu):
    with limited(run_id, kind, cpuset_cpus=cpu).open(jobs) as shell:
        assert f"Cpus_allowed_list:\t{cpu}\n" in said(shell, "cat /proc/self/status")
        # What it starts is bound too.
        assert said(shell, "sh -c nproc").strip() == "1"


@pytest.mark.parametrize("kind", KINDS)
def test_memory_comes_from_the_nodes_named(jobs, run_id, kind):
    made = limited(run_id, kind, cpuset_mems="0", cpuset_cpus="1")
    with made.open(jobs) as shell:
        status = said(shell, "cat /proc/self/status")
        assert "Cpus_allowed_list:\t1\n" in status
        assert "Mems_allowed_list:\t0\n" in status
    described = made.describe(jobs)
    assert described.get("limits.nodes") == "0" or '"CpusetMems": "0"' in described["container.host_config"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_quota_bounds_the_cpu_time_of_all_processes_together(jobs, run_id, kind):
    with limited(run_id, kind, cpu_quota=0.25).open(jobs) as shell:
        used_s = cpu_seconds(said(shell, BURN))
        throttled = re.search(r"^nr_throttled (\d+)$", said(shell, CPU_STAT), re.MULTILINE)
    # 2 s at a quarter of a CPU, and what the last period of 0.1 s may add on each CPU.
    assert 0 < used_s < 0.75
    # On a busy machine it might have had no more anyway: the kernel says that it held it back.
    assert throttled is not None
    assert int(throttled[1]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_memory_beyond_the_limit_is_an_error_with_its_reason(jobs, run_id, kind):
    with limited(run_id, kind, memory_mib=64).open(jobs) as shell:
        with pytest.raises(OutOfMemory) as caught:
            shell.run(["sh", "-c", f"echo before; {HOG}; exit 3"], timeout_s=60)
        assert shell.is_alive()
        # The next command is judged by itself.
        assert shell.run(["sh", "-c", "exit 4"], timeout_s=60).exit_code == 4
    assert caught.value.reason == "out_of_memory"
    assert "the limit of 64 MiB is reached" in str(caught.value)
    assert caught.value.completed.exit_code == 3
    assert caught.value.completed.stdout.startswith(b"before\n")
    assert caught.value.completed.argv[:2] == ("sh", "-c")


@pytest.mark.parametrize("kind", KINDS)
def test_memory_within_the_limit_is_there(jobs, run_id, kind):
    with limited(run_id, kind, memory_mib=512).open(jobs) as shell:
        assert said(shell, HOG).strip() == "209715200"


@pytest.mark.parametrize("kind", KINDS)
def test_the_memory_limit_is_one_for_all_commands(jobs, run_id, kind):
    with limited(run_id, kind, memory_mib=64).open(jobs) as shell:
        # Either alone fits; of both together the kernel kills one, once the first has its memory.
        shell.spawn(["sh", "-c", "head -c 50000000 /dev/zero | tail -c 50000000 | sleep 60"])
        again = "sleep 0.1; head -c 50000000 /dev/zero | tail -c 50000000 >/dev/null; exit 3"
        with pytest.raises(OutOfMemory):
            for _ in range(50):
                assert shell.run(["sh", "-c", again], timeout_s=60).exit_code == 3


def test_all_native_commands_join_one_scope_that_the_host_can_find(jobs, run_id):
    with limited(run_id, "native", memory_mib=64, cpu_quota=1).open(jobs) as shell:
        marker, unit = shell.host_processes.split(":")
        assert marker == "cgroup"
        assert scopes(jobs, run_id) == [unit]
        lines = [
            line
            for line in said(shell, GROUPS).splitlines()
            if re.search(r":(memory|cpu|cpu,cpuacct)?:", line)
        ]
        assert lines
        assert all(line.endswith(f"/{unit}") for line in lines)
        server = shell.spawn(["sleep", seconds := unique_seconds()])
        wait_until(lambda: processes(jobs, f"sleep {seconds}"), "the server")
        server.stop()
        assert processes(jobs, f"sleep {seconds}") == []
    assert scopes(jobs, run_id) == []


def test_limits_leave_command_streams_and_exit_codes_alone(jobs, run_id):
    every = {"cpuset_cpus": "0", "cpuset_mems": "0", "cpu_quota": 1.0, "memory_mib": 256}
    with limited(run_id, "native", **every).open(jobs) as shell:
        done = shell.run(
            ["sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "a b'\n$x"], timeout_s=30, stdin=b"in"
        )
        assert (done.exit_code, done.stdout, done.stderr) == (7, b"in", b"a b'\n$x\n")
        assert done.started_ns is not None
        assert shell.run(["no-such-program"], timeout_s=30).exit_code == 127
        assert shell.name == f"{jobs.name}/limited"


# --- ended with all they hold -------------------------------------------------------------------------------


def test_a_timeout_ends_what_runs_in_the_scope(jobs, run_id):
    seconds = unique_seconds()
    with limited(run_id, "native", memory_mib=64).open(jobs) as shell:
        script = f"echo half; setsid sleep {seconds} & sleep {seconds}"
        with pytest.raises(JobTimeout) as caught:
            shell.run(["sh", "-c", script], timeout_s=1)
        assert str(caught.value) == f"{jobs.name}/limited: sh did not end within 1 s"
        assert caught.value.completed.stdout == b"half\n"
        assert caught.value.completed.argv == ("sh", "-c", script)
        assert processes(jobs, f"sleep {seconds}") == []
        assert shell.is_alive()


def test_closing_ends_also_what_hides(jobs, run_id):
    seconds = unique_seconds()
    with limited(run_id, "native", memory_mib=64).open(jobs) as shell:
        shell.run(hidden_sleep(seconds), timeout_s=30)
        wait_until(lambda: processes(jobs, f"sleep {seconds}"), "the hidden process")
    assert processes(jobs, f"sleep {seconds}") == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_scope_goes_when_the_body_raises(jobs, run_id, error):
    with pytest.raises(error), limited(run_id, "native", cpu_quota=1).open(jobs):
        assert len(scopes(jobs, run_id)) == 1
        raise error
    assert scopes(jobs, run_id) == []


def test_stopping_the_run_ends_the_scope_and_what_is_in_it(transport, run_id):
    seconds = unique_seconds()
    jobs = JobShell.start(transport, run_id, lifetime_s=300)
    opened = limited(run_id, "native", memory_mib=64).open(jobs)
    shell = opened.__enter__()
    shell.spawn(["sleep", seconds])
    wait_until(lambda: processes(transport, f"sleep {seconds}"), "the server")
    jobs.stop()
    wait_until(lambda: scopes(transport, run_id) == [], "the scope's end")
    assert processes(transport, f"sleep {seconds}") == []


def test_the_scope_ends_with_the_unit_of_its_job_server(transport, run_id):
    seconds = unique_seconds()
    jobs = JobShell.start(transport, run_id, lifetime_s=300)
    opened = limited(run_id, "native", memory_mib=64).open(jobs)
    shell = opened.__enter__()
    shell.spawn(["env", "-i", "setsid", "sleep", seconds])
    wait_until(lambda: processes(transport, f"sleep {seconds}"), "the server")
    # As when its lifetime is over: nobody asks for the jobs one by one.
    transport.run(["systemctl", "kill", "-s", "KILL", f"perfctl-{run_id}.service"], timeout_s=30)
    wait_until(lambda: processes(transport, f"sleep {seconds}") == [], "the server's end")
    wait_until(lambda: scopes(transport, run_id) == [], "the scope's end")
    jobs.stop()


def test_limits_that_are_gone_are_no_silent_freedom(jobs, run_id):
    with pytest.raises(EnvironmentDied, match="its limits are gone"):  # noqa: SIM117
        with limited(run_id, "native", memory_mib=64).open(jobs) as shell:
            (unit,) = scopes(jobs, run_id)
            jobs.run(["systemctl", "stop", unit], timeout_s=30)
            assert not shell.is_alive()
            shell.run(["true"], timeout_s=30)


# --- what cannot be had -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "limits", "words"),
    [
        ("native", {"cpuset_cpus": "0-63"}, "of the CPUs 0-63 only 0-1 are available"),
        ("native", {"cpuset_cpus": "63"}, "cannot be bound to its CPUs"),
        ("native", {"cpuset_mems": "9"}, "cannot be bound to its CPUs and NUMA nodes"),
        ("native", {"cpu_quota": 64.0}, "a quota of 64 CPUs is no limit: the host has 2"),
        ("container", {"cpuset_cpus": "0-63"}, "Requested CPUs are not available"),
        ("container", {"cpuset_mems": "9"}, "Requested memory nodes are not available"),
        ("container", {"cpu_quota": 64.0}, "there are only 2 CPUs available"),
    ],
)
def test_more_than_the_host_has_is_unavailable(jobs, run_id, kind, limits, words):
    impossible = limited(run_id, kind, **limits)
    with pytest.raises(EnvironmentUnavailable, match=words):
        impossible.check(jobs)
    with pytest.raises(EnvironmentUnavailable, match=words), impossible.open(jobs):
        pytest.fail("the body ran")


@pytest.mark.parametrize("limits", [{"cpu_quota": 1.0}, {"memory_mib": 64}])
def test_without_systemd_there_is_no_quota_and_no_memory_limit(jobs, run_id, limits):
    # Inside a container nothing is PID 1 but the container's own command.
    with limited(run_id, "container").open(jobs) as inside:
        made = limited(run_id, "native", **limits)
        with pytest.raises(EnvironmentUnavailable, match="systemd is not PID 1 on this host") as caught:
            made.check(inside)
        assert caught.value.reason == "environment_unavailable"
        assert "--env" in str(caught.value.hint)


def test_a_user_who_may_not_ask_systemd_is_told(transport, run_id):
    class AsNobody:
        name = "as-nobody"

        def run(self, argv, *, timeout_s, stdin=b""):
            return transport.run(
                ["setpriv", "--reuid=65534", "--clear-groups", *argv], timeout_s=timeout_s, stdin=stdin
            )

        def spawn(self, argv):
            return transport.spawn(["setpriv", "--reuid=65534", "--clear-groups", *argv])

    # Where it cannot start, as in a container, systemd waits 25 s for polkit before it refuses; masked, not.
    transport.run(["systemctl", "mask", "--runtime", "polkit.service"], timeout_s=30)
    try:
        with pytest.raises(EnvironmentUnavailable, match="CPU time and memory cannot be limited") as caught:
            limited(run_id, "native", memory_mib=64).check(AsNobody())
    finally:
        transport.run(["systemctl", "unmask", "--runtime", "polkit.service"], timeout_s=30)
    assert "limits need root" in str(caught.value.hint)


def test_cpus_alone_need_no_systemd():
    made = limited(new_id(), "native", cpuset_cpus="0")
    with made.open(LocalShell("here")) as shell:
        assert "Cpus_allowed_list:\t0\n" in said(shell, "cat /proc/self/status")


def test_the_stock_environments_have_no_limits(jobs, run_id):
    native = driver_for(
        environment("native"), run_id=run_id, invocation_id=new_id(), host_address="192.0.2.1"
    )
    with native.open(jobs) as shell:
        assert ".scope" not in said(shell, GROUPS)
        assert shell.name == jobs.name
        assert shell.host_processes == ""
    assert native.describe(jobs) == {}
    assert environment("container").image == IMAGE
