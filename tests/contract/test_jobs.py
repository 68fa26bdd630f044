"""Detached jobs on this machine, directly and through a real sshd: what they record and what they survive."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed, CommandTimeout, HostError, Interrupted, UsageError
from perfctl.job import JobLost, JobShell, JobTimeout, ProcessProbe, SpoolFull, reap
from perfctl.job import script as job_script
from perfctl.model import Host
from perfctl.shell import Completed, Stream, Transport
from perfctl.shell.local import LocalShell
from perfctl.ssh import connect
from perfctl.ssh.shell import SshShell
from perfctl.validity import InvocationCounters, Validity, counter_files, judge_counters, parse_counters
from perfctl.validity.context import Expected
from tests.processes import can_read_kernel_log, unique_seconds, wait_until, with_argument
from tests.sshd import Sshd


class BusyboxShell(LocalShell):
    """This machine as if its sh were busybox's."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return super().run(
            self._busy(argv), timeout_s=timeout_s, stdin=stdin.replace(b" sh ", b" busybox ash ")
        )

    def stream(self, argv: Sequence[str]) -> Stream:
        return super().stream(self._busy(argv))

    @staticmethod
    def _busy(argv: Sequence[str]) -> list[str]:
        return ["busybox", "ash", *argv[1:]] if argv[0] == "sh" else list(argv)


@pytest.fixture(params=["local", "ssh", "busybox"])
def transport(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Transport]:
    """Return a way to this machine; twice directly, with the system's sh and busybox's, once through ssh."""
    made: Transport
    if request.param == "ssh":
        made = connect(sshd.host())
    elif request.param == "local":
        made = connect(Host("box", "localhost", connection="local"))
    else:
        assert shutil.which("busybox"), (
            "busybox is missing: apt-get install busybox-static (make test does it)"
        )
        made = BusyboxShell("box")
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Return the folder that spools lie in."""
    return str(tmp_path / "spool")


@pytest.fixture
def jobs(transport: Transport, root: str) -> Iterator[JobShell]:
    """Return a job shell that is stopped at the end."""
    made = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    yield made
    made.stop()
    reap(transport, "run-1", spool_root=root)
    wait_until(lambda: not with_argument(made.spool), "our processes on the host to end")
    assert loggers(made) == []


def spool_files(jobs: JobShell) -> list[str]:
    """Return the names of the job files in the spool."""
    return sorted(path.name for path in (Path(jobs.spool) / "jobs").iterdir())


def completed_of(jobs: JobShell) -> dict[str, Completed]:
    """Return the results of an earlier controller's jobs, of which none may have gone wrong."""
    found = {}
    for job_id, outcome in jobs.collect_results().items():
        assert isinstance(outcome, Completed), outcome
        found[job_id] = outcome
    return found


def servers(jobs: JobShell) -> list[int]:
    """Return the ids of the job server's processes, without those that a controller's channel stands on."""
    return sorted(set(with_argument(jobs.spool)) & set(with_argument("serve")))


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


def test_the_wall_clock_against_the_monotonic_one_is_among_the_counters_of_a_look(jobs: JobShell) -> None:
    if os.geteuid():
        pytest.fail("this test needs root: nobody else may read the kernel's list of timers")
    done = jobs.run_job("inv-1", ["true"], 30, probe=ProcessProbe("", 60))
    jobs.acknowledge("inv-1")
    before, after = (counter_files.parse_files(text) for text in (done.counters_before, done.counters_after))
    ahead_ns = counter_files.wall_ahead_ns(before)
    assert ahead_ns is not None and ahead_ns == counter_files.wall_ahead_ns(after)
    assert abs(ahead_ns / 1e9 - (time.time() - time.monotonic())) < 1
    assert parse_counters(done.counters_before, done.counters_after).clock_step_s == 0
    whole = jobs.run(["true"], timeout_s=30)
    assert parse_counters(whole.counters_before, whole.counters_after).clock_step_s is None


# ---- the kernel's log --------------------------------------------------------------------------------------


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


def loggers(jobs: JobShell) -> list[int]:
    """Return the processes that read the kernel's log for a job server."""
    return with_argument(f"{jobs.spool}/no-file")


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


@pytest.mark.usefixtures("kernel_log")
def test_a_reader_of_the_log_that_ended_is_told_and_replaced(jobs: JobShell) -> None:
    kill = ["sh", "-c", 'kill -9 "$(cat ../logger.0)"']
    done = jobs.run(kill, timeout_s=30)
    assert b"==> kernel log, cut <==" in done.counters_after
    assert "kernel_messages" in {item.rule for item in judged(done).unjudged}
    assert b"==> kernel log <==" in jobs.run(["true"], timeout_s=30).counters_after


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
def test_of_a_storm_in_the_log_the_beginning_is_kept_and_the_rest_is_not_the_next_jobs(
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


@pytest.mark.usefixtures("kernel_log")
def test_a_reader_of_the_log_does_not_outlive_who_it_reads_for(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    (first,) = loggers(jobs)
    os.kill(int((Path(jobs.spool) / "worker.0").read_text()), signal.SIGKILL)
    with pytest.raises(HostError):
        jobs.run(["true"], timeout_s=30)
    assert b"==> kernel log <==" in jobs.run(["true"], timeout_s=30).counters_after
    (second,) = loggers(jobs)
    assert second != first
    for pid in servers(jobs):
        os.kill(pid, signal.SIGKILL)
    reap(transport, "run-1", discard=True, spool_root=root)
    assert loggers(jobs) == []


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
    jobs = JobShell.start(WithoutKernelLog("box"), "run-1", lifetime_s=600, spool_root=root)
    try:
        done = jobs.run(["true"], timeout_s=30)
        assert b"kernel log" not in done.counters_after
        (reason,) = (item.reason for item in judged(done).unjudged if item.rule == "kernel_messages")
        assert reason == "the kernel's log could not be read there"
        assert loggers(jobs) == []
    finally:
        jobs.stop()


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


def test_a_job_inherits_nothing_of_the_server(jobs: JobShell) -> None:
    names = jobs.run(
        ["sh", "-c", "ls -l /proc/self/fd | wc -l; readlink /proc/$$/fd/3 /proc/$$/fd/4 /proc/$$/fd/6"],
        timeout_s=30,
    )
    assert "spool" not in names.text


class NobodyShell(LocalShell):
    """This machine as a login without rights: no root folder, no kernel timer list, no units."""

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
    jobs = JobShell.start(transport, "run-1", lifetime_s=600)
    try:
        assert jobs.spool == f"/var/tmp/perfctl-{os.geteuid() or 65534}/spool/run-1"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        done = jobs.run(["sh", "-c", "id -u; exit 3"], timeout_s=30)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        assert (done.text.strip(), done.exit_code) == (str(os.geteuid() or 65534), 3)
        assert done.started_ns is not None and done.ended_ns is not None
        # The wall clock is converted by an offset that was read against a clock of 10 ms.
        assert before - 20_000_000 < done.started_ns < done.ended_ns < after + 20_000_000
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
        JobShell.start(LocalShell("box"), "run-1", lifetime_s=60, spool_root=str(root))


# ---- the host's view ---------------------------------------------------------------------------------------

BUSY = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"


def sections(view: bytes) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a view by their titles' first words."""
    tables: dict[str, list[dict[str, str]]] = {}
    for part in view.decode().split("==> ")[1:]:
        title, _, table = part.partition(" <==\n")
        head, *rows = [line.split("\t") for line in table.splitlines()] or [[]]
        tables[title.partition(",")[0]] = [dict(zip(head, row, strict=True)) for row in rows]
    return tables


def test_a_view_shows_the_commands_own_processes_while_they_run(jobs: JobShell) -> None:
    done = jobs.run_job("inv-1", [sys.executable, "-c", BUSY], 30, probe=ProcessProbe("", 1.0))
    jobs.acknowledge("inv-1")
    seen = sections(done.host_view)
    assert list(seen) == ["half way", "after its end", "in all"]
    (own,) = [row for row in seen["half way"] if row["own"] == "yes"]
    assert own["name"].startswith("python")
    assert float(own["user_s"]) > 0
    assert own["pid"] not in {row["pid"] for row in seen["after its end"]}
    totals = {row["of"]: float(row["user_s"]) + float(row["system_s"]) for row in seen["in all"]}
    assert set(totals) == {"command", "environment"}
    assert totals["command"] == totals["environment"] > 0


def test_a_view_has_the_threads_of_a_process_that_is_named(jobs: JobShell, tmp_path: Path) -> None:
    script = (
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start(); spin()"
    )
    guest = subprocess.Popen([sys.executable, "-c", script])
    try:
        # As libvirt writes it: without the end of the line.
        (tmp_path / "pid").write_text(str(guest.pid))
        done = jobs.run_job("inv-1", ["sleep", "1.5"], 30, probe=ProcessProbe(f"pidfile:{tmp_path}/pid", 1.0))
    finally:
        guest.kill()
        guest.wait(timeout=30)
    jobs.acknowledge("inv-1")
    seen = sections(done.host_view)
    for title in ("half way", "after its end"):
        own = [row for row in seen[title] if row["own"] == "yes"]
        assert {row["pid"] for row in own} == {str(guest.pid)}
        whole = [float(row["user_s"]) for row in own if row["tid"] == "-"]
        threads = [float(row["user_s"]) for row in own if row["tid"] != "-"]
        assert len(whole) == 1
        assert len(threads) == 2
        assert sum(threads) == pytest.approx(whole[0], abs=0.2)
    totals = {row["of"]: float(row["user_s"]) for row in seen["in all"]}
    assert totals["environment"] > totals["command"]


@pytest.mark.parametrize("processes", ["", "cgroup:no-such-group", "pidfile:/no/such file's"])
def test_a_view_of_a_short_command_or_of_what_is_not_there_fails_nothing(
    jobs: JobShell, processes: str
) -> None:
    done = jobs.run_job("inv-1", ["sh", "-c", "echo x; exit 3"], 30, probe=ProcessProbe(processes, 600))
    jobs.acknowledge("inv-1")
    assert (done.text, done.exit_code) == ("x\n", 3)
    assert next(iter(sections(done.host_view))) == "half way: it had ended before"
    assert jobs.run(["true"], timeout_s=30).host_view == b""


def test_a_command_that_timed_out_was_seen_too(jobs: JobShell) -> None:
    with pytest.raises(JobTimeout) as caught:
        jobs.run_job("inv-1", ["sleep", "60"], 1.0, probe=ProcessProbe("", 0.3))
    jobs.acknowledge("inv-1")
    seen = sections(caught.value.completed.host_view)
    assert [row["name"] for row in seen["half way"] if row["own"] == "yes"] == ["sleep"]


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
    # The watchdog of one job goes on sleeping for the next: shorter, longer, and after its own end.
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
    assert jobs.run(["sh", "-c", f"sleep {seconds} & exit 3"], timeout_s=30).exit_code == 3
    assert with_argument(seconds) == []


# ---- ids, results, acknowledging ---------------------------------------------------------------------------


def test_a_result_stays_until_it_is_acknowledged(jobs: JobShell, transport: Transport, root: str) -> None:
    jobs.run_job("inv-1", ["sh", "-c", "echo one; echo two >&2; exit 5"], 30)
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    found = completed_of(later)
    assert {name: (done.text, done.error_text, done.exit_code) for name, done in found.items()} == {
        "inv-1": ("one\n", "two", 5)
    }
    assert found["inv-1"].argv == ("sh", "-c", "echo one; echo two >&2; exit 5")
    assert found["inv-1"].started_ns and found["inv-1"].counters_before
    later.stop()
    assert "inv-1.end" in spool_files(jobs)
    again = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
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
        job_script.checked_name(name)


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
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    seconds = unique_seconds()
    jobs.spawn(["sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"])
    wait_until(lambda: len(with_argument(seconds)) == 2, "the server")
    jobs.stop()
    assert with_argument(seconds) == []
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")
    assert not Path(jobs.spool).exists()
    jobs.stop()


def test_reap_ends_what_another_controller_left_and_says_what(transport: Transport, root: str) -> None:
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    other = JobShell.start(transport, "run-2", lifetime_s=600, spool_root=root)
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    ended = reap(transport, "run-1", spool_root=root)
    assert [line.split()[0] for line in ended] == ["job", "server"]
    assert ended[1] == "server perfctl-run-1"
    assert with_argument(seconds) == []
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")
    assert reap(transport, "run-1", spool_root=root) == []
    assert other.run(["echo", "untouched"], timeout_s=30).text == "untouched\n"
    other.stop()


def test_reap_keeps_a_result_unless_it_may_discard_it(transport: Transport, root: str) -> None:
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    jobs.run_job("inv-1", ["echo", "kept"], 30)
    assert "server perfctl-run-1" in reap(transport, "run-1", spool_root=root)
    assert "inv-1.end" in spool_files(jobs)
    assert reap(transport, "run-1", discard=True, spool_root=root) == ["result inv-1"]
    assert not Path(jobs.spool).exists()
    assert reap(transport, "run-1", discard=True, spool_root=root) == []
    jobs.stop()


@pytest.mark.parametrize("is_spool_gone", [False, True])
def test_a_server_ends_by_itself_after_its_lifetime(
    transport: Transport, root: str, is_spool_gone: bool
) -> None:
    jobs = JobShell.start(transport, "run-1", lifetime_s=1, spool_root=root)
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    wait_until(lambda: with_argument(seconds), "the background command")
    if is_spool_gone:
        shutil.rmtree(root)
    wait_until(lambda: not with_argument(seconds) and not servers(jobs), "the end of its lifetime")
    jobs.stop()


# ---- lost connections, dead controllers -------------------------------------------------------------------


@pytest.fixture
def ssh_jobs(sshd: Sshd, root: str) -> Iterator[JobShell]:
    """Return a job shell over ssh."""
    transport = connect(sshd.host())
    made = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    yield made
    made.stop()
    transport.close()


def test_jobs_survive_their_connection_and_are_waited_for_on_a_new_one(
    ssh_jobs: JobShell, sshd: Sshd, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    script = 'echo x >> "$2"; while [ ! -e "$1" ]; do sleep 0.05; done; echo "survived $2"; exit 4'
    counts = [str(tmp_path / f"count-{number}") for number in range(3)]
    results: dict[str, Completed] = {}

    def measure(number: int) -> None:
        argv = ["sh", "-c", script, "sh", str(gate), counts[number]]
        results[counts[number]] = ssh_jobs.run_job(f"inv-{number}", argv, 60)

    threads = [threading.Thread(target=measure, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(Path(count).exists() for count in counts), "the jobs")
    for _ in range(2):
        sshd.drop_connections()
        wait_until(sshd.connections, "a new connection")
    gate.touch()
    for thread in threads:
        thread.join(timeout=60)
    assert {name: (done.text, done.exit_code) for name, done in results.items()} == {
        count: (f"survived {count}\n", 4) for count in counts
    }
    assert [Path(count).read_text() for count in counts] == ["x\n"] * 3
    for number in range(3):
        ssh_jobs.acknowledge(f"inv-{number}")


_CONTROLLER = """
import sys
from pathlib import Path
from perfctl.job import JobShell
from perfctl.model import Host
from perfctl.ssh import connect
port, key, config, known, root, gate, user = sys.argv[1:]
host = Host("box", "127.0.0.1", port=int(port), user=user, private_key=Path(key),
            ssh_options=(("ConfigFile", config), ("UserKnownHostsFile", known)))
jobs = JobShell.start(connect(host), "run-1", lifetime_s=600, spool_root=root)
jobs.run_job("inv-1", ["echo", "finished before"], 60)
jobs.run(["echo", "nobody asks for this"], timeout_s=60)
jobs.run_job("inv-2", ["sh", "-c", 'while [ ! -e "$1" ]; do sleep 0.05; done; echo done', "sh", gate], 60)
"""


def test_a_new_controller_collects_what_a_killed_one_left(sshd: Sshd, root: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    host = sshd.host()
    argv = [str(sshd.port), str(sshd.key), str(sshd.config_file), str(sshd.known_hosts), root, str(gate)]
    controller = subprocess.Popen([sys.executable, "-c", _CONTROLLER, *argv, str(host.user)])
    wait_until(lambda: with_argument(str(gate)) != [controller.pid], "the second job", 60)
    wait_until(lambda: len(with_argument(str(gate))) > 1, "the second job", 60)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait(timeout=30)

    jobs = JobShell.start(connect(host), "run-1", lifetime_s=600, spool_root=root)
    # The old job still has its slot; new commands are not queued behind it.
    assert jobs.run(["echo", "meanwhile"], timeout_s=30).text == "meanwhile\n"
    threading.Timer(0.3, gate.touch).start()
    everything = completed_of(jobs)
    assert {name: done.text for name, done in everything.items()} == {
        "inv-1": "finished before\n",
        "inv-2": "done\n",
    }
    for job_id in everything:
        jobs.acknowledge(job_id)
    jobs.stop()
    assert not Path(jobs.spool).exists()


def test_a_new_controller_ends_the_servers_of_a_killed_one(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    seconds = unique_seconds()
    jobs.spawn(["sleep", seconds])
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    assert with_argument(seconds) == []
    assert later.run(["echo", "on"], timeout_s=30).text == "on\n"
    later.stop()


def test_what_a_job_of_a_killed_controller_needs_lives_as_long_as_it(
    jobs: JobShell, transport: Transport, root: str, tmp_path: Path
) -> None:
    """Such as the connection into a guest: a command without a name that the measured one stands on."""
    seconds, gate = unique_seconds(), tmp_path / "gate"
    jobs.spawn(["sleep", seconds])
    wait_for_gate = ["sh", "-c", 'while [ ! -e "$1" ]; do sleep 0.05; done', "sh", str(gate)]

    def measure() -> None:
        # The new controller takes its channel away.
        with suppress(HostError):
            jobs.run_job("inv-1", wait_for_gate, 60)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(str(gate)), "the job")
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    assert with_argument(seconds)
    gate.touch()
    assert set(completed_of(later)) == {"inv-1"}
    assert with_argument(seconds) == []
    later.acknowledge("inv-1")
    later.stop()
    thread.join(timeout=60)


def test_a_job_that_timed_out_without_its_controller_is_told(sshd: Sshd, root: str) -> None:
    transport = connect(sshd.host())
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    with pytest.raises(JobTimeout):
        jobs.run_job("inv-1", ["sleep", "60"], 0.3)
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    outcome = later.collect_results()["inv-1"]
    assert isinstance(outcome, JobTimeout) and isinstance(outcome, CommandTimeout)
    later.acknowledge("inv-1")
    later.stop()


def test_a_job_whose_server_was_killed_is_lost_not_forgotten(
    jobs: JobShell, transport: Transport, root: str
) -> None:
    seconds = unique_seconds()
    raised: list[BaseException] = []

    def measure() -> None:
        try:
            jobs.run_job("inv-1", ["sleep", seconds], 300)
        except JobLost as error:
            raised.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the job")
    # What an out-of-memory killer or a restart of the host does to it.
    for pid in servers(jobs):
        os.kill(pid, signal.SIGKILL)
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    assert with_argument(seconds) == [], "nobody waits for it any longer"
    outcome = later.collect_results()["inv-1"]
    assert isinstance(outcome, JobLost) and isinstance(outcome, HostError)
    later.acknowledge("inv-1")
    later.stop()
    thread.join(timeout=60)
    assert raised


def test_a_start_waits_for_one_whose_controller_was_killed(transport: Transport, root: str) -> None:
    # A start goes on though nobody waits for it any longer; the next one may come at once.
    with ThreadPoolExecutor(4) as pool:
        starts = [
            pool.submit(job_script.start_server, transport, "run-1", lifetime_s=600, spool_root=root)
            for _ in range(4)
        ]
        assert {start.result().spool for start in starts} == {f"{root}/run-1"}
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    assert jobs.run(["echo", "in turn"], timeout_s=60).text == "in turn\n"
    jobs.stop()
    wait_until(lambda: not with_argument(jobs.spool), "our processes on the host to end")


def test_a_job_is_lost_when_of_all_the_server_only_who_waits_for_it_was_killed(jobs: JobShell) -> None:
    # The out-of-memory killer takes one process; the watchdog and the server itself go on.
    assert jobs.run(["true"], timeout_s=60).exit_code == 0
    worker = int((Path(jobs.spool) / "worker.0").read_text())
    seconds = unique_seconds()
    killer = threading.Thread(target=lambda: kill_when(lambda: with_argument(seconds), worker))
    killer.start()
    with pytest.raises(JobLost):
        jobs.run_job("inv-1", ["sleep", seconds], 300)
    killer.join(timeout=60)
    assert len(servers(jobs)) > 1
    assert jobs.run(["echo", "the next"], timeout_s=60).text == "the next\n"
    jobs.stop()
    assert with_argument(seconds) == []


def kill_when(condition: Callable[[], object], *pids: int) -> None:
    """Kill processes without warning once `condition` holds."""
    wait_until(condition, "the moment to kill")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_a_job_that_was_asked_for_and_never_begun_is_lost(
    jobs: JobShell, transport: Transport, root: str, tmp_path: Path
) -> None:
    worker = int((Path(jobs.spool) / "worker.0").read_text())
    os.kill(worker, signal.SIGSTOP)
    asked = Path(jobs.spool) / "jobs" / "inv-1.cmd"
    killer = threading.Thread(target=lambda: kill_when(asked.exists, *servers(jobs)))
    killer.start()
    with pytest.raises(JobLost):
        jobs.run_job("inv-1", ["touch", str(tmp_path / "ran")], 300)
    killer.join(timeout=60)
    later = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=root)
    assert isinstance(later.collect_results()["inv-1"], JobLost)
    later.acknowledge("inv-1")
    later.stop()
    assert not (tmp_path / "ran").exists()


# ---- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "perfctl-test", str(folder)]
    subprocess.run(argv, check=True, timeout=30)
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=30)


def test_a_spool_that_fills_up_is_told_apart_and_loses_nothing_silently(
    tiny_disk: Path, transport: Transport
) -> None:
    jobs = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=str(tiny_disk))
    try:
        assert jobs.run(["echo", "room"], timeout_s=30).text == "room\n"
        with pytest.raises(SpoolFull, match="spool folder is full") as caught:
            jobs.run(["head", "-c", "1000000", "/dev/zero"], timeout_s=30)
        assert caught.value.reason == "spool_full"
        assert caught.value.exit_code == 8
        assert caught.value.completed is not None
        assert 0 < len(caught.value.completed.stdout) < 1_000_000
        assert "df" in str(caught.value.hint)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run(["touch", str(tiny_disk / "ran")], timeout_s=30)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run(["cat"], timeout_s=30, stdin=b"x" * 500_000)
        with pytest.raises(SpoolFull, match="was not started"):
            jobs.run_job("inv-1", ["touch", str(tiny_disk / "ran")], 30, probe=ProcessProbe("", 0.1))
        assert not (tiny_disk / "ran").exists()
    finally:
        jobs.stop()
    again = JobShell.start(transport, "run-1", lifetime_s=600, spool_root=str(tiny_disk))
    assert again.run(["echo", "room again"], timeout_s=30).text == "room again\n"
    again.stop()


def test_a_disk_that_is_full_from_the_start_is_told(tiny_disk: Path, transport: Transport) -> None:
    with (tiny_disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space"):
        ballast.write(bytes(1_000_000))
    with pytest.raises(SpoolFull, match="could not be copied there"):
        JobShell.start(transport, "run-1", lifetime_s=600, spool_root=str(tiny_disk))


# ---- quiet -------------------------------------------------------------------------------------------------


def _switches(pids: Sequence[int]) -> dict[int, str]:
    """Return each process's context switches: equal twice, it has not run in between."""
    return {
        pid: "".join(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines(True) if "ctxt" in line
        )
        for pid in pids
    }


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
    time.sleep(0.5)
    watched = [*with_argument(ssh_jobs.spool), *sshd.connections()]
    before = transport.traffic_bytes(), _switches(watched)
    time.sleep(1.5)
    assert (transport.traffic_bytes(), _switches(watched)) == before
    assert len(watched) >= 4
    ssh_jobs.cancel()
    thread.join(timeout=60)
