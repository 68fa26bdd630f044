"""Where a benchmark runs: natively, in a container, in a VM, or in a container inside a VM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from perfctl.model.identity import content_hash

Kind = Literal["native", "container", "vm"]
Accelerator = Literal["kvm", "tcg"]
DiskCache = Literal["none", "writeback", "writethrough", "directsync", "unsafe"]
DiskIo = Literal["threads", "native", "io_uring"]
Limits = tuple[str | None, str | None, float | None, int | None]

# What every environment has said since the first database; later fields count only when they are set,
# so that environments of before keep their keys.
_ALWAYS_KEYED = ("name", "kind", "engine", "image", "network", "security_opt", "cap_add", "privileged")


@dataclass(frozen=True, slots=True)
class Environment:
    """One way of running a command on a host. Two environments with equal fields are the same (`key`).

    A field that is None is left to the kind's own default; one that a kind cannot have is refused where
    environments are read. `within` and `server` are environments themselves, so they compose:

        container within vm     a container in a guest
        vm with server native   a guest as the client of a native server on the peer
    """

    name: str
    kind: Kind
    description: str = ""
    engine: Literal["docker"] | None = None
    image: str | None = None
    network: Literal["bridge", "host"] | None = None
    security_opt: tuple[str, ...] = ()
    """Values of `docker run --security-opt`, each a relaxation or a restriction of the stock profile."""
    cap_add: tuple[str, ...] = ()
    privileged: bool = False
    runtime: str | None = None
    """The runtime that the engine starts containers with, by the engine's name for it; None: its default."""
    env: tuple[tuple[str, str], ...] = ()
    """Environment variables of every command in it: (name, value), by name."""
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    """Whether no command in it may gain privileges, by setuid programs or file capabilities."""
    read_only: bool = False
    """Whether its root file system is mounted read-only."""
    tmpfs: tuple[str, ...] = ()
    """Folders that are file systems in memory, each with options as docker takes them: '/tmp:size=64m'."""
    userns: Literal["host"] | None = None
    """'host': the host's user namespace, where the engine would give it one of its own."""
    seccomp_profile: str | None = None
    """The text of a seccomp profile, as JSON; None: the engine's own, or what `security_opt` says."""

    # What it may use of the host; the same words for all kinds.
    cpuset_cpus: str | None = None
    """Host CPUs, as in '0-3,8'. In a vm each vCPU is pinned to one of them, in order."""
    cpuset_mems: str | None = None
    """NUMA nodes that memory may come from, as in '0' or '0-1'."""
    cpu_quota: float | None = None
    """CPU time per time, in CPUs: 1.5 is one and a half CPUs' worth."""
    memory_mib: int | None = None
    """Native and container: a limit. VM: the guest's memory."""

    # A vm's own.
    accelerator: Accelerator | None = None
    """None: kvm where a probe guest has booted with it, else tcg (emulation)."""
    vcpus: int | None = None
    emulator_cpus: str | None = None
    """Host CPUs of qemu's own threads, as in '0-1'; None: away from the vCPUs where there are others."""
    hugepages: bool = False
    disk_cache: DiskCache | None = None
    disk_io: DiskIo | None = None

    within: Environment | None = None
    """The environment that this one is made in; None: the host."""
    server: Environment | None = None
    """Where the server of a network workload runs on the peer; None: in the same environment."""

    @property
    def key(self) -> str:
        """The content hash that names this environment in the database (its description does not count)."""
        return _key_of(self)

    @property
    def seccomp_profile_sha256(self) -> str | None:
        """The sha256 of its seccomp profile, which stands for it in `identity`; None without one."""
        text = self.seccomp_profile
        return None if text is None else hashlib.sha256(text.encode()).hexdigest()

    @property
    def outermost(self) -> Environment:
        """The environment that stands on the host itself: this one, or what it is within."""
        return self.layers[-1]

    @property
    def layers(self) -> tuple[Environment, ...]:
        """This environment and those that it is within, from the inside out."""
        return (self,) if self.within is None else (self, *self.within.layers)

    @property
    def limits(self) -> Limits:
        """What it may use of the host: CPUs, NUMA nodes, CPU time, memory; all None where it sets none."""
        outer = self.outermost
        return (outer.cpuset_cpus, outer.cpuset_mems, outer.cpu_quota, outer.memory_mib)

    @property
    def of_server(self) -> Environment:
        """Where the server of a network workload runs: `server`, or an environment like this one."""
        return self.server or self

    def identity(self) -> dict[str, Any]:
        """Return the fields that make it this environment: what `key` is the hash of, ready for JSON."""
        fields = {name: getattr(self, name) for name in _ALWAYS_KEYED}
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if name in _ALWAYS_KEYED or name == "description" or value == field.default:
                continue
            if isinstance(value, Environment):
                value = value.identity()
            fields[name] = dict(value) if name == "env" else value
        if self.seccomp_profile is not None:
            fields["seccomp_profile"] = self.seccomp_profile_sha256
        return fields


@lru_cache(maxsize=1024)
def _key_of(environment: Environment) -> str:
    # Asked for several times for each invocation of a run.
    return content_hash(environment.identity())
