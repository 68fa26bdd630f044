"""The figures that need real processes: a machine's own noise, not a generator's (docs/measurement.md).

M15 goes the whole way of a user: `perfctl run` of a suite, `perfctl compare`. M16 needs two programs of which
one is known to do 2 % more. No environment is that, so here the order, the comparison and the verdict are the
product's, and what is timed are processes that count to n or to 1.02 n.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from perfctl.compare import AnalysisContext, analyse
from perfctl.model import (
    Benchmark,
    Block,
    Comparison,
    Direction,
    Environment,
    Metric,
    Observation,
    Suite,
    Target,
    Verdict,
)
from perfctl.plan import make_block
from perfctl.shell import Stream
from perfctl.shell.local import LocalShell
from tests.statistics.figures import Figure

_SUITE = """\
[suite]
name = "same"
description = "The same short work, natively, by many names."
baseline = "native"
environments = ["native"]
blocks = {blocks}
"""
# Only the seed of a random number that nobody uses tells them apart: one mutex, one thread.
_BENCHMARK = """
[[benchmark]]
name = "same-{number}"
workload = "sysbench"
parameters = {{ test = "mutex", threads = 1, mutex_num = 1, mutex_locks = 1000, mutex_loops = 50000, \
rand_seed = {number} }}
"""

_LOAD = """\
import random, sys, time
deal, end = random.Random(15), time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    idle = time.monotonic() + deal.expovariate(5)
    while time.monotonic() < idle:
        pass
    time.sleep(deal.expovariate(5))
"""

_LOOP = """\
import os, sys, time
n, cpu = map(int, sys.argv[1:])
os.sched_setaffinity(0, {cpu})
def loop():
    for _ in range(n):
        pass
loop()
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter_ns()
    loop()
    print(time.perf_counter_ns() - start, flush=True)
"""
_STEPS, _WARM_UP, _ITERATIONS = 40_000, 1, 21
"""What one iteration counts to (about a millisecond), and how many an invocation has."""
_ANSWER_TIMEOUT_S = 60.0
_METRIC = Metric("iteration", "ms", Direction.LOWER, headline=True)


@contextlib.contextmanager
def beside_a_load(lifetime_s: float = 900) -> Iterator[None]:
    """Have another process be busy and idle in turn, 0.2 s each on average, for `lifetime_s` at most."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", _LOAD, str(lifetime_s)])
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=30)


def same_work_suite(folder: Path, *, experiments: int, blocks: int) -> Path:
    """Write a suite of so many equal benchmarks and an inventory of this machine; return the suite's path."""
    # A lease of its own: what else is tested on this machine would be refused.
    here = {"ansible_connection": "local", "perf_state_dir": str(folder)}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"here": here}}}))
    path = folder / "same.toml"
    path.write_text(
        _SUITE.format(blocks=blocks) + "".join(_BENCHMARK.format(number=n + 1) for n in range(experiments))
    )
    return path


def aa_p_values(rows: Sequence[dict[str, object]]) -> list[float]:
    """Return the p of every A/A test among the rows of `perfctl compare --format json`."""
    return [float(str(row["p"])) for row in rows if row["is_aa"] and row["p"] is not None]


def m15(folder: Path, *, experiments: int = 40, blocks: int = 10, most: int = 5) -> Iterator[Figure]:
    """A/A of real processes beside a load: each benchmark of one run is an experiment."""
    suite = same_work_suite(folder, experiments=experiments, blocks=blocks)
    program = [sys.executable, "-m", "perfctl", "--db", str(folder / "results.db")]
    with beside_a_load():
        # A host that is busy would be warned of or refused, which is right, and is what is wanted here.
        _run([*program, "-i", str(folder / "hosts.yml"), "run", "--suite", str(suite), "--force"])
    rows = json.loads(_run([*program, "compare", "latest", "--format", "json"]))["rows"]
    p = aa_p_values(rows)
    false = sum(value <= 0.05 for value in p)
    fewest = min((row["blocks"] for row in rows if row["is_aa"]), default=0)
    what = f"live A/A beside a load: p <= 0.05, {len(p)} experiments of {fewest} blocks or more"
    yield Figure(
        "M15", what, f"<= {most} of {experiments}", str(false), false <= most and len(p) == experiments
    )


def m16(*, experiments: int = 20, blocks: int = 20, least: int = 18) -> Iterator[Figure]:
    """A known extra of 2, 5 and 10 % more of the same loop, in real processes."""
    extras = (2, 5, 10)
    found = known_extras(extras, experiments=experiments, blocks=blocks)
    for extra in extras:
        own = [item for item in found if item.environment == f"plus-{extra}"]
        inside = sum(item.low <= 1 + extra / 100 <= item.high for item in own if item.low and item.high)
        width = statistics.median((item.high - item.low) / 2 for item in own if item.low and item.high)
        what = f"live +{extra} % inside the interval, n={blocks}, half of it +-{width:.1%} or less"
        yield Figure("M16", what, f">= {least} of {experiments}", str(inside), inside >= least)
        wrong = sum(has_wrong_sign(item) for item in own)
        below = sum(item.ratio is None or item.ratio < 1 for item in own)
        what = f"live +{extra} % called different, with the wrong sign ({below} estimates below nothing)"
        yield Figure("M16", what, "0", str(wrong), wrong == 0)


def has_wrong_sign(item: Comparison) -> bool:
    """Return whether more work is said to take less time. An estimate whose interval holds 1 says no sign."""
    is_claim = item.judgement is not None and item.judgement.verdict in _CLAIMS
    return is_claim and (item.ratio is None or item.ratio < 1)


_CLAIMS = (Verdict.DIFFERENT, Verdict.DIFFERENT_SMALL)


def known_extras(extras: Sequence[int], *, experiments: int, blocks: int) -> list[Comparison]:
    """Return the comparisons, judged as one report, of loops that are `extras` per cent longer."""
    legs = [Environment("plain", "native"), *(Environment(f"plus-{extra}", "native") for extra in extras)]
    steps = {leg.name: _STEPS * (100 + extra) // 100 for leg, extra in zip(legs, (0, *extras), strict=True)}
    cpu = str(max(os.sched_getaffinity(0)))
    observations: list[Observation] = []
    for suite in _suites(legs, experiments):
        for index in range(blocks):
            block = make_block(suite, suite.benchmarks[0], Target("here"), index, seed="M16")
            observations += _measured(block, steps, cpu)
    found = analyse(observations, AnalysisContext("plain")).comparisons
    return [item for item in found if not item.is_aa]


def _suites(legs: Sequence[Environment], experiments: int) -> Iterator[Suite]:
    """One suite for each experiment; only the names of its benchmark and its legs matter."""
    for number in range(experiments):
        benchmark = Benchmark(f"loop-{number}", "loop", {"number": number}, expected_s=0.1)
        yield Suite("loops", "", "plain", tuple(legs), (benchmark,), None)


def _measured(block: Block, steps: dict[str, int], cpu: str) -> Iterator[Observation]:
    """Start a process for each leg, then let them take turns in the block's order, an iteration at a time.

    Turns, and all on one CPU, because a core that is shared with somebody else's load is 1.7 times slower for
    tenths of a second: one process after the other would meet it or not, and 20 blocks could not see 2 %.
    """
    shell = LocalShell("here")
    program = [sys.executable, "-I", "-S", "-c", _LOOP]
    with contextlib.ExitStack() as stack:
        streams = []
        for leg in block.invocations:
            streams.append(shell.stream([*program, str(steps[leg.environment]), cpu]))
            stack.callback(streams[-1].close)
        for stream in streams:
            stream.read_line(timeout_s=_ANSWER_TIMEOUT_S)
        turns_ns = [[_turn_ns(stream) for stream in streams] for _ in range(_WARM_UP + _ITERATIONS)]
    for leg, times_ns in zip(block.invocations, zip(*turns_ns[_WARM_UP:], strict=True), strict=True):
        value_ms = statistics.median(times_ns) / 1e6
        yield Observation(
            block.benchmark, _METRIC, block.target, block.index, leg.environment, leg.replicate, value_ms
        )


def _turn_ns(stream: Stream) -> int:
    stream.write(b"\n")
    return int(stream.read_line(timeout_s=_ANSWER_TIMEOUT_S))


def _run(argv: Sequence[str], *, timeout_s: float = 1200) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
