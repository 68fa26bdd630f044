"""The table of all facts, from which the script that reads them and the table in docs/facts.md are made.

A row marked `inside` is read in every environment, all rows are read on the host. Dynamic rows (is_static
False) do not count for the fingerprint's hash: they change from minute to minute, or with every container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class File:
    """The text of a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """Something out of one or many files; gather.awk explains each kind and its key."""

    kind: Literal["first", "field", "folder", "spread", "cpuinfo", "mounts", "process"]
    pattern: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A file of the process's own cgroup, by the names of version 2 and version 1."""

    v2: str
    v1_controller: str
    v1: str


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. Only those named in this table are ever read."""

    variable: str


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a command prints; `any_exit_code` for those that answer "no" with 1."""

    words: str
    any_exit_code: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """What a function of rows.sh emits. Rows with the same function and arguments are read by one call."""

    function: str
    how: str
    arguments: str = ""


Source = File | Gathered | Cgroup | Variable | CommandOutput | Function


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One row: its dotted name, where it comes from, where it is read, whether it counts for the hash."""

    name: str
    source: Source
    inside: bool = False
    is_static: bool = True

    @property
    def how(self) -> str:
        """How it is read, in a few words for the documentation."""
        match self.source:
            case File(path):
                return path
            case Gathered(_, pattern, key):
                return f"{pattern}: {key}" if key else pattern
            case Cgroup(v2, v1_controller, v1):
                return f"own cgroup: v2 {v2}, v1 {v1_controller}/{v1}"
            case Variable(variable):
                return f"${variable}"
            case CommandOutput(words):
                return words
            case Function(_, how):
                return how


def _files(prefix: str, folder: str, names: str, *, inside: bool = False) -> tuple[FactSpec, ...]:
    return tuple(FactSpec(f"{prefix}.{name}", File(f"{folder}/{name}"), inside) for name in names.split())


def _spread(name: str, pattern: str, *, is_static: bool = True) -> FactSpec:
    return FactSpec(name, Gathered("spread", pattern), is_static=is_static)


def _cgroup(v2: str, v1_controller: str, v1: str, *, is_static: bool = True) -> FactSpec:
    name = f"cgroup.{v2.replace('.', '_')}"
    return FactSpec(name, Cgroup(v2, v1_controller, v1), inside=True, is_static=is_static)


_NEIGHBOURS = "^(containerd-shim.*|conmon|qemu-.*|firecracker|cloud-hyperviso)$"
_CPU = "/sys/devices/system/cpu"
_EACH_CPU = f"{_CPU}/cpu[0-9]*"
_STATUS = "/proc/self/status"

_KERNEL = (
    FactSpec("host.name", File("/proc/sys/kernel/hostname"), is_static=False),
    FactSpec("host.boot_id", File("/proc/sys/kernel/random/boot_id"), is_static=False),
    FactSpec("os.release", File("/etc/os-release"), inside=True),
    FactSpec("kernel.release", File("/proc/sys/kernel/osrelease"), inside=True),
    FactSpec("kernel.version", File("/proc/sys/kernel/version"), inside=True),
    FactSpec("kernel.cmdline", File("/proc/cmdline")),
    FactSpec(
        "kernel.config",
        Function("kernel_config", "/proc/config.gz or /boot/config-RELEASE: HZ, PREEMPT, NO_HZ"),
    ),
    FactSpec("kernel.preempt", File("/sys/kernel/debug/sched/preempt")),
    FactSpec("kernel.dmesg_tail", Function("dmesg_tail", "the last 5 lines of dmesg"), is_static=False),
    FactSpec("kernel.randomize_va_space", File("/proc/sys/kernel/randomize_va_space"), inside=True),
)

_CPUS = (
    FactSpec("cpu.vulnerabilities", Gathered("folder", f"{_CPU}/vulnerabilities/*"), inside=True),
    FactSpec("cpu.online", File(f"{_CPU}/online"), inside=True),
    *(
        FactSpec(f"cpu.{name}", Gathered("cpuinfo", "/proc/cpuinfo", key), is_static=name != "mhz")
        for name, key in (
            ("vendor", "vendor_id|CPU implementer|mvendorid"),
            ("model", "model name|Model Name|cpu model|Processor|cpu|uarch"),
            ("family", "cpu family|CPU Family"),
            ("model_number", "model"),
            ("stepping", "stepping"),
            ("architecture", "CPU architecture|isa"),
            ("arm_variant", "CPU variant"),
            ("arm_part", "CPU part|marchid"),
            ("revision", "CPU revision|CPU Revision|revision|mimpid"),
            ("identity", "processor N"),
            ("machine", "machine|platform|system type|Hardware|Model|Revision"),
            ("microcode", "microcode"),
            ("cache_size", "cache size"),
            ("flags", "flags|features|facilities"),
            ("arm_features", "Features"),
            ("bugs", "bugs"),
            ("mhz_static", "cpu MHz static"),
            ("mhz", "cpu MHz|CPU MHz|cpu MHz dynamic|clock"),
        )
    ),
    *(
        _spread(f"cpu.freq.{name}", f"{_EACH_CPU}/cpufreq/{file}", is_static=name != "current")
        for name, file in (
            ("governor", "scaling_governor"),
            ("driver", "scaling_driver"),
            ("epp", "energy_performance_preference"),
            ("min", "scaling_min_freq"),
            ("max", "scaling_max_freq"),
            ("hardware_max", "cpuinfo_max_freq"),
            ("current", "scaling_cur_freq"),
        )
    ),
    FactSpec("cpu.intel_no_turbo", File(f"{_CPU}/intel_pstate/no_turbo")),
    FactSpec("cpu.boost", File(f"{_CPU}/cpufreq/boost")),
    FactSpec("cpu.idle.driver", File(f"{_CPU}/cpuidle/current_driver")),
    FactSpec("cpu.idle.governor", File(f"{_CPU}/cpuidle/current_governor")),
    _spread("cpu.idle.names", f"{_CPU}/cpu0/cpuidle/state*/name"),
    _spread("cpu.idle.disable", f"{_EACH_CPU}/cpuidle/state*/disable"),
    _spread("cpu.throttle", f"{_EACH_CPU}/thermal_throttle/*_count", is_static=False),
    FactSpec("cpu.smt.active", File(f"{_CPU}/smt/active")),
    FactSpec("cpu.smt.control", File(f"{_CPU}/smt/control")),
    _spread("cpu.package", f"{_EACH_CPU}/topology/physical_package_id"),
    _spread("cpu.siblings", f"{_EACH_CPU}/topology/thread_siblings_list"),
    _spread("cpu.cache", f"{_EACH_CPU}/cache/index*/size"),
    FactSpec("cpu.isolated", File(f"{_CPU}/isolated")),
    FactSpec("cpu.nohz_full", File(f"{_CPU}/nohz_full")),
    FactSpec("cpu.irq_affinity", File("/proc/irq/default_smp_affinity")),
    FactSpec("cpu.irqbalance", Gathered("process", "/proc/[0-9]*/comm", "^irqbalance$")),
)

_TASK = (
    FactSpec("task.limits", File("/proc/self/limits"), inside=True),
    *(
        FactSpec(f"task.{name}", Gathered("field", _STATUS, key), inside=True)
        for name, key in (
            ("speculation_store_bypass", "Speculation_Store_Bypass"),
            ("speculation_indirect_branch", "SpeculationIndirectBranch"),
            ("seccomp", "Seccomp"),
            ("seccomp_filters", "Seccomp_filters"),
            ("no_new_privs", "NoNewPrivs"),
            ("cap_eff", "CapEff"),
            ("cpus_allowed", "Cpus_allowed_list"),
            ("mems_allowed", "Mems_allowed_list"),
        )
    ),
)

_MEMORY = (
    FactSpec("numa.online", File("/sys/devices/system/node/online")),
    _spread("numa.distance", "/sys/devices/system/node/node[0-9]*/distance"),
    FactSpec("numa.hardware", CommandOutput("numactl -H"), is_static=False),
    FactSpec("numa.policy", CommandOutput("numactl --show"), inside=True),
    FactSpec("numa.balancing", File("/proc/sys/kernel/numa_balancing")),
    FactSpec("memory.total", Gathered("field", "/proc/meminfo", "MemTotal"), inside=True),
    FactSpec("memory.meminfo", File("/proc/meminfo"), is_static=False),
    FactSpec("memory.thp", File("/sys/kernel/mm/transparent_hugepage/enabled"), inside=True),
    FactSpec("memory.thp_defrag", File("/sys/kernel/mm/transparent_hugepage/defrag")),
    FactSpec("memory.ksm", File("/sys/kernel/mm/ksm/run")),
    FactSpec("memory.swaps", File("/proc/swaps"), is_static=False),
    *_files("memory", "/proc/sys/vm", "swappiness nr_hugepages overcommit_memory"),
)

_TIME = (
    *_files(
        "time",
        "/sys/devices/system/clocksource/clocksource0",
        "current_clocksource available_clocksource",
        inside=True,
    ),
    FactSpec("time.chrony", CommandOutput("chronyc -c tracking"), is_static=False),
    FactSpec("time.timesyncd", File("/run/systemd/timesync/synchronized"), is_static=False),
)

_LIMITS = (
    FactSpec("cgroup.version", Function("cgroup_version", "files of /sys/fs/cgroup"), inside=True),
    FactSpec("cgroup.controllers", File("/sys/fs/cgroup/cgroup.controllers"), inside=True),
    FactSpec("cgroup.path", File("/proc/self/cgroup"), inside=True, is_static=False),
    _cgroup("cpu.max", "cpu", "cpu.cfs_quota_us"),
    _cgroup("cpu.weight", "cpu", "cpu.shares"),
    _cgroup("cpuset.cpus.effective", "cpuset", "cpuset.effective_cpus"),
    _cgroup("memory.max", "memory", "memory.limit_in_bytes"),
    _cgroup("io.max", "blkio", "blkio.throttle.write_bps_device"),
    _cgroup("pids.max", "pids", "pids.max"),
    _cgroup("cpu.stat", "cpu", "cpu.stat", is_static=False),
)

_SECURITY = (
    FactSpec("lsm.list", File("/sys/kernel/security/lsm")),
    FactSpec("lsm.selinux", File("/sys/fs/selinux/enforce")),
    FactSpec("lsm.apparmor", File("/sys/module/apparmor/parameters/enabled")),
    FactSpec("lsm.current", Function("label", "/proc/self/attr/current"), inside=True),
)

_ENGINE = (
    FactSpec("engine.daemon_json", File("/etc/docker/daemon.json")),
    FactSpec("engine.dropins", Gathered("folder", "/etc/systemd/system/docker.service.d/*.conf")),
    *(
        FactSpec(f"engine.{program}", CommandOutput(f"{program} --version"))
        for program in ("podman", "crun", "runsc", "kata-runtime")
    ),
    FactSpec("engine.max_user_namespaces", File("/proc/sys/user/max_user_namespaces")),
)

_VM = (
    FactSpec("vm.virtualization", CommandOutput("systemd-detect-virt", any_exit_code=True)),
    *_files("vm", "/sys/class/dmi/id", "sys_vendor product_name bios_version"),
    FactSpec("vm.qemu", CommandOutput("qemu-system-x86_64 --version")),
)

_BUILD = (
    FactSpec("libc.version", Function("libc", "getconf GNU_LIBC_VERSION or ldd --version"), inside=True),
    *(
        FactSpec(f"env.{name}", Variable(name), inside=True)
        for name in (
            "LD_PRELOAD",
            "GLIBC_TUNABLES",
            "MALLOC_CONF",
            "MALLOC_ARENA_MAX",
            "MALLOC_CHECK_",
            "MALLOC_MMAP_THRESHOLD_",
            "MALLOC_PERTURB_",
            "MALLOC_TOP_PAD_",
            "MALLOC_TRIM_THRESHOLD_",
            "PYTHONHASHSEED",
            "PYTHONMALLOC",
        )
    ),
    FactSpec("python.version", Function("python", "python3: sys.version"), inside=True),
    FactSpec("python.build", Function("python", "python3: sysconfig.get_config_vars, sys._jit"), inside=True),
    FactSpec(
        "python.packages", Function("python", "python3: *.dist-info and *.egg-info on sys.path"), inside=True
    ),
)

_NETWORK = (
    FactSpec("net.links", Function("links", "/sys/class/net/*, without veth*"), inside=True),
    FactSpec("net.ip_link", CommandOutput("ip -j -d link"), is_static=False),
    FactSpec("net.qdisc", CommandOutput("tc -s qdisc"), is_static=False),
    *(
        FactSpec(f"net.ethtool.{name}", Function("nics", f"ethtool {flag} of each NIC", flag))
        for name, flag in (
            ("features", "-k"),
            ("rings", "-g"),
            ("channels", "-l"),
            ("coalesce", "-c"),
            ("driver", "-i"),
        )
    ),
    *_files(
        "net",
        "/proc/sys/net/ipv4",
        "tcp_congestion_control tcp_rmem tcp_wmem tcp_mtu_probing",
        inside=True,
    ),
    *_files(
        "net.core",
        "/proc/sys/net/core",
        "default_qdisc rmem_default rmem_max wmem_default wmem_max netdev_max_backlog somaxconn busy_poll",
    ),
    FactSpec("net.iptables_rules", Function("iptables_rules", "number of rules in iptables-save")),
    FactSpec("net.nft_ruleset", CommandOutput("nft -s list ruleset"), is_static=False),
    FactSpec("net.conntrack_count", File("/proc/sys/net/netfilter/nf_conntrack_count"), is_static=False),
    FactSpec("net.conntrack_max", File("/proc/sys/net/netfilter/nf_conntrack_max")),
)

_STORAGE = (
    *(
        _spread(f"storage.{name}", f"/sys/block/[!l]*/queue/{name}")
        for name in ("scheduler", "nr_requests", "rotational", "write_cache", "read_ahead_kb")
    ),
    _spread("storage.size", "/sys/block/[!l]*/size"),
    _spread("storage.model", "/sys/block/[!l]*/device/model"),
    FactSpec("storage.mounts", Gathered("mounts", "/proc/self/mounts"), inside=True),
    FactSpec("storage.other_mounts", Gathered("mounts", "/proc/self/mounts", "others"), is_static=False),
    FactSpec("storage.free", CommandOutput("df -P"), is_static=False),
    FactSpec("storage.nvme", CommandOutput("nvme smart-log /dev/nvme0"), is_static=False),
)

_MOMENT = (
    FactSpec("load.average", File("/proc/loadavg"), is_static=False),
    FactSpec("load.neighbours", Gathered("process", "/proc/[0-9]*/comm", _NEIGHBOURS), is_static=False),
    FactSpec("load.cpu_ticks", Gathered("first", "/proc/stat"), is_static=False),
    FactSpec("load.pressure", Gathered("folder", "/proc/pressure/*"), is_static=False),
    _spread("thermal.sensors", "/sys/class/hwmon/hwmon*/temp*_input", is_static=False),
)

REGISTRY: tuple[FactSpec, ...] = (
    *_KERNEL,
    *_CPUS,
    *_TASK,
    *_MEMORY,
    *_TIME,
    *_LIMITS,
    *_SECURITY,
    *_ENGINE,
    *_VM,
    *_BUILD,
    *_NETWORK,
    *_STORAGE,
    *_MOMENT,
)
"""All facts but those of programs (`tool.*`) and of routes (`net.route.*`), which are named by the caller."""


def markdown_table() -> str:
    """Return the table of docs/facts.md."""
    lines = ["| fact | read from | inside | static |", "|---|---|---|---|"]
    for spec in REGISTRY:
        how = spec.how.replace("|", "\\|")
        marks = ("yes" if flag else "" for flag in (spec.inside, spec.is_static))
        lines.append(f"| {spec.name} | `{how}` | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
