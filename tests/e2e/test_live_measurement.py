"""What is measured live, end to end on this machine: nothing printed is lost, and the same data say the same.

How often real processes are called different from themselves, and how a known extra is found, is here in a
reduced form that holds on any machine; `make bench-stats` has it in full (docs/measurement.md, M15 and M16).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from tests.processes import wait_until, with_argument
from tests.statistics.live import (
    aa_p_values,
    beside_a_load,
    has_wrong_sign,
    known_extras,
    same_work_suite,
)

EVERYTHING = """\
[suite]
name = "everything"
description = "Every test of sysbench, for a second."
baseline = "native"
environments = ["native"]
blocks = 1

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = {{ test = "cpu", threads = 2, time_s = 1 }}

[[benchmark]]
name = "memory"
workload = "sysbench"
parameters = {{ test = "memory", threads = 1, time_s = 1 }}

[[benchmark]]
name = "threads"
workload = "sysbench"
parameters = {{ test = "threads", threads = 2, time_s = 1 }}

[[benchmark]]
name = "mutex"
workload = "sysbench"
parameters = {{ test = "mutex", threads = 2, mutex_locks = 500 }}

[[benchmark]]
name = "fileio"
workload = "sysbench"
parameters = {{ test = "fileio", threads = 1, time_s = 1, directory = "{folder}", file_num = 2, \
file_total_bytes = 4_194_304 }}
"""

MEANING: dict[str, tuple[str | None, ...]] = {
    "events per second: #": ("events_per_second",),
    # The operations themselves are printed once more as the total number of events.
    "Total operations: # (# per second)": (None, "operations_per_second"),
    "# MiB transferred (# MiB/sec)": ("transferred", "bandwidth"),
    "reads/s: #": ("reads_per_second",),
    "writes/s: #": ("writes_per_second",),
    "fsyncs/s: #": ("fsyncs_per_second",),
    "read, MiB/s: #": ("read_bandwidth",),
    "written, MiB/s: #": ("write_bandwidth",),
    "total time: #s": ("total_time",),
    "total number of events: #": ("total_events",),
    "min: #": ("latency_min",),
    "avg: #": ("latency_avg",),
    "max: #": ("latency_max",),
    "#th percentile: #": (None, "latency_p95"),
    "sum: #": ("latency_sum",),
    "events (avg/stddev): #/#": ("thread_events_avg", "thread_events_stddev"),
    "execution time (avg/stddev): #/#": ("thread_time_avg", "thread_time_stddev"),
}
"""Every line of a report with a number, and what its numbers are; None: no value of its own."""

DERIVED = {("threads", "events_per_second")}
"""Not printed: the product computes it from two numbers that are."""


def printed(stdout: str) -> list[tuple[str, float]]:
    """Return every number of a report with its metric; a line that nobody explained is a KeyError."""
    found = []
    _, _, report = stdout.partition("Threads started!")
    for line in report.splitlines():
        numbers = re.findall(r"\d+(?:\.\d+)?", line)
        if numbers:
            label = " ".join(re.sub(r"\d+(?:\.\d+)?", "#", line).split())
            for metric, number in zip(MEANING[label], numbers, strict=True):
                if metric is not None:
                    found.append((metric, float(number)))
    return found


def test_m10_every_sample_that_the_tools_printed_is_in_the_database(project: Project, tmp_path: Path) -> None:
    suite = tmp_path / "everything.toml"
    suite.write_text(EVERYTHING.format(folder=tmp_path))
    done = project.perfctl("run", "--suite", str(suite), "--force")
    assert done.returncode == 0, done.stderr
    told: dict[tuple[str, str], list[float]] = defaultdict(list)
    executions = project.rows("SELECT invocation_id, benchmark, stdout_sha256 FROM v_invocation")
    assert len(executions) == 5 * 2
    for row in executions:
        shown = project.perfctl(
            "show", "latest", "--invocation", row["invocation_id"], "--artifact", "stdout"
        )
        assert hashlib.sha256(shown.stdout.encode()).hexdigest() == row["stdout_sha256"]
        for metric, value in printed(shown.stdout):
            told[row["benchmark"], metric].append(value)
    stored = {
        (row["benchmark"], row["metric"]): (row["n"], row["total"])
        for row in project.rows(
            "SELECT benchmark, metric, count(*) AS n, sum(value) AS total FROM v_sample GROUP BY 1, 2"
        )
    }
    assert stored.keys() - told.keys() == DERIVED
    assert {key: stored[key][0] for key in told} == {key: len(values) for key, values in told.items()}
    assert {key: stored[key][1] for key in told} == pytest.approx(
        {key: math.fsum(values) for key, values in told.items()}, rel=1e-12, abs=1e-12
    )
    summed = project.rows("SELECT sum(sample_count) AS n, sum(value_sum) AS total FROM v_value")[0]
    assert summed["n"] == sum(n for n, _ in stored.values())
    assert summed["total"] == pytest.approx(math.fsum(total for _, total in stored.values()), rel=1e-12)


EXPERIMENTS, BLOCKS = 6, 6
"""Six blocks are the fewest that can have p <= 0.05: with a chance of 1/32 in each experiment."""


@pytest.fixture(scope="module")
def same_work(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run of equal benchmarks, measured beside a load."""
    folder = tmp_path_factory.mktemp("same")
    suite = same_work_suite(folder, experiments=EXPERIMENTS, blocks=BLOCKS)
    made = Project(folder, folder / "hosts.yml")
    with beside_a_load(lifetime_s=300):
        done = made.perfctl("run", "--suite", str(suite), "--seed", "15", "--force", timeout_s=300)
    assert done.returncode == 0, done.stderr
    return made


def test_m11_the_same_database_gives_the_same_bytes(same_work: Project, tmp_path: Path) -> None:
    ask = ("compare", "latest", "--format", "json", "--all-metrics")
    first = same_work.perfctl(*ask)
    assert first.returncode == 0, first.stderr
    assert len(json.loads(first.stdout)["rows"]) > EXPERIMENTS
    assert same_work.perfctl(*ask).stdout == first.stdout
    copy = Project(tmp_path, same_work.inventory_path)
    done = same_work.perfctl("db", "backup", str(copy.database))
    assert done.returncode == 0, done.stderr
    # The only difference is the file's own path, which stands below the figures.
    moved = first.stdout.replace(str(same_work.database), str(copy.database))
    assert copy.perfctl(*ask).stdout == moved


def test_m15_equal_work_beside_a_load_is_seldom_called_different(same_work: Project) -> None:
    rows = json.loads(same_work.perfctl("compare", "latest", "--format", "json").stdout)["rows"]
    tests = [row for row in rows if row["is_aa"]]
    assert len(tests) == EXPERIMENTS
    # A block may be lost to what the kernel counted around it; those that are left are judged all the same.
    assert all(row["blocks"] + row["left_out"] == BLOCKS for row in tests)
    # By chance one such run in 20,000 has four.
    assert sum(p <= 0.05 for p in aa_p_values(rows)) < 4


def test_m16_a_known_extra_never_has_the_wrong_sign() -> None:
    found = known_extras((10,), experiments=6, blocks=10)
    assert [item.blocks for item in found] == [10] * 6
    assert not [item for item in found if has_wrong_sign(item)]
    ratios = [item.ratio for item in found if item.ratio is not None]
    assert len(ratios) == 6
    assert statistics.median(ratios) > 1
    assert all(item.low is not None and item.high is not None and item.low < item.high for item in found)


def test_the_load_is_gone_when_its_block_is_left() -> None:
    lifetime_s = 61 + secrets.randbelow(10**6) / 10**6
    with beside_a_load(lifetime_s):
        # A process that has just become another program has no arguments for a moment.
        wait_until(lambda: with_argument(str(lifetime_s)), "the load")
    assert not with_argument(str(lifetime_s))
