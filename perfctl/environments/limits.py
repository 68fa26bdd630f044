"""The limits of a native environment: the commands that set them, and whether they are in force. Pure.

    CPUs, NUMA nodes     taskset or numactl in front of the command: affinity, inherited by what it starts
    CPU time, memory     a systemd scope that all commands of the environment join (`scope`)

A container's limits are options of `docker run` (`docker`); a guest's are its size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from perfctl.errors import EnvironmentDied
from perfctl.model import Environment
from perfctl.shell import Completed

READ_GROUP = """
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  base=/sys/fs/cgroup$group
  quota=$(cat "$base/cpu.max")
  memory=$(cat "$base/memory.max")
  [ "$(cat "$base/memory.swap.max")" = 0 ] && swap=capped
  events=$base/memory.events
  controllers=" $(cat /sys/fs/cgroup/cgroup.controllers) "
  for controller in cpu memory; do
    case $controllers in *" $controller "*) ;; *) lacks="$lacks $controller" ;; esac
  done
else
  cpu=/sys/fs/cgroup/cpu$group
  [ -d "$cpu" ] || cpu=/sys/fs/cgroup/cpu,cpuacct$group
  base=/sys/fs/cgroup/memory$group
  quota="$(cat "$cpu/cpu.cfs_quota_us") $(cat "$cpu/cpu.cfs_period_us")"
  [ "$limit" = 0 ] || echo "$limit" >"$base/memory.memsw.limit_in_bytes"
  memory=$(cat "$base/memory.limit_in_bytes")
  [ "$(cat "$base/memory.memsw.limit_in_bytes")" = "$memory" ] && swap=capped
  events=$base/memory.oom_control
fi 2>/dev/null
while read -r key value _; do
  [ "$key $value" = "SwapTotal: 0" ] && swap=capped
done </proc/meminfo
printf '%s\\n' "quota=$quota" "memory=$memory" "swap=$swap" "events=$events"
[ -z "$lacks" ] || echo "lacks=$lacks"
"""
"""POSIX sh that prints KEY=VALUE lines about the control group $group (below /sys/fs/cgroup): `quota`,
`memory` and `swap` as `not_in_force` wants them, `events` (the file that counts OOM kills), and `lacks`, the
controllers that control groups of version 2 do not have, if any. With those of version 1, swap is first
limited to $limit bytes unless that is 0: systemd has no setting for it."""

CONTAINER_LIMITS_ARGV = (
    "sh",
    "-c",
    """
while read -r key value; do
  case $key in
    Cpus_allowed_list:) echo "cpus=$value" ;;
    Mems_allowed_list:) echo "nodes=$value" ;;
  esac
done </proc/self/status
online=0
while read -r word _; do
  [ "$word" != processor ] || online=$((online + 1))
done </proc/cpuinfo
echo "online=$online"
group=
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || while IFS=: read -r number _ path; do
  [ "$number" != 0 ] || group=${path%/}
done </proc/self/cgroup
limit=0
"""
    + READ_GROUP
    + "exit 0\n",
)
"""Prints, inside a container, what `not_in_force` wants to know. Version 2: where a container has the host's
namespace of control groups, its own group is a folder among the host's, else it is the root."""

_MAX_CPU = 8191
"""The highest number that Linux can be built for."""


class OutOfMemory(EnvironmentDied):
    """The kernel OOM-killed a command; `completed` is what it left behind."""

    default_reason = "out_of_memory"

    def __init__(self, environment: Environment, completed: Completed, *, where: str) -> None:
        limit = (
            f"the limit of {environment.memory_mib} MiB" if environment.memory_mib else "the host's memory"
        )
        super().__init__(
            f"OOM-killed: {limit} is reached",
            where=where,
            hint="set a larger memory_mib" if environment.memory_mib else None,
        )
        self.completed = completed


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs (or NUMA nodes) of a list such as '0-3,8', in the order written.

    Raises ValueError, in words that follow 'it'.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        if match is None:
            raise ValueError(f"must be numbers and ranges with commas between them, not {part!r}")
        first = int(match[1])
        last = int(match[2] or match[1])
        if last < first:
            raise ValueError(f"has a range that goes backwards: {part}")
        if last > _MAX_CPU:
            raise ValueError(f"must not go beyond {_MAX_CPU}")
        found += range(first, last + 1)
    if len(set(found)) < len(found):
        raise ValueError("names something twice")
    return tuple(found)


def needs_scope(environment: Environment) -> bool:
    """Return whether a native environment has limits that only a control group can hold."""
    return environment.cpu_quota is not None or environment.memory_mib is not None


def is_limited(environment: Environment) -> bool:
    """Return whether a native environment has any limit."""
    return needs_scope(environment) or bool(environment.cpuset_cpus or environment.cpuset_mems)


def affinity_argv(environment: Environment) -> list[str]:
    """Return the start of a command line that binds a command to CPUs and NUMA nodes; [] for none."""
    if environment.cpuset_mems:
        cpus = [f"--physcpubind={environment.cpuset_cpus}"] if environment.cpuset_cpus else []
        # numactl itself has no exit code of its own for a program that is not there.
        return ["numactl", *cpus, f"--membind={environment.cpuset_mems}", "sh", "-c", 'exec "$@"', "sh"]
    return ["taskset", "-c", environment.cpuset_cpus] if environment.cpuset_cpus else []


def scope_properties(environment: Environment) -> list[str]:
    """Return the settings of the systemd scope that limits CPU time and memory."""
    # Only a delegated scope may be joined later, and it stays when one of its processes is OOM-killed.
    properties = ["Delegate=yes", "TimeoutStopSec=10", "CollectMode=inactive-or-failed"]
    if environment.cpu_quota is not None:
        properties.append(f"CPUQuota={round(environment.cpu_quota * 100)}%")
    if environment.memory_mib is not None:
        # Without swap, as in a container: a limit that can be passed by swapping is none.
        properties += [f"MemoryMax={memory_bytes(environment)}", "MemorySwapMax=0"]
    return properties


def memory_bytes(environment: Environment) -> int:
    """Return the memory limit in bytes, 0 for none."""
    return (environment.memory_mib or 0) << 20


def not_in_force(environment: Environment, found: Mapping[str, str]) -> str | None:
    """Return which limit is not in force, in words, None when all are.

    `found` is what a command under the limits reads: `cpus`, `nodes`, `online` (number of CPUs), `quota` (us
    per us, as in cpu.max), `memory` (bytes), `swap` ('capped' where swap adds nothing) and `lacks` (the
    controllers that control groups of version 2 do not have).
    """
    if environment.cpuset_cpus and _numbers(found.get("cpus")) != set(parse_cpulist(environment.cpuset_cpus)):
        return f"of the CPUs {environment.cpuset_cpus} only {found.get('cpus') or 'none'} are available"
    if environment.cpuset_mems and _numbers(found.get("nodes")) != set(
        parse_cpulist(environment.cpuset_mems)
    ):
        return (
            f"of the NUMA nodes {environment.cpuset_mems} only {found.get('nodes') or 'none'} are available"
        )
    if environment.cpu_quota is not None:
        if environment.cpu_quota > float(found.get("online") or 0):
            return (
                f"a quota of {environment.cpu_quota:g} CPUs is no limit: the host has {found.get('online')}"
            )
        if _quota(found.get("quota", "")) != round(environment.cpu_quota, 2):
            return f"the quota of {environment.cpu_quota:g} CPUs is not in force{_lack(found, 'cpu')}"
    if environment.memory_mib is not None:
        if found.get("memory") != str(memory_bytes(environment)):
            return f"the limit of {environment.memory_mib} MiB is not in force{_lack(found, 'memory')}"
        if found.get("swap") != "capped":
            return "the memory limit does not count swap, and the host has swap"
    return None


def _lack(found: Mapping[str, str], controller: str) -> str:
    if controller not in found.get("lacks", "").split():
        return ""
    return f": control groups there are of version 2, without the controller {controller}"


def _numbers(cpulist: str | None) -> set[int]:
    try:
        return set(parse_cpulist(cpulist or ""))
    except ValueError:
        return set()


def _quota(text: str) -> float | None:
    match = re.fullmatch(r"(\d+) (\d+)", text)
    return round(int(match[1]) / int(match[2]), 2) if match and int(match[2]) else None


def oom_kills(text: str) -> int:
    """Return the number of OOM kills in the text of memory.events or memory.oom_control."""
    match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0
