"""The rolling A/A rate and quarantine, from a real database to `perfctl selftest`."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import Refused
from perfctl.model import Direction, Metric, Target
from perfctl.report.health import AaTest, aa_tests, health
from perfctl.stats.order import clopper_pearson
from perfctl.store import HistoryCell, open_store
from tests.unit import history_cases as history
from tests.unit import store_cases as cases
from tests.unit.history_cases import H1, H2

METRIC = Metric("speed", "1/s", Direction.HIGHER, headline=True)


def cell(values: list[float], replicate: int, **changes: object) -> HistoryCell:
    fields: dict[str, object] = {
        "run_id": "r1",
        "benchmark": "cpu-1",
        "benchmark_key": "k",
        "metric": METRIC,
        "target": H1,
        "environment": "native",
        "environment_key": "e",
        "replicate": replicate,
        "accelerator": None,
        "values": dict(enumerate(values)),
    }
    return HistoryCell(**fields | changes)  # type: ignore[arg-type]


def results_of(one: list[float], two: list[float], **changes: object) -> list[AaTest]:
    return aa_tests([cell(one, 1), cell(two, 2, **changes)])


def test_a_test_needs_six_pairs_that_differ() -> None:
    ten = [100.0 + place for place in range(10)]
    higher = [value * 1.01 for value in ten]
    assert [test.p for test in results_of(ten, higher)] == [pytest.approx(2 / 2**10)]
    assert results_of(ten[:5], higher[:5]) == []
    assert results_of(ten[:1], higher[:1]) == []
    assert results_of(ten, ten) == [], "zero variance: it could never fail"
    assert len(results_of(ten, higher[:6] + ten[6:])) == 1
    assert results_of(ten, higher[:5] + ten[5:]) == []


def test_blocks_that_lack_a_replicate_are_left_out() -> None:
    two = replace(cell([], 2), values={block: 1.0 + block for block in range(4, 14)})
    one = replace(cell([], 1), values={block: 1.5 + block for block in range(10)})
    assert [test.blocks for test in aa_tests([one, two])] == [6]


def test_all_ties_have_an_exact_p() -> None:
    assert [test.p for test in results_of([1.0] * 8, [2.0] * 8)] == [pytest.approx(2 / 2**8)]
    assert [test.p for test in results_of([1.0] * 8, [2.0, 0.5] * 4)] == [1.0]


def test_values_that_are_not_positive_are_compared_by_their_difference() -> None:
    assert [test.p for test in results_of([-1.0] * 7, [0.0] * 7)] == [pytest.approx(2 / 2**7)]


def test_guests_of_two_accelerators_and_other_units_are_not_compared() -> None:
    one, two = [1.0] * 8, [2.0] * 8
    assert aa_tests([cell(one, 1, accelerator="kvm"), cell(two, 2, accelerator="tcg")]) == []
    assert len(aa_tests([cell(one, 1, accelerator="kvm"), cell(two, 2, accelerator="kvm")])) == 1
    other = Metric("speed", "1/min", Direction.HIGHER, headline=True)
    assert results_of(one, two, metric=other) == []


def store_of(tmp_path: Path, tests: dict[Target, list[list[bool]]]) -> Path:
    """A database with an A/A test per entry: a list of runs, True where it fails."""
    path = tmp_path / "results.db"
    generator = random.Random(3)
    with open_store(path, create=True) as store:
        runs = max(map(len, tests.values()))
        for run in range(runs):
            for target, outcomes in tests.items():
                for fails in outcomes[run : run + 1]:
                    for place, fail in enumerate(fails):
                        # 1 + 2 + ... of alternating signs is far from both tails.
                        history.add_run(
                            store,
                            noise=1e-9 if fail else 0.002,
                            aa=1.01 if fail else 1.0,
                            blocks=6,
                            targets=(target,),
                            seed=generator.randrange(10**6) + place,
                        )
    return path


def test_an_empty_database_has_no_rate(tmp_path: Path) -> None:
    with open_store(tmp_path / "empty.db", create=True) as store:
        found = health(store)
    assert (found.tests, found.failed, found.interval.estimate) == (0, 0, None)
    assert (found.interval.reason, found.targets) == ("no trial yet", ())
    assert not found.is_unsound


def test_a_host_that_fails_is_in_quarantine_and_its_pairs_with_it(tmp_path: Path) -> None:
    path = store_of(tmp_path, {H1: [[False]] * 20, H2: [[True]] * 7 + [[False]] * 13})
    with open_store(path, read_only=True) as store:
        found = health(store)
    sound, unsound = found.targets
    assert (sound.target, sound.tests, sound.runs, sound.state) == (H1, 20, 20, "ok")
    assert (unsound.tests, unsound.quarantined, unsound.state) == (20, True, "quarantined")
    assert 7 <= unsound.failed <= 9
    assert [item.target for item in found.quarantined] == [H2]
    assert found.quarantine_of(H1) is None
    assert found.quarantine_of(H2) is unsound
    assert (
        found.quarantine_of(Target("h2", "h1")) is unsound
        and found.quarantine_of(Target("h1", "h2")) is unsound
    )


def test_the_way_out_is_the_number_of_sound_tests_that_it_takes(tmp_path: Path) -> None:
    path = store_of(tmp_path, {H2: [[True]] * 7 + [[False]] * 13})
    with open_store(path, read_only=True) as store:
        (unsound,) = health(store).targets
    assert unsound.way_out is not None
    last = clopper_pearson(unsound.failed, unsound.tests + unsound.way_out, confidence=0.99)
    before = clopper_pearson(unsound.failed, unsound.tests + unsound.way_out - 1, confidence=0.99)
    assert last.low is not None and before.low is not None
    assert last.low <= 0.05 < before.low


def test_few_tests_or_few_runs_judge_nobody(tmp_path: Path) -> None:
    path = store_of(tmp_path, {H1: [[True]] * 5})
    with open_store(path, read_only=True) as store:
        (found,) = health(store).targets
    assert (found.failed, found.quarantined) == (5, False)
    assert found.state == "too few tests to judge (5 of 20)"
    many = [replace(cases.CPU, name=f"cpu-{number}") for number in range(24)]
    with open_store(tmp_path / "two.db", create=True) as store:
        for _ in range(2):
            history.add_run(store, noise=1e-9, aa=1.01, blocks=6, benchmarks=many)
        (found,) = health(store).targets
    assert (found.tests, found.failed, found.runs) == (48, 48, 2)
    assert found.state == "too few runs to judge (2 of 3)" and not found.quarantined


def test_only_the_newest_whole_runs_count(tmp_path: Path) -> None:
    many = [replace(cases.CPU, name=f"cpu-{number}") for number in range(40)]
    with open_store(tmp_path / "results.db", create=True) as store:
        first = [history.add_run(store, noise=1e-9, aa=1.01, blocks=6, benchmarks=many) for _ in range(3)]
        before = health(store)
        assert before.targets[0].quarantined and before.is_unsound
        for seed in range(3):
            history.add_run(store, blocks=6, benchmarks=many, seed=seed)
        (after,) = health(store).targets
        assert (after.tests, after.runs, after.quarantined) == (120, 3, False)
        assert health(store, until=first[-1]) == before


def test_a_rate_of_sound_hosts_is_about_five_percent() -> None:
    generator = random.Random(8)
    cells = []
    for run in range(2000):
        for replicate in (1, 2):
            values = [generator.lognormvariate(5, 0.01) for _ in range(10)]
            cells.append(cell(values, replicate, run_id=str(run)))
    found = aa_tests(cells)
    assert len(found) == 2000
    assert 0.038 <= sum(test.p <= 0.05 for test in found) / len(found) <= 0.062


def test_only_headlines_and_the_baseline_count(tmp_path: Path) -> None:
    with open_store(tmp_path / "results.db", create=True) as store:
        history.add_run(store, ratio=0.5)
        cells = store.history.baseline_cells()
    assert {(item.environment, item.metric.name) for item in cells} == {("native", "events_per_s")}
    assert [item.replicate for item in cells] == [1, 2]


def selftest(path: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main_group, ["--db", str(path), "selftest", *arguments])
    assert result.exception is None or isinstance(result.exception, Refused | SystemExit)
    code = result.exception.exit_code if isinstance(result.exception, Refused) else result.exit_code
    return code, result.stdout, str(result.exception or "")


def test_selftest_names_who_is_in_quarantine_and_the_way_out(tmp_path: Path) -> None:
    path = store_of(tmp_path, {H1: [[False]] * 20, H2: [[True]] * 7 + [[False]] * 13})
    code, out, error = selftest(path)
    assert (code, error) == (7, "selftest: in quarantine: h2")
    assert "quarantined" in out and "tests without a failure" in out
    code, out, _ = selftest(path, "--format", "json")
    rows = {row["target"]: row for row in json.loads(out)["rows"]}
    assert list(rows) == ["all", "h1", "h2"]
    assert (rows["h2"]["state"], rows["h1"]["state"], code) == ("quarantined", "ok", 7)
    assert rows["h2"]["low"] > 0.05 and rows["h2"]["confidence"] == 0.99
    assert rows["h1"]["way_out"] is None


def test_selftest_of_an_empty_database_is_no_failure_and_no_rate(tmp_path: Path) -> None:
    with open_store(tmp_path / "empty.db", create=True):
        pass
    code, out, _ = selftest(tmp_path / "empty.db")
    assert code == 0 and "no A/A test yet" in out
    _, out, _ = selftest(tmp_path / "empty.db", "--format", "json")
    assert json.loads(out)["rows"][0]["rate"] is None
