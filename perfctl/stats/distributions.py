"""Quantiles and tails of the t, chi-squared and binomial distributions.

scipy.special only, and only when asked: scipy.stats takes a second to import.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t with `degrees` of freedom (they need not be whole)."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def t_two_sided_p(t: float, degrees: float) -> float:
    """Return P(|T| >= |t|)."""
    from scipy.special import stdtr

    return float(2.0 * stdtr(degrees, -abs(t)))


def chi_squared_tail(value: float, degrees: float) -> float:
    """Return P(X >= value)."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees, value))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Return the quantile of Beta(a, b)."""
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))
