"""Made-up measurements whose truth is known, brought into the form in which the product takes them.

Everything is on the scale of logarithms: 0.01 is 1 %. Legs are in the order of LEGS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perfctl.compare import Analysis, AnalysisContext, analyse, compare
from perfctl.compare.verdicts import Margins
from perfctl.model import (
    Benchmark,
    Comparison,
    Direction,
    Environment,
    Metric,
    Observation,
    Suite,
    Target,
)
from perfctl.plan import make_block

Floats = NDArray[np.float64]

NATIVE = Environment("native", "native")
CONTAINER = Environment("container", "container", engine="docker", image="perf")
LEGS = (("native", 1), ("native", 2), ("container", 1))
TIME = Metric("latency", "ms", Direction.LOWER, headline=True)
HOST = Target("h1")
SIGMA = 0.01


def noise(kind: str, generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return the noise of values, each independent of the others."""
    if kind == "iid":
        return SIGMA * generator.normal(size=shape)
    if kind == "heavy-tailed":
        return SIGMA * generator.standard_t(2, size=shape)
    if kind == "lognormal":  # A fixed cost plus a delay that is lognormal.
        return np.log1p(SIGMA * generator.lognormal(0, 1, size=shape))
    if kind == "spiky":  # One value in ten is delayed, by half on average.
        spikes = (generator.random(shape) < 0.1) * generator.exponential(0.5, size=shape)
        return np.log(1 + SIGMA * np.clip(generator.normal(size=shape), -5, 5) + spikes)
    raise ValueError(kind)


NOISES = ("iid", "heavy-tailed", "spiky", "lognormal")


def drift(kind: str, generator: np.random.Generator, count: int, moments: int) -> Floats:
    """Return what the host does over a run, whatever runs on it: one row per run, one column per moment."""
    if kind == "linear 2 %":
        return np.tile(np.linspace(0, 0.02, moments), (count, 1))
    if kind == "step 3 %":
        places = generator.integers(1, moments, size=(count, 1))
        return np.where(np.arange(moments) >= places, 0.03, 0.0)
    if kind == "AR(1) .8":
        series = np.empty((count, moments))
        series[:, 0] = generator.normal(size=count)
        for moment in range(1, moments):
            fresh = math.sqrt(1 - 0.8**2) * generator.normal(size=count)
            series[:, moment] = 0.8 * series[:, moment - 1] + fresh
        return SIGMA * series
    raise ValueError(kind)


DRIFTS = ("linear 2 %", "AR(1) .8", "step 3 %")


@lru_cache(maxsize=8)
def scheduled(count: int, blocks: int, seed: str) -> NDArray[np.int64]:
    """Return when each leg runs, [comparison, leg, block], in the order that the product's own plan gives."""
    moments = np.empty((count, len(LEGS), blocks), dtype=np.int64)
    for number in range(count):
        benchmark = Benchmark(f"b{number}", "made-up", {}, expected_s=1.0)
        suite = Suite("s", "", "native", (NATIVE, CONTAINER), (benchmark,), blocks)
        for index in range(blocks):
            block = make_block(suite, benchmark, HOST, index, seed=seed)
            for item in block.invocations:
                leg = LEGS.index((item.environment, item.replicate))
                moments[number, leg, index] = len(LEGS) * index + item.position
    return moments


def one_after_another(count: int, blocks: int) -> NDArray[np.int64]:
    """Return the moments of the order AA..BB: the baseline's invocations, then the environment's."""
    block = np.arange(blocks)
    legs = np.stack([2 * block, 2 * block + 1, 2 * blocks + block])
    return np.tile(legs, (count, 1, 1))


def compared(
    values: Floats, *, legs: Sequence[tuple[str, int]] = LEGS, baseline: str = "native"
) -> list[Comparison]:
    """Return what the product's comparison says of values [comparison, leg, block], given as logarithms.

    There may be fewer legs in `values` than in `legs`.
    """
    return compare(_observations(values[:, None], legs), baseline=baseline)


def reported(
    values: Floats, *, legs: Sequence[tuple[str, int]] = LEGS, margins: Margins | None = None
) -> Analysis:
    """Return what the product's whole report says of values [benchmark, host, leg, block] (logarithms).

    NaN stands for a block that a benchmark does not have.
    """
    return analyse(_observations(values, legs), AnalysisContext("native", margins=margins or {}))


def _observations(values: Floats, legs: Sequence[tuple[str, int]]) -> list[Observation]:
    return [
        Observation(f"b{number}", TIME, target, block, name, replicate, value)
        for number, hosts in enumerate((100 * np.exp(values)).tolist())
        for target, rows in zip(_targets(len(hosts)), hosts, strict=True)
        for (name, replicate), row in zip(legs, rows, strict=False)
        for block, value in enumerate(row)
        if not math.isnan(value)
    ]


def _targets(count: int) -> list[Target]:
    return [Target(f"h{number}") for number in range(1, count + 1)]


def rate(comparisons: Sequence[Comparison], *, aa: bool) -> float:
    """Return the share of comparisons with p <= 0.05."""
    p_values = [c.p for c in comparisons if c.is_aa == aa]
    assert p_values
    return sum(p is not None and p <= 0.05 for p in p_values) / len(p_values)
