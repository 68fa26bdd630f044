"""Make the driver of an environment, and remove what drivers have left behind."""

from __future__ import annotations

from dataclasses import replace

from perfctl.environments import container
from perfctl.environments.kinds import DriverContext, traits_of
from perfctl.environments.protocol import EnvironmentDriver
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
    """Return the driver that makes `environment` for one invocation; the arguments are `DriverContext`'s."""
    context = DriverContext(run_id, invocation_id, host_address, image, first_output_s)
    traits = traits_of(environment)
    if environment.within is None:
        return traits.driver(environment, context)
    from perfctl.environments.nested import NestedDriver

    outer = replace(context, with_engine=traits.needs_engine)
    return NestedDriver(
        traits_of(environment.within).driver(environment.within, outer),
        lambda address: traits.driver(environment, replace(context, host_address=address)),
    )


def start_argv(environment: Environment) -> list[str]:
    """Return the command that makes the environment (labels left out), [] for the host itself.

    For a container within a guest it is the guest's command.
    """
    return traits_of(environment).start_argv(environment)


def runs_with_containers(host: Shell) -> set[str]:
    """Return the ids of the runs that have containers on this host, not just made. Raises CommandFailed."""
    return container.runs_with_containers(host)


def remove_all(host: Shell, run_id: str) -> list[str]:
    """Remove every container and guest of a run on this host, running or not; return their names.

    A host without an engine or without libvirt has none of them. Raises CommandFailed.
    """
    from perfctl.environments import vm

    # The guests go also when the engine refuses.
    try:
        containers = container.remove_all(host, run_id)
    finally:
        guests = vm.remove_all(host, run_id)
    return [*containers, *guests]
