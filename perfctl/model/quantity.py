"""How numbers, quantities and durations are written for people. Machines get the raw values."""

from __future__ import annotations

import math

MISSING = "—"
"""What stands in a table where there is no value. Missing is never zero."""


def number(value: float | None, digits: int = 4) -> str:
    """Return `value` with at least `digits` significant digits and thousands separators.

    Digits before the decimal point are never rounded away: 26754.31 is '26,754'. Very large and very small
    values are in exponent form. None and NaN are an em dash.
    """
    if value is None or math.isnan(value):
        return MISSING
    if value == 0 or math.isinf(value):
        return f"{value:g}".replace("-0", "0")
    if isinstance(value, int):
        return f"{value:,}"
    # The exponent after rounding: 999.96 has four digits before the point.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if exponent < -5 or exponent >= 15:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - exponent)
    text = f"{value:,.{decimals}f}"
    if "." in text and abs(value) >= 1 and value == int(value):
        text = text.rstrip("0").rstrip(".")
    return text


def quantity(value: float | None, unit: str) -> str:
    """Return e.g. '2,914 events/s', '3.1 %', or an em dash for None."""
    text = number(value)
    return f"{text} {unit}" if unit and text != MISSING else text


def percent(share: float | None) -> str:
    """Return a share with two significant digits, e.g. '1.6 %' for 0.0163, or an em dash for None."""
    if share is None or not math.isfinite(share):
        return MISSING
    return f"{100 * share:.2g} %" if abs(share) < 0.995 else f"{100 * share:,.0f} %"


def duration(seconds: float | None) -> str:
    """Return e.g. '850 ms', '4.2 s', '1 min 20 s', '2 h 05 min', '3 d 04 h', or an em dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 0:
        return "-" + duration(-seconds)
    if 0 < seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, name, part_size, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part_size:02d} {part_name}"
    return f"{whole // 60} min {whole % 60:02d} s"


def counted(count: int, what: str) -> str:
    """Return e.g. '1 block', '10 blocks', '1,200 tests'."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
