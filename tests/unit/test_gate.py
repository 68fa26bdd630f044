"""Runs with known regressions, from a real database to `perfctl gate` and its JUnit XML."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import DataError, PerfctlError, RegressionFound, UnknownName, UsageError
from perfctl.model import Direction, Observation, Reason, Status, Target
from perfctl.render.junit import junit_xml
from perfctl.report.gate import GateReport, GateState, decide, gate_report, worse_by
from perfctl.report.gate_tests import GateTest, with_p
from perfctl.stats.paired import paired_rows
from perfctl.store import HistoryCell, RunReader, open_store
from perfctl.store.history import History
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2, SLOW, add_run, facts, use_slow_disk

FIVE = tuple(Target(f"h{number}") for number in range(1, 6))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def gated(path: Path, limit: float = 0.02, **options: object) -> GateReport:
    with open_store(path, read_only=True) as store:
        return gate_report(store, "latest", max_regression=limit, **options)  # type: ignore[arg-type]


def states(report: GateReport) -> list[tuple[str, str]]:
    return [(line.target, line.state.value) for line in report.lines]


def run_of(path: Path, **options: object) -> str:
    with open_store(path, create=True) as store:
        return add_run(store, **options)  # type: ignore[arg-type]


def cli(path: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main_group, ["--db", str(path), "gate", "latest", *arguments])
    if isinstance(result.exception, PerfctlError):
        return result.exception.exit_code, result.stdout
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("ratio", "state"), [(0.95, "crossed"), (0.98, "undecided"), (0.995, "passed"), (0.98039, "undecided")]
)
def test_a_rate_that_falls_is_worse(path: Path, ratio: float, state: str) -> None:
    run_of(path, ratio=ratio, blocks=10)
    (line,) = gated(path).lines
    assert line.state.value == state
    assert line.worse == pytest.approx(1 / ratio - 1, abs=0.003)


@pytest.mark.parametrize(("ratio", "state"), [(1.05, "crossed"), (1.005, "passed"), (0.9, "undecided")])
def test_a_time_that_grows_is_worse(
    path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, state: str
) -> None:
    lower = replace(cases.SPEED, direction=Direction.LOWER)
    monkeypatch.setattr(cases, "METRICS", (lower,))
    run_of(path, ratio=ratio, blocks=10)
    (line,) = gated(path).lines
    assert line.state.value == state
    assert line.worse == pytest.approx(ratio - 1, abs=0.003)
    if state == "undecided":
        assert "likely artefact" in line.why, "it is better than native beyond its interval"


def test_a_neutral_metric_is_never_gated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "METRICS", (replace(cases.SPEED, direction=Direction.NEUTRAL),))
    run_of(path, ratio=2.0)
    (line,) = gated(path).lines
    assert (line.state, line.worse) == (GateState.EXCLUDED, None)
    assert worse_by(2.0, line.metric) is None


def test_the_limit_is_the_same_factor_up_and_down() -> None:
    assert worse_by(1.02, replace(cases.SPEED, direction=Direction.LOWER)) == pytest.approx(0.02)
    assert worse_by(1 / 1.02, cases.SPEED) == pytest.approx(0.02)


@pytest.mark.parametrize(("level", "state"), [(0.055, "undecided"), (55.0, "crossed")])
@pytest.mark.parametrize("targets", [(H1,), FIVE], ids=["host", "fleet"])
def test_less_than_the_tools_step_is_not_gated(
    path: Path, monkeypatch: pytest.MonkeyPatch, targets: tuple[Target, ...], level: float, state: str
) -> None:
    """0.05 and 0.06 MiB/s may be 1 % apart, though they read as 17 %."""
    use_slow_disk(monkeypatch)
    run_of(path, benchmarks=(SLOW,), baseline=level, noise=0.03, ratio=0.85, blocks=12, targets=targets)
    (line,) = gated(path, limit=0.05).lines
    assert line.state.value == state
    assert ("the tool's step, 0.01 MiB/s, is 20 % of the value" in line.why) is (state == "undecided")


def test_exit_codes(path: Path) -> None:
    run_of(path, ratio=0.98, blocks=10)
    assert cli(path, "--max-regression", "2%")[0] == 8, "nothing was decided"
    assert cli(path, "--max-regression", "2%", "--strict")[0] == 5
    assert cli(path, "--max-regression", "0.5%")[0] == 5
    assert cli(path, "--max-regression", "5 %", "--strict")[0] == 0
    for wrong in ("2", "-1%", "nan%", "inf%", "two%", "2%%"):
        assert cli(path, "--max-regression", wrong)[0] == 2, wrong


def test_the_table_has_the_decision_and_its_own_p(path: Path) -> None:
    run_of(path, ratio={"h1": 0.9, "h2": 0.999}, targets=(H1, H2), blocks=10)
    page = cli(path, "--max-regression", "2%", "--per-host")[1]
    crossed, passed = [re.split(r" {2,}", line) for line in page.splitlines() if line[:3] in ("h1 ", "h2 ")]
    assert (crossed[2], crossed[5]) == ("1.11x slower", "crossed")
    assert re.fullmatch(r"\+11\.\d %", crossed[4])
    assert passed[5] == "passed"
    assert float(crossed[6]) <= 0.05 < float(crossed[7]) and float(passed[7]) <= 0.05 < float(passed[6])
    assert "different" not in page, "the gate's words, not those of a comparison"


def test_few_blocks_zero_variance_and_ties_are_undecided(path: Path) -> None:
    for options, reason in (
        ({"blocks": 1}, "one block"),
        ({"blocks": 5}, "n < 6"),
        ({"noise": 0.0}, "zero variance"),
    ):
        run_of(path, ratio=0.5, **options)
        report = gated(path)
        assert states(report) == [("h1", "undecided")]
        assert reason in report.lines[0].why
        with pytest.raises(DataError, match="decided nothing"):
            report.raise_for_regression(strict=False)
        assert report.conclusion(strict=False).startswith("NOT DECIDED: ")
        with pytest.raises(RegressionFound, match="1 undecided of 1 line"):
            report.raise_for_regression(strict=True)
        assert report.conclusion(strict=True).startswith("FAIL: 1 undecided")


def test_a_gate_that_decides_nothing_says_how_many_blocks_would(path: Path) -> None:
    run_of(path, ratio=0.5, blocks=3)
    report = gated(path)
    assert report.lines[0].needed == 6
    with pytest.raises(DataError) as caught:
        report.raise_for_regression(strict=False)
    assert "perfctl run --suite demo --blocks 6" in (caught.value.hint or "")
    code, page = cli(path, "--max-regression", "2%")
    assert (code, page.splitlines()[-1].split(":")[0]) == (8, "NOT DECIDED")
    run_of(path, ratio=0.98, blocks=10)
    (line,) = gated(path).lines
    assert line.needed is not None and line.needed > 10


def test_the_last_line_is_pass_or_fail(path: Path) -> None:
    run_of(path, ratio={"h1": 0.9, "h2": 0.999}, targets=(H1, H2), blocks=10)
    code, page = cli(path, "--max-regression", "2%", "--per-host")
    assert (code, page.splitlines()[-1]) == (5, "FAIL: 1 crossed of 2 lines")
    code, page = cli(path, "--max-regression", "20%", "--per-host")
    assert (code, page.splitlines()[-1]) == (0, "PASS: 2 passed of 2 lines")
    run_of(path, ratio={"h1": 0.98, "h2": 0.999}, targets=(H1, H2), blocks=10)
    code, page = cli(path, "--max-regression", "2%", "--per-host")
    last = page.splitlines()[-1]
    assert code == 0 and last.startswith("PASS: 1 passed of 2 lines; not decided: 1 line needs about")


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_run_that_has_not_ended_is_gated_only_when_asked_for(path: Path, status: str) -> None:
    run_id = run_of(path, ratio=0.9, blocks=10)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE run SET status = ? WHERE run_id = ?", (status, run_id))
    assert cli(path, "--max-regression", "2%")[0] == 8
    with pytest.raises(DataError, match="what it has so far") as caught:
        gated(path)
    assert f"perfctl resume {run_id}" in (caught.value.hint or "")
    code, page = cli(path, "--max-regression", "2%", "--unfinished")
    assert code == 5 and f"({status})" in page
    newer = run_of(path, ratio=0.9, blocks=10)
    with pytest.raises(DataError, match=run_id):
        gated(path, baseline_run=run_id)
    assert states(gated(path, baseline_run=run_id, unfinished=True)) == [("h1", "passed")], newer


def test_a_line_has_the_gates_own_sentence_and_p(path: Path) -> None:
    for ratio, state, words in (
        (0.9, "crossed", "worse by more than 2 %: p"),
        (0.999, "passed", "not worse"),
    ):
        run_of(path, ratio=ratio, blocks=10)
        (line,) = gated(path).lines
        assert line.state == state and f"; {words}" in line.words


def test_benchmarks_without_the_metric_asked_for_are_not_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(path, benchmarks=[cases.CPU, replace(cases.CPU, name="cpu-2")], blocks=10)
    monkeypatch.setattr(
        "perfctl.report.gate_tests.declared_metrics",
        lambda _: {("cpu-1", "events_per_s"): cases.SPEED, ("cpu-2", "latency"): cases.SPEED},
    )
    monkeypatch.setattr(
        RunReader,
        "observations",
        _without_benchmark("cpu-2", RunReader.observations),
    )
    assert {line.benchmark for line in gated(path, metrics=["events_per_s"]).lines} == {"cpu-1"}
    assert {line.benchmark for line in gated(path).lines} == {"cpu-1", "cpu-2"}
    monkeypatch.setattr(
        "perfctl.report.gate_tests.declared_metrics",
        lambda _: {("cpu-2", "events_per_s"): cases.SPEED},
    )
    found = {line.benchmark: line.state.value for line in gated(path, metrics=["events_per_s"]).lines}
    assert found["cpu-2"] == "missing", "it would have the metric, and has no value"


def _without_benchmark(name: str, real: Callable[..., list[Observation]]) -> Callable[..., list[Observation]]:
    def observations(run: RunReader, **options: bool) -> list[Observation]:
        return [item for item in real(run, **options) if item.benchmark != name]

    return observations


def test_values_that_are_not_positive_are_undecided(path: Path) -> None:
    run_of(path, ratio=-1.0)
    (line,) = gated(path).lines
    assert (line.state, line.ratio) == (GateState.UNDECIDED, None)
    assert "not all values are positive" in line.why


def test_ten_blocks_cannot_decide_among_sixty_lines(path: Path) -> None:
    many = [replace(cases.CPU, name=f"cpu-{number:02}") for number in range(60)]
    run_of(path, ratio=0.5, blocks=10, benchmarks=many)
    report = gated(path)
    assert report.tests == 60
    assert {line.state for line in report.lines} == {GateState.UNDECIDED}
    assert "10 blocks cannot decide among 60 lines: it takes 11 blocks" in report.lines[0].why
    assert report.lines[0].needed == 11


def test_holm_counts_all_lines(path: Path) -> None:
    many = [replace(cases.CPU, name=f"cpu-{number}") for number in range(4)]
    run_of(path, ratio=0.9, blocks=8, benchmarks=many)
    report = gated(path)
    assert [line.p_crossed for line in report.lines] == [pytest.approx(4 / 2**8)] * 4


def test_missing_is_never_passed(path: Path) -> None:
    skipped: Mapping[str, object] = {"status": Status.SKIPPED, "reason": Reason.ENVIRONMENT_UNAVAILABLE}
    run_of(path, ratio=0.999, fail=dict.fromkeys(range(8), skipped))
    report = gated(path)
    assert states(report) == [("h1", "missing")]
    assert "environment_unavailable" in report.lines[0].why
    with pytest.raises(DataError, match="nothing to decide"):
        report.raise_for_regression(strict=False)
    with pytest.raises(RegressionFound):
        report.raise_for_regression(strict=True)


def test_blocks_that_miss_the_environment_are_left_out(path: Path) -> None:
    run_of(path, ratio=0.9, blocks=10, fail={0: {"status": Status.FAILED, "reason": Reason.TIMEOUT}})
    (line,) = gated(path).lines
    assert line.state is GateState.CROSSED and "n=9 blocks" in line.words


def test_what_is_emulated_is_never_gated(path: Path) -> None:
    run_of(path, ratio=0.2, fail={block: {"accelerator": "tcg"} for block in range(8)})
    (line,) = gated(path).lines
    assert (line.state, line.p_crossed) == (GateState.EXCLUDED, None)
    assert "emulated" in line.why


def test_a_run_without_any_value_has_nothing_to_decide(path: Path) -> None:
    with open_store(path, create=True) as store:
        store.writer.end_run(cases.begin_run(store), "partial")
    report = gated(path)
    assert [(line.benchmark, line.state.value) for line in report.lines] == [
        ("cpu-1", "missing"),
        ("stream", "missing"),
    ]
    assert cli(path, "--max-regression", "2%")[0] == 8


def test_five_hosts_are_one_line(path: Path) -> None:
    with open_store(path, create=True) as store:
        ratios = {"h1": 0.90, "h2": 0.91, "h3": 0.905, "h4": 0.9, "h5": 0.895}
        add_run(store, ratio=ratios, targets=FIVE)
    assert states(gated(path)) == [("5 hosts", "crossed")]
    assert states(gated(path, 0.2)) == [("5 hosts", "passed")]
    assert states(gated(path, per_host=True)) == [(f"h{n}", "crossed") for n in range(1, 6)]


def test_a_mean_does_not_hide_a_host_beyond_the_limit(path: Path) -> None:
    with open_store(path, create=True) as store:
        add_run(store, ratio={"h1": 0.999, "h2": 0.97}, targets=(H1, H2), blocks=10)
    (line,) = gated(path, 0.025).lines
    assert line.state is GateState.UNDECIDED
    assert "the hosts disagree, and h2 is at 1.03x slower" in line.why
    assert states(gated(path, 0.025, per_host=True)) == [("h1", "passed"), ("h2", "crossed")]


def test_a_host_in_quarantine_is_left_out_and_named(path: Path) -> None:
    with open_store(path, create=True) as store:
        for seed in range(20):
            add_run(store, blocks=6, noise=1e-9, aa=1.01, targets=(H2,), seed=seed)
        add_run(store, ratio={"h1": 0.9, "h2": 0.2}, blocks=10, targets=(H1, H2))
    report = gated(path)
    assert states(report) == [("h1", "crossed"), ("h2", "excluded")]
    assert [str(item.target) for item in report.quarantined] == ["h2"]
    page = cli(path, "--max-regression", "2%")[1]
    assert "in quarantine: h2" in page and max(map(len, page.splitlines())) <= 120


def test_a_host_without_any_value_is_missing(path: Path) -> None:
    run_of(path, ratio=0.999, blocks=10, idle_hosts=["h2"])
    assert states(gated(path)) == [("h1", "passed"), ("h2", "missing")]


def test_a_run_is_gated_against_the_ratios_of_another(path: Path) -> None:
    first = run_of(path, ratio=0.8, blocks=10)
    run_of(path, ratio=0.8, baseline=500.0, blocks=10, seed=2)
    assert states(gated(path, baseline_run=first)) == [("h1", "passed")]
    run_of(path, ratio=0.75, blocks=10, seed=3)
    report = gated(path, baseline_run=first)
    assert states(report) == [("h1", "crossed")]
    (line,) = report.lines
    assert line.ratio == pytest.approx(0.75 / 0.8, abs=0.003)
    assert "than in the earlier run" in line.words and "n=10 and 10 blocks" in line.words
    assert cli(path, "--max-regression", "2%", "--baseline", first[:4])[0] == 2, "all begin like this"
    assert cli(path, "--max-regression", "2%", "--baseline", first)[0] == 5


def test_what_the_other_run_lacks_or_measured_otherwise_is_missing(path: Path) -> None:
    more = replace(cases.CPU, name="cpu-2")
    other = replace(cases.CPU, parameters={"test": "cpu", "threads": 8})
    first = run_of(path, benchmarks=[other, more])
    second = run_of(path, benchmarks=[cases.CPU])
    found = {line.benchmark: line for line in gated(path, baseline_run=first).lines}
    assert {name: line.state.value for name, line in found.items()} == {
        "cpu-1": "missing",
        "cpu-2": "missing",
    }
    assert "other parameters" in found["cpu-1"].why
    assert "the earlier run has it, this one has not" in found["cpu-2"].why
    run_of(path, benchmarks=[cases.CPU, more])
    found = {line.benchmark: line for line in gated(path, baseline_run=second).lines}
    assert found["cpu-2"].why == "the earlier run has no such ratio"
    run_of(path, blocks=3)
    (line,) = gated(path, baseline_run=second).lines
    assert line.state is GateState.UNDECIDED and "n < 6" in line.why


def test_what_else_differs_between_two_runs_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_of(path, blocks=10, fingerprint=facts(kernel_release="6.1"))
    run_of(path, blocks=10, fingerprint=facts(kernel_release="6.12"), seed=4)
    (line,) = gated(path, baseline_run=first).lines
    assert line.state is GateState.PASSED
    assert "6.1" in line.confounded and "6.12" in line.confounded
    monkeypatch.setattr(cases, "CONTAINER", replace(cases.CONTAINER, network="host"))
    run_of(path, blocks=10)
    (line,) = gated(path, baseline_run=first).lines
    assert line.state is GateState.MISSING
    assert line.why == "the environment container is defined otherwise in the earlier run: not the same"
    with pytest.raises(UsageError, match="itself"):
        gated(path, baseline_run="latest")


def test_unknown_names_and_wrong_limits_are_refused(path: Path) -> None:
    with open_store(path, create=True) as store:
        with pytest.raises(UnknownName, match="no run yet"):
            gate_report(store, "latest", max_regression=0.02)
        add_run(store)
        with pytest.raises(UnknownName, match="no run 'none'"):
            gate_report(store, "none", max_regression=0.02)
        with pytest.raises(UnknownName, match="no metric 'tempo'"):
            gate_report(store, "latest", max_regression=0.02, metrics=["tempo"])
        for limit in (-0.1, float("nan"), float("inf")):
            with pytest.raises(UsageError):
                gate_report(store, "latest", max_regression=limit)


def test_junit_has_a_case_per_line_and_nothing_undecided_passes(path: Path, tmp_path: Path) -> None:
    run_of(path, ratio={"h1": 0.999, "h2": 0.9}, targets=(H1, H2), idle_hosts=["h3"], blocks=10)
    target = tmp_path / "gate.xml"
    code, _ = cli(path, "--max-regression", "2%", "--per-host", "--junit", str(target))
    assert code == 5
    (suite,) = ElementTree.parse(target).getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
    }
    passed, crossed, missing = suite.findall("testcase")
    assert [child.tag for child in passed] == ["system-out"]
    assert [child.tag for child in crossed] == ["failure", "system-out"]
    assert crossed.get("name") == "events_per_s container against native on h2"
    failure = crossed.find("failure")
    assert failure is not None and "1.11x slower" in (failure.text or "")
    skipped = missing.find("skipped")
    assert skipped is not None and skipped.get("message") == "missing: no value at all"
    cli(path, "--max-regression", "2%", "--per-host", "--junit", str(target), "--strict")
    assert ElementTree.parse(target).getroot()[0].get("failures") == "2"
    assert cli(path, "--max-regression", "2%", "--junit", str(tmp_path / "no" / "gate.xml"))[0] == 2


def test_junit_and_json_are_the_same_to_the_byte_and_legal(path: Path) -> None:
    run_of(path, benchmarks=[replace(cases.CPU, name="cpu\x01<&1")], blocks=10)
    assert junit_xml(gated(path), strict=False) == junit_xml(gated(path), strict=False)
    (suite,) = ElementTree.fromstring(junit_xml(gated(path), strict=False))
    (case,) = suite.findall("testcase")
    assert case.get("classname") == "cpu\ufffd<&1"
    first, second = (cli(path, "--max-regression", "2%", "--format", "json")[1] for _ in range(2))
    assert first == second
    (row,) = json.loads(first)["rows"]
    assert (row["state"], row["metric"]) == ("passed", "events_per_s")
    assert row["p_passed"] <= 0.05 < row["p_crossed"]


@pytest.mark.parametrize(("kind", "state"), [("crossed", GateState.CROSSED), ("passed", GateState.PASSED)])
def test_ten_lines_at_the_limit_are_wrongly_decided_in_one_gate_of_twenty(
    kind: str, state: GateState
) -> None:
    """Simulated, 1000 gates of ten lines whose regression is just the limit: any wrong one in 5 % at most."""
    generator = random.Random(f"gate/{kind}")
    wrong = 0
    for _ in range(1000):
        rows = np.array([[generator.gauss(0, 0.01) for _ in range(10)] for _ in range(10)])
        base = GateTest("b", cases.SPEED, "h", "container", "native")
        # SPEED is a rate: what is below the limit is worse.
        questions = [
            with_p(base, item.estimate, item.p, -1.0, smallest=2.0**-10) for item in paired_rows(rows)
        ]
        wrong += any(line.state is state for line in decide(questions, 0.02)[0])
    # 5 % and three standard errors of 1000 draws.
    assert wrong / 1000 <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5
    assert wrong > 10, "a rule that never decides has no error either"


def test_the_history_of_the_baselines_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run_of(path, ratio=1.0), run_of(path, ratio=1.0)
    reads: list[History] = []
    real = History.baseline_cells

    def counted(history: History) -> list[HistoryCell]:
        reads.append(history)
        return real(history)

    monkeypatch.setattr(History, "baseline_cells", counted)
    with open_store(path, read_only=True) as store:
        gate_report(store, second, max_regression=0.02)
        gate_report(store, second, max_regression=0.02, baseline_run=first)
    assert len(reads) == 2
