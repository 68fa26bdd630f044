"""Chance that can be repeated: the same seed gives the same numbers, in every version of numpy.

numpy promises the raw stream of a bit generator for ever, but not what its Generator makes of it (NEP 19).
"""

from __future__ import annotations

import hashlib

import numpy as np

from perfctl.stats.signed_rank import Floats


def uniforms(seed: str, count: int) -> Floats:
    """Return `count` doubles from [0, 1), from PCG64 seeded by the sha256 of `seed`."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big")
    raw = np.random.PCG64(number).random_raw(count)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)
