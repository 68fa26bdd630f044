"""An environment that a suite file defines itself."""

from __future__ import annotations

from typing import Any

from perfctl.environments.catalogue import IMAGE
from perfctl.errors import SuiteError
from perfctl.model import Environment
from perfctl.suites.table import Table

_CONTAINER_KEYS = ("engine", "image", "network", "security_opt", "cap_add", "privileged")


def read_environment(name: str, content: Any, *, where: str) -> Environment:
    """Return the environment of one table; what a container does not say is as in the built-in one.

    Raises SuiteError for a wrong key, type or value.
    """
    table = Table(content, where=where, keys=("kind", "description", *_CONTAINER_KEYS))
    description = table.value("description", str, "")
    if table.choice("kind", ("native", "container")) == "native":
        for key in _CONTAINER_KEYS:
            if table.has(key):
                raise SuiteError(
                    f"a native environment has no {key}", where=where, hint='kind = "container"?'
                )
        return Environment(name, "native", description)
    table.choice("engine", ("docker",), "docker")
    network = table.choice("network", ("bridge", "host"), "bridge")
    return Environment(
        name=name,
        kind="container",
        description=description,
        engine="docker",
        image=table.value("image", str, IMAGE),
        network="host" if network == "host" else "bridge",
        security_opt=table.texts("security_opt"),
        cap_add=table.texts("cap_add"),
        privileged=table.value("privileged", bool, False),
    )
