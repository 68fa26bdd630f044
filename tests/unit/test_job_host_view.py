"""The host's view as it is made of an agent's raw readings."""

from __future__ import annotations

from perfctl.job.host_view import ViewReadings
from perfctl.model import ResourceUsage

USAGE = ResourceUsage(1.5, 0.25, None, 0, 0, 0, 0)


def stat(
    pid: str, name: str, *, user: int = 0, system: int = 0, session: int = 1, start: int = 5, cpu: int = 0
) -> str:
    """Return a /proc/PID/stat; see proc(5)."""
    times = f"{'0 ' * 7}{user} {system} 0 0 20 0 1 0 {start} {'0 ' * 16}{cpu} 0"
    return f"{pid} ({name}) S 1 {session} {session} {times}\n"


def reading(*files: tuple[str, str]) -> bytes:
    return "".join(f"==> {path} <==\n{text}" for path, text in files).encode()


def process(pid: int, name: str, group: str | None = None, **fields: int) -> list[tuple[str, str]]:
    found = [(f"/proc/{pid}/stat", stat(str(pid), name, **fields))]
    return found if group is None else [*found, (f"/proc/{pid}/cgroup", f"0::{group}\n")]


BEFORE = reading(
    *process(1, "init", "/init.scope", user=100),
    *process(30, "cron) (x", "/system.slice/cron.service", user=7),
    *process(40, "gone", "/", user=1, start=4),
)


def test_the_commands_own_session_is_its_own_and_idle_processes_are_left_out() -> None:
    half = reading(
        *process(1, "init", user=100),
        *process(30, "cron) (x", "/system.slice/cron.service", user=9, system=1, cpu=1),
        *process(99, "my\tbench", "/perfctl.service", user=50, session=99),
        *process(100, "idle", "/perfctl.service", session=99),
        *process(101, "other", "/"),
    )
    after = reading(*process(1, "init", user=101), *process(40, "again", "/", user=3, start=6))
    view = ViewReadings(BEFORE, half, after, 1_500_000_000, "", 99)
    assert view.text(1_000_000_000, 2_750_000_000, USAGE).decode() == (
        "# Who used processor time on this host while the command ran (1.750 s), since just before it.\n"
        "# own: of the environment, which is session 99\n"
        "==> half way, after 0.500 s <==\n"
        "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup\n"
        "30\t-\t1\t0.02\t0.01\tno\tcron) (x\t/system.slice/cron.service\n"
        "99\t-\t0\t0.50\t0.00\tyes\tmy bench\t/perfctl.service\n"
        "100\t-\t0\t0.00\t0.00\tyes\tidle\t/perfctl.service\n"
        "==> after its end <==\n"
        "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup\n"
        "1\t-\t0\t0.01\t0.00\tno\tinit\t/init.scope\n"
        "40\t-\t0\t0.03\t0.00\tno\tagain\t-\n"
        "==> in all <==\n"
        "of\tuser_s\tsystem_s\n"
        "command\t1.50\t0.25\n"
        "environment\t1.50\t0.25\n"
    )


def test_a_container_is_its_control_group_and_its_counter() -> None:
    counter = "/sys/fs/cgroup/docker/abc/cpu.stat"
    before = reading(
        *process(50, "sh", "/docker/abc"), (counter, "usage_usec 9\nuser_usec 1000000\nsystem_usec 0\n")
    )
    after = reading(
        *process(50, "sh", "/docker/abc", user=1),
        (counter, "usage_usec 9\nuser_usec 3500000\nsystem_usec 500000\n"),
    )
    view = ViewReadings(before, b"", after, None, "cgroup:abc", 99)
    assert view.group_time_s() == (2.5, 0.5)
    assert ViewReadings(before, b"", after, None, "pidfile:/x", 99).group_time_s() is None
    text = view.text(0, 10, USAGE).decode()
    assert "==> half way: not read <==\n==> after its end <==\n" in text
    assert "50\t-\t0\t0.01\t0.00\tyes\tsh\t/docker/abc\n" in text
    assert text.endswith("command\t1.50\t0.25\nenvironment\t2.50\t0.50\n")


def test_a_guest_is_its_process_with_its_threads() -> None:
    def at(user: int) -> bytes:
        return reading(
            *process(70, "qemu", "/machine", user=user),
            ("leader", "70\n"),
            ("/proc/70/task/70/stat", stat("70", "qemu", user=1)),
            ("/proc/70/task/71/stat", stat("71", "CPU 0/KVM", user=user - 1)),
            *process(72, "vhost-70", "/machine", user=user),
        )

    text = ViewReadings(at(5), at(25), at(105), 5, "pidfile:/x", 99).text(0, 10, USAGE).decode()
    for row in (
        "70\t-\t0\t0.20\t0.00\tyes\tqemu\t/machine",
        "70\t71\t0\t0.20\t0.00\tyes\tCPU 0/KVM\t/machine",
        "72\t-\t0\t0.20\t0.00\tyes\tvhost-70\t/machine",
    ):
        assert row in text.splitlines()
    assert text.endswith("environment\t1.00\t0.00\n")


def test_without_anything_read_nothing_is_claimed() -> None:
    text = ViewReadings(b"", b"", b"", None, "pidfile:/x", 0).text(0, 0, None).decode()
    assert text.endswith("==> in all <==\nof\tuser_s\tsystem_s\n")


def test_a_name_that_looks_like_a_head_spoils_its_own_process_alone() -> None:
    after = BEFORE + reading(*process(99, "x\n==> y <==\n", user=5), *process(100, "z", user=5))
    text = ViewReadings(BEFORE, b"", after, None, "", 50).text(0, 0, USAGE).decode()
    assert [line.split("\t")[0] for line in text.splitlines() if "\tno\t" in line] == ["100"]
