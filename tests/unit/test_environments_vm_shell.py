"""Commands in a guest without a guest: what ssh leaves behind becomes what the command did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from perfctl.errors import CommandTimeout, EnvironmentDied, UsageError
from perfctl.job import JobTimeout
from perfctl.shell import Completed
from tests.unit.vm_host import GONE, PANIC, Answer, ScriptedHost, driver, inside, said, state_text

# --- commands in a guest ------------------------------------------------------------------------------------


def ran(answer: Answer, **answers: Answer) -> Completed:
    with driver().open(ScriptedHost(ssh=answer, **answers)) as guest:
        return guest.run(["sysbench", "cpu", "run"], timeout_s=10)


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_a_command_has_its_own_end_and_the_hosts_clock(code):
    done = ran(inside(code, "out\n", "err\n"))
    assert (done.exit_code, done.stdout, done.stderr) == (code, b"out\n", b"err\n")
    assert done.argv == ("sysbench", "cpu", "run")
    assert (done.started_ns, done.ended_ns) == (5, 9)


def test_the_measured_command_is_the_first_one_of_the_host():
    host = ScriptedHost(ssh=inside())
    with driver().open(host) as guest:
        before = len(host.asked)
        guest.run(["true"], timeout_s=10)
        assert host.verbs()[before:] == ["ssh"]


def test_a_command_that_never_began_means_a_dead_guest():
    gone = said(stdout=state_text(GONE))
    with pytest.raises(EnvironmentDied, match="qemu has ended") as caught:
        ran(said(255, stderr="ssh: connect to host: No route to host"), state=gone)
    assert caught.value.where == "h1/vm"
    assert "console" in caught.value.artifacts


def test_a_command_whose_guest_panicked_under_it():
    gone = said(stdout=state_text(GONE, PANIC.replace("\n", "\n")))
    with pytest.raises(EnvironmentDied) as caught:
        ran(inside(255, ends=False), state=gone)
    assert caught.value.reason == "guest_panicked"


def test_a_connection_that_breaks_though_the_guest_answers():
    answers = iter([inside(255, ends=False), inside(stdout="Filesystem x\n/dev/vda 9 4 5 9% /\n")])
    with pytest.raises(EnvironmentDied, match="connection to the guest broke") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "guest_silent"
    assert set(caught.value.artifacts) == {"console", "domain_xml"}


def test_a_command_whose_stderr_was_cut_is_not_taken_for_a_lost_guest():
    said_much = inside(0, "out\n", "x" * 5000, ends=False)
    size_bytes = len(said_much.stderr)
    done = ran(replace(said_much, cut_at_bytes=size_bytes))
    assert (done.exit_code, done.stdout, done.cut_at_bytes) == (0, b"out\n", size_bytes)
    with pytest.raises(EnvironmentDied, match="connection to the guest broke"):
        # It was stdout that was cut: the end of stderr is missing for another reason.
        ran(replace(said_much, cut_at_bytes=size_bytes + 1))


DF = """Filesystem 1024-blocks Used Available Capacity Mounted on
/dev/vda 9 4 5 9% /
/dev/vdb 9 9 {} 99% /scratch
"""


def test_a_full_disk_is_why_a_command_failed():
    answers = iter([inside(1, stderr="dd: No space left on device\n"), inside(stdout=DF.format(0))])
    with pytest.raises(EnvironmentDied, match="disk is full: /scratch") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "disk_full"
    assert getattr(caught.value, "completed").exit_code == 1  # noqa: B009
    answers = iter([inside(1, stderr="dd: No space left on device\n"), inside(stdout=DF.format(7))])
    assert ran(lambda argv, stdin: next(answers)).exit_code == 1


OF_GUEST = "[9.1] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)\n"
OF_CONTAINER = "[9.1] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)\n"


def test_a_command_that_the_guests_kernel_killed_for_memory():
    answers = iter([inside(137), inside(stdout=OF_GUEST)])
    with pytest.raises(EnvironmentDied, match="2048 MiB") as caught:
        ran(lambda argv, stdin: next(answers))
    assert caught.value.reason == "out_of_memory"
    answers = iter([inside(137), inside(stdout=OF_CONTAINER)])
    assert ran(lambda argv, stdin: next(answers)).exit_code == 137


def test_only_a_kill_that_is_new_is_why_a_command_was_killed():
    answers = iter([inside(137), inside(stdout=OF_GUEST), inside(137), inside(stdout=OF_GUEST)])
    host = ScriptedHost(ssh=lambda argv, stdin: next(answers))
    with driver().open(host) as guest:
        with pytest.raises(EnvironmentDied, match="OOM-killed"):
            guest.run(["sysbench"], timeout_s=2)
        assert guest.run(["sysbench"], timeout_s=2).exit_code == 137


def test_a_timeout_ends_the_command_inside_and_keeps_what_it_said():
    late = JobTimeout("late", inside(), where="h1")
    answers: Iterator[Completed | BaseException] = iter(
        [late, inside(stdout="half\n", stderr="why\n", ends=False)]
    )
    host = ScriptedHost(ssh=lambda argv, stdin: raised(next(answers)))
    with driver().open(host) as guest, pytest.raises(JobTimeout) as caught:
        guest.run(["sleep", "60"], timeout_s=2)
    assert str(caught.value) == "h1/vm: sleep did not end within 2 s"
    assert (caught.value.completed.stdout, caught.value.completed.stderr) == (b"half\n", b"why\n")
    assert caught.value.completed.argv == ("sleep", "60")
    ended = [argv[-1] for argv, _ in host.asked if argv[0] == "ssh"][-1]
    assert "end_by KILL" in ended and "PERFCTL_COMMAND=" not in ended.split("/bin/sh", 1)[0]


def raised(answer: Completed | BaseException) -> Completed:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def test_a_guest_that_hangs_is_why_a_command_timed_out():
    slow = CommandTimeout("slow")
    with pytest.raises(EnvironmentDied, match="does not answer") as caught:
        ran(slow)
    assert caught.value.reason == "guest_silent"


def test_what_no_command_line_can_carry_is_refused():
    with driver().open(ScriptedHost()) as guest, pytest.raises(UsageError):
        guest.run(["a\0b"], timeout_s=1)


def test_last_words_of_the_living_and_the_dead():
    with driver().open(ScriptedHost(ssh=inside(stdout=DF.format(3)))) as guest:
        assert guest.is_alive()
        assert guest.state_report() == "the guest runs; console: perfctl: ssh"
        assert guest.artifacts()["console"].endswith(b"console.log")
    with driver().open(ScriptedHost(state=said(stdout=state_text(GONE, PANIC)))) as guest:
        assert not guest.is_alive()
        assert "Unable to mount root fs" in guest.state_report()
