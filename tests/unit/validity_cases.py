"""Made-up readings of the counters around an invocation, and how to make a rule see a value in them."""

from __future__ import annotations

from collections.abc import Callable

from perfctl.validity.context import Expected
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.finding import Severity
from perfctl.validity.rules import Validity, judge_counters
from perfctl.validity.thresholds import VALIDITY, RuleSet

DURATION_S = 10
TICKS = 20_000
"""Of all CPUs in the made-up readings: 0.005 % each, which is finer than any limit."""
GROUP = "/sys/fs/cgroup/system.slice/perfctl-r1.service"
THERMAL = "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle"
WALL_NS = 1_795_000_000_000_000_000
NETWORK = Expected(cpus=2, parallelism=1, uses=frozenset({"network"}), interfaces=("eth1",))
SNMP_HEAD = "Tcp: RtoAlgorithm OutSegs RetransSegs"


class Reading:
    """A made-up reading of every counter there is; the tests change what they are about."""

    def __init__(self) -> None:
        self.ticks = {"user": 10**6, "system": 10**5, "idle": 10**7, "steal": 10**4}
        self.cpus = 2
        self.stall_us = {"cpu": 1000, "memory": 1000, "io": 1000}
        self.vmstat = {"pgmajfault": 9, "pswpin": 3, "pswpout": 4, "oom_kill": 1}
        self.group = {"usage_usec": 5_000_000, "nr_throttled": 7, "throttled_usec": 70}
        self.heat = {"count": 5, "total_time_ms": 50}
        self.kernel = {"/sys/kernel/warn_count": 2, "/sys/kernel/oops_count": 0}
        self.kernel["/proc/sys/kernel/hung_task_detect_count"] = 0
        self.tcp = [10**6, 500]
        self.received = [10**9, 10**6, 0, 0]
        """Bytes, packets, errors, drops of eth1."""
        self.carrier = 3
        self.wall_ahead_ns = WALL_NS
        self.log = ["6,70,99000000,-;br0: port 1(eth1) entered forwarding state"]
        self.without: set[str] = set()
        self.extra: dict[str, str] = {}

    def bytes(self) -> bytes:
        """Return the text as the job script writes it."""
        ticks = self.ticks
        cpu = f"{ticks['user']} 0 {ticks['system']} {ticks['idle']} 0 0 0 {ticks['steal']} 0 0"
        each = "".join(f"cpu{n} 1 0 1 1 0 0 0 0 0 0\n" for n in range(self.cpus))
        received = "{} {} {} {}".format(*self.received)
        files = {
            "/proc/stat": f"cpu  {cpu}\n{each}ctxt 5\nbtime 1795000000\nprocesses 7",
            "/proc/loadavg": "0.50 0.10 0.01 1/200 1234",
            **{
                f"/proc/pressure/{name}": f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total}"
                for name, total in self.stall_us.items()
            },
            "/proc/vmstat": "\n".join(f"{name} {value}" for name, value in self.vmstat.items()),
            f"{GROUP}/cpu.stat": "\n".join(f"{name} {value}" for name, value in self.group.items()),
            **{f"{THERMAL}_{name}": str(value) for name, value in self.heat.items()},
            **{path: str(value) for path, value in self.kernel.items()},
            "/proc/net/snmp": f"{SNMP_HEAD}\nTcp: 1 {self.tcp[0]} {self.tcp[1]}",
            "/proc/net/dev": f"Inter-| x | y\n face |z\n  eth1: {received} 0 0 0 0 0 0 0 0 0 0 0 0",
            "/sys/class/net/eth1/carrier_changes": str(self.carrier),
            "clock": str(self.wall_ahead_ns),
            "kernel log": "\n".join(self.log),
            **self.extra,
        }
        kept = {path: text for path, text in files.items() if path not in self.without}
        return "\n".join(f"==> {path} <==\n{text}\n" for path, text in kept.items()).encode()


def later() -> Reading:
    """Return what is read after ten quiet seconds: 25 % of the CPU time was the benchmark's."""
    reading = Reading()
    reading.ticks["user"] += TICKS // 4
    reading.ticks["idle"] += TICKS - TICKS // 4
    reading.group["usage_usec"] += TICKS // 4 * 10_000
    reading.tcp[0] += 100_000
    reading.received[1] += 1_000_000
    return reading


def judge_texts(
    before: bytes,
    after: bytes,
    *,
    started_ns: int | None,
    ended_ns: int | None,
    expected: Expected,
    rules: RuleSet = VALIDITY,
    own_cpu_us: int | None = None,
) -> Validity:
    counters = InvocationCounters.parse(before, after, started_ns=started_ns, ended_ns=ended_ns)
    return judge_counters(counters.delta, counters.duration_s, expected, rules, own_cpu_us=own_cpu_us)


def judge(
    after: Reading,
    expected: Expected = NETWORK,
    before: Reading | None = None,
    rules: RuleSet = VALIDITY,
) -> Validity:
    # 10 s of 2 CPUs would be 2,000 ticks: here time runs in finer ticks, so shares of time are of 100 s.
    return judge_texts(
        (before or Reading()).bytes(),
        after.bytes(),
        started_ns=10**13,
        ended_ns=10**13 + DURATION_S * 10**9,
        expected=expected,
        rules=rules,
    )


def rules_of(validity: Validity) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in validity.findings}


WINDOW_S = TICKS / 100 / 2


def shifted(name: str, share: float, after: Reading) -> None:
    """Let a kind of CPU time take a share (in percent) from idle time."""
    moved = round(TICKS * share / 100)
    after.ticks[name] += moved
    after.ticks["idle"] -= moved


def stalled(resource: str) -> Callable[[float, Reading], None]:
    def change(share: float, after: Reading) -> None:
        after.stall_us[resource] += round(share / 100 * WINDOW_S * 1e6)

    return change


def counted(change: Callable[[int, Reading], None]) -> Callable[[float, Reading], None]:
    return lambda value, after: change(round(value), after)


def set_clock(share: float, after: Reading) -> None:
    after.wall_ahead_ns += round(share / 100 * DURATION_S * 1e9)


def logged(line: str) -> Callable[[float, Reading], None]:
    def change(count: float, after: Reading) -> None:
        after.log += [f"4,{100 + n},{100 + n}000000,-;{line}" for n in range(round(count))]

    return change


def grow(field: str, key: str | int | None = None, factor: float = 1.0) -> Callable[[float, Reading], None]:
    """Return what lets a counter of a reading grow by a value."""

    def change(value: float, after: Reading) -> None:
        amount = round(value * factor)
        if key is None:
            setattr(after, field, getattr(after, field) + amount)
        else:
            getattr(after, field)[key] += amount

    return change


RULES = [rule for rule in VALIDITY.rules if rule.name != "boot_attempts"]
"""Those that are judged by counters; the other one is at the end."""

CHANGES: dict[str, Callable[[float, Reading], None]] = {
    "steal": lambda value, after: shifted("steal", value, after),
    "others_cpu": lambda value, after: shifted("system", value, after),
    "pressure_cpu": stalled("cpu"),
    "pressure_memory": stalled("memory"),
    "pressure_io": stalled("io"),
    "swap": grow("vmstat", "pswpin"),
    "cpus": grow("cpus"),
    "quota": grow("group", "throttled_usec", WINDOW_S * 1e4),
    "heat": grow("heat", "count"),
    "heat_time": grow("heat", "total_time_ms", WINDOW_S * 10),
    "clock_step": set_clock,
    "oom_kills": grow("vmstat", "oom_kill"),
    "kernel_warnings": grow("kernel", "/sys/kernel/warn_count"),
    "kernel_oopses": grow("kernel", "/sys/kernel/oops_count"),
    "hung_tasks": grow("kernel", "/proc/sys/kernel/hung_task_detect_count"),
    "kernel_messages": logged("mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 4"),
    "retransmits": grow("tcp", 1, 1000),
    "nic_drops": grow("received", 3, 10_000),
    "nic_errors": grow("received", 2),
    "link_lost": grow("carrier"),
}
"""Rule -> how to make a reading in which exactly a value of it is seen."""
