"""The table of all facts: name, type, and how each is read. The table in docs/facts.md is made of it.

A row marked `inside` is read in every environment, all rows are read on the host; `inside_way` says whether a
row needs a command in the environment, or is a file that a container's host can read. Dynamic rows (is_static
False) do not count for the fingerprint's hash: they change from minute to minute, or with every container.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from perfctl.facts import parsers, values
from perfctl.facts.command_sources import CommandOutput, EachLink, KernelLog, Libc, Python
from perfctl.facts.sources import Cgroup, CgroupVersion, File, Files, FirstFile, Links, Source, Variable
from perfctl.facts.values import LIST, NUMBER, SIZE, TEXT, FactType
from perfctl.model import Fact, FactState, Fingerprint

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One row: its dotted name, where it comes from, its type, where it is read, whether the hash has it."""

    name: str
    source: Source
    type: FactType = TEXT
    inside: bool = False
    is_static: bool = True

    @property
    def inside_way(self) -> str:
        """How it is read inside: '' not at all, 'command' by one, 'file' also through the host."""
        if not self.inside:
            return ""
        return "command" if self.source.request.commands else "file"


def _files(
    prefix: str, folder: str, names: str, fact_type: FactType = TEXT, *, inside: bool = False
) -> tuple[FactSpec, ...]:
    return tuple(
        FactSpec(f"{prefix}.{name}", File(f"{folder}/{name}"), fact_type, inside) for name in names.split()
    )


def _spread(
    name: str, pattern: str, fact_type: FactType = values.TEXTS, *, is_static: bool = True
) -> FactSpec:
    return FactSpec(name, Files(pattern, parsers.Spread(pattern)), fact_type, is_static=is_static)


def _folder(name: str, pattern: str, fact_type: FactType = TEXT, **where: bool) -> FactSpec:
    return FactSpec(name, Files(pattern, parsers.folder), fact_type, **where)


def _field(name: str, path: str, key: str, fact_type: FactType = TEXT) -> FactSpec:
    return FactSpec(name, File(path, parsers.Field(key), key), fact_type, inside=True)


def _processes(name: str, names: str, *, is_static: bool = True) -> FactSpec:
    source = Files("/proc/[0-9]*/comm", parsers.Processes(names), names)
    return FactSpec(name, source, values.COUNTS, is_static=is_static)


def _cgroup(
    v2: str, v1_controller: str, v1: str, fact_type: FactType = TEXT, *, is_static: bool = True
) -> FactSpec:
    name = f"cgroup.{v2.replace('.', '_')}"
    return FactSpec(name, Cgroup(v2, v1_controller, v1), fact_type, inside=True, is_static=is_static)


_NEIGHBOURS = "^(containerd-shim.*|conmon|qemu-.*|firecracker|cloud-hyperviso)$"
_CPU = "/sys/devices/system/cpu"
_EACH_CPU = f"{_CPU}/cpu[0-9]*"
_STATUS = "/proc/self/status"
_MOUNTS = "/proc/self/mounts"

_KERNEL = (
    FactSpec("host.name", File("/proc/sys/kernel/hostname"), is_static=False),
    FactSpec("host.boot_id", File("/proc/sys/kernel/random/boot_id"), is_static=False),
    FactSpec(
        "host.machine_id",
        File("/etc/machine-id", parsers.machine_id, "a keyed hash of it"),
        is_static=False,
    ),
    FactSpec("os.release", File("/etc/os-release"), inside=True),
    FactSpec("kernel.release", File("/proc/sys/kernel/osrelease"), inside=True),
    FactSpec("kernel.version", File("/proc/sys/kernel/version"), inside=True),
    FactSpec("kernel.cmdline", File("/proc/cmdline")),
    FactSpec(
        "kernel.config",
        FirstFile(
            ("/proc/config.gz", "/boot/config-{release}"),
            parsers.kernel_config,
            "/proc/config.gz or /boot/config-RELEASE: HZ, PREEMPT, NO_HZ",
        ),
    ),
    FactSpec("kernel.preempt", File("/sys/kernel/debug/sched/preempt")),
    FactSpec("kernel.dmesg_tail", KernelLog(), is_static=False),
    FactSpec("kernel.randomize_va_space", File("/proc/sys/kernel/randomize_va_space"), NUMBER, inside=True),
)

_CPUS = (
    _folder("cpu.vulnerabilities", f"{_CPU}/vulnerabilities/*", inside=True),
    FactSpec("cpu.online", File(f"{_CPU}/online"), LIST, inside=True),
    *(
        FactSpec(
            f"cpu.{name}",
            File("/proc/cpuinfo", parsers.CpuInfo(key), key),
            values.TEXTS,
            is_static=name != "mhz",
        )
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
        _spread(f"cpu.freq.{name}", f"{_EACH_CPU}/cpufreq/{file}", fact_type, is_static=name != "current")
        for name, file, fact_type in (
            ("governor", "scaling_governor", values.TEXTS),
            ("driver", "scaling_driver", values.TEXTS),
            ("epp", "energy_performance_preference", values.TEXTS),
            ("min", "scaling_min_freq", values.NUMBERS),
            ("max", "scaling_max_freq", values.NUMBERS),
            ("hardware_max", "cpuinfo_max_freq", values.NUMBERS),
            ("current", "scaling_cur_freq", values.NUMBERS),
        )
    ),
    FactSpec("cpu.intel_no_turbo", File(f"{_CPU}/intel_pstate/no_turbo"), NUMBER),
    FactSpec("cpu.boost", File(f"{_CPU}/cpufreq/boost"), NUMBER),
    FactSpec("cpu.idle.driver", File(f"{_CPU}/cpuidle/current_driver")),
    FactSpec("cpu.idle.governor", File(f"{_CPU}/cpuidle/current_governor")),
    _spread("cpu.idle.names", f"{_CPU}/cpu0/cpuidle/state*/name"),
    _spread("cpu.idle.disable", f"{_EACH_CPU}/cpuidle/state*/disable", values.COUNTERS),
    _spread("cpu.throttle", f"{_EACH_CPU}/thermal_throttle/*_count", values.COUNTERS, is_static=False),
    FactSpec("cpu.smt.active", File(f"{_CPU}/smt/active"), NUMBER),
    FactSpec("cpu.smt.control", File(f"{_CPU}/smt/control")),
    _spread("cpu.package", f"{_EACH_CPU}/topology/physical_package_id", values.NUMBERS),
    _spread("cpu.siblings", f"{_EACH_CPU}/topology/thread_siblings_list"),
    _spread("cpu.cache", f"{_EACH_CPU}/cache/index*/size", values.SIZES),
    FactSpec("cpu.isolated", File(f"{_CPU}/isolated"), LIST),
    FactSpec("cpu.nohz_full", File(f"{_CPU}/nohz_full"), LIST),
    FactSpec("cpu.irq_affinity", File("/proc/irq/default_smp_affinity")),
    _processes("cpu.irqbalance", "^irqbalance$"),
)

_TASK = (
    FactSpec("task.limits", File("/proc/self/limits"), inside=True),
    *(
        _field(f"task.{name}", _STATUS, key, fact_type)
        for name, key, fact_type in (
            ("speculation_store_bypass", "Speculation_Store_Bypass", TEXT),
            ("speculation_indirect_branch", "SpeculationIndirectBranch", TEXT),
            ("seccomp", "Seccomp", NUMBER),
            ("seccomp_filters", "Seccomp_filters", NUMBER),
            ("no_new_privs", "NoNewPrivs", NUMBER),
            ("cap_eff", "CapEff", TEXT),
            ("cpus_allowed", "Cpus_allowed_list", LIST),
            ("mems_allowed", "Mems_allowed_list", LIST),
        )
    ),
)

_MEMORY = (
    FactSpec("numa.online", File("/sys/devices/system/node/online"), LIST),
    _spread("numa.distance", "/sys/devices/system/node/node[0-9]*/distance"),
    FactSpec("numa.hardware", CommandOutput("numactl -H"), is_static=False),
    FactSpec("numa.policy", CommandOutput("numactl --show"), inside=True),
    FactSpec("numa.balancing", File("/proc/sys/kernel/numa_balancing"), NUMBER),
    _field("memory.total", "/proc/meminfo", "MemTotal", SIZE),
    FactSpec("memory.meminfo", File("/proc/meminfo"), is_static=False),
    FactSpec("memory.thp", File("/sys/kernel/mm/transparent_hugepage/enabled"), inside=True),
    FactSpec("memory.thp_defrag", File("/sys/kernel/mm/transparent_hugepage/defrag")),
    FactSpec("memory.ksm", File("/sys/kernel/mm/ksm/run"), NUMBER),
    FactSpec("memory.swaps", File("/proc/swaps"), values.SWAP_AREAS, is_static=False),
    *_files("memory", "/proc/sys/vm", "swappiness nr_hugepages overcommit_memory", NUMBER),
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
    FactSpec("cgroup.version", CgroupVersion(), inside=True),
    FactSpec("cgroup.controllers", File("/sys/fs/cgroup/cgroup.controllers"), inside=True),
    FactSpec("cgroup.path", File("/proc/self/cgroup"), inside=True, is_static=False),
    _cgroup("cpu.max", "cpu", "cpu.cfs_quota_us"),
    _cgroup("cpu.weight", "cpu", "cpu.shares"),
    _cgroup("cpuset.cpus.effective", "cpuset", "cpuset.effective_cpus", LIST),
    _cgroup("memory.max", "memory", "memory.limit_in_bytes", SIZE),
    _cgroup("io.max", "blkio", "blkio.throttle.write_bps_device"),
    _cgroup("pids.max", "pids", "pids.max"),
    _cgroup("cpu.stat", "cpu", "cpu.stat", is_static=False),
)

_SECURITY = (
    FactSpec("lsm.list", File("/sys/kernel/security/lsm")),
    FactSpec("lsm.selinux", File("/sys/fs/selinux/enforce"), NUMBER),
    FactSpec("lsm.apparmor", File("/sys/module/apparmor/parameters/enabled")),
    FactSpec("lsm.current", File("/proc/self/attr/current", parsers.label), inside=True),
)

_ENGINE = (
    FactSpec("engine.daemon_json", File("/etc/docker/daemon.json"), values.SETTINGS),
    _folder("engine.dropins", "/etc/systemd/system/docker.service.d/*.conf"),
    *(
        FactSpec(f"engine.{program}", CommandOutput(f"{program} --version"))
        for program in ("podman", "crun", "runsc", "kata-runtime")
    ),
    FactSpec("engine.max_user_namespaces", File("/proc/sys/user/max_user_namespaces"), NUMBER),
)

_VM = (
    FactSpec("vm.virtualization", CommandOutput("systemd-detect-virt", any_exit_code=True)),
    *_files("vm", "/sys/class/dmi/id", "sys_vendor product_name bios_version"),
    FactSpec("vm.qemu", CommandOutput("qemu-system-x86_64 --version")),
)

_BUILD = (
    FactSpec("libc.version", Libc(), inside=True),
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
    FactSpec("python.version", Python(0, "python3: sys.version"), inside=True),
    FactSpec("python.build", Python(1, "python3: sysconfig.get_config_vars, sys._jit"), inside=True),
    FactSpec("python.packages", Python(2, "python3: *.dist-info and *.egg-info on sys.path"), inside=True),
)

_NETWORK = (
    FactSpec("net.links", Links(), values.LINKS, inside=True),
    FactSpec("net.ip_link", CommandOutput("ip -j -d link"), is_static=False),
    FactSpec("net.qdisc", CommandOutput("tc -s qdisc"), is_static=False),
    *(
        FactSpec(f"net.ethtool.{name}", EachLink(flag, has_software=name == "features"))
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
        "tcp_congestion_control tcp_rmem tcp_wmem",
        inside=True,
    ),
    *_files("net", "/proc/sys/net/ipv4", "tcp_mtu_probing", NUMBER, inside=True),
    *_files("net.core", "/proc/sys/net/core", "default_qdisc"),
    *_files("net.core", "/proc/sys/net/core", "rmem_default rmem_max wmem_default wmem_max", SIZE),
    *_files("net.core", "/proc/sys/net/core", "netdev_max_backlog somaxconn busy_poll", NUMBER),
    FactSpec(
        "net.iptables_rules",
        CommandOutput("iptables-save", parsers.rule_count, "number of rules in iptables-save"),
        NUMBER,
    ),
    FactSpec("net.nft_ruleset", CommandOutput("nft -s list ruleset"), is_static=False),
    FactSpec(
        "net.conntrack_count", File("/proc/sys/net/netfilter/nf_conntrack_count"), NUMBER, is_static=False
    ),
    FactSpec("net.conntrack_max", File("/proc/sys/net/netfilter/nf_conntrack_max"), NUMBER),
)

_STORAGE = (
    *(
        _spread(f"storage.{name}", f"/sys/block/[!l]*/queue/{name}", fact_type)
        for name, fact_type in (
            ("scheduler", values.TEXTS),
            ("nr_requests", values.NUMBERS),
            ("rotational", values.NUMBERS),
            ("write_cache", values.TEXTS),
            ("read_ahead_kb", values.NUMBERS),
        )
    ),
    _spread("storage.size", "/sys/block/[!l]*/size", values.NUMBERS),
    _spread("storage.model", "/sys/block/[!l]*/device/model"),
    FactSpec("storage.mounts", File(_MOUNTS, parsers.mounts), values.MOUNTS, inside=True),
    FactSpec(
        "storage.other_mounts",
        File(_MOUNTS, parsers.other_mounts, "others"),
        values.OTHER_MOUNTS,
        is_static=False,
    ),
    FactSpec("storage.free", CommandOutput("df -P"), is_static=False),
    FactSpec("storage.nvme", CommandOutput("nvme smart-log /dev/nvme0"), is_static=False),
)

_MOMENT = (
    FactSpec("load.average", File("/proc/loadavg"), values.LOAD_AVERAGE, is_static=False),
    _processes("load.neighbours", _NEIGHBOURS, is_static=False),
    FactSpec("load.cpu_ticks", File("/proc/stat", parsers.first_line), values.CPU_TICKS, is_static=False),
    _folder("load.pressure", "/proc/pressure/*", values.PRESSURE, is_static=False),
    _spread("thermal.sensors", "/sys/class/hwmon/hwmon*/temp*_input", values.COUNTERS, is_static=False),
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

_BY_NAME: Mapping[str, FactSpec] = MappingProxyType({spec.name: spec for spec in REGISTRY})
_ROUTE = "net.route."


def type_of(name: str) -> FactType:
    """Return the type of a fact, `text` for one that is not of this table."""
    if name.startswith(_ROUTE):
        return values.ROUTE
    return _BY_NAME[name].type if name in _BY_NAME else TEXT


def read_value(fact: Fact | None, value_class: type[T]) -> T | None:
    """Return the value of a fact, None where it is not present or its text makes no sense.

    `value_class` is that of its type. Raises TypeError for another one.
    """
    if fact is None or fact.state is not FactState.PRESENT:
        return None
    wanted = type_of(fact.name)
    if wanted.value_class is not value_class:
        raise TypeError(f"{fact.name} is {wanted.name}, not {value_class.__name__}")
    found: T | None = _value(wanted, fact.value)
    return found


@lru_cache(maxsize=1024)
def _value(wanted: FactType, text: str) -> Any:
    # The same facts are asked for each invocation, and most hosts have the same.
    return wanted.read(text)


def is_present(facts: Fingerprint, name: str) -> bool:
    """Return whether the fact of that name was read."""
    fact = facts.get(name)
    return fact is not None and fact.state is FactState.PRESENT


def value_of(facts: Fingerprint | None, name: str, value_class: type[T]) -> T | None:
    """Return the value of the fact of that name, like `read_value`."""
    return read_value(facts.get(name), value_class) if facts is not None else None


def markdown_table() -> str:
    """Return the table of docs/facts.md."""
    lines = ["| fact | read from | type | inside | static |", "|---|---|---|---|---|"]
    for spec in REGISTRY:
        how = spec.source.how.replace("|", "\\|")
        static = "yes" if spec.is_static else ""
        lines.append(f"| {spec.name} | `{how}` | {spec.type.name} | {spec.inside_way} | {static} |")
    return "\n".join(lines) + "\n"
