"""What other programs computed from the same numbers: where we agree, and by name where we do not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perfctl.compare import compare, format_comparison, format_ratio
from perfctl.model import Comparison, Direction, Metric, Observation, Target
from perfctl.stats.change_points import change_points, e_divisive
from perfctl.stats.distributions import t_quantile
from perfctl.stats.fleet import geometric_mean
from perfctl.stats.hosts import over_hosts
from perfctl.stats.levels import best_repetitions, variance_components
from perfctl.stats.order import equivalence_margin, median_interval, outliers
from perfctl.stats.paired import PairedResult, paired
from perfctl.stats.signed_rank import p_value, p_values
from tests.statistics.world import scheduled

FOLDER = Path(__file__).parents[1] / "data/vectors"
OTHER = json.loads((FOLDER / "other_expected.json").read_text())
PYPERF = json.loads((FOLDER / "pyperf/expected.json").read_text())
OTAVA = json.loads((FOLDER / "otava/expected.json").read_text())
HYPERFINE = json.loads((FOLDER / "hyperfine/run.json").read_text())

COMPARISONS = {(item["name"], item["other"]): item for item in PYPERF["comparisons"]}
ORDERS = OTHER["binomial_median_ci"]["n->(lo_order,hi_order,conf) at 95%"]
UNPAIRED = [c for c in PYPERF["comparisons"] if c["other"] == "unequal_n"]


def named(item: dict[str, Any]) -> str:
    return f"{item['name']}-{item['other']}"


def comparison_of(
    ref: list[float], changed: list[float], direction: Direction = Direction.LOWER
) -> Comparison:
    """Take the recorded values as blocks, in the order in which they were recorded."""
    metric = Metric("time", "s", direction)
    observations = [
        Observation("b", metric, Target("h1"), block, name, 1, value)
        for name, values in (("ref", ref), ("changed", changed))
        for block, value in enumerate(values)
    ]
    (found,) = compare(observations, baseline="ref")
    return found


# -- pyperf --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [c for c in PYPERF["comparisons"] if c["other"] == "changed"], ids=named)
def test_pyperf_equal_counts_have_the_same_answer(item: dict[str, Any]) -> None:
    found = comparison_of(item["ref_values"], item["changed_values"])
    assert found.p is not None and found.low is not None and found.high is not None
    assert (found.p <= 0.05) == item["significant"]
    assert found.low <= item["norm_mean"] <= found.high or item["name"] == "tiny"
    assert found.ratio == pytest.approx(item["norm_mean"], rel=0.01)
    assert (found.baseline_value, found.value) == (item["ref_median"], item["changed_median"])
    said = item["oneliner"].rsplit(": ", 1)[-1]
    assert not item["significant"] or format_comparison(found).startswith(" ".join(said.split()[:2]))


def test_pyperf_geometric_mean() -> None:
    logs = {
        name: PairedResult(12, math.log(item["norm_mean"]), None, None, None, None)
        for (name, other), item in COMPARISONS.items()
        if other == "changed"
    }
    found = geometric_mean([logs], higher_is_better=dict.fromkeys(logs, False))
    assert found.claim.estimate is not None
    assert math.exp(found.claim.estimate) == pytest.approx(PYPERF["geometric_mean_changed"], rel=1e-12)


@pytest.mark.parametrize("degrees", [1, 2, 5, 10, 18, 22, 30])
def test_pyperf_t_quantiles(degrees: int) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(PYPERF["tdist95"][str(degrees)], abs=6e-4)


def test_trap_pyperf_takes_quantiles_from_a_coarse_table() -> None:
    """pyperf takes the quantile of 30 for 39 degrees of freedom, and that of 50 for 58."""
    assert PYPERF["tdist95"]["39"] == PYPERF["tdist95"]["30"]
    assert t_quantile(0.975, 39) == pytest.approx(2.0227, abs=1e-4)


@pytest.mark.parametrize("item", UNPAIRED, ids=named)
def test_trap_pyperf_unequal_counts_are_not_significant_by_themselves(item: dict[str, Any]) -> None:
    """pyperf calls all five significant, as its test fails. Here whole blocks count, others are left out."""
    assert item["significant"] and item["t_score"] is None
    found = comparison_of(item["ref_values"], item["changed_values"])
    assert (found.blocks, found.left_out) == (9, 3)
    assert found.p is not None
    assert (found.p <= 0.05) == (item["name"] in ("faster", "slower", "tiny"))


def test_trap_pyperf_one_value_is_never_significant() -> None:
    found = comparison_of([1.0], [1.5])
    assert (found.p, found.low, found.high) == (None, None, None)
    assert "cannot be significant" in found.note
    assert paired([math.log(1.5)]).reason == "one block has no p and no interval"


def test_trap_pyperf_zero_variance_is_said() -> None:
    """Ten equal differences: the exact p stands, but the result says that there is no variance behind it."""
    assert paired([0.4] * 10).reason.startswith("zero variance")
    assert paired([0.0] * 10).p == 1.0
    assert over_hosts([0.4] * 10).p is None


def test_trap_pyperf_always_reads_less_as_faster() -> None:
    item = COMPARISONS["faster", "changed"]
    less = comparison_of(item["ref_values"], item["changed_values"], Direction.HIGHER)
    assert "slower" in format_comparison(less) and "faster" not in format_comparison(less)


@pytest.mark.parametrize(("ratio", "higher", "text"), OTHER["describe"])
def test_the_direction_of_a_ratio(ratio: float, higher: bool, text: str) -> None:
    assert format_ratio(ratio, Direction.HIGHER if higher else Direction.LOWER).split()[-1] in text


# -- otava ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in OTAVA["series"] if name != "ar1_flat"])
def test_otava_e_divisive_with_permutations_finds_the_same(name: str) -> None:
    values = np.log(OTAVA["series"][name])
    expected = OTAVA["expected"][name]["edivisive_perm(p .01,seed 1,100 perms)"]
    assert [index for index, _ in e_divisive(values, seed="1")] == expected
    assert [change.index for change in change_points(values, seed="1")] == expected


def test_trap_otava_alarms_on_a_series_that_only_wanders() -> None:
    """E-divisive takes autocorrelation for changes, ours too: the size rule and the in-run baseline help."""
    values = np.log(OTAVA["series"]["ar1_flat"])
    assert len(OTAVA["expected"]["ar1_flat"]["weak"]) == 4
    assert len(e_divisive(values, seed="1")) > 4
    assert change_points(values, seed="1") == []


def test_trap_otava_alarms_on_the_last_point_alone() -> None:
    assert OTAVA["expected"]["last_point_jump"]["weak"] == [40]
    assert change_points(np.log(OTAVA["series"]["last_point_jump"]), seed="1") == []


def test_trap_otava_deviation_by_n_in_a_test_that_takes_n_minus_1() -> None:
    """Its p for the step of doc_example comes from deviations that are too small by sqrt((n - 1) / n)."""
    from scipy.stats import ttest_ind_from_stats

    from perfctl.stats.change_points import block_shift_p

    values = np.array(OTAVA["series"]["doc_example"])
    left, right = values[:10], values[10:]
    theirs = OTAVA["expected"]["doc_example"]["hunter(window 50,p .001)"][0][3]

    def p(ddof: int) -> float:
        stats = [(s.mean(), s.std(ddof=ddof), len(s)) for s in (left, right)]
        return float(ttest_ind_from_stats(*stats[0], *stats[1]).pvalue)

    assert theirs == pytest.approx(p(0), rel=1e-6)
    ours = block_shift_p([[x] for x in left], [[x] for x in right])
    assert ours is not None and ours > theirs
    assert p(1) > theirs


# -- hyperfine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", OTHER["hyperfine_outliers"], ids=lambda item: str(item["x"]))
def test_hyperfine_flags_the_same_outliers(item: dict[str, Any]) -> None:
    assert outliers(item["x"]).sum() == item["n"]


def test_trap_hyperfine_runs_one_command_after_the_other() -> None:
    """Recorded: `sleep 0.012` was 1.66x faster than `sleep 0.01`, because the machine calmed down meanwhile.

    No test saves data in that order: ours finds a difference too. The same machine, dealt in the plan's order
    to legs that do not differ, gives no more false positives than it may.
    """
    first, second = (np.log(item["times"]) for item in HYPERFINE["results"])
    assert paired(second - first).estimate < 0
    assert p_value(second - first) < 0.05
    machine = np.concatenate([first, second])
    moments = scheduled(1000, 8, "hyperfine")
    dealt = machine[moments]
    assert (p_values(dealt[:, 2] - dealt[:, 0]) <= 0.05).mean() <= 0.062


# -- scipy, and formulas from papers and tools ---------------------------------------------------------------


def test_trap_scipys_exact_mann_whitney_ignores_ties() -> None:
    """With ties its 'exact' p is that of other data. Ours is the share of all sign changes."""
    from itertools import combinations

    from scipy.stats import mannwhitneyu

    x, y = [1, 1, 1, 1, 2], [2, 2, 2, 2, 1]
    pooled = np.array(x + y)

    def u(chosen: tuple[int, ...]) -> float:
        one, rest = pooled[list(chosen)], np.delete(pooled, chosen)
        return float(sum((a > b) + (a == b) / 2 for a in one for b in rest))

    seen = abs(u((0, 1, 2, 3, 4)) - 12.5)
    truth = float(np.mean([abs(u(chosen) - 12.5) >= seen for chosen in combinations(range(10), 5)]))
    assert mannwhitneyu(x, y, method="exact").pvalue < 0.75 * truth
    tied = [1.0, 1.0, 1.0, 2.0, 2.0, -1.0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    ranks = np.array([2.5, 2.5, 2.5, 5.5, 5.5, 2.5])
    sums = (ranks * (signs > 0)).sum(axis=1)
    assert p_value(tied) == pytest.approx(2 * np.mean(sums <= 2.5))


@pytest.mark.parametrize("n", [n for n in ORDERS if n not in ("5", "8")])
def test_the_medians_interval_in_the_table(n: str) -> None:
    low, high, confidence = ORDERS[n]
    found = median_interval(np.arange(1.0, int(n) + 1))
    assert (found.low, found.high) == (low, high)
    assert found.confidence == pytest.approx(confidence, abs=1e-6)


def test_trap_a_lopsided_interval_of_the_median() -> None:
    """The table has [x1, x7] of 8 and (-inf, x5] of 5: turned round they are others. Ours is symmetric."""
    assert ORDERS["8"][:2] == [1, 7]
    eight = median_interval(np.arange(1.0, 9.0))
    assert (eight.low, eight.high) == (1.0, 8.0)
    assert median_interval(np.arange(1.0, 6.0)).low is None


def test_kalibera_and_jones() -> None:
    vector = OTHER["kalibera"]
    found = variance_components(vector["data"])
    assert found == pytest.approx(vector["T2_low_to_high"], abs=vector["tol"])
    costs = vector["costs_high_to_low"][::-1]
    assert best_repetitions(found, costs) == pytest.approx(vector["reps_low_to_high"], abs=vector["tol"])


def test_trap_netperf_width_is_twice_the_half_width() -> None:
    """netperf -I 99,5 promises a whole width of 5 %: ±2.5 %. Our half-widths are half-widths."""
    vector = OTHER["netperf"]
    found = over_hosts(vector["values"], confidence=vector["level"] / 100)
    assert found.low is not None and found.high is not None and found.estimate is not None
    half = 100 * (found.high - found.low) / 2 / found.estimate
    assert 2 * half == pytest.approx(vector["width_pct"], rel=1e-4)


def test_trap_sysbench_percentiles_are_bins() -> None:
    """A step of 1.8 % is no change worth a word: it is the tool's resolution."""
    step = OTHER["sysbench_percentile"]["bin_ratio"] - 1
    assert equivalence_margin(resolution=step).share == pytest.approx(0.01817, abs=1e-5)


def test_an_unpaired_test_would_miss_what_pairs_show() -> None:
    vector = OTHER["pairs"]
    assert vector["welch"][1] > 0.2 and vector["mwu_exact_p"] > 0.2
    assert p_value(vector["log_ratio"]) == vector["wilcoxon_exact_p"] < 0.01
