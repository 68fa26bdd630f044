"""Parquet, by pyarrow: the columns of the CSV, with types."""

from __future__ import annotations

import importlib
import io
import json
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from perfctl.errors import UsageError
from perfctl.render.comparison import comparison_view
from perfctl.render.comparison_records import FIELDS
from perfctl.render.export.text import CSV_FIELDS, invocation_rows
from perfctl.render.view import plain
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport

_FLOATS = {
    *(
        "duration_s",
        "value",
        "baseline_value",
        "ratio",
        "low",
        "high",
        "confidence",
        "p",
        "q",
        "delta",
        "mde",
    ),
    *("difference", "difference_low", "difference_high", "i2", "lowest", "highest"),
}
_INTEGERS = {"replicate", "block", "attempt", "position", "blocks", "left_out", "needed", "to_decide"}
_BOOLEANS = {"counts", "headline", "is_aa", "emulated"}
# What is known of a sample itself; the other columns are the same for all samples of an invocation's metric.
_OF_SAMPLE = ("index", "is_warmup", "value")


def samples(report: SampleReport) -> bytes:
    """Return a row per sample; an invocation without any has one row without metric and value.

    Raises UsageError where pyarrow is not installed.
    """
    import numpy as np

    pa = _pyarrow()
    heads, series = zip(*invocation_rows(report), strict=True) if report.invocations else ((), ())
    names = CSV_FIELDS[: -len(_OF_SAMPLE)]
    shared = pa.table({name: _array(pa, name, [row[at] for row in heads]) for at, name in enumerate(names)})
    # A million samples are of a thousand invocations: what these have is repeated by its number.
    counts = [len(item.values) if item else 1 for item in series]
    table = shared.take(pa.array(np.repeat(np.arange(len(counts)), counts)))
    missing = (None,)
    for name, attribute, kind in (
        ("index", "indexes", pa.int32()),
        ("is_warmup", "is_warmup", pa.bool_()),
        ("value", "values", pa.float64()),
    ):
        values = list(chain.from_iterable(getattr(item, attribute) if item else missing for item in series))
        table = table.append_column(name, pa.array(values, kind))
    return _written(table)


def comparisons(report: ComparisonReport) -> bytes:
    """Return a row per line of `perfctl compare`; lists and counts by reason are JSON in a text.

    Raises UsageError where pyarrow is not installed.
    """
    pa = _pyarrow()
    records = [plain(record) for record in comparison_view(report).records]
    return _written(pa.table({name: _array(pa, name, [it.get(name) for it in records]) for name in FIELDS}))


def _pyarrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError("pyarrow is not installed", hint="pip install 'perfctl[parquet]'") from error
    return importlib.import_module("pyarrow")


def _array(pa: Any, name: str, values: list[Any]) -> Any:
    """Return a column of what several rows share; texts are stored once and then by number."""
    if name in _FLOATS:
        return pa.array(values, pa.float64())
    if name in _INTEGERS:
        return pa.array(values, pa.int32())
    if name in _BOOLEANS:
        return pa.array(values, pa.bool_())
    if name == "started":
        moments = [None if text is None else _moment(text) for text in values]
        return pa.array(moments, pa.timestamp("ms", tz="UTC"))
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(texts, pa.string()).dictionary_encode()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _written(table: Any) -> bytes:
    buffer = io.BytesIO()
    importlib.import_module("pyarrow.parquet").write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
