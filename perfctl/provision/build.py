"""Build on the hosts of a run what its benchmarks need beside the perf-tools image."""

from __future__ import annotations

from collections.abc import Sequence

from perfctl.model import Benchmark, Listener
from perfctl.plan.request import RunRequest
from perfctl.provision.apply import provision
from perfctl.suites.layers import layer_of


def build_layers(benchmarks: Sequence[Benchmark], request: RunRequest, listener: Listener) -> None:
    """Give the hosts of a run the image layer of its benchmarks; nothing is done where they need none.

    Raises like `provision`, and for a host on which it could not be done.
    """
    layer = layer_of(benchmarks, where="--build")
    if layer is not None:
        report = provision(
            request.inventory,
            limit=request.limit,
            tags=("layers",),
            layers=(layer.name,),
            project_dir=request.project_dir,
            listener=listener,
        )
        report.raise_for_failures()
