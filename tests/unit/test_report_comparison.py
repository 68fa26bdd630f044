"""From a database to `perfctl compare`, through the real store and the real command line."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName
from perfctl.model import (
    Block,
    Direction,
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Metric,
    PlannedInvocation,
    Reason,
    Round,
    Status,
    Target,
    Track,
    new_id,
)
from perfctl.report import comparison_report, run_report
from perfctl.store import Store, open_store
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, add_run

BLOCKS = tuple(cases.block(Target(host), index) for host in ("h1", "h2") for index in range(10))
PLAN = dataclasses.replace(cases.PLAN, benchmarks=(cases.CPU,), rounds=(Round((Track(BLOCKS),)),))
COST = {"native": 1.0, "container": 0.8}


def measure(store: Store, run_id: str, block: Block, generator: random.Random, *, fail: bool = False) -> None:
    """Store a block; the container is a fifth slower, or fails."""
    block_id = store.writer.begin_block(run_id, block, attempt=1)
    for planned in block.invocations:
        done = cases.record(block_id, planned.environment, planned.replicate, position=planned.position)
        if fail and planned.environment == "container":
            failed = dataclasses.replace(done, status=Status.SKIPPED, reason=Reason.ENVIRONMENT_UNAVAILABLE)
            store.writer.record_invocation(failed, cases.METRICS, [])
            continue
        speed = 1000 * COST[planned.environment] * generator.lognormvariate(0, 0.002)
        values = cases.samples(speed) + cases.samples(1000 / speed, metric=cases.LATENCY)
        store.writer.record_invocation(done, cases.METRICS, values)
    store.writer.end_block(block_id, "complete")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "results.db"
    generator = random.Random(6)
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for block in BLOCKS:
            measure(store, run_id, block, generator, fail=block.target.host == "h2" and block.index < 3)
        store.writer.end_run(run_id, "partial")
    return path


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), "compare", *arguments])


def test_the_report(database: Path) -> None:
    with open_store(database, read_only=True) as store:
        report = comparison_report(store, "latest")
    assert report.baseline == "native"
    assert [(item.environment, str(item.target), item.is_aa) for item in report.comparisons] == [
        ("container", "h1", False),
        ("native", "h1", True),
        ("container", "h2", False),
        ("native", "h2", True),
    ]
    on_h1, aa, on_h2, _ = report.comparisons
    assert on_h1.low is not None and on_h1.high is not None
    assert on_h1.low < 0.8 < on_h1.high
    assert on_h1.p == pytest.approx(2 / 2**10)
    assert aa.ratio == pytest.approx(1.0, abs=0.01)
    assert (on_h2.blocks, on_h2.left_out) == (7, 3)
    assert (report.blocks, report.planned_blocks) == (20, 20)
    assert [(item.status, item.reason, item.invocations) for item in report.failed] == [
        (Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE, 3)
    ]
    assert report.other_metrics == ("latency",)
    assert report.confounded == ()


def test_metrics_and_baseline_can_be_chosen(database: Path) -> None:
    with open_store(database, read_only=True) as store:
        everything = comparison_report(store, "latest", metrics=["all"])
        latency = comparison_report(store, "latest", metrics=["latency"], baseline="container")
        with pytest.raises(UnknownName, match="no metric 'tempo'"):
            comparison_report(store, "latest", metrics=["tempo"])
        with pytest.raises(UnknownName, match="no environment 'vm'"):
            comparison_report(store, "latest", baseline="vm")
    assert (len(everything.comparisons), everything.other_metrics) == (8, ())
    assert {item.metric.name for item in latency.comparisons} == {"latency"}
    native = latency.comparisons[0]
    assert (native.environment, native.baseline) == ("native", "container")
    assert native.ratio == pytest.approx(0.8, abs=0.01)


def test_lines_of_one_benchmark_have_the_verdicts_that_they_have_among_all(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    cpus = [dataclasses.replace(cases.CPU, name=name) for name in ("cpu-1", "cpu-2", "cpu-3")]
    with open_store(path, create=True) as store:
        older, newer = (
            add_run(store, ratio=0.997, blocks=9, targets=(H1, H2), benchmarks=cpus, seed=seed)
            for seed in (1, 2)
        )
    with open_store(path, read_only=True) as store:
        whole, two = comparison_report(store, newer), run_report(store, older, newer)
        chosen = comparison_report(store, newer, benchmarks=["cpu-2"])
        chosen_two = run_report(store, older, newer, benchmarks=["cpu-2"])
        with pytest.raises(UnknownName, match="no benchmark 'cpu-9'"):
            comparison_report(store, newer, benchmarks=["cpu-9"])
    for some, every in ((chosen, whole), (chosen_two, two)):
        assert list(some.comparisons) == [item for item in every.comparisons if item.benchmark == "cpu-2"]
        assert list(some.fleets) == [item for item in every.fleets if item.benchmark == "cpu-2"]
        assert some.other_benchmarks == ("cpu-1", "cpu-3") and every.other_benchmarks == ()
    assert whole.suites and not chosen.suites, "a mean over the suite is not about one benchmark"
    found = perfctl(path, newer, "--benchmark", "cpu-1", "--benchmark", "cpu-2").stdout
    assert "cpu-2  events" in found and "cpu-3  events" not in found
    (note,) = [line for line in found.splitlines() if line.startswith("not shown: cpu-3")]
    assert "count in q" in note
    assert "not shown: cpu-1, cpu-3" in perfctl(path, older, newer, "--benchmark", "cpu-2").stdout


def test_a_run_without_any_value_has_an_empty_report(tmp_path: Path) -> None:
    with open_store(tmp_path / "empty.db", create=True) as store:
        cases.begin_run(store, PLAN)
        report = comparison_report(store, "latest", metrics=["anything"])
    assert (report.comparisons, report.blocks, report.planned_blocks) == ((), 0, 20)
    result = perfctl(tmp_path / "empty.db", "latest")
    assert result.exit_code == 0
    assert "(nothing)" in result.stdout and "nothing to compare: `perfctl show" in result.stdout


def test_another_build_of_the_tool_is_confounded(database: Path) -> None:
    with open_store(database) as store:
        run_id = store.run("latest").id
        for environment, sha256 in (("native", "a" * 64), ("container", "b" * 64)):
            fingerprint = Fingerprint((Fact("tool.sysbench.sha256", FactState.PRESENT, sha256),))
            store.writer.record_environment_snapshot(run_id, "h1", environment, fingerprint, {})
        report = comparison_report(store, run_id)
    assert report.confounded == ("sysbench on h1: sha256 bbbbbbbb in container, aaaaaaaa in native",)
    assert [bool(item.confounded) for item in report.comparisons] == [True, False, False, False]


def rows_below(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading, each split where columns are apart."""
    lines = page.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line == heading]
    rows = lines[start + 3 :]
    end = rows.index("") if "" in rows else len(rows)
    return [re.split(r" {2,}", row.strip()) for row in rows[:end]]


CPU = "cpu-1  events_per_s (1/s, higher is better)"


def test_the_table(database: Path) -> None:
    result = perfctl(database, "latest")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert "pairs within blocks" in lines[0] and lines[2] == CPU
    assert re.split(r" {2,}", lines[3]) == [
        *("target", "environment", "native", "value", "ratio", "95 % CI", "verdict", "q", "n", "note")
    ]
    on_h1, on_h2, together = rows_below(result.stdout, CPU)
    assert (on_h1[:2], on_h1[4], on_h1[6:9]) == (
        ["h1", "container"],
        "1.25x slower",
        ["different", "0.003", "10"],
    )
    assert (on_h2[0], on_h2[8]) == ("h2", "7")
    assert (together[0], together[8]) == ("2 hosts", "7-10 x 2")
    assert f"{on_h2[9]}  3 blocks left out" in lines
    notes = " ".join(result.stdout.split())
    assert "suite demo, partial, hosts h1, h2, 20 of 20 blocks have values" in notes
    assert "57 of 60 invocations ok, left out: 3 skipped (environment_unavailable)" in notes
    assert "A/A: 0 of 2" in notes
    assert "not shown: latency" in notes
    assert str(database) in notes


def test_the_rows_of_the_aa_tests_are_shown_when_asked_for(database: Path) -> None:
    assert "A2 (A/A)" not in perfctl(database, "latest").stdout
    page = perfctl(database, "latest", "--aa").stdout
    tests = [row for row in rows_below(page, CPU) if row[1] == "native A2 (A/A)"]
    assert [row[0] for row in tests] == ["h1", "h2"]
    assert {row[6] for row in tests} == {"—"}, "an A/A test has no verdict"
    assert "the baseline against itself, p=" in page


@pytest.mark.parametrize("columns", [None, 80, 40])
def test_figures_never_wrap_and_notes_do(
    database: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    page = perfctl(database, "latest").stdout
    assert "1.25x slower" in page and re.search(r"1\.2\d+ to 1\.2\d+", page)
    _, _, footer = page.rpartition("\n\n")
    assert all(len(line) <= (columns or 120) for line in footer.splitlines() if str(database) not in line)


def test_medians_that_point_the_other_way_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "medians.db"
    native = [100.0, 1.0, 2.0, 3.0, 104.0, 105.0, 106.0]
    # Slower in five blocks of seven, while the middle value of all is higher.
    container = [99.0, 0.9, 1.9, 103.0, 103.0, 104.0, 105.0]
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for block, base, value in zip(BLOCKS, native, container, strict=False):
            legs = {("native", 1): base, ("native", 2): base, ("container", 1): value}
            cases.measure_block(store, run_id, block, legs)
    (row,) = json.loads(perfctl(path, "latest", "--format", "json").stdout)["rows"][:1]
    assert row["ratio"] < 1 and row["value"] >= row["baseline_value"]
    assert "medians point the other way" in perfctl(path, "latest").stdout


def test_json_is_the_same_to_the_byte(database: Path) -> None:
    first, second = (perfctl(database, "latest", "--all-metrics", "--format", "json") for _ in range(2))
    assert first.stdout_bytes == second.stdout_bytes
    document = json.loads(first.stdout)
    assert (document["schema_version"], document["kind"], len(document["rows"])) == (1, "comparison", 11)
    row = document["rows"][0]
    assert (row["benchmark"], row["metric"], row["unit"], row["direction"]) == (
        "cpu-1",
        "events_per_s",
        "1/s",
        "higher",
    )
    assert row["low"] < row["ratio"] < row["high"]
    assert row["words"].startswith("different: 1.25x slower")
    assert row["peer"] is None
    lost = document["rows"][-1]
    assert (lost["level"], lost["target"], lost["left_out"], lost["blocks"]) == ("left_out", "h2", 3, None)


MARK = "emulated: not an overhead figure"


@pytest.fixture
def with_guests(tmp_path: Path) -> Path:
    """Ten blocks of a native baseline and a guest: under kvm for seven, then resumed under tcg."""
    path = tmp_path / "guests.db"
    vm = Environment("vm", "vm")
    order = (
        PlannedInvocation("vm", 1, 0),
        PlannedInvocation("native", 1, 1),
        PlannedInvocation("native", 2, 2),
    )
    blocks = tuple(Block("cpu-1", Target("h1"), index, order) for index in range(10))
    plan = dataclasses.replace(cases.PLAN, environments=(cases.NATIVE, vm), rounds=(Round((Track(blocks),)),))
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, plan)
        for block in blocks:
            block_id = store.writer.begin_block(run_id, block, 1)
            under = "kvm" if block.index < 7 else "tcg"
            for planned in order:
                is_guest = planned.environment == "vm"
                speed = {"kvm": 950.0, "tcg": 40.0}[under] if is_guest else 1000.0
                done = cases.record(
                    block_id,
                    planned.environment,
                    planned.replicate,
                    position=planned.position,
                    accelerator=under if is_guest else None,
                )
                store.writer.record_invocation(done, cases.METRICS, cases.samples(speed + block.index))
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
    return path


def test_a_run_that_was_resumed_under_tcg_has_two_tables_and_one_is_marked(with_guests: Path) -> None:
    page = perfctl(with_guests, "latest").stdout
    ((*kvm, _),) = rows_below(page, CPU)
    ((*tcg, _),) = rows_below(page, f"{CPU}  {MARK}")
    assert (kvm[1], kvm[4], kvm[8]) == ("vm (kvm)", "1.05x slower", "7")
    assert (tcg[1], tcg[4], tcg[6], tcg[8]) == ("vm (tcg)", "21.0x slower", "emulated", "3")
    assert page.count(MARK) == 1
    assert "3 blocks left out" in page and "emulated: vm ran under tcg" in page


@pytest.mark.parametrize("baseline", ["native", "vm"])
@pytest.mark.parametrize("fmt", ["table", "md", "csv", "json"])
def test_no_form_says_slower_or_faster_of_an_emulated_guest_without_the_mark(
    with_guests: Path, fmt: str, baseline: str
) -> None:
    text = perfctl(with_guests, "latest", "--baseline", baseline, "--format", fmt).stdout
    about_tcg = [line for line in text.splitlines() if "21.0x slower" in line or "21.0x faster" in line]
    assert about_tcg
    assert [line for line in about_tcg if "emulated" not in line or "tcg" not in line] == []
    if fmt in ("csv", "json"):
        assert text.count(MARK) == len(about_tcg)
        return
    heading = next(line for line in text.splitlines() if MARK in line)
    assert all(text.index(line) > text.index(heading) for line in about_tcg), "below the marked heading"


def test_a_guest_as_the_baseline(with_guests: Path) -> None:
    rows = json.loads(perfctl(with_guests, "latest", "--baseline", "vm", "--format", "json").stdout)["rows"]
    found = [
        (row["environment"], row["accelerator"], row["baseline_accelerator"], row["emulated"], row["blocks"])
        for row in rows
        if row["level"] == "host"
    ]
    assert found == [
        ("native", None, "kvm", False, 7),
        ("native", None, "tcg", True, 3),
        ("native", None, None, False, 10),
    ]
    page = perfctl(with_guests, "latest", "--baseline", "vm").stdout
    assert "native (against kvm)" in page and "native (against tcg)" in page


def test_machines_get_the_mark_as_a_field(with_guests: Path) -> None:
    rows = json.loads(perfctl(with_guests, "latest", "--format", "json").stdout)["rows"]
    assert [(row["accelerator"], row["emulated"]) for row in rows if row["level"] == "host"] == [
        ("kvm", False),
        ("tcg", True),
        (None, False),
    ]
    read = csv.DictReader(io.StringIO(perfctl(with_guests, "latest", "--format", "csv").stdout))
    assert [(row["accelerator"], row["emulated"]) for row in read if row["level"] == "host"] == [
        ("kvm", "false"),
        ("tcg", "true"),
        ("", "false"),
    ]


def test_the_difference_of_a_start_comes_from_the_database(tmp_path: Path) -> None:
    ready = Metric("ready", "s", Direction.LOWER, headline=True, show_difference=True)
    path = tmp_path / "start.db"
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for block in BLOCKS[:10]:
            block_id = store.writer.begin_block(run_id, block, 1)
            for planned in block.invocations:
                taken_s = (0.1 if planned.environment == "native" else 0.4) + block.index / 1000
                done = cases.record(block_id, planned.environment, planned.replicate)
                store.writer.record_invocation(done, (ready,), cases.samples(taken_s, metric=ready))
            store.writer.end_block(block_id, "complete")
    row = json.loads(perfctl(path, "latest", "--format", "json").stdout)["rows"][0]
    assert (row["unit"], row["metric"]) == ("s", "ready")
    assert [row[name] for name in ("difference", "difference_low", "difference_high")] == [
        pytest.approx(0.3)
    ] * 3
    page = perfctl(path, "latest").stdout
    assert re.search(r"x slower +\+300 ms ", page) and "absolute cost: 95 % CI +300 to +300 ms" in page


def test_csv_and_markdown(database: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(perfctl(database, "latest", "--format", "csv").stdout)))
    assert [row["level"] for row in rows] == ["host"] * 4 + ["fleet", "left_out"]
    assert [row["blocks"] for row in rows] == ["10", "10", "7", "10", "17", ""]
    assert (rows[-1]["target"], rows[-1]["left_out"], rows[-1]["verdict"]) == ("h2", "3", "")
    assert float(rows[0]["ratio"]) == pytest.approx(0.8, abs=0.01)
    page = perfctl(database, "latest", "--format", "md").stdout
    assert "\n| target | environment |" in page and f"**{CPU}**" in page


@pytest.mark.parametrize(
    "arguments", [["nothing"], ["latest", "--baseline", "vm"], ["latest", "--metric", "x"]]
)
def test_what_does_not_exist_is_a_usage_error(database: Path, arguments: list[str]) -> None:
    error = perfctl(database, *arguments).exception
    assert isinstance(error, UnknownName)
    assert error.exit_code == 2


def test_two_runs_are_told_apart(database: Path) -> None:
    with open_store(database) as store:
        older = store.run("latest").id
        newer = cases.begin_run(store, PLAN, new_id())
    assert f"run {older}" in perfctl(database, older).stdout
    assert f"run {newer}" in perfctl(database, newer).stdout


@pytest.mark.parametrize(("status", "words"), [("running", "still going"), ("interrupted", "was stopped")])
def test_a_run_that_has_not_ended_is_marked_above_its_figures(
    database: Path, status: str, words: str
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE run SET status = ?", (status,))
    for fmt in ("table", "md"):
        page = " ".join(perfctl(database, "latest", "--format", fmt).stdout.split())
        assert page.startswith("UNFINISHED: run ") and words in page and "perfctl resume" in page
    assert "UNFINISHED" in json.loads(perfctl(database, "latest", "--format", "json").stdout)["notes"][0]
    assert "UNFINISHED" in perfctl(database, "latest", "--format", "csv").stderr
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE run SET status = 'complete'")
    assert "UNFINISHED" not in perfctl(database, "latest").stdout


def test_a_csv_row_says_of_which_run_it_is(database: Path) -> None:
    page = perfctl(database, "latest", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(page)))
    assert {(row["suite"], len(row["run_id"]), row["started"][-1]) for row in rows} == {("demo", 36, "Z")}
