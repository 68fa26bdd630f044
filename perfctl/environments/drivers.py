"""From an environment, a value, to the driver that makes it; and the end of what drivers have left behind."""

from __future__ import annotations

from perfctl.environments import container, vm
from perfctl.environments.container import ContainerDriver
from perfctl.environments.native import NativeDriver
from perfctl.environments.nested import NestedDriver
from perfctl.environments.protocol import EnvironmentDriver
from perfctl.environments.vm import VmDriver
from perfctl.model import Environment
from perfctl.shell import Shell


def driver_for(
    environment: Environment,
    *,
    run_id: str,
    invocation_id: str,
    host_address: str,
    image: str | None = None,
    first_output_s: float | None = None,
) -> EnvironmentDriver:
    """Return the driver that makes `environment` for one invocation.

    `host_address` is the host's address on the test network: the environment's own address wherever it shares
    the host's network. `image` replaces the image that the environment names. `first_output_s` is how long an
    earlier guest took on this host until it printed something, where that is known.
    """

    def guest(guest_environment: Environment, *, with_engine: bool) -> VmDriver:
        return VmDriver(
            guest_environment,
            run_id=run_id,
            invocation_id=invocation_id,
            with_engine=with_engine,
            first_output_s=first_output_s,
        )

    def alone(host_address: str) -> EnvironmentDriver:
        if environment.kind == "native":
            return NativeDriver(
                environment, run_id=run_id, invocation_id=invocation_id, host_address=host_address
            )
        if environment.kind == "vm":
            return guest(environment, with_engine=False)
        return ContainerDriver(
            environment, run_id=run_id, invocation_id=invocation_id, host_address=host_address, image=image
        )

    if environment.within is None:
        return alone(host_address)
    return NestedDriver(guest(environment.within, with_engine=environment.kind == "container"), alone)


def start_argv(environment: Environment) -> list[str]:
    """Return the command that makes the environment (labels left out), [] for the host itself.

    For a container within a guest it is the guest's command.
    """
    if environment.kind == "native":
        return []
    return vm.start_argv() if environment.kind == "vm" else container.start_argv(environment)


def remove_all(host: Shell, run_id: str) -> list[str]:
    """Remove every container and guest of a run on this host, running or not; return their names.

    A host without docker or without libvirt has none of them. Raises CommandFailed.
    """
    # The guests go also when the engine refuses.
    try:
        containers = container.remove_all(host, run_id)
    finally:
        guests = vm.remove_all(host, run_id)
    return [*containers, *guests]
