"""What a command has used, as the launcher tells it, and what its result is without the launcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from perfctl.environments import launcher
from perfctl.errors import Interrupted
from perfctl.job import JobTimeout
from perfctl.model import ResourceUsage
from perfctl.shell import Completed, Shell

LINE = b"perfctl-usage 1000500 20000 856 52 1 3 4 1050000\n"
USED = ResourceUsage(1.0005, 0.02, 856 * 1024, 52, 1, 3, 4, 1.05)
LIMIT = 1 << 20


def ended(stderr: bytes = LINE, **changes: Any) -> Completed:
    argv = (launcher.PROGRAM, "sysbench", "run")
    return replace(Completed(argv, 0, b"out", stderr, started_ns=1, ended_ns=2), **changes)


class Place:
    """A shell that has one result for everything."""

    def __init__(self, result: Completed | Exception) -> None:
        self.result = result
        self.asked: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], **_: object) -> Completed:
        self.asked.append(tuple(argv))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def run(result: Completed | Exception, limit: int = LIMIT) -> tuple[Completed, Place]:
    place = Place(result)
    done = launcher.run(cast(Shell, place), ["sysbench", "run"], timeout_s=5, output_limit_bytes=limit)
    return done, place


def test_the_result_is_the_commands_own_and_says_what_it_used() -> None:
    done, place = run(ended(b"a warning\n" + LINE, exit_code=3))
    assert place.asked == [("perfctl-launch", "sysbench", "run")]
    assert (done.argv, done.exit_code) == (("sysbench", "run"), 3)
    assert (done.stdout, done.stderr, done.usage) == (b"out", b"a warning\n", USED)
    assert (done.started_ns, done.ended_ns, done.cut_at_bytes) == (1, 2, None)


@pytest.mark.parametrize("stderr", [b"no end of line", b"\xff\0\n\n", LINE, b"perfctl-usage 1 2\n", b""])
def test_whatever_the_command_wrote_stays_as_it_was(stderr: bytes) -> None:
    done, _ = run(ended(stderr + LINE))
    assert (done.stderr, done.usage) == (stderr, USED)


def test_what_the_kernel_said_of_it_is_no_output_either() -> None:
    status = b"Name:\tperfctl-launch;Seccomp:\t2;label:docker-default (enforce);"
    done, _ = run(ended(b"a warning\nperfctl-task of its own\nperfctl-task " + status + b"\n" + LINE))
    assert (done.stderr, done.task, done.usage) == (b"a warning\nperfctl-task of its own\n", status, USED)
    # A launcher of before has no such line.
    assert run(ended())[0].task == b""


@pytest.mark.parametrize(
    "stderr",
    [
        *(b"perfctl-task a\nmore\n", b"perfctl-task a", b"perfctl-task " + b"x" * 9217 + b"\n"),
        b"perfctl-task a\n\n",
    ],
)
def test_what_only_looks_so_stays(stderr: bytes) -> None:
    done, _ = run(ended(stderr + LINE))
    assert (done.stderr, done.task, done.usage) == (stderr, b"", USED)


def test_what_a_child_that_was_left_behind_writes_later_stays() -> None:
    assert run(ended(b"one " + LINE + b"two"))[0].stderr == b"one two"


@pytest.mark.parametrize("stderr", [b"", LINE[:-1], LINE[:20], b"perfctl-usage 1 2 3 4 5 6 7 -8\n"])
def test_without_its_line_nothing_is_claimed(stderr: bytes) -> None:
    done, _ = run(ended(stderr, usage=USED, exit_code=127))
    assert (done.stderr, done.usage) == (stderr, ResourceUsage.unknown(launcher.NO_LINE))


@pytest.mark.parametrize(("size", "kept", "is_cut"), [(99, 99, False), (100, 100, False), (101, 100, True)])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_line_takes_no_room_of_the_output_limit(stream: str, size: int, kept: int, is_cut: bool) -> None:
    written = b"x" * size
    done, _ = run(ended(written + LINE) if stream == "stderr" else ended(stdout=written), limit=100)
    assert (len(getattr(done, stream)), done.cut_at_bytes) == (kept, 100 if is_cut else None)
    assert done.usage == USED


def test_an_output_that_the_host_cut_is_cut_at_the_limit_of_the_command() -> None:
    room = 100 + launcher.LINE_BYTES
    done, _ = run(ended(b"x" * room, cut_at_bytes=room), limit=100)
    assert (done.stderr, done.cut_at_bytes) == (b"x" * 100, 100)
    assert done.usage == ResourceUsage.unknown(launcher.NO_LINE)


def test_a_timeout_is_that_of_the_command_with_its_own_output() -> None:
    error = JobTimeout("perfctl-launch did not end in its time", ended(b"so far\n" + LINE), where="h1")
    with pytest.raises(JobTimeout, match="h1: sysbench did not end in its time") as caught:
        run(error)
    done = caught.value.completed
    assert (done.argv, done.stderr, done.usage) == (("sysbench", "run"), b"so far\n", USED)


def test_an_error_without_a_result_names_the_command() -> None:
    with pytest.raises(Interrupted, match="the sysbench command was ended"):
        run(Interrupted("the perfctl-launch command was ended", where="h1"))


def test_a_job_that_is_collected_later_is_read_through_whatever_reached_it() -> None:
    inside = ("docker", "exec", "name", launcher.PROGRAM, "sysbench", "run")
    done = launcher.collected(ended(argv=inside), LIMIT)
    assert (done.argv, done.stderr, done.usage) == (("sysbench", "run"), b"", USED)
    # Of the client that reached it, for all that is known.
    other = launcher.collected(ended(b"", argv=("docker", "exec", "name", "true"), usage=USED), LIMIT)
    assert other.usage == ResourceUsage.unknown(launcher.NOT_THERE)


def test_without_the_launcher_it_is_what_the_agent_or_the_control_group_says() -> None:
    plain = Completed(("true",), 0, b"", b"")
    assert launcher.with_usage(replace(plain, usage=USED), "why").usage == USED
    small = launcher.with_usage(replace(plain, usage=replace(USED, max_rss_bytes=None)), "why").usage
    assert small is not None
    assert (small.source, small.user_s, small.max_rss_bytes) == ("wait4", USED.user_s, None)
    assert small.missing.startswith("it was no larger than") and small.missing.endswith(" (why)")
    of_group = launcher.with_usage(replace(plain, group_time_s=(1.25, 0.0)), "why").usage
    assert of_group is not None
    assert (of_group.source, of_group.user_s, of_group.system_s) == ("cgroup", 1.25, 0.0)
    assert (of_group.max_rss_bytes, of_group.minor_faults) == (None, None)
    assert of_group.missing == "only the time of its control group is known (why)"
    assert launcher.with_usage(plain, "why").usage == ResourceUsage.unknown("why")
    # Reports take a reason apart at its colons.
    assert not any(": " in text for text in (launcher.NOT_THERE, small.missing, of_group.missing))
