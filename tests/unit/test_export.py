"""`perfctl export`: every format read back by the program, or the published format, that it is for."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet
import pyperf
import pytest
from click.testing import CliRunner, Result
from junitparser import JUnitXml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from perfctl.cli import main_group
from perfctl.errors import UsageError
from perfctl.model import Direction, Metric, Sample, Status
from perfctl.render.export import EXPORTS
from perfctl.store import MeasuredInvocation, open_store
from tests.unit import store_cases as cases
from tests.unit.report_cases import Fleet, add_fleet

FLEET = Fleet(
    hosts=("h1", "h2"),
    benchmarks=("tcp-rr", "=1+1 http\n/x"),
    environments=("native", "container"),
    blocks=6,
    invalid=(("container", 3),),
    failed=(("container", 5),),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "results.db"
    with open_store(path, create=True) as store:
        add_fleet(store, FLEET)
    return path


@pytest.fixture(scope="module")
def measured(database: Path) -> list[MeasuredInvocation]:
    with open_store(database, read_only=True) as store:
        return store.run("latest").measured_invocations()


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), "export", "latest", *arguments])


def exported(database: Path, *arguments: str) -> str:
    done = perfctl(database, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def values_of(measured: list[MeasuredInvocation]) -> list[float]:
    return sorted(value for item in measured for series in item.series for value in series.values)


def used_values(measured: list[MeasuredInvocation]) -> list[float]:
    return sorted(
        value for item in measured if item.is_used for series in item.series for value in series.counted
    )


def test_a_run_has_its_samples_kept_as_rows_and_packed(tmp_path: Path) -> None:
    metric = Metric("latency", "ms", Direction.LOWER, headline=True)
    with open_store(tmp_path / "results.db", create=True) as store:
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.BLOCKS[0], attempt=1)
        for replicate, count in ((1, 3), (2, 500)):
            samples = [Sample("latency", 1 / (index + 1), "ms", index, index < 2) for index in range(count)]
            store.writer.record_invocation(cases.record(block_id, replicate=replicate), [metric], samples)
        few, many = (item.series[0] for item in store.run(run_id).measured_invocations())
    assert few.values == (1.0, 1 / 2, 1 / 3) and few.counted == (1 / 3,)
    assert len(many.values) == 500 and many.is_warmup[:3] == (True, True, False)
    assert many.values == tuple(1 / (index + 1) for index in range(500)) and len(many.counted) == 498


def test_csv_has_a_line_per_sample_and_one_for_what_has_none(
    database: Path, measured: list[MeasuredInvocation]
) -> None:
    rows = list(csv.DictReader(io.StringIO(exported(database, "--format", "csv"))))
    assert sorted(float(row["value"]) for row in rows if row["value"]) == values_of(measured)
    without = [row for row in rows if not row["value"]]
    assert [row["status"] for row in without] == ["failed"] * 4 and not without[0]["metric"]
    assert {row["reason"] for row in without} == {"timeout"}
    assert {row["benchmark"] for row in rows} == {"tcp-rr", "'=1+1 http\n/x"}, "no cell is a formula"
    assert {row["validity"] for row in rows} == {"", "invalid"} and rows[0]["is_warmup"] == "false"


@pytest.mark.parametrize("fmt", ["json", "jsonl"])
def test_json_has_all_values_of_an_invocation_in_one_record(
    database: Path, measured: list[MeasuredInvocation], fmt: str
) -> None:
    text = exported(database, "--format", fmt)
    records = json.loads(text)["rows"] if fmt == "json" else [json.loads(line) for line in text.splitlines()]
    assert sorted(value for record in records for value in record["values"] or ()) == values_of(measured)
    assert sum(record["values"] is None for record in records) == 4
    assert {record["benchmark"] for record in records} == set(FLEET.benchmarks)


def test_comparisons_are_those_of_compare(database: Path) -> None:
    compared = CliRunner().invoke(
        main_group, ["--db", str(database), "compare", "latest", "--format", "json"]
    )
    rows = json.loads(compared.stdout)["rows"]
    text = exported(database, "--format", "jsonl", "--what", "comparisons")
    assert [json.loads(line) for line in text.splitlines()] == rows
    assert json.loads(exported(database, "--format", "json", "--what", "comparisons"))["rows"] == rows


def test_pyperf_reads_it_and_compares_environments(
    database: Path, measured: list[MeasuredInvocation], tmp_path: Path
) -> None:
    assert exported(database, "--format", "pyperf", "-o", str(tmp_path)) == ""
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["1-native.json", "2-container.json"]
    native, container = (pyperf.BenchmarkSuite.load(str(tmp_path / name)) for name in names)
    common = set(native.get_benchmark_names()) & set(container.get_benchmark_names())
    assert len(common) == 2 * 2 * 4, "benchmarks x hosts x metrics have one name in both files"
    rate = native.get_benchmark("tcp-rr/transactions_per_second/h1")
    assert rate.get_nrun() == 6 and rate.get_metadata()["perfctl_unit"] == "transactions/s"
    latency = container.get_benchmark("tcp-rr/latency_p50/h1")
    assert latency.get_unit() == "second" and latency.get_nrun() == 4, (
        "without the invalid and the failed one"
    )
    found = sorted(value for item in (native, container) for bench in item for value in bench.get_values())
    seconds = [
        value * 1e-6 if series.metric.unit == "us" else value
        for item in measured
        if item.is_used
        for series in item.series
        for value in series.counted
    ]
    assert found == sorted(seconds)


LINE = re.compile(r"(Benchmark[^a-z\s]\S*) (\d+)((?: \S+ \S+)+)")
"""golang.org/design/14313: a name, the number of iterations, then pairs of a value and its unit."""


def test_go_reads_every_used_sample(database: Path, measured: list[MeasuredInvocation]) -> None:
    found, keys = [], {}
    for line in exported(database, "--format", "benchstat").splitlines():
        if re.fullmatch(r"[a-z][^\sA-Z]*: .*", line):
            name, _, value = line.partition(": ")
            keys[name] = value
        elif line:
            match = LINE.fullmatch(line)
            assert match and match[2] == "1", line
            value, unit = match[3].split()
            parts = dict(part.split("=", 1) for part in match[1].split("/")[1:])
            assert parts["env"] in ("native", "native-A2", "container") and parts["target"] in ("h1", "h2")
            found.append((float(value), unit, unquote(match[1].split("/")[0].removeprefix("Benchmark"))))
    assert keys["suite"] == "fleet" and keys["run"]
    assert sorted(value for value, _, _ in found) == used_values(measured)
    assert {unit for _, unit, _ in found} == {"transactions/s", "us"}
    assert {name for _, _, name in found} == {"Tcp-rr", "X=1+1 http\n/x"}


def test_prometheus_reads_values_and_comparisons(database: Path, measured: list[MeasuredInvocation]) -> None:
    (family,) = text_string_to_metric_families(exported(database, "--format", "openmetrics"))
    assert family.name == "perfctl_value" and family.type == "gauge"
    assert sorted(sample.value for sample in family.samples) == used_values(measured)
    text = exported(database, "--format", "openmetrics", "--what", "comparisons")
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    ratios = {
        (s.labels["benchmark"], s.labels["target"]): s.value for s in families["perfctl_comparison_ratio"]
    }
    compared = CliRunner().invoke(
        main_group, ["--db", str(database), "compare", "latest", "--format", "json"]
    )
    expected = [row for row in json.loads(compared.stdout)["rows"] if row["ratio"] and not row["is_aa"]]
    assert sorted(ratios.values()) == sorted(row["ratio"] for row in expected)


def test_build_servers_read_invocations_and_comparisons(
    database: Path, measured: list[MeasuredInvocation]
) -> None:
    (suite,) = JUnitXml.fromstring(exported(database, "--format", "junit"))
    assert suite.tests == len(measured) == 2 * 2 * 6 * 3
    assert suite.failures == sum(item.status is Status.FAILED for item in measured) == 4
    failed = [case for case in suite if case.result]
    assert "timeout: it took 16 s" in failed[0].result[0].message
    (lines,) = JUnitXml.fromstring(exported(database, "--format", "junit", "--what", "comparisons"))
    assert lines.failures == 0 and any("container against native on h1" in case.name for case in lines)
    assert all(case.system_out for case in lines)


def test_data_frames_get_typed_columns(
    database: Path, measured: list[MeasuredInvocation], tmp_path: Path
) -> None:
    path = tmp_path / "samples.parquet"
    exported(database, "--format", "parquet", "-o", str(path))
    table = pyarrow.parquet.read_table(path)
    rows = list(csv.DictReader(io.StringIO(exported(database, "--format", "csv"))))
    assert table.column_names == list(rows[0]) and table.num_rows == len(rows)
    assert sorted(filter(None, table["value"].to_pylist())) == values_of(measured)
    assert [str(value or "") for value in table["reason"].to_pylist()] == [row["reason"] for row in rows]
    assert [str(row["block"]) for row in table.to_pylist()] == [row["block"] for row in rows]
    assert set(table["benchmark"].to_pylist()) == set(FLEET.benchmarks), "nothing is a formula there"
    kinds = {name: str(table.schema.field(name).type) for name in ("value", "is_warmup", "block", "started")}
    assert kinds == {
        "value": "double",
        "is_warmup": "bool",
        "block": "int32",
        "started": "timestamp[ms, tz=UTC]",
    }
    first = path.read_bytes()
    exported(database, "--format", "parquet", "-o", str(path), "--force")
    assert path.read_bytes() == first

    lines = tmp_path / "lines.parquet"
    exported(database, "--format", "parquet", "--what", "comparisons", "-o", str(lines))
    rows = json.loads(exported(database, "--format", "json", "--what", "comparisons"))["rows"]
    found = pyarrow.parquet.read_table(lines).to_pylist()
    for name in ("ratio", "low", "q", "blocks", "needed", "to_decide", "verdict", "level", "is_aa", "words"):
        assert [row[name] for row in found] == [row[name] for row in rows], name
    assert [json.loads(row["reasons"] or "null") for row in found] == [row["reasons"] for row in rows]


def test_a_run_without_invocations_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        cases.begin_run(store)
    exported(path, "--format", "parquet", "-o", str(tmp_path / "x.parquet"))
    assert pyarrow.parquet.read_table(tmp_path / "x.parquet").num_rows == 0


def test_parquet_needs_its_library_and_a_file(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = perfctl(database, "--format", "parquet")
    assert isinstance(done.exception, UsageError) and done.exception.hint == "-o FILE" and not done.stdout
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = perfctl(database, "--format", "parquet", "-o", str(tmp_path / "x.parquet"))
    assert isinstance(done.exception, UsageError)
    assert done.exception.hint == "pip install 'perfctl[parquet]'" and not list(tmp_path.iterdir())


def test_markdown_has_a_row_per_invocation_and_metric(database: Path) -> None:
    lines = exported(database, "--format", "markdown").splitlines()
    assert sum(line.startswith("| tcp-rr |") for line in lines) == 2 * 6 * 3 * 4 - 2 * 3
    assert any("failed" in line for line in lines)


def test_files_are_kept_unless_forced_and_what_has_no_place_is_an_error(
    database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "samples.csv"
    assert exported(database, "--format", "csv", "-o", str(path)) == ""
    whole = path.read_text()
    done = perfctl(database, "--format", "csv", "-o", str(path))
    assert isinstance(done.exception, UsageError) and path.read_text() == whole
    assert whole == exported(database, "--format", "csv"), "the same bytes again"
    done = perfctl(database, "--format", "pyperf", "--what", "comparisons")
    assert isinstance(done.exception, UsageError) and "no place for comparisons" in str(done.exception)


def test_an_environment_with_any_name_has_a_file_of_its_own(tmp_path: Path) -> None:
    path, folder = tmp_path / "results.db", tmp_path / "out"
    folder.mkdir()
    with open_store(path, create=True) as store:
        add_fleet(store, Fleet(environments=("native", "../../etc/passwd", "a b"), blocks=1))
    exported(path, "--format", "csv", "-o", str(folder))
    assert sorted(item.name for item in folder.iterdir()) == ["1-native.csv", "2-etc_passwd.csv", "3-a_b.csv"]
    assert not list(tmp_path.glob("*.csv"))


def test_help_names_every_format() -> None:
    done = CliRunner().invoke(main_group, ["export", "--help"])
    assert done.exit_code == 0 and all(name in done.output for name in EXPORTS)
    wrong = CliRunner().invoke(main_group, ["export", "latest", "--format", "xls"])
    assert wrong.exit_code == 2 and "benchstat" in wrong.output
