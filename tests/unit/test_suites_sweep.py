"""Parameters that are lists: one benchmark for each value."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.errors import SuiteError, UnknownName
from perfctl.model import Suite
from perfctl.suites import load_suite

SUITE = '[suite]\nblocks = 1\n[[benchmark]]\nname = "cpu"\nworkload = "sysbench"\nparameters = {{ {} }}\n'


def load(folder: Path, parameters: str, **options: list[str] | dict[str, str]) -> Suite:
    path = folder / "own.toml"
    path.write_text(SUITE.format(parameters) + '[[benchmark]]\nname = "other"\nworkload = "startup"\n')
    return load_suite(str(path), **options)  # type: ignore[arg-type]


def names(suite: Suite) -> list[str]:
    return [item.name for item in suite.benchmarks]


def test_a_list_makes_one_benchmark_for_each_value(tmp_path: Path) -> None:
    suite = load(tmp_path, "threads = [1, 2, 4]")
    assert names(suite) == ["cpu-1", "cpu-2", "cpu-4", "other"]
    assert [item.parameters.get("threads") for item in suite.benchmarks] == [1, 2, 4, None]


def test_several_lists_make_every_combination(tmp_path: Path) -> None:
    suite = load(tmp_path, 'test = ["cpu", "threads"], threads = [1, 2]')
    assert names(suite) == ["cpu-cpu-1", "cpu-cpu-2", "cpu-threads-1", "cpu-threads-2", "other"]


def test_the_name_of_the_table_asks_for_all_and_a_value_for_one(tmp_path: Path) -> None:
    assert names(load(tmp_path, "threads = [1, 2]", benchmarks=["cpu"])) == ["cpu-1", "cpu-2"]
    assert names(load(tmp_path, "threads = [1, 2]", benchmarks=["cpu-2"])) == ["cpu-2"]
    with pytest.raises(UnknownName) as error:
        load(tmp_path, "threads = [1, 2]", benchmarks=["cpu-3"])
    assert "cpu-2" in (error.value.hint or "")


def test_a_value_of_the_command_line_makes_them_the_same(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="measure the same"):
        load(tmp_path, "threads = [1, 2]", overrides={"threads": "3"})


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("threads = []", "make 0 benchmarks"),
        ("threads = [1, 1]", "has a value twice"),
        ("threads = [[1]]", "cannot be a part of a benchmark's name"),
        ("threads = [0]", "the minimum is 1"),
        ('threads = ["2"]', "must be a whole number"),
        ('test = ["a b"]', "cannot be a part of a benchmark's name"),
        (f"threads = {list(range(1, 202))}", "make 201 benchmarks"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, parameters: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as error:
        load(tmp_path, parameters)
    assert "(cpu" in (error.value.where or "")
