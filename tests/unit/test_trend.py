"""Histories with known truth, from a real database to `perfctl trend`."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName, UsageError
from perfctl.model import Direction, Reason, Status, Target
from perfctl.report.trend import TrendSeries, trend_report
from perfctl.report.trend_points import sparkline
from perfctl.store import Store, open_store
from tests.unit import history_cases as history
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, SLOW, add_run, facts, use_slow_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def trend(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(path), "trend", *arguments])


def text_of(result: Result) -> str:
    """Return what was printed on one line: notes wrap."""
    return " ".join(result.stdout.split())


def container_series(path: Path, **options: object) -> TrendSeries:
    with open_store(path, read_only=True) as store:
        report = trend_report(store, "cpu-1", **options)  # type: ignore[arg-type]
    (found,) = [one for one in report.series if one.environment == "container"]
    return found


def add_runs(store: Store, ratios: list[float], **options: object) -> list[str]:
    return [
        add_run(store, ratio=ratio, blocks=6, seed=seed, **options)  # type: ignore[arg-type]
        for seed, ratio in enumerate(ratios)
    ]


def test_a_change_is_confirmed_at_the_right_run(path: Path) -> None:
    with open_store(path, create=True) as store:
        runs = add_runs(store, [0.95] * 10 + [0.85] * 10)
    found = container_series(path)
    (change,) = found.changes
    assert (change.index, change.state, change.reason) == (10, "confirmed", "")
    assert found.points[change.index].run_id == runs[10]
    assert change.factor == pytest.approx(0.85 / 0.95, rel=0.01)
    assert change.facts == ()
    assert (found.breaks, found.lacking, found.unknown_facts) == ((), 0, 20)


def test_what_the_machine_does_to_both_is_no_change_and_the_raw_baseline_never_an_alarm(path: Path) -> None:
    with open_store(path, create=True) as store:
        for seed in range(20):
            add_run(store, ratio=0.9, baseline=1000.0 if seed < 10 else 700.0, blocks=6, seed=seed)
        report = trend_report(store, "cpu-1")
    raw, container = report.series
    assert (raw.environment, raw.baseline, container.environment) == (None, "native", "container")
    assert container.changes == ()
    (change,) = raw.changes
    assert (change.index, change.state) == (10, "suspected")
    assert "never counts as an alarm" in change.reason


def test_a_changed_fingerprint_begins_a_segment_and_is_no_alarm(path: Path) -> None:
    old, new = facts(kernel_release="6.1", now_load="0.1"), facts(kernel_release="6.12", now_load="0.2")
    with open_store(path, create=True) as store:
        add_runs(store, [0.95] * 7, fingerprint=old)
        add_runs(store, [0.85] * 4, fingerprint=new)
    found = container_series(path)
    assert found.changes == ()
    assert [item.index for item in found.breaks] == [7]
    assert found.breaks[0].differences == ("h1: kernel.release: 6.1 -> 6.12",)
    assert (found.lacking, found.unknown_facts) == (2, 0)
    text = text_of(trend(path, "cpu-1"))
    assert "new segment from run" in text and "kernel.release: 6.1 -> 6.12" in text
    assert "its newest segment needs 2 more runs" in text
    assert "|" in sparkline(found.points, [7])


def test_what_changed_inside_an_environment_begins_a_segment_too(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95] * 2, inside=facts(environment_image="sha256:aa"))
        add_runs(store, [0.95] * 2, inside=facts(environment_image="sha256:bb"))
    (broken,) = container_series(path).breaks
    assert broken.differences == ("container on h1: environment.image: sha256:aa -> sha256:bb",)


def test_a_row_that_only_one_version_reads_begins_no_segment(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95], fingerprint=facts(kernel_release="6.1"))
        add_runs(store, [0.95], fingerprint=facts(kernel_release="6.1", cpu_max="3000"))
    assert container_series(path).breaks == ()


def test_an_environment_that_is_defined_otherwise_begins_a_segment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95])
        monkeypatch.setattr(cases, "CONTAINER", replace(cases.CONTAINER, network="host"))
        add_runs(store, [0.95])
    (broken,) = container_series(path).breaks
    assert broken.differences == ("container: the environment is defined otherwise",)


def test_facts_that_start_no_segment_are_told_with_the_change(path: Path) -> None:
    with open_store(path, create=True) as store:
        for seed in range(16):
            changed = seed >= 8
            read = facts(
                kernel="6.1", now_neighbours="qemu" if changed else "none", now_load=str(seed), now_swap="off"
            )
            add_run(store, ratio=0.8 if changed else 0.95, blocks=6, seed=seed, fingerprint=read)
    (change,) = container_series(path).changes
    assert change.facts == ("h1: now.neighbours: none -> qemu",)
    assert "with it: h1: now.neighbours: none -> qemu" in text_of(trend(path, "cpu-1"))


def test_few_runs_say_how_many_are_lacking(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95])
    found = container_series(path)
    assert (len(found.points), found.lacking, found.changes) == (1, 5, ())
    text = text_of(trend(path, "cpu-1"))
    assert "it needs 5 more runs before a change can be seen" in text
    assert "1.05x slower" in text


def test_small_steps_are_below_the_margin(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95] * 8 + [0.955] * 8)
    assert container_series(path).changes == ()


@pytest.mark.parametrize(("level", "changes"), [(0.055, 0), (55.0, 1)])
def test_a_step_of_the_tool_is_no_change(
    path: Path, monkeypatch: pytest.MonkeyPatch, level: float, changes: int
) -> None:
    use_slow_disk(monkeypatch)
    with open_store(path, create=True) as store:
        for seed in range(16):
            ratio = 0.8 if seed >= 8 else 1.0
            add_run(store, benchmarks=[SLOW], baseline=level, noise=0.03, ratio=ratio, seed=seed)
        report = trend_report(store, "slow")
    (series,) = (one for one in report.series if one.environment == "container")
    assert len(series.changes) == changes


def test_other_parameters_are_another_benchmark_and_another_name_is_the_same_one(path: Path) -> None:
    other = replace(cases.CPU, parameters={"test": "cpu", "threads": 4})
    renamed = replace(cases.CPU, name="cpu-one")
    with open_store(path, create=True) as store:
        add_run(store, benchmarks=[other])
        add_run(store, benchmarks=[renamed])
        add_run(store)
        report = trend_report(store, "cpu-1")
    assert report.benchmark.key == cases.CPU.key
    assert report.runs == 2
    assert [len(one.points) for one in report.series] == [2, 2]
    assert report.left_out == ("1 run of cpu-1 as sysbench test=cpu threads=4: another benchmark",)
    assert "left out: 1 run of cpu-1 as sysbench" in text_of(trend(path, "cpu-1"))


def test_another_unit_is_another_series(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(path, create=True) as store:
        for unit in ("1/min", "1/s"):
            metric = replace(cases.SPEED, unit=unit)
            monkeypatch.setattr(cases, "SPEED", metric)
            monkeypatch.setattr(cases, "METRICS", (metric,))
            monkeypatch.setattr(cases.samples, "__kwdefaults__", {"metric": metric, "warmups": 0})
            add_run(store)
        report = trend_report(store, "cpu-1")
    assert [(one.metric.unit, len(one.points)) for one in report.series] == [("1/s", 1)] * 2
    assert report.left_out == ("1 run with events_per_s in 1/min, higher is better: not of this series",)


def test_a_value_that_is_not_positive_has_no_ratio(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_run(store, ratio=-1.0)
        add_run(store, ratio=0.9)
    found = container_series(path)
    assert (len(found.points), found.without_ratio) == (1, 1)


def test_blocks_without_the_environment_are_left_out_of_the_point(path: Path) -> None:
    skipped = {"status": Status.SKIPPED, "reason": Reason.ENVIRONMENT_UNAVAILABLE}
    with open_store(path, create=True) as store:
        add_run(store, fail={0: skipped, 3: skipped})
        add_run(store, fail=dict.fromkeys(range(8), skipped))
    found = container_series(path)
    assert [point.blocks for point in found.points] == [6]


def test_what_is_invalid_by_its_counters_is_in_no_point(path: Path) -> None:
    judged = {"validity": "invalid", "validity_json": '{"findings": []}'}
    with open_store(path, create=True) as store:
        add_run(store, fail={0: judged, 1: judged | {"validity": "flagged"}})
    assert [point.blocks for point in container_series(path).points] == [7]


def test_one_block_is_a_point_without_an_interval(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_run(store, ratio=0.9, blocks=1)
    (point,) = container_series(path).points
    assert (point.blocks, point.low, point.high) == (1, None, None)


def test_no_spread_at_all_is_at_most_suspected(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.9] * 8, noise=0.0)
        add_runs(store, [0.8] * 8, noise=0.0)
    (change,) = container_series(path).changes
    assert change.state == "suspected" and "zero variance" in change.reason


def test_series_can_be_narrowed_and_unknown_names_are_refused(path: Path) -> None:
    pair = Target("h1", "h2")
    with open_store(path, create=True) as store:
        add_run(store, targets=(H1, H2, pair))
        hosts = [str(one.target) for one in trend_report(store, "cpu-1", hosts=["h2"]).series]
        assert hosts == ["h1->h2", "h1->h2", "h2", "h2"]
        for name, options, message, hint in (
            ("cpu-l", {}, "no benchmark 'cpu-l'", "did you mean cpu-1?"),
            ("cpu-1", {"metric": "events_per_ss"}, "no metric", "did you mean events_per_s?"),
            ("cpu-1", {"environments": ["containr"]}, "no environment", "did you mean container?"),
            ("cpu-1", {"hosts": ["h7"]}, "no host 'h7'", "h1"),
        ):
            with pytest.raises(UnknownName, match=message) as caught:
                trend_report(store, name, **options)
            assert hint in (caught.value.hint or "")


def test_without_a_name_the_benchmarks_are_listed(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_run(store)
    error = trend(path).exception
    assert isinstance(error, UsageError) and "cpu-1" in (error.hint or "")


def test_an_empty_database_has_no_benchmark(path: Path) -> None:
    with open_store(path, create=True) as store, pytest.raises(UnknownName) as caught:
        trend_report(store, "cpu-1")
    assert caught.value.hint == "there are: none yet"


def test_a_benchmark_without_any_value_says_so(path: Path) -> None:
    with open_store(path, create=True) as store:
        cases.begin_run(store)
        report = trend_report(store, "cpu-1", metric="anything")
    assert report.series == ()
    result = trend(path, "cpu-1")
    assert result.exit_code == 0 and "no run has a value of it" in text_of(result)


def test_guests_of_two_accelerators_are_two_series_and_what_is_emulated_says_so(path: Path) -> None:
    with open_store(path, create=True) as store:
        for accelerator in ("kvm", "tcg", "kvm"):
            add_run(store, fail={block: {"accelerator": accelerator} for block in range(8)})
        report = trend_report(store, "cpu-1", environments=["container"])
    counts = [(one.accelerator, len(one.points), one.is_emulated) for one in report.series]
    assert counts == [(None, 3, False), ("kvm", 2, False), ("tcg", 1, True)]
    assert "emulated: not an overhead figure" in text_of(trend(path, "cpu-1"))


def test_json_has_every_point_and_is_the_same_to_the_byte(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95] * 8 + [0.85] * 8, fingerprint=history.facts(kernel="6.1"))
    first, second = (trend(path, "cpu-1", "--format", "json", "--last", "1").stdout for _ in range(2))
    assert first == second
    rows = json.loads(first)["rows"]
    assert len(rows) == 32
    changed = [row for row in rows if row["environment"] == "container" and row["change"]]
    assert [(row["change"], row["segment"]) for row in changed] == [("confirmed", 1)]
    assert {row["direction"] for row in rows} == {Direction.HIGHER.value}
    page = trend(path, "cpu-1", "--last", "1").stdout
    assert len(re.findall(r"T\d\d:\d\d:\d\dZ", page)) == 2, "one row of each series"
    assert max(map(len, page.splitlines())) <= 120


def test_a_series_without_a_change_says_so(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_runs(store, [0.95] * 10)
    assert "container: no change found in 10 runs" in text_of(trend(path, "cpu-1"))


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_point_of_an_unfinished_run_is_marked(path: Path, status: str) -> None:
    with open_store(path, create=True) as store:
        *_, last = add_runs(store, [0.95] * 3)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET status = ? WHERE run_id = ?", (status, last))
    page = trend(path, "cpu-1").stdout
    (marked,) = {line for line in page.splitlines() if f"unfinished ({status})" in line and "slower" in line}
    assert marked.startswith(last[-12:])
    rows = json.loads(trend(path, "cpu-1", "--format", "json").stdout)["rows"]
    assert {row["run_id"] for row in rows if row["status"] == status} == {last}
