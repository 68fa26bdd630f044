"""The kinds of environments and their traits: one table, which the rest of perfctl reads.

To add a kind: its name in `model.environment.Kind`, its traits here, its driver. Nothing outside this package
compares the name of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from perfctl.environments.catalogue import IMAGE, VM_MEMORY_MIB
from perfctl.environments.protocol import EnvironmentDriver
from perfctl.model import Environment
from perfctl.model.environment import Kind


@dataclass(frozen=True, slots=True)
class DriverContext:
    """What a driver needs besides the environment that it makes for one invocation."""

    run_id: str
    invocation_id: str
    host_address: str
    """The address of where it is made: its own wherever it shares that network."""
    image: str | None = None
    """Instead of the image that the environment names."""
    first_output_s: float | None = None
    """How long an earlier guest took on this host until it printed something, where that is known."""
    with_engine: bool = False
    """Whether containers are to be made in it."""


@dataclass(frozen=True, slots=True)
class KindTraits:
    """What is true of every environment of a kind."""

    driver: Callable[[Environment, DriverContext], EnvironmentDriver]
    """Makes the driver of an environment."""
    start_argv: Callable[[Environment], list[str]]
    """The command that makes it, for people to read; [] where nothing is made."""
    fields: tuple[str, ...]
    """What a suite may set, beside the name and the kind."""
    usual_overhead_s: float
    """Seconds around one invocation, for estimates; measured on a small machine that emulates guests."""
    min_memory_mib: int
    """Less memory than this is refused."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What a field has that a suite leaves out."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Hints for fields that it cannot have."""
    is_overhead: bool = True
    """Whether its figures are a cost over the host itself; False for what others are compared with."""
    is_made: bool = True
    """Whether something is made on the host, with processes and files of its own, that has to be removed."""
    has_own_kernel: bool = False
    has_own_network: bool = False
    """Unless the environment names the host's network."""
    boots: bool = False
    """Whether it is booted, and one boot may differ from another."""
    holds_others: bool = False
    """Whether other environments can be made within it."""
    needs_engine: bool = False
    """Whether it is made by a container engine where it is made."""
    storage_folders: tuple[str, ...] = ()
    """Where its files lie on the host; of an engine those that it has by default."""


# Drivers are imported when one is made: most callers read a trait and make none.


def _native_driver(environment: Environment, context: DriverContext) -> EnvironmentDriver:
    from perfctl.environments.native import NativeDriver

    return NativeDriver(
        environment,
        run_id=context.run_id,
        invocation_id=context.invocation_id,
        host_address=context.host_address,
    )


def _container_driver(environment: Environment, context: DriverContext) -> EnvironmentDriver:
    from perfctl.environments.container import ContainerDriver

    return ContainerDriver(
        environment,
        run_id=context.run_id,
        invocation_id=context.invocation_id,
        host_address=context.host_address,
        image=context.image,
    )


def _vm_driver(environment: Environment, context: DriverContext) -> EnvironmentDriver:
    from perfctl.environments.vm import VmDriver

    return VmDriver(
        environment,
        run_id=context.run_id,
        invocation_id=context.invocation_id,
        with_engine=context.with_engine,
        first_output_s=context.first_output_s,
    )


def _container_start_argv(environment: Environment) -> list[str]:
    from perfctl.environments.container import start_argv

    return start_argv(environment)


def _vm_start_argv(environment: Environment) -> list[str]:
    from perfctl.environments.vm import start_argv

    return start_argv()


_EVERY_KIND = ("description", "cpuset_cpus", "cpuset_mems", "memory_mib", "env", "server")
CONTAINER_SECURITY = (
    *("cap_add", "cap_drop", "privileged", "no_new_privileges"),
    *("read_only", "tmpfs", "userns"),
)
"""The fields, beside `security_opt`, that loosen or tighten what a container may do."""
_CONTAINER_IN_VM = 'a container in a guest may have it: kind = "container", within = "vm"'

KINDS: Mapping[Kind, KindTraits] = MappingProxyType({
    "native": KindTraits(
        driver=_native_driver,
        start_argv=lambda environment: [],
        fields=(*_EVERY_KIND, "cpu_quota"),
        usual_overhead_s=0.1,
        # The same as a container's, so that both can be given the same.
        min_memory_mib=6,
        instead={"within": "commands in a guest are what a vm runs: name the vm itself"},
        is_overhead=False,
        is_made=False,
    ),
    "container": KindTraits(
        driver=_container_driver,
        start_argv=_container_start_argv,
        fields=(
            *(*_EVERY_KIND, "cpu_quota", "engine", "runtime", "image", "network"),
            *("security_opt", *CONTAINER_SECURITY, "within"),
        ),
        usual_overhead_s=1.5,
        # Docker takes no less.
        min_memory_mib=6,
        defaults={"engine": "docker", "image": IMAGE, "network": "bridge"},
        has_own_network=True,
        needs_engine=True,
        # Since version 29 containerd keeps the layers, unless docker did so before.
        storage_folders=("/var/lib/docker", "/var/lib/containerd"),
    ),
    "vm": KindTraits(
        driver=_vm_driver,
        start_argv=_vm_start_argv,
        fields=(
            *(*_EVERY_KIND, "accelerator", "vcpus", "emulator_cpus"),
            *("hugepages", "disk_cache", "disk_io"),
        ),
        usual_overhead_s=8.0,
        # A Linux guest does not come up in less.
        min_memory_mib=64,
        defaults={"memory_mib": VM_MEMORY_MIB},
        instead={
            **dict.fromkeys(("engine", "runtime", "security_opt", *CONTAINER_SECURITY), _CONTAINER_IN_VM),
            "cpu_quota": "give it fewer vcpus, or pin them with cpuset_cpus: a guest's quota would have to "
            "pay for qemu's own threads too",
            "image": "a guest boots the image that perfctl provision made for it",
            "network": "a guest is always on the test network's bridge",
            "within": "a guest in a guest is not supported",
        },
        has_own_kernel=True,
        has_own_network=True,
        boots=True,
        holds_others=True,
        storage_folders=("/var/lib/perfctl/vm",),
    ),
})  # fmt: skip
"""Kind -> what is true of its environments."""

_OWN_KERNEL_RUNTIMES = ("runsc", "gvisor", "kata", "krun")
"""Parts of the names that engines give to gVisor, Kata Containers and libkrun, as in 'io.containerd.kata.v2'.
Their containers run on a kernel of their own, not on the host's."""

FIELDS: tuple[str, ...] = tuple(dict.fromkeys(name for traits in KINDS.values() for name in traits.fields))
"""Every field that a suite may set in an environment of some kind."""

BASELINE_KINDS: tuple[Kind, ...] = tuple(kind for kind, traits in KINDS.items() if not traits.is_overhead)
"""The kinds whose figures are the host's own, which those of the others are compared with."""


def traits_of(environment: Environment) -> KindTraits:
    """Return what is true of the environment: its kind's traits, and a kernel that its runtime brings."""
    traits = KINDS[environment.kind]
    runtime = environment.runtime or ""
    is_sandboxed = any(name in runtime for name in _OWN_KERNEL_RUNTIMES)
    return replace(traits, has_own_kernel=True) if is_sandboxed else traits


def boots(environment: Environment) -> bool:
    """Return whether a part of it, or of where its server runs, is booted."""
    return any(traits_of(layer).boots for layer in (*environment.layers, *environment.of_server.layers))


def has_own_network(environment: Environment) -> bool:
    """Return whether its packets are counted in a network namespace, or a kernel, of its own."""
    layers = [(layer, traits_of(layer)) for layer in environment.layers]
    return any(
        traits.has_own_kernel or (traits.has_own_network and layer.network != "host")
        for layer, traits in layers
    )
