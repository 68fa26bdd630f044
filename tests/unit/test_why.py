"""From a value back to real outputs of sysbench, through the store and `perfctl why`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import DataError, UnknownName
from perfctl.model import Benchmark, Environment, Plan, Reason, Round, Status, Target, Track, new_id
from perfctl.render.cells import cell_texts
from perfctl.render.why import why_view
from perfctl.report.comparison import comparison_report
from perfctl.report.outliers import outliers
from perfctl.report.output_lines import output_lines
from perfctl.report.why import WhyCell, WhyReport, why_report
from perfctl.store import RunReader, Store, StoredBenchmark, open_store
from perfctl.store.run_records import JudgedValue, Place
from perfctl.validity.assessment import Assessment
from perfctl.validity.context import Expected, JudgementContext
from perfctl.validity.finding import Finding, Severity
from perfctl.validity.rules import Validity
from perfctl.workloads import WORKLOADS, known_workload, resolve_parameters
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, add_run

DATA = Path(__file__).parents[1] / "data" / "sysbench" / "cpu"
TEXT = (DATA / "stdout").read_text()
SYSBENCH = WORKLOADS["sysbench"]
PARAMETERS = resolve_parameters(SYSBENCH, {"test": "cpu"})
CPU = Benchmark("cpu-1", "sysbench", PARAMETERS, expected_s=10)
STORED = StoredBenchmark("cpu-1", "sysbench", PARAMETERS, CPU.key)


def report(rate: float) -> str:
    """The captured report with another rate, and the time that its events then took."""
    return TEXT.replace("4216.72", f"{rate:.2f}").replace("1.0002s", f"{4221 / rate:.4f}s")


def sysbench_run(
    store: Store,
    *,
    blocks: int = 7,
    environments: Sequence[Environment] = (cases.NATIVE, cases.CONTAINER),
    changes: Mapping[tuple[int, str], Mapping[str, object]] | None = None,
) -> str:
    """A run with real outputs: 1000 events/s natively, 900 in the container, a little more in each block."""
    names = {item.name for item in environments}
    all_legs = [cases.block(H1, index) for index in range(blocks)]
    order = [
        replace(item, invocations=tuple(leg for leg in item.invocations if leg.environment in names))
        for item in all_legs
    ]
    plan = Plan("demo", "42", "native", tuple(environments), (CPU,), (Round((Track(tuple(order)),)),))
    run_id = new_id()
    store.writer.begin_run(
        run_id, plan, "{}", cases.HOSTS, command=("perfctl",), perfctl_version="0.1.0", inventory=()
    )
    for block in order:
        block_id = store.writer.begin_block(run_id, block, attempt=1)
        for planned in block.invocations:
            rate = (900 if planned.environment == "container" else 1000) + block.index + planned.replicate / 4
            text = report(rate)
            done = cases.record(
                block_id,
                planned.environment,
                planned.replicate,
                position=planned.position,
                stdout=text.encode(),
            )
            changed = (changes or {}).get((block.index, planned.environment), {})
            done = replace(done, **changed)  # type: ignore[arg-type]
            samples = SYSBENCH.parse(done.stdout.decode(), PARAMETERS) if done.status is Status.OK else []
            store.writer.record_invocation(done, SYSBENCH.metrics(PARAMETERS), samples)
        store.writer.end_block(block_id, "complete")
    store.writer.end_run(run_id, "complete")
    return run_id


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def perfctl(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(path), *arguments])


def why_report_of(path: Path, metric: str = "events_per_second") -> WhyReport:
    with open_store(path, read_only=True) as store:
        return why_report(store, "latest", metric)


def cell_of(path: Path, metric: str = "events_per_second", **options: str) -> WhyCell:
    with open_store(path, read_only=True) as store:
        (cell,) = why_report(store, "latest", metric, **options).cells
    return cell


def test_a_cell_has_its_blocks_their_order_and_the_lines(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store)
    cell = cell_of(path)
    assert (cell.environment, cell.baseline, cell.unit, cell.complete) == (
        "container",
        "native",
        "events/s",
        7,
    )
    block = cell.blocks[2]
    assert (block.block, block.attempt, block.counts) == (2, 1, True)
    assert block.order == ("container", "native", "native A2")
    assert block.base is not None and block.leg is not None
    assert (block.base.evidence.value, block.leg.evidence.value) == (1002.25, 902.25)
    assert block.difference == pytest.approx(-0.1051, abs=1e-4)
    (line,) = block.leg.lines.lines
    number = 1 + next(i for i, text in enumerate(TEXT.splitlines()) if "4216.72" in text)
    assert (line.number, line.text) == (number, "    events per second:  902.25")
    assert block.leg.lines.how == ""


def test_the_baseline_against_itself_is_its_aa_test(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store)
    block = cell_of(path, environment="native").blocks[0]
    assert block.base is not None and block.leg is not None
    assert (block.base.evidence.replicate, block.leg.evidence.replicate) == (1, 2)


def test_where_only_the_baseline_was_measured_its_aa_test_is_shown(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store, environments=(cases.NATIVE,))
    cell = cell_of(path)
    assert (cell.environment, cell.baseline, cell.complete) == ("native", "native", 7)
    assert "events per second:" in perfctl(path, "why", "latest", "events_per_second").output


def test_a_gate_on_only_the_baseline_says_what_to_name(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store, environments=(cases.NATIVE,))
    done = perfctl(path, "gate", "latest", "--max-regression", "2%")
    assert isinstance(done.exception, DataError)
    assert "only the baseline was measured: compare runs, --baseline RUN" in done.output


def test_outliers_invalid_and_failed_executions_are_flagged_and_counted_out(path: Path) -> None:
    spike = report(300).encode()
    failed = {
        "status": Status.FAILED,
        "reason": Reason.TIMEOUT,
        "detail": "not done after 40 s",
        "stdout": b"",
    }
    with open_store(path, create=True) as store:
        sysbench_run(
            store,
            blocks=9,
            changes={(3, "container"): {"stdout": spike}, (5, "container"): failed},
        )
    cell = cell_of(path)
    flags = {block.block: block.leg.flags for block in cell.blocks if block.leg and block.leg.flags}
    assert flags == {3: ("outlier",), 5: ("failed (timeout)",)}
    assert cell.complete == 8
    assert cell.blocks[5].difference is None
    text = perfctl(path, "why", "latest", "events_per_second").stdout
    assert re.search(r"3 +1 +container +outlier ", text)
    assert re.search(r"5 +1 +container +failed \(timeout\) ", text)
    assert "not done after 40 s" in text
    assert "events per second:  300.00" in text
    assert "perfctl show" in text and "--artifact stdout" in text


def test_what_the_counters_say_is_a_flag_and_invalid_gives_no_difference(path: Path) -> None:
    judged = {"validity_json": '{"findings": []}'}
    changes = {
        (1, "container"): judged | {"validity": "invalid"},
        (2, "container"): judged | {"validity": "flagged"},
    }
    with open_store(path, create=True) as store:
        sysbench_run(store, changes=changes)
    blocks = cell_of(path).blocks
    assert [block.leg.flags for block in blocks[:3] if block.leg] == [(), ("invalid",), ("flagged",)]
    assert [block.difference is None for block in blocks[:3]] == [False, True, False]


def test_a_metric_that_nobody_measured_says_why(path: Path) -> None:
    missing = {
        "status": Status.SKIPPED,
        "reason": Reason.TOOL_MISSING,
        "detail": "no sysbench",
        "stdout": b"",
    }
    with open_store(path, create=True) as store:
        sysbench_run(
            store, changes={(index, name): missing for index in range(7) for name in ("native", "container")}
        )
    cell = cell_of(path, "latency_p95")
    assert (cell.complete, cell.unit) == (0, "ms")
    assert {execution.flags for block in cell.blocks if (execution := block.leg)} == {
        ("skipped (tool_missing)",)
    }
    text = perfctl(path, "why", "latest", "latency_p95").stdout
    assert "no block has both values" in text and "no sysbench" in text


def test_another_attempt_is_shown_and_does_not_count(path: Path) -> None:
    with open_store(path, create=True) as store:
        run_id = sysbench_run(store, blocks=1)
        block_id = store.writer.begin_block(run_id, cases.block(H1, 0), attempt=2)
        store.writer.end_block(block_id, "failed")
        again = store.writer.begin_block(run_id, cases.block(H1, 1), attempt=1)
        done = cases.record(again, stdout=TEXT.encode())
        store.writer.record_invocation(done, SYSBENCH.metrics(PARAMETERS), SYSBENCH.parse(TEXT, PARAMETERS))
        store.writer.end_block(again, "failed")
        third = store.writer.begin_block(run_id, cases.block(H1, 1), attempt=2)
        done = cases.record(third, stdout=TEXT.encode())
        store.writer.record_invocation(done, SYSBENCH.metrics(PARAMETERS), SYSBENCH.parse(TEXT, PARAMETERS))
        store.writer.end_block(third, "complete")
    blocks = cell_of(path).blocks
    assert [(item.block, item.attempt, item.counts) for item in blocks] == [
        (0, 1, True),
        (1, 1, False),
        (1, 2, True),
    ]
    assert [item.difference is None for item in blocks] == [False, True, True]


def test_json_has_every_execution_and_is_the_same_to_the_byte(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store, blocks=2)
    first, second = (
        perfctl(path, "why", "latest", "events_per_second", "--format", "json").stdout for _ in range(2)
    )
    assert first == second
    rows = json.loads(first)["rows"]
    assert [(row["block"], row["leg"]) for row in rows] == [
        (0, "native"),
        (0, "container"),
        (1, "native"),
        (1, "container"),
    ]
    assert rows[0]["lines"][0]["text"].strip() == "events per second:  1000.25"
    assert rows[0]["value"] == 1000.25 and rows[0]["flags"] == []


def test_many_cells_are_only_listed(path: Path) -> None:
    targets = [Target(f"h{number}") for number in range(9)]
    with open_store(path, create=True) as store:
        add_run(store, targets=targets, blocks=1)
    result = perfctl(path, "why", "latest", "events_per_s")
    assert "9 cells have events_per_s: name one with --benchmark" in result.stdout
    assert "lines of output" not in result.stdout
    assert "lines of output" in perfctl(path, "why", "latest", "events_per_s", "--host", "h3").stdout


def test_unknown_names_are_refused_with_close_ones(path: Path) -> None:
    with open_store(path, create=True) as store:
        with pytest.raises(UnknownName, match="no run yet"):
            why_report(store, "latest", "latency_p95")
        sysbench_run(store, blocks=1)
        for metric, options, hint in (
            ("latency_p59", {}, "did you mean latency_p95"),
            ("latency_p95", {"benchmark": "cpu-2"}, "did you mean cpu-1"),
            ("latency_p95", {"environment": "containr"}, "did you mean container"),
            ("latency_p95", {"host": "h9"}, "there are: h1, h2"),
        ):
            with pytest.raises(UnknownName) as caught:
                why_report(store, "latest", metric, **options)
            assert hint in (caught.value.hint or "")


def test_a_number_that_stands_elsewhere_too_is_not_the_line() -> None:
    text = TEXT.replace("Number of threads: 1\n", "Number of threads: 1\nnote 4216.72\n", 1)
    found = output_lines(text, [4216.72], "events_per_second", SYSBENCH, STORED.parameters)
    assert [line.text.strip() for line in found.lines] == ["events per second:  4216.72"]


def test_values_that_are_no_number_of_the_output_name_the_lines_they_come_from() -> None:
    fileio = Path(__file__).parents[1] / "data" / "sysbench" / "memory-total"
    stdout = (fileio / "stdout").read_text()
    parameters = json.loads((fileio / "argv.json").read_text())["parameters"]
    whole = resolve_parameters(SYSBENCH, parameters)
    for sample in SYSBENCH.parse(stdout, whole):
        found = output_lines(stdout, [sample.value], sample.metric, SYSBENCH, whole)
        assert found.lines, sample.metric
        moved = output_lines(stdout, [sample.value * 1.7 + 3.1], sample.metric, SYSBENCH, whole)
        assert moved.how == "converted or computed from these lines", sample.metric


def test_an_output_of_a_workload_that_is_gone_shows_every_such_number() -> None:
    gone = known_workload(replace(STORED, workload="quickbench"))
    found = output_lines("a 5\nb 5.0\nc 6\n", [5.0], "speed", gone, {})
    assert [line.number for line in found.lines] == [1, 2]
    assert "the workload is gone" in found.how
    assert output_lines("", [5.0], "speed", gone, {}).lines == ()


def test_a_pair_belongs_to_both_hosts(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_run(store, targets=[Target("h1", "h2"), H2], blocks=1)
        cells = why_report(store, "latest", "events_per_s", host="h1").cells
        assert [str(cell.target) for cell in cells] == ["h1->h2"]
        assert len(why_report(store, "latest", "events_per_s", host="h2").cells) == 2


# ---- what was counted as an outlier was measured ---------------------------------------------------------

STEAL = Finding("steal", Severity.FLAGGED, 4, "% of all CPU time", 1, "the hypervisor gave 4 % to others")
NOISE = Finding("heat", Severity.FLAGGED, 1, "times", 0, "a CPU was slowed down once")


def judged(*found: Finding) -> Mapping[str, object]:
    """What is stored of an invocation that was judged."""
    made = Assessment(Validity(found), JudgementContext(Expected()))
    return {"validity": made.validity.verdict.value, "validity_json": made.to_json()}


def with_rate(rate: float) -> Mapping[str, object]:
    return {"stdout": report(rate).encode()}


OUTLIERS = {
    (1, "container"): {**with_rate(400.0), **judged(STEAL, NOISE)},
    (2, "container"): {**with_rate(500.0), **judged()},
    (3, "container"): with_rate(600.0),
    (4, "container"): judged(NOISE),
}


def test_an_outlier_names_what_was_counted_or_that_nothing_was(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store, blocks=15, changes=OUTLIERS)
    legs = {block.block: block.leg for block in cell_of(path).blocks if block.leg is not None}
    assert {number: (leg.flags, leg.counted) for number, leg in legs.items() if leg.flags} == {
        1: (
            ("outlier", "flagged"),
            "the hypervisor gave 4 % to others; a CPU was slowed down once",
        ),
        2: (("outlier",), "nothing unusual was counted"),
        3: (("outlier",), "nothing was counted: it was not judged"),
        4: (("flagged",), "a CPU was slowed down once"),
    }
    printed = perfctl(path, "why", "latest", "events_per_second").stdout
    for words in (
        "counted meanwhile",
        "the hypervisor gave 4 % to others",
        "nothing unusual was counted",
    ):
        assert words in printed
    rows = json.loads(perfctl(path, "why", "latest", "events_per_second", "--format", "json").stdout)["rows"]
    (row,) = [item for item in rows if item["leg"] == "container" and item["block"] == 1]
    assert row["findings"] == ["the hypervisor gave 4 % to others", "a CPU was slowed down once"]


def test_no_cell_is_wider_than_sixty_characters_and_json_has_all(path: Path) -> None:
    detail = {"status": Status.FAILED, "reason": Reason.TIMEOUT, "detail": "why " * 50, "stdout": b""}
    with open_store(path, create=True) as store:
        sysbench_run(store, changes={(1, "container"): detail})
    view = why_view(why_report_of(path))
    assert len(view.tables) == 3
    cells = [cell for section in view.tables for row in cell_texts(section) for cell in row]
    assert max(map(len, cells)) <= 60 and any(cell.endswith("…") for cell in cells)
    assert max(map(len, perfctl(path, "why", "latest", "events_per_second").stdout.splitlines())) <= 120
    rows = json.loads(perfctl(path, "why", "latest", "events_per_second", "--format", "json").stdout)["rows"]
    assert "why " * 50 in {row["detail"] for row in rows}


def test_a_cell_without_flags_has_no_table_of_them(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store)
    assert "counted meanwhile" not in perfctl(path, "why", "latest", "events_per_second").stdout


def test_a_report_has_each_outlier_once_with_what_was_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path, create=True) as store:
        run_id = sysbench_run(
            store, blocks=15, changes=OUTLIERS | {(5, "native"): {**with_rate(50.0), **judged(STEAL)}}
        )
        comparisons = comparison_report(store, run_id).comparisons
        asked: list[int] = []
        judged_values = RunReader.judged_values

        def noted(run: RunReader, places: Sequence[Place]) -> list[tuple[Place, JudgedValue]]:
            asked.append(len(places))
            return judged_values(run, places)

        monkeypatch.setattr(RunReader, "judged_values", noted)
        found = outliers(store.run(run_id), comparisons)
    assert asked == [5]
    by_leg = {(item.environment, item.replicate, item.block): item for item in found}
    assert len(found) == len(by_leg)
    # Both replicates of the baseline are said to be 50 there.
    assert set(by_leg) == {("native", 1, 5), ("native", 2, 5), *(("container", 1, n) for n in (1, 2, 3))}
    assert by_leg["container", 1, 1].value == 400.0
    assert by_leg["native", 2, 5].counted == "the hypervisor gave 4 % to others"
    assert by_leg["container", 1, 2].counted == "nothing unusual was counted"


def test_compare_lists_outliers_with_what_was_counted(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store, blocks=15, changes=OUTLIERS)
    printed = perfctl(path, "compare", "latest").stdout
    head, _, table = printed.partition("outliers (they are in every figure)")
    assert "gave 4 % to others" not in head
    for words in ("gave 4 % to others; a CPU", "nothing unusual was counted", "it was not judged"):
        assert words in table
    rows = json.loads(perfctl(path, "compare", "latest", "--format", "json").stdout)["rows"]
    by_leg = {row["environment"]: row["outliers"] for row in rows if row["level"] == "host"}
    assert by_leg["native"] == []
    assert [(item["block"], item["value"]) for item in by_leg["container"]] == [
        (1, 400.0),
        (2, 500.0),
        (3, 600.0),
    ]
    assert by_leg["container"][0]["findings"] == [STEAL.sentence, NOISE.sentence]
    assert by_leg["container"][1]["findings"] == []


def test_compare_without_outliers_says_nothing_of_them(path: Path) -> None:
    with open_store(path, create=True) as store:
        sysbench_run(store)
    assert "in every figure" not in perfctl(path, "compare", "latest").stdout


def test_many_outliers_are_cut_for_people_and_counted(path: Path) -> None:
    far = {(index, "container"): with_rate(10.0 + index) for index in range(0, 100, 4)}
    with open_store(path, create=True) as store:
        sysbench_run(store, blocks=100, changes=far)
    table = perfctl(path, "compare", "latest").stdout.partition("outliers (they are")[2]
    assert table.count("it was not judged") == 20
    assert "and 5 more (--format json has them)" in table


def test_without_outliers_nothing_is_read(path: Path) -> None:
    with open_store(path, create=True) as store:
        run_id = sysbench_run(store)
        assert outliers(store.run(run_id), comparison_report(store, run_id).comparisons) == ()
