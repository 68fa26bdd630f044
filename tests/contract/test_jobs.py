"""Detached jobs on this machine, directly and through a real sshd: what they record, and how they end."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed, Interrupted, UsageError
from perfctl.job import JobShell, JobTimeout, ProcessProbe, reap
from perfctl.job.shell import checked_name
from perfctl.model import Host
from perfctl.shell import Completed, Stream, Transport
from perfctl.shell.local import LocalShell
from perfctl.ssh import connect
from perfctl.ssh.shell import SshShell
from perfctl.validity import counter_files
from perfctl.validity.counters import parse_counters
from tests.contract.job_spool import RUN, agent_pid, agents, completed_of, spool_files
from tests.processes import hidden_sleep, mentioning, unique_seconds, wait_until, with_argument
from tests.sshd import Sshd

# ---- what a job records ------------------------------------------------------------------------------------


def test_times_are_the_hosts_monotonic_clock(jobs: JobShell) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    done = jobs.run(["sleep", "0.2"], timeout_s=30)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert done.started_ns is not None and done.ended_ns is not None
    assert before < done.started_ns < done.ended_ns < after
    assert done.ended_ns - done.started_ns >= 200_000_000


def test_counters_are_read_before_and_after(jobs: JobShell) -> None:
    done = jobs.run(["true"], timeout_s=30)
    for counters in (done.counters_before, done.counters_after):
        assert b"==> /proc/stat <==\ncpu " in counters
        assert b"==> /proc/loadavg <==\n" in counters
        assert b"==> /proc/vmstat <==\nnr_free_pages " in counters
        for name in ("cpu", "memory", "io"):
            assert (f"==> /proc/pressure/{name} <==".encode() in counters) == Path(
                f"/proc/pressure/{name}"
            ).exists()
        for path in (
            *("/proc/net/snmp", "/proc/net/dev", "/proc/diskstats"),
            *("/sys/kernel/warn_count", "/sys/kernel/oops_count"),
            "/proc/sys/kernel/hung_task_detect_count",
            *map(str, Path("/sys/class/net").glob("eth*/carrier_changes")),
        ):
            assert (f"==> {path} <==".encode() in counters) == Path(path).exists(), path


def test_the_jobs_own_processor_time_is_among_the_counters(jobs: JobShell) -> None:
    burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; times"
    done = jobs.run(["sh", "-c", burn], timeout_s=60)
    found = re.findall(r"(\d+)m([\d.]+)s", done.text.splitlines()[0])
    burnt_us = sum(60e6 * int(minutes) + 1e6 * float(seconds) for minutes, seconds in found)
    delta = parse_counters(done.counters_before, done.counters_after)
    # /proc/PID/stat counts in hundredths of a second, four figures of them.
    assert delta.own_cpu_us is not None and delta.own_cpu_us >= burnt_us - 40_000 > 0


def test_the_wall_clock_against_the_monotonic_one_is_among_the_counters(jobs: JobShell) -> None:
    done = jobs.run(["true"], timeout_s=30)
    before, after = (counter_files.parse_files(text) for text in (done.counters_before, done.counters_after))
    ahead_ns = counter_files.wall_ahead_ns(before)
    assert ahead_ns is not None
    assert abs(ahead_ns / 1e9 - (time.time() - time.monotonic())) < 1
    assert counter_files.wall_ahead_ns(after) is not None
    step_s = parse_counters(done.counters_before, done.counters_after).clock_step_s
    assert step_s is not None and step_s < 0.001


def test_what_a_command_has_used_is_known(jobs: JobShell) -> None:
    burn = "import os, time\nwhile sum(os.times()[:2]) < 0.5: pass\nprint(sum(os.times()[:2]))"
    # Of the command and of those that it waited for.
    done = jobs.run(["sh", "-c", '"$0" -c "$1"; exit 0', sys.executable, burn], timeout_s=60)
    usage = done.usage
    assert usage is not None and usage.user_s is not None and usage.system_s is not None
    assert float(done.text) <= usage.user_s + usage.system_s < float(done.text) + 0.5
    assert usage.minor_faults and usage.voluntary_switches


def test_the_memory_of_a_command_is_its_own_and_not_the_agents(jobs: JobShell) -> None:
    small = jobs.run(["true"], timeout_s=30).usage
    # It began with the agent's size, which says nothing of it.
    assert small is not None and small.max_rss_bytes is None
    large = jobs.run([sys.executable, "-c", "text = b'x' * (64 << 20)"], timeout_s=60)
    assert large.usage is not None and large.usage.max_rss_bytes is not None
    assert 64 << 20 < large.usage.max_rss_bytes < 256 << 20


# ---- the spool folder --------------------------------------------------------------------------------------


def test_jobs_share_a_work_folder_that_goes_with_the_run(jobs: JobShell) -> None:
    jobs.run(["sh", "-c", "echo data > test_file"], timeout_s=30)
    assert jobs.run(["cat", "test_file"], timeout_s=30).text == "data\n"
    assert jobs.run(["pwd"], timeout_s=30).text.strip() == f"{jobs.spool}/work"
    jobs.stop()
    assert not Path(jobs.spool).exists()


def test_only_the_owner_can_look_into_the_spool(jobs: JobShell) -> None:
    assert Path(jobs.spool).stat().st_mode & 0o777 == 0o700


def test_a_job_leads_a_session_of_its_own_and_reads_nothing(jobs: JobShell) -> None:
    script = "read -r pid _ _ _ _ sid _ </proc/self/stat; echo $pid $sid; readlink /proc/self/fd/0; umask"
    lines = jobs.run(["sh", "-c", script], timeout_s=30).text.split()
    assert lines[0] == lines[1]
    assert lines[2:] == ["/dev/null", "0022"]


def test_a_job_inherits_nothing_of_the_agent(jobs: JobShell) -> None:
    assert jobs.run(["sh", "-c", "ls /proc/$$/fd"], timeout_s=30).text.split() == ["0", "1", "2"]
    masks = jobs.run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], timeout_s=30).text
    # Of the first 31 signals; the C library has two of its own.
    assert [int(line.split()[1], 16) & 0x7FFFFFFF for line in masks.splitlines()] == [0, 0]


def test_an_agent_may_open_many_files_and_a_job_as_many_as_a_login(jobs: JobShell) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = jobs.run(["sh", "-c", "ulimit -Sn; ulimit -Hn"], timeout_s=30).text.split()
    assert limits == [str(soft), str(hard)]
    assert resource.prlimit(agent_pid(jobs.spool), resource.RLIMIT_NOFILE) == (hard, hard)


class NobodyShell(LocalShell):
    """This machine as a login without rights: no root folder, no units."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return super().run([*self._drop_rights(), *argv], timeout_s=timeout_s, stdin=stdin)

    def stream(self, argv: Sequence[str]) -> Stream:
        return super().stream([*self._drop_rights(), *argv])

    @staticmethod
    def _drop_rights() -> list[str]:
        return [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def test_a_login_without_rights_gets_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    transport = NobodyShell("box")
    jobs = JobShell.start(transport, RUN, lifetime_s=600, python="/usr/bin/python3")
    try:
        assert jobs.spool == f"/var/tmp/perfctl-{os.geteuid() or 65534}/spool/{RUN}"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        done = jobs.run(["sh", "-c", "id -u; exit 3"], timeout_s=30)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        assert (done.text.strip(), done.exit_code) == (str(os.geteuid() or 65534), 3)
        assert done.started_ns is not None and done.ended_ns is not None
        assert before < done.started_ns < done.ended_ns < after
        with pytest.raises(JobTimeout):
            jobs.run(["sleep", "60"], timeout_s=0.3)
    finally:
        jobs.stop()
        shutil.rmtree(Path(jobs.spool).parent.parent)


def test_a_spool_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.fail("this test needs root: it gives a folder to somebody else")
    root = tmp_path / "theirs" / "spool"
    root.mkdir(parents=True)
    os.chown(root.parent, 65534, 65534)
    with pytest.raises(CommandFailed, match="no place for a spool folder"):
        JobShell.start(LocalShell("box"), RUN, lifetime_s=60, spool_root=str(root))


# ---- timeouts ----------------------------------------------------------------------------------------------


def test_a_timeout_keeps_what_was_said_and_finds_children_in_other_sessions(jobs: JobShell) -> None:
    seconds = unique_seconds()
    with pytest.raises(JobTimeout, match="did not end in its time") as caught:
        jobs.run(["sh", "-c", f"echo so far; setsid sleep {seconds} & sleep {seconds}"], timeout_s=0.5)
    assert caught.value.completed.text == "so far\n"
    assert caught.value.completed.exit_code == 143
    assert caught.value.completed.counters_after
    assert caught.value.exit_code == 124
    assert with_argument(seconds) == []


def test_each_job_has_its_own_deadline(jobs: JobShell) -> None:
    assert jobs.run(["true"], timeout_s=1).exit_code == 0
    assert jobs.run(["sleep", "1.5"], timeout_s=60).exit_code == 0
    for timeout_s in (0.3, 0.6):
        with pytest.raises(JobTimeout) as caught:
            jobs.run(["sleep", "60"], timeout_s=timeout_s)
        done = caught.value.completed
        assert done.started_ns is not None and done.ended_ns is not None
        assert done.ended_ns - done.started_ns >= timeout_s * 1e9
    assert jobs.run(["sleep", "0.8"], timeout_s=60).exit_code == 0


def test_what_a_job_leaves_behind_in_its_group_ends_with_it(jobs: JobShell) -> None:
    seconds = unique_seconds()
    script = f"sleep {seconds} & until grep -q sleep /proc/$!/comm; do :; done; exit 3"
    done = jobs.run(["sh", "-c", script], timeout_s=30)
    assert (done.exit_code, done.left_behind) == (3, ("sleep",))
    assert with_argument(seconds) == []
    assert jobs.run(["true"], timeout_s=30).left_behind == ()


def test_what_a_measured_command_leaves_in_a_session_of_its_own_is_found_and_named(jobs: JobShell) -> None:
    seconds = unique_seconds()
    done = jobs.run_job("inv-1", hidden_sleep(seconds), 30)
    assert (done.exit_code, done.left_behind) == (0, ("sleep",))
    assert with_argument(seconds) == []
    jobs.acknowledge("inv-1")


def test_what_hides_from_session_and_environment_ends_with_the_run(jobs: JobShell) -> None:
    seconds = unique_seconds()
    # A command without a name may make what stays, such as a container.
    assert jobs.run(hidden_sleep(seconds), timeout_s=30).exit_code == 0
    assert len(with_argument(seconds)) == 1
    jobs.stop()
    assert with_argument(seconds) == []


def test_a_timeout_ends_what_ignores_sigterm(jobs: JobShell) -> None:
    seconds = unique_seconds()
    with pytest.raises(JobTimeout) as caught:
        jobs.run(["sh", "-c", f"trap '' TERM; sleep {seconds} & wait; sleep {seconds}"], timeout_s=0.3)
    assert caught.value.completed.exit_code == 137
    assert with_argument(seconds) == []


def test_a_job_may_close_its_streams(jobs: JobShell) -> None:
    done = jobs.run(["sh", "-c", "echo said; exec >&- 2>&- <&-; sleep 0.2; exit 4"], timeout_s=30)
    assert (done.text, done.exit_code) == ("said\n", 4)


# ---- ids, results, acknowledging ---------------------------------------------------------------------------


def test_a_result_stays_until_it_is_acknowledged(jobs: JobShell, transport: Transport, root: str) -> None:
    jobs.run_job("inv-1", ["sh", "-c", "echo one; echo two >&2; exit 5"], 30)
    later = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    found = completed_of(later)
    assert {name: (done.text, done.error_text, done.exit_code) for name, done in found.items()} == {
        "inv-1": ("one\n", "two", 5)
    }
    assert found["inv-1"].argv == ("sh", "-c", "echo one; echo two >&2; exit 5")
    assert found["inv-1"].started_ns and found["inv-1"].counters_before
    later.stop()
    assert "inv-1.end" in spool_files(jobs)
    again = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    assert set(again.collect_results()) == {"inv-1"}
    again.acknowledge("inv-1")
    again.stop()
    assert not Path(jobs.spool).exists()


def test_a_job_that_is_there_is_not_run_again(jobs: JobShell, tmp_path: Path) -> None:
    count = ["sh", "-c", 'echo x >> "$1"; wc -l < "$1"', "sh", str(tmp_path / "count")]
    assert jobs.run_job("inv-1", count, 30).text == "1\n"
    assert jobs.run_job("inv-1", count, 30).text == "1\n"
    assert jobs.run_job("inv-2", count, 30).text == "2\n"
    for job_id in ("inv-1", "inv-2"):
        jobs.acknowledge(job_id)


def test_files_of_finished_commands_do_not_pile_up(jobs: JobShell) -> None:
    for _ in range(40):
        jobs.run(["true"], timeout_s=30)
    assert len({name.rpartition(".")[0] for name in spool_files(jobs)}) <= 17


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", ".hidden", "x" * 101, "a;b", "a\nb"])
def test_a_name_that_could_leave_the_spool_is_refused(name: str) -> None:
    transport = connect(Host("box", "localhost", connection="local"))
    with pytest.raises(UsageError):
        JobShell.start(transport, name, lifetime_s=60)
    with pytest.raises(UsageError):
        checked_name(name)


# ---- cancelling --------------------------------------------------------------------------------------------


def test_cancel_ends_what_is_waited_for_and_the_shell_goes_on(jobs: JobShell) -> None:
    seconds = unique_seconds()
    raised: list[BaseException] = []

    def measure(number: int) -> None:
        try:
            jobs.run_job(f"inv-{number}", ["sh", "-c", f"sleep {seconds} & sleep {seconds}"], 120)
        except Interrupted as error:
            raised.append(error)

    threads = [threading.Thread(target=measure, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(with_argument(seconds)) == 4, "both jobs")
    jobs.cancel()
    for thread in threads:
        thread.join(timeout=60)
    assert len(raised) == 2
    assert with_argument(seconds) == []
    assert jobs.run(["echo", "cleaning up"], timeout_s=30).text == "cleaning up\n"
    jobs.cancel()
    jobs.stop()
    assert not Path(jobs.spool).exists()


# ---- stopping and reaping ----------------------------------------------------------------------------------


def test_stop_ends_running_jobs_and_servers(transport: Transport, root: str) -> None:
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    seconds = unique_seconds()
    jobs.spawn(["sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"])
    wait_until(lambda: len(with_argument(seconds)) == 2, "the server")
    jobs.stop()
    assert with_argument(seconds) == []
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")
    assert not Path(jobs.spool).exists()
    jobs.stop()


def test_reap_ends_what_another_controller_left_and_says_what(transport: Transport, root: str) -> None:
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    other = JobShell.start(transport, "run-2", lifetime_s=600, spool_root=root)
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    ended = reap(transport, RUN, spool_root=root)
    assert [line.split()[0] for line in ended] == ["job", "server"]
    assert ended[1] == f"server perfctl-{RUN}"
    assert with_argument(seconds) == []
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")
    assert reap(transport, RUN, spool_root=root) == []
    assert other.run(["echo", "untouched"], timeout_s=30).text == "untouched\n"
    other.stop()


def test_reap_keeps_a_result_unless_it_may_discard_it(transport: Transport, root: str) -> None:
    jobs = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    jobs.run_job("inv-1", ["echo", "kept"], 30)
    assert f"server perfctl-{RUN}" in reap(transport, RUN, spool_root=root)
    assert "inv-1.end" in spool_files(jobs)
    assert reap(transport, RUN, discard=True, spool_root=root) == ["result inv-1"]
    assert not Path(jobs.spool).exists()
    assert reap(transport, RUN, discard=True, spool_root=root) == []
    jobs.stop()


@pytest.mark.parametrize("is_spool_gone", [False, True])
def test_an_agent_ends_by_itself_after_its_lifetime(
    transport: Transport, root: str, tmp_path: Path, is_spool_gone: bool
) -> None:
    jobs = JobShell.start(transport, RUN, lifetime_s=2, spool_root=root)
    began, seconds = tmp_path / "began", unique_seconds()
    # On a busy machine the lifetime may be over before anyone has looked for the command.
    jobs.spawn(["sh", "-c", f"echo > {began}; exec sleep {seconds}"])
    wait_until(began.exists, "the background command")
    if is_spool_gone:
        shutil.rmtree(root)
    wait_until(lambda: not with_argument(seconds) and not agents(jobs), "the end of its lifetime")
    jobs.stop()


# ---- quiet -------------------------------------------------------------------------------------------------


def _switches(pids: Sequence[int]) -> dict[int, str]:
    """Return each living process's context switches: equal twice, none of them has run in between."""
    switches = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines(True)
            switches[pid] = "".join(line for line in lines if "ctxt" in line)
    return switches


@pytest.mark.parametrize("probe", [None, ProcessProbe("", 80)])
def test_while_a_job_runs_nothing_crosses_the_connection_and_nothing_of_ours_runs(
    ssh_jobs: JobShell, sshd: Sshd, probe: ProcessProbe | None
) -> None:
    transport = ssh_jobs._transport
    assert isinstance(transport, SshShell)
    seconds = unique_seconds()

    def measure() -> None:
        with pytest.raises(Interrupted):
            ssh_jobs.run_job("inv-1", ["sleep", seconds], 90, probe=probe)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the job")

    def activity() -> tuple[tuple[int, int], dict[int, str]]:
        # The agent, the relay and the shell that started it.
        return transport.traffic_bytes(), _switches([*mentioning(RUN), *sshd.connections()])

    def is_quiet() -> bool:
        before = activity()
        assert len(before[1]) >= 4
        time.sleep(1.5)
        return activity() == before

    # More than once: a start may still end.
    wait_until(is_quiet, "a second and a half in which nothing runs")
    ssh_jobs.cancel()
    thread.join(timeout=60)
