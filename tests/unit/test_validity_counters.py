"""Differences of the kernel's counters around one invocation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from perfctl.validity.counter_files import carrier_changes, parse_files
from perfctl.validity.counters import DiskDelta, LinkDelta, parse_counters

DATA = Path(__file__).parents[1] / "data" / "facts" / "counters"

BEFORE = b"""==> /proc/stat <==
cpu  100 0 50 1000 5 0 1 10 0 0
cpu0 100 0 50 1000 5 0 1 10 0 0
ctxt 5000
processes 70

==> /proc/loadavg <==
0.50 0.10 0.01 1/200 1234

==> /proc/pressure/cpu <==
some avg10=1.00 avg60=0.00 avg300=0.00 total=1000
full avg10=0.00 avg60=0.00 avg300=0.00 total=0

==> /proc/pressure/io <==
some avg10=0.00 avg60=0.00 avg300=0.00 total=20
full avg10=0.00 avg60=0.00 avg300=0.00 total=10

==> /proc/vmstat <==
pswpin 3
pswpout 4
pgmajfault 9
"""
AFTER = (
    BEFORE.replace(b"cpu  100 0 50 1000 5 0 1 10", b"cpu  250 0 70 1020 6 0 1 19")
    .replace(b"ctxt 5000", b"ctxt 5600")
    .replace(b"processes 70", b"processes 71")
    .replace(b"0.50 0.10", b"0.75 0.12")
    .replace(b"total=1000", b"total=4000")
    .replace(b"pswpin 3", b"pswpin 5")
)


def test_differences():
    delta = parse_counters(BEFORE, AFTER)
    assert (delta.cpu_ticks, delta.idle_ticks, delta.iowait_ticks) == (200, 20, 1)
    assert (delta.steal_ticks, delta.guest_ticks) == (9, 0)
    assert delta.steal_fraction == pytest.approx(0.045)
    assert (delta.context_switches, delta.processes_started) == (600, 1)
    assert (delta.cpu_some_stall_us, delta.io_some_stall_us, delta.io_full_stall_us) == (3000, 0, 0)
    assert (delta.swapped_in_pages, delta.swapped_out_pages, delta.major_faults) == (2, 0, 0)
    assert (delta.load_1m_before, delta.load_1m_after) == (0.5, 0.75)


def test_a_file_that_is_not_there_is_none_and_not_zero():
    delta = parse_counters(BEFORE, AFTER)
    assert delta.memory_some_stall_us is None
    assert delta.memory_full_stall_us is None


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b""), (BEFORE, b""), (b"", AFTER), (b"rubbish", b"\xff")]
)
def test_nothing_captured_is_all_none(before, after):
    delta = parse_counters(before, after)
    differences = dataclasses.asdict(delta)
    assert differences.pop("load_1m_before") == (0.5 if before == BEFORE else None)
    assert differences.pop("cpus_before") == (1 if before == BEFORE else None)
    differences.pop("load_1m_after"), differences.pop("cpus_after")
    assert [differences.pop(name) for name in ("links", "carrier_changes", "disks")] == [{}, {}, {}]
    assert differences.pop("backwards") == frozenset()
    assert differences.pop("is_own_network") is False
    assert differences.pop("is_log_cut") is False
    assert set(differences.values()) == {None}
    assert delta.steal_fraction is None


def test_a_kernel_without_steal_says_none():
    old = b"==> /proc/stat <==\ncpu  1 2 3 4\n"
    new = b"==> /proc/stat <==\ncpu  2 2 3 5\n"
    delta = parse_counters(old, new)
    assert (delta.cpu_ticks, delta.idle_ticks, delta.steal_ticks) == (2, 1, None)
    assert delta.steal_fraction is None


def test_no_time_passed_has_no_steal_fraction():
    assert parse_counters(BEFORE, BEFORE).steal_fraction is None


def test_a_counter_that_went_backwards_is_none_and_named():
    delta = parse_counters(AFTER, BEFORE)
    assert delta.context_switches is None
    assert {"cpu_ticks", "context_switches", "swapped_in_pages"} <= delta.backwards
    assert delta.major_faults == 0


def test_iowait_may_go_backwards_without_spoiling_the_whole():
    # proc(5): iowait "may decrease in certain conditions".
    after = BEFORE.replace(b"cpu  100 0 50 1000 5", b"cpu  200 0 50 1000 4")
    delta = parse_counters(BEFORE, after)
    assert (delta.cpu_ticks, delta.iowait_ticks) == (99, None)


# --- the benchmark's own CPU time -----------


def text(**files: str) -> bytes:
    return "\n".join(f"==> {path} <==\n{content}\n" for path, content in files.items()).encode()


def own_us(before: dict[str, str], after: dict[str, str]) -> int | None:
    return parse_counters(text(**before), text(**after)).own_cpu_us


V1, V2 = "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"
A1, A2 = f"{V1}/perfctl-a.service", f"{V2}/perfctl-a.service"


def test_groups_of_both_versions_are_microseconds():
    assert own_us({f"{A2}/cpu.stat": "usage_usec 500"}, {f"{A2}/cpu.stat": "usage_usec 900"}) == 400
    assert own_us({f"{A1}/cpuacct.usage": "500000"}, {f"{A1}/cpuacct.usage": "900000"}) == 400


def test_groups_are_added_and_those_inside_others_are_not():
    groups = ("session-4.scope", "session-4.scope/perfctl-a.service", "perfctl-ab.service")
    before = {f"{V2}/{group}/cpu.stat": "usage_usec 0" for group in groups}
    after = {f"{V2}/{group}/cpu.stat": "usage_usec 10" for group in groups}
    assert own_us(before, after) == 20


def test_one_group_in_two_hierarchies_counts_once():
    before = {f"{A1}/cpuacct.usage": "0", f"{V2}/unified/perfctl-a.service/cpu.stat": "usage_usec 0"}
    after = {f"{A1}/cpuacct.usage": "7000", f"{V2}/unified/perfctl-a.service/cpu.stat": "usage_usec 7"}
    assert own_us(before, after) == 7


@pytest.mark.parametrize(
    "path", [f"{V2}/cpu.stat", f"{V2}/unified/cpu.stat", "/sys/fs/cgroup/cpu,cpuacct/cpu.stat"]
)
def test_the_root_group_is_the_machine_and_nobodys_own(path):
    assert own_us({path: "usage_usec 0"}, {path: "usage_usec 9"}) is None
    assert own_us({f"{V1}/cpuacct.usage": "0"}, {f"{V1}/cpuacct.usage": "9"}) is None


def test_a_group_that_is_gone_leaves_nothing_known():
    before = {f"{V2}/{group}/cpu.stat": "usage_usec 0" for group in "ab"}
    assert own_us(before, {f"{A2}/cpu.stat": "usage_usec 10"}) is None


PROCESS = "{} (a) R (b c) S 1 1 1 0 -1 4 1 1 0 1 {} {} {} {} 20 0 1 0 5 9 7 18446744073709551615 9"


def test_processes_count_with_their_children_where_there_is_no_group():
    before = {"/proc/12/stat": PROCESS.format(12, 1, 2, 3, 4)}
    after = {"/proc/12/stat": PROCESS.format(12, 1, 2, 53, 54)}
    assert own_us(before, after) == 1_000_000
    group = {f"{A2}/cpu.stat": "usage_usec 500"}
    assert own_us({**before, **group}, {**after, **group}) == 0


@pytest.mark.parametrize("damaged", ["", "12 (a) S", "12 (a", PROCESS.format(12, "x", 1, 1, 1)])
def test_a_process_that_cannot_be_read_is_none(damaged):
    assert own_us({"/proc/12/stat": PROCESS.format(12, 1, 2, 3, 4)}, {"/proc/12/stat": damaged}) is None


@pytest.mark.parametrize("group", ["system.slice/cron.service", "docker/01", "perfctl-a.slice", "session-4"])
def test_a_group_of_another_name_is_not_the_benchmarks_own(group):
    path = f"{V2}/{group}/cpu.stat"
    assert own_us({path: "usage_usec 0"}, {path: "usage_usec 9"}) is None


def test_links_to_containers_have_no_cable():
    paths = [f"/sys/class/net/{name}/carrier_changes" for name in ("eth0", "lo", "veth12ab", "bond0")]
    files = parse_files(text(**dict.fromkeys(paths, "3")))
    assert carrier_changes(files) == {"eth0": 3, "bond0": 3}


def test_the_reader_itself_is_nobodys_own():
    assert own_us({"/proc/self/stat": PROCESS.format(1, 1, 2, 3, 4)}, {}) is None


# --- the network, disks, heat ---------------


def test_old_kernels_glue_a_long_counter_to_the_name():
    before = text(**{"/proc/net/dev": "eth0:1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0"})
    after = text(**{"/proc/net/dev": "eth0:11 12 13 14 0 0 0 0 15 16 17 18 0 0 0 0"})
    assert dict(parse_counters(before, after).links) == {"eth0": LinkDelta(10, 10, 10, 10, 20, 20)}


def test_an_interface_that_came_went_or_wrapped_around_is_left_out():
    row = "{} 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0"
    before = text(**{"/proc/net/dev": f"eth0: {row.format(4294967290)}\nveth1: {row.format(1)}"})
    after = text(**{"/proc/net/dev": f"eth0: {row.format(5)}\nveth2: {row.format(1)}\neth3: 1 2"})
    delta = parse_counters(before, after)
    assert dict(delta.links) == {}
    assert delta.backwards == {"links.eth0"}


def test_disks_are_bytes():
    before = text(**{"/proc/diskstats": " 254 0 vda 1 0 8 0 1 0 16 0 0 0 0\n 7 0 loop0 1"})
    after = text(**{"/proc/diskstats": " 254 0 vda 1 0 10 0 1 0 20 0 0 0 0"})
    assert dict(parse_counters(before, after).disks) == {"vda": DiskDelta(1024, 2048)}


def test_a_package_that_every_cpu_repeats_counts_once():
    path = "/sys/devices/system/cpu/cpu{}/thermal_throttle/package_throttle_{}"
    before = {path.format(n, kind): "5" for n in range(8) for kind in ("count", "total_time_ms")}
    after = {path.format(n, kind): "7" for n in range(8) for kind in ("count", "total_time_ms")}
    delta = parse_counters(text(**before), text(**after))
    assert (delta.thermal_events, delta.thermal_ms) == (2, 2)


def test_quotas_of_both_versions_are_microseconds():
    for path, key, unit in ((f"{V2}/a", "throttled_usec", 1), (f"{V2}/cpu/a", "throttled_time", 1000)):
        before = text(**{f"{path}/cpu.stat": f"nr_throttled 1\n{key} {5 * unit}"})
        after = text(**{f"{path}/cpu.stat": f"nr_throttled 3\n{key} {9 * unit}"})
        delta = parse_counters(before, after)
        assert (delta.quota_periods, delta.quota_stopped_us) == (2, 4)


# --- captured -------------------------------

ABSENT = {"thermal_events", "thermal_ms"}
"""What the virtual machines on which the readings were taken do not have."""
NEWER = {"oom_kills", "kernel_warnings", "kernel_oopses", "hung_tasks", "own_cpu_us", "messages"} | {
    *("quota_periods", "quota_stopped_us", "tcp_sent_segments", "tcp_resent_segments", "clock_step_s")
}
"""What was not read yet when the first of them was taken."""


QUOTA = {"quota_periods", "quota_stopped_us"}
"""What a machine without a control group of our own does not have."""
LATEST = {"messages", "clock_step_s"}
"""What was read in another way then."""


@pytest.mark.parametrize(
    ("case", "absent"),
    [
        ("counters", ABSENT | NEWER - {"oom_kills"}),
        ("counters-host", ABSENT | LATEST),
        ("counters-lab-host", ABSENT | LATEST),
        ("counters-containers", ABSENT | QUOTA),
        ("counters-crash", ABSENT | QUOTA),
    ],
)
def test_captured_on_a_real_machine(case, absent):
    folder = DATA.parent / case
    delta = parse_counters((folder / "before").read_bytes(), (folder / "after").read_bytes())
    assert {key for key, value in dataclasses.asdict(delta).items() if value is None} == absent
    assert delta.backwards == frozenset()
    assert delta.cpu_ticks is not None
    assert delta.cpu_ticks > 100
    assert delta.context_switches is not None
    assert delta.context_switches > 0


def test_captured_both_versions_of_control_groups_agree():
    # The job ran in one group of version 1 and of version 2; its quota is of half a CPU, for two seconds.
    folder = DATA.parent / "counters-host"
    before, after = (folder / "before").read_bytes(), (folder / "after").read_bytes()
    second = before.replace(b"/cpuacct.usage", b"/x"), after.replace(b"/cpuacct.usage", b"/x")
    both, alone = parse_counters(before, after), parse_counters(*second)
    assert both.own_cpu_us is not None
    assert alone.own_cpu_us == pytest.approx(both.own_cpu_us, abs=1)
    assert 0 < both.own_cpu_us < 1_100_000
    assert both.quota_periods == 6
    assert both.disks["vda"].read_bytes == 65536
