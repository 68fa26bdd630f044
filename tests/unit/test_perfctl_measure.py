"""perfctl-measure, compiled as for the image and run here: what it prints is read by its workloads."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from perfctl.execute.invocation import read_outcome
from perfctl.model import Benchmark, Parameter, Reason, Sample, Status
from perfctl.shell import Completed
from perfctl.workloads import WORKLOADS, resolve_parameters
from perfctl.workloads.syscalls import TESTS

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "roles" / "perf_image" / "files" / "perfctl-measure.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program, made by the compiler's options of the image."""
    text = (ROOT / "Dockerfile.perf").read_text()
    (compiler,) = re.findall(r'compiler="(gcc [^"]*)"', text)
    (options,) = re.findall(r"\$\{compiler\} (-O3[^\\]*)\\", text)
    path = tmp_path_factory.mktemp("measure") / "perfctl-measure"
    argv = [*compiler.split(), *options.split(), "-Wall", "-Wextra", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(argv, check=True, timeout=60)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return a folder like the kernel's, of a small machine."""
    for index, size in enumerate(("32K", "4K", "64K")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    return tmp_path


def run(program: Path, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *argv], capture_output=True, text=True, timeout=60)


def measured(program: Path, name: str, *last: str, **given: Parameter) -> list[Sample]:
    """Run a workload's own command, with other last arguments, and read it."""
    tool = WORKLOADS[name]
    parameters = resolve_parameters(tool, given)
    argv = list(tool.argv(parameters))
    assert argv[0] == program.name
    done = run(program, [*argv[1 : len(argv) - len(last)], *last])
    assert (done.returncode, done.stderr) == (0, "")
    return tool.parse(done.stdout, parameters)


def values(samples: Sequence[Sample], metric: str) -> list[float]:
    return [sample.value for sample in samples if sample.metric == metric]


@pytest.mark.parametrize("test", TESTS)
def test_every_call_has_a_cost_in_each_batch(program: Path, test: str) -> None:
    samples = measured(program, "syscalls", test=test, batches=3, time_s=0.01)
    assert len(values(samples, "cost")) == 3
    assert values(samples, "least_cost") == [min(values(samples, "cost"))]


def test_the_clock_of_the_vdso_is_told_apart_from_the_call(program: Path) -> None:
    """The least of several batches: a vdso is many times cheaper, whatever else runs here."""
    least = {
        test: values(measured(program, "syscalls", test=test, batches=20, time_s=0.02), "least_cost")[0]
        for test in ("clock-vdso", "clock-syscall")
    }
    assert 2 * least["clock-vdso"] < least["clock-syscall"]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_stream_counts_its_bytes(program: Path, cache: Path, threads: int) -> None:
    array = 4 * 64 * 1024
    samples = measured(program, "stream", str(cache), threads=threads, array_bytes=array, repetitions=4)
    assert [len(values(samples, kernel)) for kernel in ("copy", "scale", "add", "triad")] == [4] * 4
    (array_bytes,) = values(samples, "array_bytes")
    assert array - 8 * threads < array_bytes <= array
    assert values(samples, "triad_bytes") == [3 * array_bytes]


def test_arrays_are_as_large_as_four_caches_unless_told(program: Path, cache: Path) -> None:
    samples = measured(program, "stream", str(cache), repetitions=1)
    assert values(samples, "array_bytes") == [4 * 64 * 1024]


def refused(program: Path, name: str, *argv: str) -> tuple[Status, Reason | None, str]:
    done = run(program, argv)
    benchmark = Benchmark("b", name, resolve_parameters(WORKLOADS[name], {}), expected_s=1)
    completed = Completed(argv, done.returncode, done.stdout.encode(), done.stderr.encode())
    outcome = read_outcome(WORKLOADS[name], benchmark, completed)
    return outcome.status, outcome.reason, outcome.detail


def test_an_array_that_a_cache_holds_is_refused(program: Path, cache: Path) -> None:
    status, reason, detail = refused(program, "stream", "stream", "1", "200000", "1", str(cache))
    assert (status, reason) == (Status.FAILED, Reason.EXIT_NONZERO)
    assert "200000 bytes is less than four times the last-level cache of 65536 bytes" in detail
    detail = refused(program, "stream", "stream", "1", "0", "1", str(cache / "none"))[2]
    assert "the size of the last-level cache is not known here" in detail


def test_memory_that_is_not_there_is_an_error(program: Path, cache: Path) -> None:
    detail = refused(program, "stream", "stream", "1", str(1 << 50), "1", str(cache))[2]
    assert detail.endswith("perfctl-measure: error: there is not enough memory, errno 12")


def test_a_step_through_memory_has_a_latency(program: Path) -> None:
    samples = measured(program, "memory-latency", working_set_bytes=2 << 20, batches=3, time_s=0.01)
    assert len(values(samples, "latency")) == 3 and min(values(samples, "latency")) > 0


def test_huge_pages_are_given_or_the_environment_lacks_them(program: Path) -> None:
    """Whether there are any depends on the machine's kernel and its settings."""
    size = 4 << 20
    done = run(program, ["latency", str(size), "huge", "3", "3000"])
    if done.returncode == 0:
        (huge,) = re.findall(r"^in huge pages: (\d+) bytes$", done.stdout, re.MULTILINE)
        assert int(huge) >= size // 2
    else:
        reported = Completed(("x",), done.returncode, done.stdout.encode(), done.stderr.encode())
        tool = WORKLOADS["memory-latency"]
        benchmark = Benchmark("b", tool.name, resolve_parameters(tool, {"pages": "huge"}), expected_s=1)
        outcome = read_outcome(tool, benchmark, reported)
        assert (outcome.status, outcome.reason) == (Status.SKIPPED, Reason.ENVIRONMENT_UNAVAILABLE)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["syscalls", "nothing", "1", "1"],
        ["syscalls", "getpid", "0", "1"],
        ["syscalls", "getpid", "1", "0"],
        ["syscalls", "getpid", "1001", "1"],
        ["syscalls", "getpid", "-1", "1"],
        ["syscalls", "getpid", "", "1"],
        ["stream", "0", "0", "1", "/"],
        ["stream", "1", "0", "0", "/"],
        ["latency", "64", "small", "1", "1"],
        ["latency", "65536", "large", "1", "1"],
        ["latency", "99999999999999999999", "small", "1", "1"],
    ],
)
def test_a_wrong_call_is_no_measurement(program: Path, argv: list[str]) -> None:
    done = run(program, argv)
    assert (done.returncode, done.stdout) == (2, "")


def test_its_version_says_by_what_it_was_compiled(program: Path) -> None:
    argv = WORKLOADS["syscalls"].version_argv
    assert re.fullmatch(
        r"perfctl-measure \d+ \(compiled by gcc [\d.]+[^)\n]*\)\n", run(program, argv[1:]).stdout
    )
