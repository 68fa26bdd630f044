"""As many blocks as the precision needs, on a real host: a program in sysbench's place has known values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from perfctl.stats.precision import second_stage, stdev
from tests.e2e.conftest import Break, Project, wait_until
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first")

SUITE = """\
[suite]
name = "precise"
environments = ["native"]

[[benchmark]]
name = "locks"
workload = "sysbench"
parameters = { test = "mutex", threads = 1, mutex_locks = 1000, mutex_loops = 100 }
"""

FOLDER = "/tmp/perfctl-shadow"

REPORT = r"""
case $1 in --version) echo sysbench 1.0.20; exit;; esac
mkdir -p {folder}; echo >> {folder}/count; count=$(wc -l < {folder}/count)
{first}
if [ $((count / 2 % 2)) = 1 ]; then time_s={odd}; else time_s=1.0000; fi
cat << EOF
sysbench 1.0.20 (using system LuaJIT 2.1.0-beta3)

Number of threads: 1

General statistics:
    total time:                          ${{time_s}}s
    total number of events:              1

Latency (ms):
         min:                                  508.86
         avg:                                  508.86
         max:                                  508.86
         95th percentile:                      511.33
         sum:                                  508.86

Threads fairness:
    events (avg/stddev):           1.0000/0.00
    execution time (avg/stddev):   0.5089/0.00

EOF
"""
"""Every second pair of its calls takes `odd` seconds, as it says; `first` is done before."""


@pytest.fixture
def precise(on_host: Project, host: str, provisioned_lab: LabAtHand) -> Project:
    Path(on_host.suite).write_text(SUITE)
    provisioned_lab.inside(host, "rm", "-rf", FOLDER)
    return on_host


def _program(odd: str, first: str = "") -> str:
    return REPORT.format(folder=FOLDER, odd=odd, first=first)


def _run(project: Project, host: str, *arguments: str) -> tuple[int, str]:
    done = project.perfctl(
        "run", "--suite", project.suite, "--limit", host, "--seed", "5", "--force", *arguments, timeout_s=300
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def _differences(project: Project, blocks: int) -> list[float]:
    rows = project.rows(
        "SELECT block, replicate, value FROM v_value WHERE metric = 'total_time'"
        f" AND block < {blocks} ORDER BY block, replicate"
    )
    values = [row["value"] for row in rows]
    return [math.log(b) - math.log(a) for a, b in zip(values[::2], values[1::2], strict=True)]


def _blocks(project: Project) -> list[int]:
    return [row["block"] for row in project.rows("SELECT DISTINCT block FROM v_invocation ORDER BY 1")]


def test_a_quiet_benchmark_stays_at_its_pilot(precise: Project, host: str, shadow: Break) -> None:
    shadow(_program("1.0000"))
    code, stderr = _run(precise, host)
    assert code == 0, stderr
    assert _blocks(precise) == list(range(10))
    assert "locks: every difference of the pilot is the same; it stays at 10 blocks" in stderr


@pytest.mark.parametrize(("odd", "is_capped"), [("1.0150", False), ("1.2000", True)])
def test_a_benchmark_gets_what_its_pilot_shows_to_be_needed(
    precise: Project, host: str, shadow: Break, odd: str, is_capped: bool
) -> None:
    # Odd places of the count, so that the two legs of a block differ: 1 | 2 3 | 4 5 | ...
    shadow(_program(odd))
    code, stderr = _run(precise, host)
    assert code == 0, stderr
    s_d = stdev(_differences(precise, 10))
    assert s_d is not None
    stage = second_stage(s_d, tau=0.01)
    assert stage.is_capped is is_capped
    assert stage.blocks > 10
    assert _blocks(precise) == list(range(stage.blocks))
    assert f"locks: native on {host} {stage.words()}" in stderr
    (run,) = precise.rows("SELECT planned_invocations, ok, status FROM v_run")
    assert run == {"planned_invocations": 2 * stage.blocks, "ok": 2 * stage.blocks, "status": "complete"}
    shown = precise.perfctl("show", "latest").stdout
    assert stage.words() in shown, "what was decided is kept with the run"


def test_what_was_measured_tells_the_next_run_what_to_expect(
    precise: Project, host: str, shadow: Break
) -> None:
    before = precise.perfctl("run", "--suite", precise.suite, "--limit", host, "--dry-run").stdout
    assert "no earlier run of it here, so the detectable effect is not known yet" in " ".join(before.split())
    shadow(_program("1.0150"))
    assert _run(precise, host)[0] == 0
    after = precise.perfctl("run", "--suite", precise.suite, "--limit", host, "--dry-run")
    assert after.returncode == 0, after.stderr
    expected = " ".join(after.stdout.split())
    assert "will detect" in expected
    assert "in 1 earlier run)" in expected
    assert "no earlier run" not in expected


def test_a_run_killed_in_its_second_stage_goes_on_to_the_blocks_decided_on(
    precise: Project, host: str, shadow: Break
) -> None:
    # Far more than the pilot, whatever order the host's name deals.
    shadow(_program("1.2000", first="sleep 0.3"))
    options = ["--limit", host, "--seed", "5", "--force"]
    process = precise.start("run", "--suite", precise.suite, *options)
    try:
        wait_until(lambda: precise.invocation_count() > 22, "the second stage", 400)
    finally:
        process.kill()
        process.communicate(timeout=30)
    (decided,) = precise.rows("SELECT run_id, planned_invocations FROM v_run")
    assert decided["planned_invocations"] > 20
    # What it would decide now is something else: it must not.
    shadow(_program("1.0000"))
    done = precise.perfctl("resume", decided["run_id"], "--force", timeout_s=300)
    assert done.returncode == 0, done.stderr
    rows = precise.rows(
        "SELECT block, count(*) AS n FROM v_invocation WHERE block_status = 'complete' GROUP BY 1 ORDER BY 1"
    )
    blocks = decided["planned_invocations"] // 2
    assert [(row["block"], row["n"]) for row in rows] == [(block, 2) for block in range(blocks)]
    assert precise.rows("SELECT planned_invocations FROM v_run") == [{"planned_invocations": 2 * blocks}]


def test_a_block_that_failed_once_is_run_again_without_resume(
    precise: Project, host: str, shadow: Break
) -> None:
    marker = f"[ $count = 4 ] && [ ! -e {FOLDER}/failed ] && touch {FOLDER}/failed && exit 9"
    shadow(_program("1.0150", first=marker))
    code, stderr = _run(precise, host, "--blocks", "6")
    assert code == 0, stderr
    assert "1 block with a failed member is run once more, whole; 2 invocations more, 14 in all" in stderr
    rows = precise.rows(
        "SELECT attempt, block_status, count(*) AS n FROM v_invocation GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert [(row["attempt"], row["block_status"], row["n"]) for row in rows] == [
        (1, "complete", 10),
        (1, "failed", 2),
        (2, "complete", 2),
    ]
    (status,) = precise.rows("SELECT status FROM v_run")
    assert status == {"status": "complete"}
    compared = precise.perfctl("compare", "latest", "--format", "json")
    assert compared.returncode == 0, compared.stderr
    rows = json.loads(compared.stdout)["rows"]
    assert {row["blocks"] for row in rows if row["level"] == "host"} == {6}
    assert precise.perfctl("resume", "latest").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "0"], "cannot be '0'"),
        (["--precision", "0%"], "not between"),
        (["--precision", "200%"], "not between"),
        (["--precision", "fine"], "cannot be 'fine'"),
        (["--precision", "1%", "--blocks", "10"], "exclude each other"),
        (["--blocks", "0"], "0"),
    ],
)
def test_a_wrong_precision_is_refused_before_anything_is_touched(
    precise: Project, host: str, arguments: list[str], words: str
) -> None:
    code, stderr = _run(precise, host, *arguments)
    assert code == 2
    assert words in stderr
    assert not precise.database.exists()
