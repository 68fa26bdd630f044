"""Which image layers each host gets: those that the suites in its variable `perf_suites` need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.model import Host
from perfctl.suites import load_suite
from perfctl.suites.layers import LAYERS, layer_of

VARIABLE = "perf_suites"


def host_layers(
    hosts: Sequence[Host], extra_vars: Mapping[str, Any], names: Collection[str], project_dir: Path | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the layers of each host that has any, as the role perf_layers wants them.

    All hosts get those in `names`. Raises UnknownName for a suite that does not exist, UsageError for a
    variable that is no list, SuiteError.
    """
    found = {}
    of_suites: dict[str, str] = {}
    for host in hosts:
        wanted = set(names)
        for suite in _suites(extra_vars.get(VARIABLE, host.variables.get(VARIABLE)), host.name):
            if suite not in of_suites:
                loaded = load_suite(suite, project_dir=project_dir)
                layer = layer_of(loaded.benchmarks, where=loaded.source)
                of_suites[suite] = layer.name if layer else ""
            wanted.add(of_suites[suite])
        layers = [LAYERS[name].to_role() for name in LAYERS if name in wanted]
        if layers:
            found[host.name] = layers
    return found


def known_layers() -> dict[str, dict[str, Any]]:
    """Return every layer that a host may have, as the role perf_layers wants it."""
    return {name: layer.to_role() for name, layer in LAYERS.items()}


def _suites(value: Any, host: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace(",", " ").split()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise UsageError(
        f"{VARIABLE} must be a list of suites, not {value!r:.100}", where=host, hint=f"{VARIABLE}: [security]"
    )
