"""Quantiles and tails of the t, chi-squared and binomial distributions.

scipy.special only, and only when asked: it takes a third of a second to import, scipy.stats a second. The
quantiles that every run needs for its estimate do without.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()

_WHOLE_UP_TO = 200
_LEAST_TAIL = 0.001


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t with `degrees` of freedom (they need not be whole)."""
    if degrees in range(1, _WHOLE_UP_TO + 1) and _LEAST_TAIL <= probability <= 1 - _LEAST_TAIL:
        size = _t_quantile(abs(2 * probability - 1), int(degrees))
        return math.copysign(size, probability - 0.5)
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def _t_quantile(central: float, degrees: int) -> float:
    """Return t with P(|T| <= t) = central, by Newton's method on the angle atan(t / sqrt(degrees)).

    The probability is concave in the angle, and the normal quantile is too small: it comes from below.
    """
    angle = math.atan(NORMAL.inv_cdf((1 + central) / 2) / math.sqrt(degrees))
    logarithm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    slope = 2 * math.exp(logarithm) / math.sqrt(math.pi)
    for _ in range(100):
        missing = central - _central_probability(angle, degrees)
        step = missing / (slope * math.cos(angle) ** (degrees - 1))
        angle += step
        if abs(step) <= 1e-15 * angle:
            break
    return math.sqrt(degrees) * math.tan(angle)


def _central_probability(angle: float, degrees: int) -> float:
    """Return P(|T| <= sqrt(degrees) tan(angle)) (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2 == 1
    term = cosine if is_odd else 1.0
    terms = [term] if degrees > 1 else []
    for number in range(3 if is_odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (number - 1) / number
        terms.append(term)
    inner = sine * math.fsum(terms)
    return 2 / math.pi * (angle + inner) if is_odd else inner


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
