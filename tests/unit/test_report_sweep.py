"""Benchmarks that differ in one parameter, in one table: `compare --by PARAMETER`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName, UsageError
from perfctl.model import Benchmark, Parameter
from perfctl.report.sweep import sweep_by
from perfctl.store import StoredBenchmark, open_store
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, add_run


def benchmark(name: str, **parameters: Parameter) -> Benchmark:
    return replace(cases.CPU, name=name, parameters={**cases.CPU.parameters, **parameters})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with a run of three numbers of threads, out of their order, and another benchmark."""
    several = [benchmark(f"cpu-{n}", threads=n) for n in (16, 2, 4)] + [benchmark("other", time_s=7)]
    with open_store(tmp_path / "results.db", create=True) as store:
        add_run(store, targets=[H1, H2], blocks=8, ratio=0.8, benchmarks=several)
    return tmp_path / "results.db"


def perfctl(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(path), "compare", "latest", *arguments])


def test_one_table_has_all_values_in_their_order(path: Path) -> None:
    done = perfctl(path, "--by", "threads")
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" by threads") == 1 and "other  " not in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("h1 ", "h2 "))]
    assert [row[:3] for row in rows] == [
        [host, "container", n] for host in ("h1", "h2") for n in ("2", "4", "16")
    ]
    assert all("slower" in " ".join(row) for row in rows)


def test_machines_get_the_parameter_and_only_its_benchmarks(path: Path) -> None:
    found = json.loads(perfctl(path, "--by", "threads", "--format", "json").stdout)
    assert {(row["benchmark"], row["parameter"], row["parameter_value"]) for row in found["rows"]} == {
        ("cpu-2", "threads", 2),
        ("cpu-4", "threads", 4),
        ("cpu-16", "threads", 16),
    }
    whole = json.loads(perfctl(path, "--format", "json").stdout)
    shared = [row for row in whole["rows"] if row["level"] == "host" and row["benchmark"] == "cpu-2"]
    mine = [row for row in found["rows"] if row["level"] == "host" and row["benchmark"] == "cpu-2"]
    # The verdicts are those of the whole run.
    assert [row["q"] for row in mine] == [row["q"] for row in shared]


def test_a_parameter_in_which_nothing_differs_is_refused(path: Path) -> None:
    refused = perfctl(path, "--by", "percentile").exception
    assert isinstance(refused, UnknownName) and "they differ in threads" in (refused.hint or "")
    assert isinstance(perfctl(path, "--by", "kernel").exception, UsageError)


def stored(name: str, workload: str = "w", **parameters: Parameter) -> StoredBenchmark:
    return StoredBenchmark(name, workload, parameters, name)


def test_only_what_differs_in_the_parameter_alone_belongs_together() -> None:
    found = sweep_by(
        [
            stored("read-b", size="b", kind="read"),
            stored("read-a", size="a", kind="read"),
            stored("write-a", size="a", kind="write"),
            stored("write-b", size="b", kind="write"),
            stored("x", "v", size="a", kind="read"),
        ],
        "size",
    )
    assert found.groups == {"read-b": "read", "read-a": "read", "write-a": "write", "write-b": "write"}
    assert found.values == {"read-b": "b", "read-a": "a", "write-a": "a", "write-b": "b"}


def test_names_that_have_nothing_in_common_are_called_as_their_workload() -> None:
    assert sweep_by([stored("small", n=1), stored("large", n=2)], "n").groups == {"small": "w", "large": "w"}
