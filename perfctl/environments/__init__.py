"""Environments: each maps a Shell to a Shell.

    Environment (a value)  --driver_for()-->  EnvironmentDriver  --open(host shell)-->  EnvironmentShell

Everything an environment does on the host it does through the shell it is given, so a container over ssh,
over a local shell or inside a VM is the same code.
"""

from __future__ import annotations

from perfctl.environments import docker
from perfctl.environments.catalogue import CATALOGUE, environment
from perfctl.environments.container import ContainerDriver, remove_all
from perfctl.environments.native import NativeDriver
from perfctl.environments.seam import EnvironmentDriver, EnvironmentShell
from perfctl.model import Environment


def driver_for(
    environment: Environment, *, run_id: str, invocation_id: str, host_address: str, image: str | None = None
) -> EnvironmentDriver:
    """Return the driver that makes `environment` for one invocation.

    `host_address` is the host's address on the test network: the environment's own address wherever it shares
    the host's network. `image` replaces the image that the environment names.
    """
    if environment.kind == "native":
        return NativeDriver(
            environment, run_id=run_id, invocation_id=invocation_id, host_address=host_address
        )
    return ContainerDriver(
        environment, run_id=run_id, invocation_id=invocation_id, host_address=host_address, image=image
    )


def start_argv(environment: Environment) -> list[str]:
    """Return the command that makes the environment on a host (labels left out), [] for the host itself."""
    return [] if environment.kind == "native" else docker.run_argv(environment, "NAME", {})


__all__ = [
    "CATALOGUE",
    "EnvironmentDriver",
    "EnvironmentShell",
    "driver_for",
    "environment",
    "remove_all",
    "start_argv",
]
