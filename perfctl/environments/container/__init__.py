"""Containers: made by an engine for one invocation and thrown away."""

from perfctl.environments.container.docker import Docker
from perfctl.environments.container.driver import (
    ENGINES,
    ContainerDriver,
    remove_all,
    runs_with_containers,
    start_argv,
)
from perfctl.environments.container.engine import Engine

__all__ = [
    "ENGINES",
    "ContainerDriver",
    "Docker",
    "Engine",
    "remove_all",
    "runs_with_containers",
    "start_argv",
]
