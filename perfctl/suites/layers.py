"""Image layers: what a suite's benchmarks need beside the perf-tools image, and who gets it.

    workload declares `layer` --> images/LAYER.Dockerfile --provision, run --build--> perfctl/perf-LAYER
                                                                                      its packages on hosts

Every container of a run that would use the perf-tools image uses the layer's instead, so that all benchmarks
and all legs have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfctl import assets
from perfctl.environments.catalogue import IMAGE
from perfctl.errors import SuiteError
from perfctl.model import Benchmark, Environment
from perfctl.workloads import WORKLOADS, Workload, workload_of


@dataclass(frozen=True, slots=True)
class Layer:
    """An image made FROM the perf-tools image, and the Debian packages that hosts get for it."""

    name: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...] = ()
    """Python packages with their versions, of pure Python."""

    @property
    def repository(self) -> str:
        """The image's name without a tag."""
        return f"perfctl/perf-{self.name}"

    @property
    def image(self) -> str:
        """The image that environments name."""
        return f"{self.repository}:latest"

    @property
    def dockerfile(self) -> Path:
        """Its Dockerfile, or that of layers which are nothing but packages."""
        own = assets.images_dir() / f"{self.name}.Dockerfile"
        return own if own.exists() else assets.images_dir() / "packages.Dockerfile"

    def to_role(self) -> dict[str, Any]:
        """Return what the role perf_layers is told of it."""
        return {
            "name": self.name,
            "repository": self.repository,
            "dockerfile": str(self.dockerfile),
            "packages": list(self.packages),
            "wheels": list(self.wheels),
            "folder": f"/opt/perfctl/{self.name}" if self.wheels else "",
        }


def _layers() -> dict[str, Layer]:
    tools: dict[str, list[Workload]] = {}
    for tool in WORKLOADS.values():
        if tool.layer:
            tools.setdefault(tool.layer, []).append(tool)
    return {
        name: Layer(
            name,
            tuple(sorted({package for tool in found for package in tool.packages})),
            tuple(sorted({wheel for tool in found for wheel in tool.wheels})),
        )
        for name, found in tools.items()
    }


LAYERS: Mapping[str, Layer] = _layers()
"""Every layer by its name."""


def layer_of(benchmarks: Iterable[Benchmark], where: str) -> Layer | None:
    """Return the layer of a suite's benchmarks, None where they need none.

    Raises SuiteError when they need two: no image has both.
    """
    names = {workload_of(item).layer: item.name for item in benchmarks}
    needed = {name: benchmark for name, benchmark in names.items() if name}
    if len(needed) > 1:
        (one, first), (other, second), *_ = needed.items()
        raise SuiteError(
            f"{first} needs the image layer {one} and {second} the layer {other}: no image has both",
            where=where,
            hint="put them into two suites, or leave some out with --benchmark",
        )
    return next((LAYERS[name] for name in needed), None)


def with_layer(environments: Sequence[Environment], layer: Layer | None) -> tuple[Environment, ...]:
    """Return the environments with the layer's image where they have the perf-tools image."""
    return tuple(environments) if layer is None else tuple(_with_layer(each, layer) for each in environments)


def _with_layer(environment: Environment, layer: Layer) -> Environment:
    return replace(
        environment,
        image=layer.image if environment.image == IMAGE else environment.image,
        within=_with_layer(environment.within, layer) if environment.within else None,
        server=_with_layer(environment.server, layer) if environment.server else None,
    )
