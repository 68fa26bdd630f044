"""Whether an environment is what it says: its fields against what the kernel said of the command in it. Pure.

    launcher, or READ_ARGV in the environment --> bytes --parse_task()--> Task --contradictions()--> sentences

What an environment does not set is its engine's choice, and nothing contradicts it. The host's own task is
what containers begin with: where that has a filter of system calls, each has it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perfctl.environments.kinds import traits_of
from perfctl.environments.limits import CONTAINER_LIMITS_ARGV, needs_scope, not_in_force, parse_cpulist
from perfctl.environments.scope import key_values
from perfctl.model import Environment, FactState, Fingerprint

Task = Mapping[str, str]
"""What the kernel said of a task, by the names of /proc/PID/status; 'label' is that of a security module."""

_FACTS: Mapping[str, str] = MappingProxyType({
    "Speculation_Store_Bypass": "task.speculation_store_bypass",
    "SpeculationIndirectBranch": "task.speculation_indirect_branch",
    "Seccomp": "task.seccomp",
    "Seccomp_filters": "task.seccomp_filters",
    "NoNewPrivs": "task.no_new_privs",
    "CapEff": "task.cap_eff",
    "Cpus_allowed_list": "task.cpus_allowed",
    "Mems_allowed_list": "task.mems_allowed",
    "label": "lsm.current",
})  # fmt: skip
"""What is kept of a task, and the fact of the same meaning."""

READ_ARGV = (
    *("sh", "-c"),
    "while IFS= read -r line; do printf '%s;' \"$line\"; done </proc/self/status\n"
    'read -r line </proc/self/attr/current || [ -n "$line" ] || exit 0\nprintf \'label:%s;\' "$line"',
)
"""Prints what the launcher does, where there is none."""

_CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock"),
    *("ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin"),
    *("sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease"),
    *("audit_write", "audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm"),
    *("block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"),
)
"""By their numbers in linux/capability.h."""


def parse_task(text: bytes) -> Task:
    """Return what is kept of a task out of 'NAME:VALUE;NAME:VALUE;...'; an empty label is left out."""
    found = {}
    for part in text.decode("utf-8", "backslashreplace").split(";"):
        name, colon, value = part.partition(":")
        if colon and name in _FACTS and value.strip():
            found[name] = value.strip()
    return found


def task_text(task: Task) -> bytes:
    """Return a task as it is kept with an invocation: equal for tasks that are."""
    return "".join(f"{name}: {task[name]}\n" for name in _FACTS if name in task).encode()


def task_of_facts(facts: Fingerprint | None) -> Task:
    """Return the task by which facts of a host, or of an environment, were read; what was not is left out."""
    found = {}
    for name, fact_name in _FACTS.items():
        fact = facts.get(fact_name) if facts else None
        if fact is not None and fact.state is FactState.PRESENT:
            found[name] = fact.value
    return found


def has_claims(environment: Environment) -> bool:
    """Return whether a task in it can contradict it: it sets security or CPUs, on the kernel it runs on."""
    traits = traits_of(environment)
    if not traits.needs_engine or traits.has_own_kernel:
        return False
    return any((
        *(environment.security_opt, environment.cap_add, environment.cap_drop, environment.privileged),
        *(environment.no_new_privileges, environment.seccomp_profile, environment.cpuset_cpus),
    ))  # fmt: skip


def limits_argv(environment: Environment) -> tuple[str, ...] | None:
    """Return the command that reads its limits inside; None without any, or where opening it reads them."""
    traits = traits_of(environment)
    # CPUs are in every task's status.
    has_limits = needs_scope(environment) or environment.cpuset_mems is not None
    is_read = traits.needs_engine and not traits.has_own_kernel and has_limits
    return CONTAINER_LIMITS_ARGV if is_read else None


def lost_limit(environment: Environment, text: str) -> str:
    """Return which limit does not hold, by what `limits_argv` printed; '' where all do."""
    return not_in_force(environment, key_values(text)) or ""


def contradictions(environment: Environment, task: Task, host: Task) -> tuple[str, ...]:
    """Return what a task contradicts of its environment, each with both values.

    `host` is a task of the host itself, empty where none was read.
    """
    if not has_claims(environment):
        return ()
    found = (
        *_of_seccomp(environment, task, host),
        *_of_privileges(environment, task),
        *_of_capabilities(environment, task, host),
        *_of_apparmor(environment, task),
        *_of_cpus(environment, task),
    )
    return tuple(f"the environment says {claim}, and the command ran with {was}" for claim, was in found)


def remark(environment: Environment, security_options: str) -> str:
    """Return which setting means nothing on this host, by the security options of its engine; '' for none."""
    if not security_options or not environment.security_opt:
        return ""
    if _option(environment, "apparmor") == "unconfined" and "name=apparmor" not in security_options:
        return "no AppArmor on this host: apparmor=unconfined is the same as container"
    return ""


_Claims = Iterator[tuple[str, str]]


def _option(environment: Environment, name: str) -> str | None:
    """Return the value of a security option; the engine takes '=' and ':' for the same."""
    for text in environment.security_opt:
        match = re.fullmatch(rf"{name}(?:[=:](.*))?", text)
        if match:
            return match[1] or ""
    return None


def _of_seccomp(environment: Environment, task: Task, host: Task) -> _Claims:
    mode, filters = task.get("Seccomp"), task.get("Seccomp_filters")
    if mode is None:
        return
    was = f"Seccomp: {mode}" + (f", Seccomp_filters: {filters}" if filters else "")
    # A filter of the host's own holds for every task, and cannot be told from another by the mode alone.
    of_host = host.get("Seccomp", "0") != "0"
    if of_host and filters and host.get("Seccomp_filters"):
        is_filtered: bool | None = int(filters) > int(host["Seccomp_filters"])
    else:
        is_filtered = None if of_host else mode != "0"
    if environment.seccomp_profile is not None:
        if is_filtered is False:
            yield f"a seccomp profile (sha256 {str(environment.seccomp_profile_sha256)[:12]})", was
    elif is_filtered:
        if _option(environment, "seccomp") == "unconfined":
            yield "seccomp=unconfined", was
        elif environment.privileged:
            yield "privileged, which has no seccomp filter", was


def _of_privileges(environment: Environment, task: Task) -> _Claims:
    value = _option(environment, "no-new-privileges")
    is_set = environment.no_new_privileges or value in ("", "true")
    if is_set and task.get("NoNewPrivs") == "0":
        yield "no-new-privileges", "NoNewPrivs: 0"


def _of_capabilities(environment: Environment, task: Task, host: Task) -> _Claims:
    try:
        has = int(task["CapEff"], 16)
        of_host = int(host.get("CapEff", "0"), 16)
    except (KeyError, ValueError):
        return
    was = f"CapEff: {task['CapEff']}"
    added, dropped = _numbers(environment.cap_add), _numbers(environment.cap_drop)
    has_all = environment.privileged or "all" in map(_short, environment.cap_add)
    if has_all:
        lacks = of_host & ~has & ~sum(1 << number for number in dropped)
        if lacks:
            claim = "privileged, with all capabilities" if environment.privileged else "cap_add ALL"
            yield claim, f"{was} (without {_names(lacks)} of the host's)"
    lacks = sum(1 << number for number in added) & ~has
    if lacks:
        yield f"cap_add {_names(lacks)}", was
    kept = sum(1 << number for number in dropped - added) & has
    if "all" in map(_short, environment.cap_drop) and not has_all:
        kept |= has & ~sum(1 << number for number in added)
    if kept:
        yield f"cap_drop {_names(kept)}", was


def _short(capability: str) -> str:
    return capability.lower().removeprefix("cap_")


def _numbers(capabilities: tuple[str, ...]) -> set[int]:
    """Return the numbers of capabilities; the engine refuses names that are none."""
    return {_CAPABILITIES.index(name) for name in map(_short, capabilities) if name in _CAPABILITIES}


def _names(mask: int) -> str:
    known = [name.upper() for number, name in enumerate(_CAPABILITIES) if mask >> number & 1]
    return ", ".join(known) or f"{mask:#x}"


def _of_apparmor(environment: Environment, task: Task) -> _Claims:
    wanted, label = _option(environment, "apparmor"), task.get("label", "")
    if not wanted:
        return
    # 'docker-default (enforce)'; without a security module there is no label at all.
    is_so = label.split(" ")[0] in ("", "unconfined") if wanted == "unconfined" else label.startswith(wanted)
    if not is_so:
        yield f"apparmor={wanted}", f"the label {label!r}" if label else "no label: AppArmor is not in force"


def _of_cpus(environment: Environment, task: Task) -> _Claims:
    allowed = task.get("Cpus_allowed_list")
    if not environment.cpuset_cpus or allowed is None:
        return
    try:
        is_so = set(parse_cpulist(allowed)) == set(parse_cpulist(environment.cpuset_cpus))
    except ValueError:
        return
    if not is_so:
        yield f"cpuset_cpus {environment.cpuset_cpus}", f"Cpus_allowed_list: {allowed}"
