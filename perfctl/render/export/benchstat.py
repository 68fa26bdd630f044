"""Go's benchmark format, which benchstat reads: a line per sample, with the names of its leg as keys.

    BenchmarkTcp-rr/target=h1/env=container 1 28727.5 transactions/s

`benchstat -col /env FILE` compares the environments. The format is that of golang.org/design/14313.
"""

from __future__ import annotations

import re

from perfctl.redaction import redact
from perfctl.report.export import SampleReport
from perfctl.store import MeasuredInvocation

_UNSAFE = re.compile(r"[\s/=%\x00-\x1f\x7f]|[^\x20-\x7e]")
"""What ends a name or a key in this format, and what is no printable ASCII."""


def samples(report: SampleReport) -> str:
    """Return the lines of all samples that comparisons use, below keys that say which run it is."""
    summary = report.detail.summary
    lines = [f"run: {summary.run_id}", f"suite: {safe(summary.suite)}", ""]
    for item in report.used:
        name = benchmark_name(item)
        for series in item.series:
            # repr of a float is the shortest text that gives the same float back.
            unit = safe(series.metric.unit).replace("%2F", "/")
            metric = safe(series.metric.name)
            lines += [f"{name}/metric={metric} 1 {value!r} {unit}" for value in series.counted]
    return "\n".join(lines) + "\n"


def benchmark_name(item: MeasuredInvocation) -> str:
    """Return the name of an invocation's benchmark; a capital letter has to follow 'Benchmark'."""
    name = safe(item.benchmark)
    first = name[:1].upper()
    head = f"{first}{name[1:]}" if first.isupper() else f"X{name}"
    leg = safe(item.environment) + ("-A2" if item.replicate == 2 else "")
    return f"Benchmark{head}/target={safe(str(item.target))}/env={leg}"


def safe(text: str) -> str:
    """Return the text with what the format cannot hold as %XX of its UTF-8 bytes; '' is '%'."""
    found = _UNSAFE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "replace")), redact(text)
    )
    return found or "%"
