"""Suites: the built-in ones, a user's own, and what the command line may change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl import suites
from perfctl.environments.catalogue import CATALOGUE, IMAGE
from perfctl.errors import SuiteError, UnknownName, UsageError
from perfctl.model import Environment, Suite
from perfctl.suites import list_suites, load_suite
from perfctl.workloads.syscalls import TESTS as SYSCALLS

BUILT_IN = sorted(path.stem for path in Path(suites.__file__).parent.glob("*.toml"))

OWN = """
[suite]
name = "mine"
description = "A suite of my own"
baseline = "container"
environments = ["container", "container-old-image", "on-the-host"]
blocks = 3

[environments.container-old-image]
kind = "container"
image = "perf:1"
network = "host"
security_opt = ["seccomp=unconfined"]
cap_add = ["SYS_NICE"]
privileged = true

[environments.on-the-host]
kind = "native"
description = "The host"

[[benchmark]]
name = "primes"
workload = "sysbench"
parameters = { test = "cpu", time_s = 2 }

[[benchmark]]
name = "locks"
workload = "sysbench"
[benchmark.parameters]
test = "mutex"
mutex_locks = 1000
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def parameters(suite: Suite, name: str) -> dict[str, object]:
    (found,) = (benchmark for benchmark in suite.benchmarks if benchmark.name == name)
    return dict(found.parameters)


@pytest.mark.parametrize(
    ("name", "scope", "workload", "image"),
    [
        ("cpu", "host", "sysbench", "perfctl/perf-tools:latest"),
        ("net", "pair", "netperf", "perfctl/perf-tools:latest"),
        ("bulk", "pair", "iperf3", "perfctl/perf-network:latest"),
        ("storage", "host", "fio", "perfctl/perf-storage:latest"),
    ],
)
def test_built_in_suites(name: str, scope: str, workload: str, image: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    assert suite.baseline == "native"
    assert suite.environments == (CATALOGUE["native"], replace(CATALOGUE["container"], image=image))
    assert suite.blocks is None
    assert {benchmark.scope for benchmark in suite.benchmarks} == {scope}
    assert {benchmark.workload for benchmark in suite.benchmarks} == {workload}
    assert {item.parameters.get("time_s", 10) for item in suite.benchmarks} == {10}


def test_the_suites_of_perfctls_own_program() -> None:
    syscalls = load_suite("syscalls")
    assert [item.name for item in syscalls.benchmarks] == [
        item.parameters["test"] for item in syscalls.benchmarks
    ]
    assert {item.name for item in syscalls.benchmarks} == set(SYSCALLS)
    memory = {item.name: item.workload for item in load_suite("memory").benchmarks}
    assert {"sysbench", "stream", "memory-latency"} == set(memory.values())
    assert memory["stream"] == "stream"


def test_the_suite_of_the_demo_is_brief_and_each_of_its_blocks_can_count() -> None:
    demo = load_suite("demo")
    assert [(item.name, item.kind, item.cpuset_cpus) for item in demo.environments] == [
        ("native-1cpu", "native", "1"),
        ("container-1cpu", "container", "1"),
    ]
    assert [item.parameters["test"] for item in demo.benchmarks] == ["cpu", "TCP_RR", "TCP_STREAM"]
    assert {item.parameters["time_s"] for item in demo.benchmarks} == {1}
    assert {item.targets for item in demo.benchmarks} == {1}
    # Below six blocks no p-value reaches 0.05.
    assert min(item.blocks or demo.blocks or 0 for item in demo.benchmarks) == 6


def test_net_has_all_six_tests_and_cpu_fixed_numbers_of_threads() -> None:
    net = load_suite("net")
    assert [item.parameters["test"] for item in net.benchmarks] == [
        "TCP_STREAM",
        "TCP_MAERTS",
        "UDP_STREAM",
        "TCP_RR",
        "TCP_CRR",
        "UDP_RR",
    ]
    cpu = load_suite("cpu")
    assert {(item.parameters["test"], item.parameters["threads"]) for item in cpu.benchmarks} == {
        ("cpu", 1),
        ("cpu", 2),
        ("threads", 2),
        ("mutex", 2),
    }


def test_list_has_the_built_in_suites_and_those_of_the_project(tmp_path: Path) -> None:
    assert [suite.name for suite in list_suites(tmp_path)] == BUILT_IN
    assert {"cpu", "memory", "net", "parity"} <= set(BUILT_IN)
    write(tmp_path, OWN, "suites/mine.toml")
    found = list_suites(tmp_path)
    assert [suite.name for suite in found] == [*BUILT_IN, "mine"]
    assert found[-1].source == str(tmp_path / "suites" / "mine.toml")


def test_a_file_by_its_path_and_a_project_suite_by_its_name(tmp_path: Path) -> None:
    by_path = load_suite(write(tmp_path, OWN, "suites/mine.toml"))
    by_name = load_suite("mine", project_dir=tmp_path)
    assert by_path == by_name
    assert by_path.baseline == "container"
    assert by_path.blocks == 3
    assert [benchmark.name for benchmark in by_path.benchmarks] == ["primes", "locks"]


def test_a_project_suite_hides_the_built_in_one(tmp_path: Path) -> None:
    write(tmp_path, OWN.replace('"mine"', '"cpu"'), "suites/cpu.toml")
    assert load_suite("cpu", project_dir=tmp_path).description == "A suite of my own"


def test_a_file_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, OWN)
    write(tmp_path, OWN, "suites/other.toml")
    assert load_suite("mine.toml").name == "mine"
    assert load_suite("other").name == "mine"


def test_own_environments(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, OWN))
    assert suite.environments[1:] == (
        Environment(
            "container-old-image",
            "container",
            engine="docker",
            image="perf:1",
            network="host",
            security_opt=("seccomp=unconfined",),
            cap_add=("SYS_NICE",),
            privileged=True,
        ),
        Environment("on-the-host", "native", "The host"),
    )


def test_own_container_is_stock_where_it_says_nothing(tmp_path: Path) -> None:
    text = OWN.replace('image = "perf:1"\nnetwork = "host"\n', "")
    container = load_suite(write(tmp_path, text)).environments[1]
    assert (container.engine, container.image, container.network) == ("docker", IMAGE, "bridge")


def test_what_the_file_may_leave_out(tmp_path: Path) -> None:
    text = '[suite]\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'
    suite = load_suite(write(tmp_path, text, "least.toml"))
    assert (suite.name, suite.description, suite.baseline, suite.blocks) == ("least", "", "native", None)
    assert [environment.name for environment in suite.environments] == ["native", "container"]
    assert parameters(suite, "a")["cpu_max_prime"] == 10000


def test_all_parameters_are_filled_in_and_the_time_is_expected() -> None:
    (first, *_) = load_suite("cpu", overrides={"time_s": "2"}).benchmarks
    assert set(first.parameters) == {"test", "threads", "time_s", "percentile", "rand_seed", "cpu_max_prime"}
    assert 2 < first.expected_s < 3


def test_environments_of_the_command_line() -> None:
    suite = load_suite("cpu", environments=["container-privileged", "container", "container"])
    assert [item.name for item in suite.environments] == ["native", "container-privileged", "container"]
    assert [item.name for item in load_suite("cpu", environments=["native"]).environments] == ["native"]
    given = load_suite("cpu", environments=["container", "native"])
    assert [item.name for item in given.environments] == ["container", "native"]


def test_an_environment_of_the_file_that_only_the_command_line_names(tmp_path: Path) -> None:
    text = OWN.replace('["container", "container-old-image", "on-the-host"]', '["container"]')
    suite = load_suite(write(tmp_path, text), environments=["on-the-host"])
    assert [item.name for item in suite.environments] == ["container", "on-the-host"]


def test_unknown_environment_of_the_command_line() -> None:
    with pytest.raises(UnknownName, match="no environment 'containr'") as caught:
        load_suite("cpu", environments=["containr"])
    assert "did you mean container" in str(caught.value.hint)


def test_only_the_benchmarks_that_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    assert [item.name for item in load_suite(path, benchmarks=["locks"]).benchmarks] == ["locks"]
    both = load_suite(path, benchmarks=["locks", "primes"])
    assert both == load_suite(path)
    with pytest.raises(UnknownName, match="no benchmark 'lock'") as caught:
        load_suite(path, benchmarks=["primes", "lock"])
    assert "did you mean locks" in str(caught.value.hint)


def test_a_parameter_must_fit_only_the_benchmarks_that_are_asked_for() -> None:
    # It makes two benchmarks of the suite equal, but these are not both measured.
    (found,) = load_suite("cpu", benchmarks=["cpu-1-thread"], overrides={"threads": "2"}).benchmarks
    assert found.parameters["threads"] == 2


def test_a_suite_that_names_neither_blocks_nor_precision_takes_what_is_usual() -> None:
    assert {item.precision for item in load_suite("cpu").benchmarks} == {0.01}
    assert {item.precision for item in load_suite("memory").benchmarks} == {0.01}
    assert {item.precision for item in load_suite("net").benchmarks} == {0.02}
    assert {item.precision for item in load_suite("startup").benchmarks} == {0.05}


def test_storage_is_as_precise_as_the_network(tmp_path: Path) -> None:
    text = '[suite]\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\nparameters = { test = "fileio" }\n'
    (found,) = load_suite(write(tmp_path, text)).benchmarks
    assert found.precision == 0.02


def test_a_benchmark_may_have_its_own_number_of_blocks_and_of_targets(tmp_path: Path) -> None:
    text = OWN.replace('name = "locks"', 'name = "locks"\nblocks = 7\ntargets = 1')
    suite = load_suite(write(tmp_path, text))
    assert suite.blocks == 3
    assert [(item.name, item.blocks, item.targets) for item in suite.benchmarks] == [
        ("primes", None, None),
        ("locks", 7, 1),
    ]


def test_an_output_limit_of_a_suite_and_of_a_benchmark(tmp_path: Path) -> None:
    assert {item.output_limit_bytes for item in load_suite(write(tmp_path, OWN)).benchmarks} == {64 << 20}
    limited = OWN.replace("blocks = 3\n", "blocks = 3\noutput_limit_bytes = 1048576\n")
    assert {item.output_limit_bytes for item in load_suite(write(tmp_path, limited)).benchmarks} == {1 << 20}
    text = limited.replace('name = "locks"', 'name = "locks"\noutput_limit_bytes = 4096')
    assert [item.output_limit_bytes for item in load_suite(write(tmp_path, text)).benchmarks] == [
        1 << 20,
        4096,
    ]
    keys = [item.key for item in load_suite(write(tmp_path, OWN)).benchmarks]
    assert [item.key for item in load_suite(write(tmp_path, text)).benchmarks] == keys, "the same question"


@pytest.mark.parametrize("limit", ["0", "-1", "4095", "600000000", '"1 MiB"', "true", "1.5"])
@pytest.mark.parametrize("place", ["blocks = 3", 'name = "locks"'])
def test_an_output_limit_that_is_none_is_refused(tmp_path: Path, place: str, limit: str) -> None:
    text = OWN.replace(place, f"{place}\noutput_limit_bytes = {limit}")
    with pytest.raises(SuiteError, match="output_limit_bytes"):
        load_suite(write(tmp_path, text))


def test_a_fixed_number_of_blocks_beside_precisions(tmp_path: Path) -> None:
    text = OWN.replace("blocks = 3\n", "").replace('name = "locks"', 'name = "locks"\nblocks = 7')
    suite = load_suite(write(tmp_path, text))
    assert suite.blocks is None
    assert [(item.blocks, item.precision) for item in suite.benchmarks] == [(None, 0.01), (7, None)]


def test_blocks_and_precision_of_the_command_line_go_before_a_benchmarks_own(tmp_path: Path) -> None:
    path = write(tmp_path, OWN.replace('name = "locks"', 'name = "locks"\nblocks = 7'))
    assert {item.blocks for item in load_suite(path, blocks=2).benchmarks} == {None}
    precise = load_suite(path, precision="2%")
    assert {(item.blocks, item.precision) for item in precise.benchmarks} == {(None, 0.02)}


def test_a_suite_with_blocks_has_no_precision(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, OWN))
    assert suite.blocks == 3
    assert {item.precision for item in suite.benchmarks} == {None}


def test_precision_of_a_suite_and_of_a_benchmark(tmp_path: Path) -> None:
    text = OWN.replace("blocks = 3", 'precision = "3%"').replace(
        'name = "locks"', 'name = "locks"\nprecision = "0.5 %"'
    )
    suite = load_suite(write(tmp_path, text))
    assert suite.blocks is None
    assert {item.name: item.precision for item in suite.benchmarks} == {"primes": 0.03, "locks": 0.005}


def test_precision_of_the_command_line_is_for_all(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, OWN), precision="1.5%")
    assert suite.blocks is None
    assert {item.precision for item in suite.benchmarks} == {0.015}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "cannot be '0'"),
        ("0%", "not between"),
        ("0.00%", "not between"),
        ("200%", "not between"),
        ("51 %", "not between"),
        ("-1%", "cannot be"),
        ("1", "cannot be"),
        ("0.01", "cannot be"),
        ("nan%", "cannot be"),
        ("1e2%", "cannot be"),
        ("one percent", "cannot be"),
        ("", "cannot be ''"),
        ("%", "cannot be '%'"),
    ],
)
def test_a_precision_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message) if "'" in message else message) as caught:
        load_suite("cpu", precision=text)
    assert caught.value.exit_code == 2
    assert caught.value.where == "--precision"
    assert "1%" in str(caught.value.hint)


def test_blocks_and_precision_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--blocks and --precision exclude each other"):
        load_suite("cpu", blocks=10, precision="1%")


def test_other_precision_is_the_same_benchmark() -> None:
    assert load_suite("cpu", precision="3%").benchmarks[0].key == load_suite("cpu").benchmarks[0].key


def test_blocks_of_the_command_line() -> None:
    assert {item.precision for item in load_suite("cpu", blocks=2).benchmarks} == {None}
    assert load_suite("cpu", blocks=2).blocks == 2
    with pytest.raises(UsageError, match="at least 1 block"):
        load_suite("cpu", blocks=0)


def test_a_parameter_goes_to_every_benchmark_that_has_it(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, OWN), overrides={"time_s": "5", "mutex_loops": "7", "threads": "3"})
    assert parameters(suite, "primes")["time_s"] == 5
    assert "time_s" not in parameters(suite, "locks")
    assert parameters(suite, "locks")["mutex_loops"] == 7
    assert parameters(suite, "locks")["mutex_locks"] == 1000
    assert {item.parameters["threads"] for item in suite.benchmarks} == {3}


def test_other_parameters_make_another_benchmark_key() -> None:
    normal = load_suite("cpu").benchmarks[0].key
    assert load_suite("cpu", overrides={"time_s": "10"}).benchmarks[0].key == normal
    assert load_suite("cpu", overrides={"time_s": "2"}).benchmarks[0].key != normal


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"time": "2"}, "no benchmark of the suite has a parameter 'time'", "did you mean time_s?"),
        ({"tread": "2"}, "'tread'", "did you mean threads?"),
        ({"file_num": "2"}, "'file_num'", ""),
        ({"test": "mutex"}, "test cannot be set for a whole suite", "another suite"),
        ({"time_s": "10s"}, "time_s must be a whole number, not '10s'", "write the bare number"),
        ({"time_s": "0"}, "the minimum is 1 s", ""),
        ({"threads": "2"}, "cpu-2-threads and cpu-1-thread measure the same", "--param threads=2"),
    ],
)
def test_wrong_parameters_of_the_command_line(given: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_suite("cpu", overrides=given)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_values_from_the_command_line_that_do_not_go_together() -> None:
    with pytest.raises(SuiteError, match="both 5000") as caught:
        load_suite("net", overrides={"control_port": "5000", "data_port": "5000"})
    assert caught.value.where == "--param for tcp-stream"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cup", "did you mean cpu?"), ("zzzz", "there are: bulk, "), ("", "there are")],
)
def test_unknown_suite(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="there is no suite") as caught:
        load_suite(name, project_dir=tmp_path)
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == 2


def test_a_suite_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no suite file"):
        load_suite(str(tmp_path / "none.toml"))
