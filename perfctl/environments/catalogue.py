"""The built-in environments. Each relaxation of the stock container is an environment with a name of its own,
as is each way of being client of another environment's server.

Suites may define more; these every suite can name without defining them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from perfctl.errors import UnknownName
from perfctl.model import Environment
from perfctl.model.environment import Accelerator

IMAGE = "perfctl/perf-tools:latest"
"""The image that `perfctl provision` builds on each host from Dockerfile.perf."""

_BASE = "perfctl/perf-tools:"
_LAYERS = "perfctl/perf-"

VM_VCPUS = 2
VM_MEMORY_MIB = 2048
"""The defaults of a guest: what the smallest hosts of a fleet can give."""

EMULATED_VM_VCPUS = 1
"""The default of an emulated guest. With two vCPUs, each a thread of qemu's own, about 1 in 10
guests that started a container hung in soft lockups (docs/virtual-machines.md)."""


def is_layer(image: str | None) -> bool:
    """Return whether an image is one that perfctl makes FROM the perf-tools image for some benchmarks."""
    return image is not None and image.startswith(_LAYERS) and not image.startswith(_BASE)


def default_vcpus(accelerator: Accelerator) -> int:
    """Return the number of vCPUs of a guest whose environment does not set it."""
    return VM_VCPUS if accelerator == "kvm" else EMULATED_VM_VCPUS


def _container(
    name: str,
    description: str,
    *,
    security_opt: tuple[str, ...] = (),
    cap_add: tuple[str, ...] = (),
    privileged: bool = False,
    no_new_privileges: bool = False,
    host_network: bool = False,
    within: Environment | None = None,
    server: Environment | None = None,
) -> Environment:
    return Environment(
        name=name,
        kind="container",
        description=description,
        engine="docker",
        image=IMAGE,
        network="host" if host_network else "bridge",
        security_opt=security_opt,
        cap_add=cap_add,
        privileged=privileged,
        no_new_privileges=no_new_privileges,
        within=within,
        server=server,
    )


def _vm(name: str, description: str, *, server: Environment | None = None) -> Environment:
    return Environment(
        name=name,
        kind="vm",
        description=description,
        memory_mib=VM_MEMORY_MIB,
        server=server,
    )


_NATIVE = Environment(
    name="native", kind="native", description="The host itself: the baseline of every comparison."
)
_STOCK = _container("container", "A stock `docker run`: default seccomp, capabilities and bridge network.")
_GUEST = _vm(
    "vm",
    f"A guest on the test network's bridge: {VM_VCPUS} vCPUs (emulated: {EMULATED_VM_VCPUS}), "
    f"{VM_MEMORY_MIB} MiB.",
)

_ALL = (
    _NATIVE,
    _STOCK,
    _container("container-hostnet", "Stock, but in the host's network namespace.", host_network=True),
    _container(
        "container-unconfined", "Stock, without the seccomp filter.", security_opt=("seccomp=unconfined",)
    ),
    _container(
        "container-apparmor-unconfined",
        "Stock, without the AppArmor profile.",
        security_opt=("apparmor=unconfined",),
    ),
    _container(
        "container-no-new-privileges", "Stock, and no program may gain privileges.", no_new_privileges=True
    ),
    _container("container-allcaps", "Stock, with every capability added.", cap_add=("ALL",)),
    _container(
        "container-privileged", "Privileged: no seccomp, all capabilities and devices.", privileged=True
    ),
    _container("container-to-native", "A stock container; servers run natively.", server=_NATIVE),
    _GUEST,
    _container("container-in-vm", "A stock container in a guest as `vm` is.", within=_GUEST),
    _vm("vm-to-container", "A guest as `vm` is; servers run in a stock container.", server=_STOCK),
    _vm("vm-to-native", "A guest as `vm` is; servers run natively.", server=_NATIVE),
)

CATALOGUE: Mapping[str, Environment] = MappingProxyType({each.name: each for each in _ALL})
"""The built-in environments by name, the baseline first."""


def environment(name: str) -> Environment:
    """Return the built-in environment of that name. Raises UnknownName with the names that come close."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(CATALOGUE)}"
    hint += "; one that a suite defines: perfctl environments NAME --suite SUITE"
    raise UnknownName(f"there is no environment {name!r}", hint=hint)
