"""What commands used as metrics: compared where it was measured by the same means, and not otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import Refused, UnknownName
from perfctl.model import Block, PlannedInvocation, ResourceUsage, Round, Track
from perfctl.report import comparison_report
from perfctl.store import open_store
from tests.unit import store_cases as cases

BLOCKS = tuple(cases.block(index=index) for index in range(8))
PLAN = replace(cases.PLAN, benchmarks=(cases.CPU,), rounds=(Round((Track(BLOCKS),)),))
SECONDS = {"native": 1.0, "container": 1.25}
NO_LAUNCHER = "there is no launcher in the image"

Used = Callable[[Block, PlannedInvocation], ResourceUsage | None]


def of_command(block: Block, planned: PlannedInvocation) -> ResourceUsage:
    noise = (block.index + (3 * block.index if planned.environment == "container" else 0)) / 1000
    seconds = SECONDS[planned.environment] * (1 + noise)
    return ResourceUsage(seconds, 0.0, 8 << 20, 1000 + block.index, 0, 5, 7)


def of_group(block: Block, planned: PlannedInvocation) -> ResourceUsage:
    used = of_command(block, planned)
    nothing = ResourceUsage.unknown(NO_LAUNCHER)
    return replace(nothing, user_s=used.user_s, system_s=0.25, source="cgroup")


def container(of_container: Used) -> Used:
    """Return the usage of a run whose native legs were measured by wait4."""

    def used(block: Block, planned: PlannedInvocation) -> ResourceUsage | None:
        return (of_container if planned.environment == "container" else of_command)(block, planned)

    return used


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def measure(path: Path, used: Used) -> str:
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for block in BLOCKS:
            block_id = store.writer.begin_block(run_id, block, attempt=1)
            for planned in block.invocations:
                leg = (planned.environment, planned.replicate)
                done = cases.record(block_id, *leg, position=planned.position, usage=used(block, planned))
                values = cases.samples(100.0 + block.index)
                store.writer.record_invocation(done, cases.METRICS, values)
            store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
    return run_id


def perfctl(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(path), *arguments])


def rows_of(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [row for row in json.loads(done.stdout)["rows"] if row["level"] == "host" and not row["is_aa"]]


def test_what_commands_used_is_compared_where_it_is_asked_for(path: Path) -> None:
    measure(path, of_command)
    (row,) = rows_of(perfctl(path, "compare", "latest", "--metric", "user_s", "--format", "json"))
    assert (row["metric"], row["unit"], row["environment"], row["blocks"]) == ("user_s", "s", "container", 8)
    assert row["ratio"] == pytest.approx(1.25, rel=0.05)
    assert (row["verdict"], row["words"].split(",")[0]) == ("different", "different: 1.26x higher")
    (same,) = rows_of(perfctl(path, "compare", "latest", "--metric", "max_rss_bytes", "--format", "json"))
    assert (same["value"], same["ratio"]) == (8 << 20, 1.0)


@pytest.mark.parametrize("asked", [(), ("--all-metrics",)])
def test_it_is_in_no_other_comparison(path: Path, asked: tuple[str, ...]) -> None:
    measure(path, of_command)
    done = perfctl(path, "compare", "latest", *asked, "--format", "json")
    assert {row["metric"] for row in rows_of(done)} == {"events_per_s"}
    assert "user_s" not in done.output


def test_a_count_of_zero_has_a_difference_and_no_ratio(path: Path) -> None:
    measure(path, of_command)
    (row,) = rows_of(perfctl(path, "compare", "latest", "--metric", "major_faults", "--format", "json"))
    assert (row["value"], row["baseline_value"], row["ratio"], row["difference"]) == (0, 0, None, 0)


def test_values_of_different_sources_are_not_compared_and_that_is_said(path: Path) -> None:
    measure(path, container(of_group))
    (row,) = rows_of(perfctl(path, "compare", "latest", "--metric", "user_s", "--format", "json"))
    assert (row["ratio"], row["value"], row["baseline_value"], row["blocks"]) == (None, None, None, 0)
    assert row["verdict"] == "inconclusive"
    table = " ".join(perfctl(path, "compare", "latest", "--metric", "user_s").stdout.split())
    assert "not compared: measured by cgroup against wait4 in 8 of 8 blocks" in table
    # Among themselves the native legs can be.
    with open_store(path) as store:
        report = comparison_report(store, "latest", metrics=["user_s"])
        aa = next(item for item in report.comparisons if item.is_aa)
        assert (aa.blocks, aa.ratio) == (8, 1.0)


def test_blocks_of_another_source_are_left_out_with_the_reason(path: Path) -> None:
    def used(block: Block, planned: PlannedInvocation) -> ResourceUsage:
        return container(of_group if block.index < 2 else of_command)(block, planned) or of_command(
            block, planned
        )

    measure(path, used)
    with open_store(path) as store:
        report = comparison_report(store, "latest", metrics=["user_s"])
    item = report.comparisons[0]
    assert (item.blocks, item.left_out, item.source) == (6, 2, "wait4")
    assert item.reasons == (("measured by other means", 2),)
    assert "measured by cgroup against wait4 in 2 of 8 blocks" in item.note


def test_two_containers_are_compared_by_their_control_groups(path: Path) -> None:
    measure(path, of_group)
    (row,) = rows_of(perfctl(path, "compare", "latest", "--metric", "user_s", "--format", "json"))
    assert row["ratio"] == pytest.approx(1.25, rel=0.05)


def test_what_is_missing_is_left_out_with_its_reason_and_never_zero(path: Path) -> None:
    measure(path, container(of_group))
    with open_store(path) as store:
        report = comparison_report(store, "latest", metrics=["max_rss_bytes"])
    item = report.comparisons[0]
    assert (item.value, item.blocks) == (None, 0)
    assert item.reasons == ((f"container: {NO_LAUNCHER}", 8),)
    with open_store(path) as store:
        lost = comparison_report(store, "latest", metrics=["max_rss_bytes"]).left_out[0]
    assert (lost.environment, lost.metric, lost.reason, lost.blocks) == (
        *("container", "max_rss_bytes"),
        *(NO_LAUNCHER, 8),
    )
    assert NO_LAUNCHER in perfctl(path, "compare", "latest", "--metric", "max_rss_bytes").stdout


def test_of_a_run_of_an_older_perfctl_there_is_nothing(path: Path) -> None:
    measure(path, lambda block, planned: None)
    with open_store(path) as store, pytest.raises(UnknownName, match="no metric 'user_s'") as caught:
        comparison_report(store, "latest", metrics=["user_s"])
    assert "what commands used" in (caught.value.hint or "")


def test_two_runs_are_compared_by_it_where_both_have_the_same_source(path: Path) -> None:
    first, second = measure(path, of_command), measure(path, of_command)
    done = perfctl(path, "compare", first, second, "--metric", "user_s", "--format", "json")
    assert [row["ratio"] for row in json.loads(done.stdout)["rows"] if row["level"] == "host"] == [1.0]
    other = measure(path, of_group)
    done = perfctl(path, "compare", first, other, "--metric", "user_s", "--format", "json")
    assert isinstance(done.exception, Refused)
    assert "nothing in common that could be compared" in str(done.exception)


def test_a_gate_decides_nothing_by_it_and_says_why(path: Path) -> None:
    measure(path, of_command)
    done = perfctl(path, "gate", "latest", "--max-regression", "5%", "--metric", "user_s", "--format", "json")
    rows = [row for row in json.loads(done.stdout)["rows"] if row["metric"]]
    assert [(row["metric"], row["state"], row["why"]) for row in rows] == [
        ("user_s", "excluded", "neither more nor less of it is better")
    ]


def test_why_leads_from_it_to_the_invocations(path: Path) -> None:
    measure(path, container(of_group))
    done = perfctl(path, "why", "latest", "user_s", "--format", "json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert "1.25" in done.stdout and len(rows) >= 8
